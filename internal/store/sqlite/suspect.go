package sqlite

import (
	"context"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
)

const (
	anySuspect  = "SELECT 1 FROM suspects LIMIT 1"
	startsOf    = "SELECT starts FROM suspects WHERE incident = ? AND target = ? AND sequence = ?"
	noteStart   = "INSERT INTO suspects (incident, target, sequence, starts) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET starts = ?4, parked_at = NULL"
	noteParked  = "INSERT INTO suspects (incident, target, sequence, starts, parked_at) VALUES (?1, ?2, ?3, 0, ?4) ON CONFLICT DO UPDATE SET parked_at = ?4"
	forgetNote  = "DELETE FROM suspects WHERE incident = ? AND target = ? AND sequence = ?"
	selectStray = `SELECT s.incident, s.target, s.sequence FROM suspects s
		LEFT JOIN updates u ON u.incident = s.incident AND u.sequence = s.sequence
		LEFT JOIN deliveries d ON d.id = (u.id << 32) + s.target
		WHERE d.outcome IS NOT iif(s.parked_at IS NULL, 0, 5)`

	selectParked = `SELECT i.page, i.incident_id, s.target, s.sequence, coalesce(t.channel, ''), d.detail, s.parked_at
		FROM suspects s
		JOIN incidents i ON i.id = s.incident
		JOIN updates u ON u.incident = s.incident AND u.sequence = s.sequence
		JOIN deliveries d ON d.id = (u.id << 32) + s.target
		LEFT JOIN targets t ON t.id = s.target
		WHERE s.parked_at IS NOT NULL AND d.outcome = 5 ORDER BY s.parked_at DESC, s.incident, s.target, s.sequence LIMIT ?`
)

// NoteStart implements dispatcher.Ledger.
func (s *Store) NoteStart(ctx context.Context, row dispatcher.Row, starts int) error {
	return s.write(ctx, sqlitedb.Settle, func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec(noteStart, row.Incident, row.Target, row.Sequence, starts)
		return err
	})
}

// starts returns the starts without an end of a batch's deliveries.
func (c *claimer) starts(r *dispatcher.ClaimRequest) (list []int, err error) {
	if !c.suspected || !r.Verify {
		return nil, nil
	}
	for i := range r.Batch.Deliveries {
		rows := c.tx.Query(startsOf, r.Batch.Incident, r.Batch.Deliveries[i].Target, r.Batch.Sequence)
		for rows.Next() {
			if list == nil {
				list = make([]int, len(r.Batch.Deliveries))
			}
			list[i] = int(rows.Int(0))
		}
		if err := rows.Err(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// endSuspicion ends the note of a start, or keeps it for those who ask what was
// parked.
func endSuspicion(tx *sqlitedb.Tx, r *dispatcher.Settlement, landed bool) error {
	if !r.Parked {
		return forgetSuspect(tx, r.Row)
	}
	if !landed {
		return nil
	}
	_, err := tx.Exec(noteParked, r.Incident, r.Target, r.Sequence, r.DoneAt)
	return err
}

func forgetSuspect(tx *sqlitedb.Tx, row dispatcher.Row) error {
	_, err := tx.Exec(forgetNote, row.Incident, row.Target, row.Sequence)
	return err
}

// forgetStray ends the notes of what ended otherwise, as by expiry.
func forgetStray(tx *sqlitedb.Tx) error {
	var stray []dispatcher.Row
	rows := tx.Query(selectStray)
	for rows.Next() {
		stray = append(stray, dispatcher.Row{Incident: rows.Int(0), Target: rows.Int(1), Sequence: int(rows.Int(2))})
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, row := range stray {
		if err := forgetSuspect(tx, row); err != nil {
			return err
		}
	}
	return nil
}

// Parked implements store.History.
func (s *Store) Parked(ctx context.Context, limit int) (list []store.Parked, err error) {
	err = s.ask(ctx, func(tx *sqlitedb.Tx) error {
		list = nil
		rows := tx.Query(selectParked, limit)
		for rows.Next() {
			list = append(list, store.Parked{
				Page: rows.Text(0), IncidentID: rows.Text(1), Target: rows.Int(2), Sequence: int(rows.Int(3)),
				Channel: rows.Text(4), Detail: rows.Text(5), At: rows.Time(6),
			})
		}
		return rows.Err()
	})
	return list, err
}
