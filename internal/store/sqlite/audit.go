package sqlite

import (
	"context"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
)

const insertAudit = `INSERT INTO audit (at, page, incident_id, number, update_id, source, actor, action, cause, status, impact)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

func writeAudit(tx *sqlitedb.Tx, entries []store.AuditEntry) error {
	for i := range entries {
		a := &entries[i]
		if _, err := tx.Exec(insertAudit, a.At, a.Page, a.IncidentID, a.Number, a.UpdateID, a.Source, a.Actor, a.Action,
			a.Cause, string(a.Status), string(a.Impact)); err != nil {
			return err
		}
	}
	return nil
}

// writeAsked writes down who had something done, in the transaction that does it.
func writeAsked(tx *sqlitedb.Tx, asked []dispatcher.Asked, page, incidentID, action string) error {
	entries := make([]store.AuditEntry, len(asked))
	for i, a := range asked {
		entries[i] = store.AuditEntry{At: a.At, Page: page, IncidentID: incidentID, Source: store.SourceControl, Actor: a.By, Action: action, Cause: a.Cause}
	}
	return writeAudit(tx, entries)
}

// writeAskedOf is writeAsked of an incident, by its key.
func writeAskedOf(tx *sqlitedb.Tx, asked []dispatcher.Asked, incident int64, action string) error {
	if len(asked) == 0 {
		return nil
	}
	rows := tx.Query("SELECT page, incident_id FROM incidents WHERE id = ?", incident)
	var page, incidentID string
	for rows.Next() {
		page, incidentID = rows.Text(0), rows.Text(1)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return writeAsked(tx, asked, page, incidentID, action)
}

// ForgetAudit implements store.Audit.
func (s *Store) ForgetAudit(ctx context.Context, before time.Time) (more bool, err error) {
	err = s.write(ctx, sqlitedb.Import, func(tx *sqlitedb.Tx) error {
		n, err := tx.Exec("DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ? ORDER BY at LIMIT +?)", before, s.sweepRows)
		more = n == int64(s.sweepRows)
		return err
	})
	return more, err
}
