package sqlite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/queue"
)

// errMovedOn is returned for a page that doesn't follow what is planned: the
// plan's cursor was set right, its audience has to be read again.
var errMovedOn = errors.New("the plan went on meanwhile; read its audience again")

const selectPlan = `SELECT u.incident, u.sequence, i.page, i.incident_id, u.components, u.whole, u.highest, u.private,
	u.test, u.accepted_at, u.expires_at, u.cursor, u.audience FROM updates u JOIN incidents i ON i.id = u.incident `

func scanPlan(rows *sqlitedb.Rows) (*dispatcher.Plan, error) {
	components, err := decodeList(rows.Text(4))
	return &dispatcher.Plan{
		Incident: rows.Int(0), Sequence: int(rows.Int(1)), Page: rows.Text(2), IncidentID: rows.Text(3),
		Components: components, Whole: rows.Bool(5), Highest: incident.Impact(rows.Text(6)),
		Visibility: visibility(rows.Bool(7)), Test: rows.Bool(8), AcceptedAt: rows.Time(9), ExpiresAt: rows.Time(10),
		Cursor: rows.Text(11), Audience: int(rows.Int(12)),
	}, err
}

func planOf(tx *sqlitedb.Tx, incident int64, sequence int) (*dispatcher.Plan, error) {
	rows := tx.Query(selectPlan+"WHERE u.incident = ? AND u.sequence = ?", incident, sequence)
	defer rows.Close()
	if !rows.Next() {
		return nil, errors.Join(rows.Err(), fmt.Errorf("%w: update %d of incident %d isn't there", dispatcher.ErrLedgerRefused, sequence, incident))
	}
	return scanPlan(rows)
}

const unplanned = selectPlan + "WHERE u.planning = 1 ORDER BY u.id LIMIT ?"

// Unplanned implements dispatcher.Ledger.
func (s *Store) Unplanned(ctx context.Context, limit int) ([]*dispatcher.Plan, error) {
	var plans []*dispatcher.Plan
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		rows := tx.Query(unplanned, limit)
		for rows.Next() {
			p, err := scanPlan(rows)
			if err != nil {
				return err
			}
			plans = append(plans, p)
		}
		return rows.Err()
	})
	return plans, err
}

// CommitPage implements dispatcher.Ledger. A page that is there already is left as
// it is. One that doesn't follow the last sets p's cursor and audience to what is
// stored and fails: reading the audience again heals it.
func (s *Store) CommitPage(ctx context.Context, p *dispatcher.Plan, page *dispatcher.PlannedPage) error {
	payloads, err := encode(page.Batches)
	if err != nil {
		return err
	}
	return s.write(ctx, sqlitedb.Plan, func(tx *sqlitedb.Tx) error {
		update, err := follows(tx, p, page)
		if err != nil || update == 0 {
			return err
		}
		err = commitPage(tx, update, p, page, payloads)
		if errors.Is(err, sqlitedb.ErrConstraint) {
			// A target planned before moved back in line and was read again:
			// once rows are looked at (Plan.Recheck), it is left out.
			return errMovedOn
		}
		return err
	})
}

func commitPage(tx *sqlitedb.Tx, update int64, p *dispatcher.Plan, page *dispatcher.PlannedPage, payloads [][]byte) error {
	audience := 0
	w := deliveryWriter{tx: tx, update: update}
	for i, b := range page.Batches {
		if err := insertBatch(tx, b, payloads[i], page.At); err != nil {
			return err
		}
		if err := w.insert(b); err != nil {
			return err
		}
		audience += len(b.Deliveries)
	}
	for i := range page.Unserved {
		a := &page.Unserved[i]
		if _, err := tx.Exec("INSERT INTO deliveries (id, since, due_at, detail) VALUES (?, ?, ?, ?)",
			idOf(update, a.Target), a.Since, p.ExpiresAt, dispatcher.NoProvider); err != nil {
			return err
		}
	}
	if len(page.Unserved) > 0 {
		if err := noteWaits(tx, update); err != nil {
			return err
		}
	}
	audience += len(page.Unserved)
	ids := deliveryIDs{tx: tx}
	for _, r := range page.Superseded {
		id, err := ids.of(r)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`UPDATE deliveries SET outcome = 2, due_at = NULL, done_at = ?
			WHERE id = ? AND outcome = 0 AND batch IS NULL`,
			page.At, id); err != nil {
			return err
		}
	}
	var planned any
	if page.Last {
		planned = page.At
	}
	_, err := tx.Exec(`UPDATE updates SET cursor = ?, audience = audience + ?, planning = ?, planned_at = ?
		WHERE id = ?`, page.Cursor, audience, !page.Last, planned, update)
	return err
}

