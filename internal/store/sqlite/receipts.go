package sqlite

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
)

const (
	// handleDay is the latest day before another that has names; NULL if none does.
	handleDay = "SELECT max(day) FROM handles WHERE day < ?"
	handleOf  = "SELECT incident, target, sequence, delivered FROM handles WHERE day = ? AND provider = ? AND handle = ?"

	handleDelivered = "UPDATE handles SET delivered = 1 WHERE day = ? AND provider = ? AND handle = ?"
	writeReceipt    = "UPDATE deliveries SET detail = ? WHERE id = " + deliveryID + " AND outcome = 1"
)

// named is the delivery that a name stands for.
type named struct {
	day       int64
	row       dispatcher.Row
	delivered bool
}

// findHandle finds the latest message of a name; there are a few days to look at, and
// most receipts come on the day of their message.
func findHandle(tx *sqlitedb.Tx, provider, handle string) (n named, err error) {
	for n.day = math.MaxInt64; ; {
		days := tx.Query(handleDay, n.day)
		if !days.Next() || days.Null(0) {
			days.Close()
			if err := days.Err(); err != nil {
				return n, err
			}
			return n, fmt.Errorf("the message of the receipt: %w", store.ErrNotFound)
		}
		n.day = days.Int(0)
		days.Close()
		rows := tx.Query(handleOf, n.day, provider, handle)
		if rows.Next() {
			n.row = dispatcher.Row{Incident: rows.Int(0), Target: rows.Int(1), Sequence: int(rows.Int(2))}
			n.delivered = rows.Bool(3)
			rows.Close()
			return n, rows.Err()
		}
		if err := rows.Err(); err != nil {
			return n, err
		}
	}
}

// Receipt implements store.Receipts.
func (s *Store) Receipt(ctx context.Context, provider, messageID string, delivered bool, detail string, at time.Time) error {
	detail = "receipt: " + detail
	if !at.IsZero() {
		detail += " at " + at.UTC().Format(time.RFC3339)
	}
	return s.write(ctx, sqlitedb.Settle, func(tx *sqlitedb.Tx) error {
		message, err := findHandle(tx, provider, messageID)
		if err != nil || message.delivered && !delivered {
			return err
		}
		if _, err := tx.Exec(writeReceipt, detail, message.row.Incident, message.row.Sequence, message.row.Target); err != nil || !delivered {
			return err
		}
		_, err = tx.Exec(handleDelivered, message.day, provider, messageID)
		return err
	})
}
