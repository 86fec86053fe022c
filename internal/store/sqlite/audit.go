package sqlite

import (
	"context"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
)

const selectAudit = `SELECT id, at, page, incident_id, number, update_id, source, actor, action, cause, status, impact FROM audit `

// AuditLog implements store.Audit.
func (s *Store) AuditLog(ctx context.Context, f store.AuditFilter) (entries []store.AuditEntry, err error) {
	limit := f.Limit
	if limit <= 0 {
		limit = -1
	}
	query, args := selectAudit+"WHERE id > ?", []any{f.After}
	if f.Page != "" {
		query, args = query+" AND page = ?", append(args, f.Page)
	}
	if f.IncidentID != "" {
		query, args = query+" AND incident_id = ?", append(args, f.IncidentID)
	}
	if !f.From.IsZero() {
		query, args = query+" AND at >= ?", append(args, f.From)
	}
	if !f.Until.IsZero() {
		query, args = query+" AND at < ?", append(args, f.Until)
	}
	query, args = query+" ORDER BY id LIMIT +?", append(args, limit)
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
