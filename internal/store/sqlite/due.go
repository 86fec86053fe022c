package sqlite

import (
	"context"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/sqlitedb"
)

// due takes the keys from the index of waiting rows first and looks up the rest
// for those alone.
const due = `SELECT ` + audientColumns + `, u.incident, u.sequence, d.attempt, d.due_at, d.since,
	u.accepted_at, u.expires_at, u.highest, t.state, u.sequence <= i.stopped,
	EXISTS (SELECT 1 FROM updates v CROSS JOIN deliveries n ON n.id = (v.id << 32) + (` + targetOfRow + `)
		WHERE v.incident = u.incident AND v.sequence > u.sequence),
	t.every_update AND EXISTS (SELECT 1 FROM updates v CROSS JOIN deliveries o ON o.id = (v.id << 32) + (` + targetOfRow + `)
		WHERE v.incident = u.incident AND v.sequence < u.sequence AND o.outcome = 0),
	d.id, d.edition
	FROM (SELECT id, attempt, due_at, since, edition FROM deliveries
		WHERE outcome = 0 AND batch IS NULL AND due_at <= ? ORDER BY due_at LIMIT +?) d
	JOIN updates u ON u.id = ` + updateOfRow + `
	JOIN incidents i ON i.id = u.incident
	LEFT JOIN targets t ON t.id = ` + targetOfRow

// Due implements dispatcher.Ledger.
func (s *Store) Due(ctx context.Context, now time.Time, limit int) ([]dispatcher.DueRow, error) {
	var list []dispatcher.DueRow
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		list = nil
		revision, err := revision(tx)
		if err != nil {
			return err
		}
		rows := tx.Query(due, now, limit)
		for rows.Next() {
			d, err := scanDue(rows)
			if err != nil {
				return err
			}
			d.Revision = revision
			list = append(list, d)
		}
		return rows.Err()
	})
	return list, err
}

func scanDue(rows *sqlitedb.Rows) (d dispatcher.DueRow, err error) {
	if d.Audient, err = scanAudient(rows, new(dispatcher.Audient)); err != nil {
		return d, err
	}
	d.Address = rows.Text(columnAddress)
	d.Row = dispatcher.Row{Incident: rows.Int(10), Target: targetOf(rows.Int(22)), Sequence: int(rows.Int(11))}
	d.Audient.Target = d.Row.Target
	d.Attempt, d.DueAt, d.Since, d.Edition = int(rows.Int(12)), rows.Time(13), rows.Time(14), int(rows.Int(23))
	d.AcceptedAt, d.ExpiresAt = rows.Time(15), rows.Time(16)
	d.Urgent = incident.Impact(rows.Text(17)).Urgent()
	d.Newer = rows.Bool(20)
	d.Blocked = d.EveryUpdate && rows.Bool(21)
	switch {
	case rows.Null(18):
		d.Inactive = "target deleted"
	case rows.Bool(19):
		d.Inactive = detailStopped
	default:
		d.Inactive = whyInactive(rows.Int(18))
	}
	return d, nil
}

const (
	// count over the index of waiting rows alone.
	backlog    = "SELECT count(*), count(*) FILTER (WHERE due_at <= ?) FROM deliveries WHERE outcome = 0 AND batch IS NULL"
	backlogDue = "SELECT due_at FROM deliveries WHERE outcome = 0 AND batch IS NULL AND due_at <= ? ORDER BY due_at LIMIT 1"
)

// Backlog implements dispatcher.Ledger.
func (s *Store) Backlog(ctx context.Context, now time.Time) (b dispatcher.Backlog, err error) {
	err = s.read(ctx, func(tx *sqlitedb.Tx) error {
		rows := tx.Query(backlog, now)
		for rows.Next() {
			b.Waiting, b.Due = int(rows.Int(0)), int(rows.Int(1))
		}
		if err := rows.Err(); err != nil {
			return err
		}
		rows = tx.Query(backlogDue, now)
		for rows.Next() {
			b.OldestDue = rows.Time(0)
		}
		return rows.Err()
	})
	return b, err
}
