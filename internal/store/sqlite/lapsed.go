package sqlite

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/queue"
)

const selectLapsed = "SELECT id, payload, published_at, holder, lease_until, takes FROM batches WHERE held = 0 AND "

// Each of the three has an index of its own.
var lapsed = [...]string{
	selectLapsed + "holder <> 0 AND lease_until < ? ORDER BY lease_until LIMIT +?",
	selectLapsed + "published_at IS NULL AND holder = 0 AND written_at < ? ORDER BY written_at LIMIT +?",
	selectLapsed + "published_at IS NOT NULL AND holder = 0 AND published_at < ? ORDER BY published_at LIMIT +?",
}

// Lapsed implements dispatcher.Ledger. What the embedded queue has given out is
// never among them: its lease ends with its process.
func (s *Store) Lapsed(ctx context.Context, now, unpublishedBefore, unclaimedBefore time.Time, limit int) ([]dispatcher.LapsedBatch, error) {
	var list []dispatcher.LapsedBatch
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		list = nil
		for i, before := range [...]time.Time{now, unpublishedBefore, unclaimedBefore} {
			if len(list) >= limit || before.IsZero() {
				continue
			}
			rows := tx.Query(lapsed[i], before, limit-len(list))
			for rows.Next() {
				l := dispatcher.LapsedBatch{Published: !rows.Null(2) || rows.Int(3) != 0,
					Holder: rows.Int(3), LeaseUntil: rows.Time(4), Takes: int(rows.Int(5))}
				var err error
				if l.Batch, err = queue.ParseBatch(rows.Blob(1)); err != nil {
					return fmt.Errorf("read batch %d: %w", rows.Int(0), err)
				}
				list = append(list, l)
			}
			if err := rows.Err(); err != nil {
				return err
			}
		}
		return nil
	})
	return list, err
}

// Replace implements dispatcher.Ledger. The new batch is to be verified when it is
// claimed, since the old one's worker may yet report.
func (s *Store) Replace(ctx context.Context, old dispatcher.LapsedBatch, id int64, now time.Time) (*queue.Batch, error) {
	var fresh *queue.Batch
	err := s.write(ctx, sqlitedb.Plan, func(tx *sqlitedb.Tx) error {
		fresh = nil
		removed, err := tx.Exec("DELETE FROM batches WHERE id = ? AND holder = ? AND lease_until IS ? AND held = 0",
			old.ID, old.Holder, old.LeaseUntil)
		if err != nil || removed == 0 {
			return err
		}
		moved := *old.Batch
		moved.ID, moved.Verify, moved.Deliveries = id, true, slices.Clone(old.Deliveries)
		moved.Deliveries, err = moveRows(tx, &moved, old.ID)
		if err != nil || len(moved.Deliveries) == 0 {
			return err
		}
		payload, err := moved.AppendBinary(nil)
		if err != nil {
			return fmt.Errorf("%w: encode batch %d: %w", dispatcher.ErrLedgerRefused, id, err)
		}
		fresh = &moved
		if err := insertBatch(tx, fresh, payload, now); err != nil {
			return err
		}
		_, err = tx.Exec("UPDATE batches SET takes = ? WHERE id = ?", old.Takes, id)
		return err
	})
	return fresh, err
}

// moveRows gives the open rows of a batch to b and returns their deliveries.
func moveRows(tx *sqlitedb.Tx, b *queue.Batch, from int64) ([]queue.Delivery, error) {
	ids := deliveryIDs{tx: tx}
	update, err := ids.updateID(b.Incident, b.Sequence)
	if err != nil {
		return nil, err
	}
	kept := b.Deliveries[:0]
	for _, d := range b.Deliveries {
		n, err := tx.Exec("UPDATE deliveries SET batch = ? WHERE id = ? AND outcome = 0 AND batch = ?", b.ID, idOf(update, d.Target), from)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			kept = append(kept, d)
		}
	}
	return kept, nil
}
