package sqlite

import (
	"context"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
)

const insertAudit = `INSERT INTO audit (at, page, incident_id, number, update_id, source, actor, action, cause, status, impact)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

// WriteAudit implements store.Audit.
func (s *Store) WriteAudit(ctx context.Context, entries ...store.AuditEntry) error {
	return s.write(ctx, sqlitedb.Accept, func(tx *sqlitedb.Tx) error { return writeAudit(tx, entries) })
}

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

const selectAudit = `SELECT id, at, page, incident_id, number, update_id, source, actor, action, cause, status, impact FROM audit `

// AuditLog implements store.Audit.
func (s *Store) AuditLog(ctx context.Context, f store.AuditFilter) (entries []store.AuditEntry, err error) {
	query, args := listAudit(f)
	err = s.ask(ctx, func(tx *sqlitedb.Tx) error {
		entries = nil
		rows := tx.Query(query, args...)
		for rows.Next() {
			entries = append(entries, scanAudit(rows))
		}
		return rows.Err()
	})
	return entries, err
}

// listAudit walks the log by its key, or by incident, so that a long export costs no
// more for each of its parts; + keeps SQLite from the index of times, which it would
// have to sort.
func listAudit(f store.AuditFilter) (query string, args []any) {
	limit := f.Limit
	if limit <= 0 {
		limit = -1
	}
	query, args = selectAudit+"WHERE id > ?", []any{f.After}
	for _, choice := range []struct {
		chosen    bool
		condition string
		value     any
	}{
		{f.Page != "" && f.IncidentID != "", " AND page = ?", f.Page}, {f.Page != "" && f.IncidentID == "", " AND +page = ?", f.Page},
		{f.IncidentID != "", " AND incident_id = ?", f.IncidentID}, {!f.From.IsZero(), " AND +at >= ?", f.From}, {!f.Until.IsZero(), " AND +at < ?", f.Until},
	} {
		if choice.chosen {
			query, args = query+choice.condition, append(args, choice.value)
		}
	}
	return query + " ORDER BY id LIMIT +?", append(args, limit)
}

func scanAudit(rows *sqlitedb.Rows) store.AuditEntry {
	return store.AuditEntry{
		ID: rows.Int(0), At: rows.Time(1), Page: rows.Text(2), IncidentID: rows.Text(3), Number: int(rows.Int(4)),
		UpdateID: rows.Text(5), Source: rows.Text(6), Actor: rows.Text(7), Action: rows.Text(8), Cause: rows.Text(9),
		Status: incident.Status(rows.Text(10)), Impact: incident.Impact(rows.Text(11)),
	}
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
