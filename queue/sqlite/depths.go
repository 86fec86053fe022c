package sqlite

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/queue"
)

const (
	// readyDepths reads the index of ready batches alone.
	readyDepths = "SELECT grp, urgent, count(*), min(id) FROM batches WHERE held = 0 GROUP BY grp, urgent"
	oldestReady = "SELECT written_at FROM batches WHERE id = ?"
	intakeDepth = "SELECT count(*), min(id) FROM intake"
	intakeSince = "SELECT received_at FROM intake WHERE id = ?"
)

type depthKey struct {
	group  string
	urgent bool
}

func (k depthKey) name() string {
	if k.urgent {
		return k.group + ".urgent"
	}
	return k.group + ".normal"
}

// Depths implements queue.Queue: two queues for each group that was used, and the
// intake.
func (q *Queue) Depths(ctx context.Context) ([]queue.Depth, error) {
	found := make(map[depthKey]queue.Depth)
	q.mu.Lock()
	for name, g := range q.groups {
		urgent, normal := queue.Depth{}, queue.Depth{}
		for _, u := range g.held {
			if u {
				urgent.Held++
			} else {
				normal.Held++
			}
		}
		found[depthKey{name, true}], found[depthKey{name, false}] = urgent, normal
	}
	taken := len(q.intake.taken)
	q.mu.Unlock()

	list := []queue.Depth{{Queue: "intake", Held: taken}}
	err := q.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		if err := addReady(tx, found); err != nil {
			return err
		}
		var first int64
		rows := tx.Query(intakeDepth)
		for rows.Next() {
			list[0].Ready, first = max(0, int(rows.Int(0))-taken), rows.Int(1)
		}
		err := rows.Err()
		if err == nil && list[0].Ready > 0 {
			list[0].Oldest, err = timeOf(tx, intakeSince, first)
		}
		return err
	})
	if err != nil {
		return nil, unavailable(err)
	}
	for _, k := range slices.SortedFunc(maps.Keys(found), func(a, b depthKey) int {
		return strings.Compare(a.name(), b.name())
	}) {
		d := found[k]
		d.Queue = k.name()
		list = append(list, d)
	}
	return list, nil
}

func addReady(tx *sqlitedb.Tx, found map[depthKey]queue.Depth) error {
	first := make(map[depthKey]int64)
	rows := tx.Query(readyDepths)
	for rows.Next() {
		k := depthKey{rows.Text(0), rows.Bool(1)}
		d := found[k]
		d.Ready = int(rows.Int(2))
		found[k], first[k] = d, rows.Int(3)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for k, id := range first {
		d := found[k]
		var err error
		if d.Oldest, err = timeOf(tx, oldestReady, id); err != nil {
			return err
		}
		found[k] = d
	}
	return nil
}

func timeOf(tx *sqlitedb.Tx, query string, id int64) (t time.Time, err error) {
	rows := tx.Query(query, id)
	for rows.Next() {
		t = rows.Time(0)
	}
	return t, rows.Err()
}
