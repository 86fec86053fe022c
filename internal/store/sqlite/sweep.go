package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/internal/sqlitedb"
)

// sweepRows is about 20 ms of the writer.
const sweepRows = 5000

const (
	expiring = "SELECT id, swept, planning FROM updates WHERE swept_at IS NULL AND expires_at <= ? ORDER BY expires_at LIMIT 100"

	// openOf walks an update's rows between two ids. The closed ones are passed over by
	// the reader, not on the writer's time.
	openOf = "SELECT d.id, d.attempt, (SELECT channel FROM targets t WHERE t.id = " + targetOfRow + ") FROM deliveries d WHERE d.id > ? AND d.id < ? AND d.outcome = 0 ORDER BY d.id LIMIT ?"

	// upToUpdate are an incident's updates up to a sequence.
	upToUpdate = "SELECT id FROM updates WHERE incident = ? AND sequence <= ? ORDER BY sequence"

	closeOpen = "UPDATE deliveries SET outcome = ?, due_at = NULL, done_at = ?, detail = coalesce(nullif(?, ''), detail) WHERE id = ? AND outcome = 0"
)

// openRow is a row to be closed.
type openRow struct {
	id      int64
	tried   bool // there was an attempt
	channel string
}

// sweep is one update's turn of Expire.
type sweep struct {
	id       int64
	rows     []openRow
	planning bool
	// ended: the last row was reached.
	ended bool
}

// Expire implements dispatcher.Ledger. It remembers in the update how far it got:
// behind that nothing opens again once the plan is finished: what has expired is not
// sent again.
func (s *Store) Expire(ctx context.Context, now time.Time) (closed map[string]int, more bool, err error) {
	var sweeps []sweep
	err = s.read(ctx, func(tx *sqlitedb.Tx) (err error) {
		sweeps, more, err = findExpired(tx, now, s.sweepRows)
		return err
	})
	if err != nil || len(sweeps) == 0 {
		return nil, false, err
	}
	err = s.write(ctx, sqlitedb.Plan, func(tx *sqlitedb.Tx) error {
		closed = make(map[string]int)
		for _, sw := range sweeps {
			n, err := closeAll(tx, sw.rows, dispatcher.Expired, "", now)
			if err != nil {
				return err
			}
			add(closed, n)
			if err := sw.note(tx, now); err != nil {
				return err
			}
		}
		return nil
	})
	return closed, more && err == nil, err
}

func findExpired(tx *sqlitedb.Tx, now time.Time, room int) (sweeps []sweep, more bool, err error) {
	updates := tx.Query(expiring, now)
	defer updates.Close()
	for updates.Next() {
		if room == 0 {
			return sweeps, true, nil
		}
		sw := sweep{id: updates.Int(0), planning: updates.Bool(2)}
		if sw.rows, err = findOpen(tx, sw.id, updates.Int(1), room); err != nil {
			return nil, false, err
		}
		sw.ended = len(sw.rows) < room
		room -= len(sw.rows)
		sweeps = append(sweeps, sw)
	}
	return sweeps, room == 0 || len(sweeps) == 100, updates.Err()
}

// findOpen returns open rows of an update after a target, at most limit.
func findOpen(tx *sqlitedb.Tx, update, after int64, limit int) ([]openRow, error) {
	var list []openRow
	rows := tx.Query(openOf, idOf(update, after), idOf(update+1, 0), limit)
	for rows.Next() {
		list = append(list, openRow{id: rows.Int(0), tried: rows.Int(1) > 0, channel: rows.Text(2)})
	}
	return list, rows.Err()
}

// note writes how far the sweep got. While the plan runs, rows may still appear
// anywhere, so the next turn begins at the front again.
func (sw *sweep) note(tx *sqlitedb.Tx, now time.Time) error {
	var err error
	switch {
	case sw.ended && sw.planning:
		_, err = tx.Exec("UPDATE updates SET swept = 0 WHERE id = ? AND swept <> 0", sw.id)
	case sw.ended:
		_, err = tx.Exec("UPDATE updates SET swept_at = ? WHERE id = ?", now, sw.id)
	default:
		_, err = tx.Exec("UPDATE updates SET swept = ? WHERE id = ?", targetOf(sw.rows[len(sw.rows)-1].id), sw.id)
	}
	return err
}

// closeAll closes rows that are still open, and counts those it closed by
// channel. One that expired though it was tried is an update without success.
func closeAll(tx *sqlitedb.Tx, rows []openRow, outcome dispatcher.Outcome, detail string, now time.Time) (closed map[string]int, err error) {
	closed = make(map[string]int)
	for _, r := range rows {
		n, err := tx.Exec(closeOpen, int(outcome), now, detail, r.id)
		if err != nil {
			return closed, err
		}
		closed[r.channel] += int(n)
		if n > 0 && outcome == dispatcher.Expired && r.tried {
			if err := streak(tx, &dispatcher.Settlement{Row: dispatcher.Row{Target: targetOf(r.id)}, Streak: dispatcher.StreakFailed}); err != nil {
				return closed, err
			}
		}
	}
	return closed, nil
}

// Stop implements dispatcher.Ledger. The first transaction ends the fan-out for
// good: no page is planned, no batch claimed after it. The rows follow in bounded
// ones; if this fails half-way, claims and Due suppress the rest, and Stop may be
// called again.
func (s *Store) Stop(ctx context.Context, incident int64, now time.Time, asked ...dispatcher.Asked) (upTo int, closed map[string]int, err error) {
	err = s.write(ctx, sqlitedb.Accept, func(tx *sqlitedb.Tx) error {
		rows := tx.Query("UPDATE incidents SET stopped = sequence WHERE id = ? RETURNING stopped", incident)
		for rows.Next() {
			upTo = int(rows.Int(0))
		}
		if err := rows.Err(); err != nil {
			return err
		}
		if upTo == 0 {
			return fmt.Errorf("%w: there is no such incident", dispatcher.ErrLedgerRefused)
		}
		if _, err := tx.Exec("UPDATE updates SET planning = 0 WHERE incident = ? AND planning = 1", incident); err != nil {
			return err
		}
		return writeAskedOf(tx, asked, incident, "stopped")
	})
	closed = make(map[string]int)
	if err != nil {
		return upTo, closed, err
	}
	var updates []int64
	if err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		updates = nil
		rows := tx.Query(upToUpdate, incident, upTo)
		for rows.Next() {
			updates = append(updates, rows.Int(0))
		}
		return rows.Err()
	}); err != nil {
		return upTo, closed, err
	}
	for _, update := range updates {
		if err := s.stopUpdate(ctx, update, now, closed); err != nil {
			return upTo, closed, err
		}
	}
	return upTo, closed, nil
}

// stopUpdate closes the open rows of an update whose fan-out has ended, and counts
// them.
func (s *Store) stopUpdate(ctx context.Context, update int64, now time.Time, closed map[string]int) error {
	for after := int64(0); ; {
		var open []openRow
		if err := s.read(ctx, func(tx *sqlitedb.Tx) (err error) {
			open, err = findOpen(tx, update, after, s.sweepRows)
			return err
		}); err != nil || len(open) == 0 {
			return err
		}
		after = targetOf(open[len(open)-1].id)
		var n map[string]int
		if err := s.write(ctx, sqlitedb.Plan, func(tx *sqlitedb.Tx) (err error) {
			n, err = closeAll(tx, open, dispatcher.Suppressed, detailStopped, now)
			return err
		}); err != nil {
			return err
		}
		add(closed, n)
	}
}

// add adds b's counts to a's.
func add(a, b map[string]int) {
	for channel, n := range b {
		a[channel] += n
	}
}
