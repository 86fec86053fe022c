package sqlite

import (
	"fmt"
	"strings"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/internal/sqlitedb"
)

const (
	// keepHandles is above the time after which message centres give up, so no
	// receipt comes later. Names are forgotten by the day, up to a day later.
	keepHandles = 7 * 24 * time.Hour

	// dropHandles removes a few that are too old, the oldest first.
	dropHandles = `DELETE FROM handles WHERE (day, provider, handle) IN
		(SELECT day, provider, handle FROM handles WHERE day < ? ORDER BY day, provider, handle LIMIT ?)`
)

// dayOf returns the day since 1970 on which a name is kept.
func dayOf(t time.Time) int64 { return t.Unix() / (24 * 60 * 60) }

// handleWriter notes what peers call messages, many to a statement: each statement
// costs more than a row. A peer that uses a name again means the newer
// message.
type handleWriter struct {
	tx   *sqlitedb.Tx
	args []any
}

// handleSizes are the numbers of names in a statement, largest first.
var handleSizes = [...]struct {
	rows  int
	query string
}{
	{50, insertHandles(50)}, {10, insertHandles(10)}, {1, insertHandles(1)},
}

func insertHandles(n int) string {
	var q strings.Builder
	q.WriteString("INSERT OR REPLACE INTO handles (day, provider, incident, sequence, target, handle) VALUES ")
	for i := range n {
		if i > 0 {
			q.WriteString(", ")
		}
		fmt.Fprintf(&q, "(?1, ?2, ?3, ?4, ?%d, ?%d)", 2*i+5, 2*i+6)
	}
	return q.String()
}

// keep notes the names in rows, and removes two that are too old for each: so the
// table shrinks to a week's worth without ever holding up a commit.
func (w *handleWriter) keep(rows []*dispatcher.Settlement) error {
	if len(rows) == 0 {
		return nil
	}
	for rest := rows; len(rest) > 0; {
		same := 1
		for same < len(rest) && together(rest[0], rest[same]) {
			same++
		}
		if err := w.insert(rest[:same]); err != nil {
			return err
		}
		rest = rest[same:]
	}
	last := rows[len(rows)-1].DoneAt
	_, err := w.tx.Exec(dropHandles, dayOf(last.Add(-keepHandles)), 2*len(rows))
	return err
}

// together says whether the names of two rows differ in nothing but themselves and
// their target.
func together(a, b *dispatcher.Settlement) bool {
	return a.Incident == b.Incident && a.Sequence == b.Sequence && a.Provider == b.Provider && dayOf(a.DoneAt) == dayOf(b.DoneAt)
}

func (w *handleWriter) insert(rows []*dispatcher.Settlement) error {
	for _, size := range handleSizes {
		for ; len(rows) >= size.rows; rows = rows[size.rows:] {
			w.args = append(w.args[:0], dayOf(rows[0].DoneAt), rows[0].Provider, rows[0].Incident, rows[0].Sequence)
			for _, r := range rows[:size.rows] {
				w.args = append(w.args, r.Target, r.Handle)
			}
			if _, err := w.tx.Exec(size.query, w.args...); err != nil {
				return err
			}
		}
	}
	return nil
}
