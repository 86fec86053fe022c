package sqlite

import (
	"context"
	"time"

	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
)

// StepCases implements store.Cases.
func (s *Store) StepCases(ctx context.Context, keys []store.CaseKey, step func(i int, state []byte) (store.CaseChange, error)) error {
	return s.write(ctx, sqlitedb.Accept, func(tx *sqlitedb.Tx) error {
		for i, key := range keys {
			id, state, err := readCase(tx, key)
			if err != nil {
				return err
			}
			change, err := step(i, state)
			if err != nil {
				return err
			}
			if err := writeCase(tx, id, key, &change); err != nil {
				return err
			}
		}
		return nil
	})
}

// readCase returns 0 and nil if there is no such case.
func readCase(tx *sqlitedb.Tx, key store.CaseKey) (id int64, state []byte, err error) {
	rows := tx.Query("SELECT id, state FROM cases WHERE page = ? AND grp = ?", key.Page, key.Group)
	for rows.Next() {
		id, state = rows.Int(0), rows.Blob(1)
	}
	return id, state, rows.Err()
}

const (
	insertOutbox = "INSERT INTO outbox (page, incident_id, update_id, source, decided_at, body) VALUES (?, ?, ?, ?, ?, ?)"
	insertAudit  = `INSERT INTO audit (at, page, incident_id, number, update_id, source, actor, action, cause, status, impact)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
)

func writeCase(tx *sqlitedb.Tx, id int64, key store.CaseKey, c *store.CaseChange) (err error) {
	switch {
	case c.Forget:
		_, err = tx.Exec("DELETE FROM cases WHERE id = ?", id)
	case c.State == nil:
	case id == 0:
		_, err = tx.Exec("INSERT INTO cases (page, grp, due_at, state) VALUES (?, ?, ?, ?)", key.Page, key.Group, c.DueAt, c.State)
	default:
		_, err = tx.Exec("UPDATE cases SET due_at = ?, state = ? WHERE id = ?", c.DueAt, c.State, id)
	}
	if err != nil {
		return err
	}
	for i := range c.Events {
		e := &c.Events[i]
		if _, err := tx.Exec(insertOutbox, e.Page, e.IncidentID, e.UpdateID, e.Source, e.At, e.Body); err != nil {
			return err
		}
	}
	for i := range c.Audit {
		a := &c.Audit[i]
		if _, err := tx.Exec(insertAudit, a.At, a.Page, a.IncidentID, a.Number, a.UpdateID, a.Source, a.Actor, a.Action,
			a.Cause, string(a.Status), string(a.Impact)); err != nil {
			return err
		}
	}
	return nil
}

// DueCases implements store.Cases.
func (s *Store) DueCases(ctx context.Context, now time.Time, limit int) (keys []store.CaseKey, err error) {
	err = s.read(ctx, func(tx *sqlitedb.Tx) error {
		keys = nil
		rows := tx.Query("SELECT page, grp FROM cases WHERE due_at <= ? ORDER BY due_at LIMIT +?", now, limit)
		for rows.Next() {
			keys = append(keys, store.CaseKey{Page: rows.Text(0), Group: rows.Text(1)})
		}
		return rows.Err()
	})
	return keys, err
}

// NextDue implements store.Cases.
func (s *Store) NextDue(ctx context.Context) (at time.Time, err error) {
	err = s.read(ctx, func(tx *sqlitedb.Tx) error {
		at = time.Time{}
		rows := tx.Query("SELECT due_at FROM cases WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1")
		for rows.Next() {
			at = rows.Time(0)
		}
		return rows.Err()
	})
	return at, err
}

// Outbox implements store.Cases.
func (s *Store) Outbox(ctx context.Context, limit int) (events []store.OutboxEvent, err error) {
	err = s.read(ctx, func(tx *sqlitedb.Tx) error {
		events = nil
		rows := tx.Query("SELECT id, page, incident_id, update_id, source, decided_at, body FROM outbox ORDER BY id LIMIT +?", limit)
		for rows.Next() {
			events = append(events, store.OutboxEvent{
				ID: rows.Int(0), Page: rows.Text(1), IncidentID: rows.Text(2), UpdateID: rows.Text(3), Source: rows.Text(4),
				At: rows.Time(5), Body: rows.Blob(6),
			})
		}
		return rows.Err()
	})
	return events, err
}

// Offered implements store.Cases.
func (s *Store) Offered(ctx context.Context, ids []int64) error {
	return s.write(ctx, sqlitedb.Accept, func(tx *sqlitedb.Tx) error {
		for _, id := range ids {
			if _, err := tx.Exec("DELETE FROM outbox WHERE id = ?", id); err != nil {
				return err
			}
		}
		return nil
	})
}