// follows returns the id of the update whose plan page comes next in. It is 0 without
// an error if the page was committed before, as when a commit's answer was lost.
func follows(tx *sqlitedb.Tx, p *dispatcher.Plan, page *dispatcher.PlannedPage) (update int64, err error) {
	rows := tx.Query(`SELECT i.stopped, u.planning, u.cursor, u.audience, u.id FROM updates u
		JOIN incidents i ON i.id = u.incident WHERE u.incident = ? AND u.sequence = ?`, p.Incident, p.Sequence)
	defer rows.Close()
	if !rows.Next() {
		return 0, errors.Join(rows.Err(), fmt.Errorf("%w: update %d of incident %d isn't there", dispatcher.ErrLedgerRefused, p.Sequence, p.Incident))
	}
	planning, cursor, audience, id := rows.Bool(1), rows.Text(2), int(rows.Int(3)), rows.Int(4)
	if planning && cursor == p.Cursor {
		return id, nil
	}
	if there, err := committed(tx, id, page, cursor); there || err != nil {
		return 0, err
	}
	if p.Sequence <= int(rows.Int(0)) {
		return 0, dispatcher.ErrStopped
	}
	if planning {
		p.Cursor, p.Audience = cursor, audience
		return 0, errMovedOn
	}
	return 0, fmt.Errorf("%w: the plan of update %d is finished", dispatcher.ErrLedgerRefused, p.Sequence)
}

func committed(tx *sqlitedb.Tx, update int64, page *dispatcher.PlannedPage, cursor string) (bool, error) {
	if len(page.Batches) == 0 {
		return cursor == page.Cursor, nil
	}
	b := page.Batches[0]
	return exists(tx, "SELECT 1 FROM deliveries WHERE id = ? AND batch = ?", idOf(update, b.Deliveries[0].Target), b.ID)
}

// encode turns batches into their binary form, outside of the writer's time. They
// are parts of one slice.
func encode(batches []*queue.Batch) ([][]byte, error) {
	payloads := make([][]byte, len(batches))
	var all []byte
	for i, b := range batches {
		from := len(all)
		var err error
		if all, err = b.AppendBinary(all); err != nil {
			return nil, fmt.Errorf("%w: encode batch %d: %w", dispatcher.ErrLedgerRefused, b.ID, err)
		}
		payloads[i] = all[from:len(all):len(all)]
		if i == 0 { // the others are much like it
			all = slices.Grow(all, len(all)*len(batches))
		}
	}
	return payloads, nil
}

func insertBatch(tx *sqlitedb.Tx, b *queue.Batch, payload []byte, now time.Time) error {
	_, err := tx.Exec(`INSERT INTO batches (id, incident, sequence, grp, urgent, written_at, payload)
		VALUES (?, ?, ?, ?, ?, ?, ?)`, b.ID, b.Incident, b.Sequence, b.Group, b.Urgent, now, payload)
	return err
}

// Published implements dispatcher.Ledger.
func (s *Store) Published(ctx context.Context, batches []int64, now time.Time) error {
	return s.write(ctx, sqlitedb.Plan, func(tx *sqlitedb.Tx) error {
		for _, id := range batches {
			if _, err := tx.Exec("UPDATE batches SET published_at = ? WHERE id = ? AND published_at IS NULL", now, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// deliveryWriter inserts the rows of planned batches, many to a statement: each
// statement costs about as much as five rows.
type deliveryWriter struct {
	tx     *sqlitedb.Tx
	update int64 // whose they are
	args   []any
}

// insertSizes are the numbers of rows in a statement, largest first. Numbered
// parameters say once what the rows have in common. OR FAIL leaves the rows before a
// refused one there, for the transaction's end to undo: else SQLite copies every page
// that a statement is about to change.
var insertSizes = [...]struct {
	rows  int
	query string
}{
	{100, insertRows(100)}, {10, insertRows(10)}, {1, insertRows(1)},
}

func insertRows(n int) string {
	var q strings.Builder
	q.WriteString("INSERT OR FAIL INTO deliveries (batch, since, id) VALUES ")
	for i := range n {
		if i > 0 {
			q.WriteString(", ")
		}
		fmt.Fprintf(&q, "(?1, ?2, ?%d)", i+3)
	}
	return q.String()
}

func (w *deliveryWriter) insert(b *queue.Batch) error {
	for rest := b.Deliveries; len(rest) > 0; {
		same := 1
		for same < len(rest) && rest[same].Since.Equal(rest[0].Since) {
			same++
		}
		if err := w.insertSame(b, rest[:same]); err != nil {
			return err
		}
		rest = rest[same:]
	}
	return nil
}

// insertSame inserts rows that began to wait at the same time.
func (w *deliveryWriter) insertSame(b *queue.Batch, rows []queue.Delivery) error {
	for _, size := range insertSizes {
		for ; len(rows) >= size.rows; rows = rows[size.rows:] {
			w.args = append(w.args[:0], b.ID, rows[0].Since)
			for i := range rows[:size.rows] {
				w.args = append(w.args, idOf(w.update, rows[i].Target))
			}
			if _, err := w.tx.Exec(size.query, w.args...); err != nil {
				return err
			}
		}
	}
	return nil
}
