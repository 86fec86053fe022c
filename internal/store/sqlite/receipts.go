package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
)

const (
	// keepHandles is above the time after which message centres give up, so no
	// receipt comes later.
	keepHandles = 7 * 24 * time.Hour

	insertHandle = `INSERT INTO handles (provider, handle, incident, target, sequence, at) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET incident = excluded.incident, target = excluded.target, sequence = excluded.sequence,
		at = excluded.at, delivered = 0`
	// dropHandles removes a few that are too old, the oldest first.
	dropHandles = `DELETE FROM handles WHERE (provider, handle) IN
		(SELECT provider, handle FROM handles WHERE at < ? ORDER BY at LIMIT ?)`

	handleOf     = "SELECT incident, target, sequence, delivered FROM handles WHERE provider = ? AND handle = ?"
	writeReceipt = "UPDATE deliveries SET detail = ? WHERE incident = ? AND target = ? AND sequence = ? AND outcome = 1"
)

// keepHandle notes what the peer calls a message. A peer that uses a name again means
// the newer message.
func keepHandle(tx *sqlitedb.Tx, r *dispatcher.Settlement) error {
	_, err := tx.Exec(insertHandle, r.Provider, r.Handle, r.Incident, r.Target, r.Sequence, r.DoneAt)
	return err
}

// forgetHandles removes two that are too old for each that was kept: so the table
// shrinks to a week's worth without ever holding up a commit.
func forgetHandles(tx *sqlitedb.Tx, now time.Time, kept int) error {
	_, err := tx.Exec(dropHandles, now.Add(-keepHandles), 2*kept)
	return err
}

// Receipt implements store.Receipts.
func (s *Store) Receipt(ctx context.Context, provider, messageID string, delivered bool, detail string, at time.Time) error {
	detail = "receipt: " + detail
	if !at.IsZero() {
		detail += " at " + at.UTC().Format(time.RFC3339)
	}
	return s.write(ctx, sqlitedb.Settle, func(tx *sqlitedb.Tx) error {
		rows := tx.Query(handleOf, provider, messageID)
		defer rows.Close()
		if !rows.Next() {
			if err := rows.Err(); err != nil {
				return err
			}
			return fmt.Errorf("the message of the receipt: %w", store.ErrNotFound)
		}
		if rows.Bool(3) && !delivered {
			return nil
		}
		if _, err := tx.Exec(writeReceipt, detail, rows.Int(0), rows.Int(1), rows.Int(2)); err != nil || !delivered {
			return err
		}
		_, err := tx.Exec("UPDATE handles SET delivered = 1 WHERE provider = ? AND handle = ?", provider, messageID)
		return err
	})
}
