package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
	"github.com/tocsin/tocsin/queue"
)

const (
	// elsewhere walks a channel's targets that another provider serves.
	elsewhere = `SELECT id FROM targets WHERE id > ? AND channel = ? AND state <> 4 AND (grp <> ? OR provider <> ?) ORDER BY id LIMIT ?`

	// moveTargets takes a stretch of them to the provider. One stripe back in line
	// keeps their order among each other, and no plan in progress misses one; one that
	// meets a target twice notices.
	moveTargets = `UPDATE targets SET grp = ?3, provider = ?4, stripe = stripe + 1
		WHERE id >= ?1 AND id <= ?2 AND channel = ?5 AND state <> 4 AND (grp <> ?3 OR provider <> ?4)`

	// joinLines puts those written later behind all that moved.
	joinLines = `INSERT INTO stripes SELECT incident, page, ?, ?, max(targets) + ? FROM stripes WHERE grp > ? AND grp < ?
		GROUP BY incident, page ON CONFLICT DO UPDATE SET targets = excluded.targets`

	// batchesBetween finds batches of groups between two names.
	batchesBetween = "SELECT id, payload FROM batches WHERE grp > ? AND grp < ? AND held = 0 LIMIT ?"

	// waitForProvider walks the waiting rows of a channel that had no provider.
	waitForProvider = `SELECT d.id, d.due_at FROM deliveries d WHERE d.outcome = 0 AND d.batch IS NULL
		AND (d.due_at, d.id) > (?, ?) AND d.detail = ?
		AND (SELECT channel FROM targets t WHERE t.id = ` + targetOfRow + `) = ?
		ORDER BY d.due_at, d.id LIMIT ?`

	// unserved says channels and states as the index targets_address does.
	unserved = "SELECT count(*) FROM targets WHERE channel = ? AND channel IN ('smtp', 'smpp') AND state < 3"
)

// Reroute implements store.Routes.
//
// What it does is remembered last, so that after a crash the next start does the
// rest; and forgotten first, so that it does so even if the configuration is back
// to what it was before.
func (s *Store) Reroute(ctx context.Context, r store.ChannelRoute, now time.Time) (done store.Rerouted, err error) {
	before, err := s.routed(ctx, r.Channel)
	if err != nil {
		return done, err
	}
	served := r.Group != ""
	moves := served && (before.group != r.Group || before.provider != r.Provider)
	if moves {
		if done.Targets, err = s.moveTargets(ctx, r, before.served); err != nil {
			return done, err
		}
	}
	if done.Freed, err = s.freeBatches(ctx, r, now); err != nil {
		return done, err
	}
	if served && !before.served {
		if done.Resumed, err = s.resume(ctx, r.Channel, now); err != nil {
			return done, err
		}
	}
	if !served {
		if done.Unserved, err = s.unserved(ctx, r.Channel); err != nil {
			return done, err
		}
		r.Group, r.Provider = before.group, before.provider // the targets still say so
	}
	if moves || served != before.served || !before.known {
		err = s.write(ctx, sqlitedb.Plan, func(tx *sqlitedb.Tx) error {
			if moves {
				if err := mergeLines(tx, r); err != nil {
					return err
				}
			}
			return remember(tx, r, served)
		})
	}
	return done, err
}

// routed is what the last Reroute of a channel remembered.
type routed struct {
	group, provider string
	served, known   bool
}

func (s *Store) routed(ctx context.Context, channel string) (last routed, err error) {
	err = s.read(ctx, func(tx *sqlitedb.Tx) error {
		rows := tx.Query("SELECT grp, provider, served FROM routes WHERE channel = ?", channel)
		for rows.Next() {
			last = routed{group: rows.Text(0), provider: rows.Text(1), served: rows.Bool(2), known: true}
		}
		return rows.Err()
	})
	return last, err
}

func remember(tx *sqlitedb.Tx, r store.ChannelRoute, served bool) error {
	_, err := tx.Exec(`INSERT INTO routes VALUES (?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET grp = excluded.grp, provider = excluded.provider, served = excluded.served`,
		r.Channel, r.Group, r.Provider, served)
	return err
}

// groupsOf bounds the names of a channel's groups, from "smtp:" to "smtp;".
func groupsOf(channel string) (after, before string) { return channel + ":", channel + ";" }

func mergeLines(tx *sqlitedb.Tx, r store.ChannelRoute) error {
	after, before := groupsOf(r.Channel)
	if _, err := tx.Exec(joinLines, r.Group, r.Provider, stripeWidth, after, before); err != nil {
		return err
	}
	_, err := tx.Exec("DELETE FROM stripes WHERE grp > ? AND grp < ? AND (grp <> ? OR provider <> ?)", after, before, r.Group, r.Provider)
	return err
}

// moveTargets takes all targets of the channel to its provider, in bounded
// transactions. No batch of theirs stays (freeBatches), so that no claim has to
// know: their revision is left as it is.
func (s *Store) moveTargets(ctx context.Context, r store.ChannelRoute, served bool) (moved int, err error) {
	last, begun := int64(0), false
	for {
		var ids []int64
		if err := s.read(ctx, func(tx *sqlitedb.Tx) error {
			rows := tx.Query(elsewhere, last, r.Channel, r.Group, r.Provider, s.sweepRows)
			for rows.Next() {
				ids = append(ids, rows.Int(0))
			}
			return rows.Err()
		}); err != nil || len(ids) == 0 {
			return moved, err
		}
		if err := s.write(ctx, sqlitedb.Plan, func(tx *sqlitedb.Tx) error {
			if !begun {
				if err := remember(tx, store.ChannelRoute{Channel: r.Channel}, served); err != nil {
					return err
				}
			}
			_, err := tx.Exec(moveTargets, ids[0], ids[len(ids)-1], r.Group, r.Provider, r.Channel)
			return err
		}); err != nil {
			return moved, err
		}
		moved, last, begun = moved+len(ids), ids[len(ids)-1], true
	}
}

// batchesAtOnce is as many as have about sweepRows rows.
func (s *Store) batchesAtOnce() int { return max(s.sweepRows/queue.MaxDeliveries, 1) }

// freeBatches ends the batches of the channel's groups that r doesn't serve: their
// open rows wait and are due now.
func (s *Store) freeBatches(ctx context.Context, r store.ChannelRoute, now time.Time) (freed int, err error) {
	after, before := groupsOf(r.Channel)
	if r.Group == "" {
		return s.freeBetween(ctx, after, before, now)
	}
	if freed, err = s.freeBetween(ctx, after, r.Group, now); err != nil {
		return freed, err
	}
	rest, err := s.freeBetween(ctx, r.Group, before, now)
	return freed + rest, err
}

func (s *Store) freeBetween(ctx context.Context, after, before string, now time.Time) (freed int, err error) {
	for {
		batches, err := s.between(ctx, after, before)
		if err != nil || len(batches) == 0 {
			return freed, err
		}
		n := 0
		if err := s.write(ctx, sqlitedb.Plan, func(tx *sqlitedb.Tx) error {
			n = 0
			for _, b := range batches {
				rows, err := freeBatch(tx, b, now)
				if err != nil {
					return err
				}
				n += rows
			}
			return nil
		}); err != nil {
			return freed, err
		}
		freed += n
	}
}

func (s *Store) between(ctx context.Context, after, before string) (batches []*queue.Batch, err error) {
	err = s.read(ctx, func(tx *sqlitedb.Tx) error {
		batches = nil
		rows := tx.Query(batchesBetween, after, before, s.batchesAtOnce())
		for rows.Next() {
			b, err := queue.ParseBatch(rows.Blob(1))
			if err != nil {
				return fmt.Errorf("read batch %d: %w", rows.Int(0), err)
			}
			batches = append(batches, b)
		}
		return rows.Err()
	})
	return batches, err
}

func freeBatch(tx *sqlitedb.Tx, b *queue.Batch, now time.Time) (freed int, err error) {
	ids := deliveryIDs{tx: tx}
	update, err := ids.updateID(b.Incident, b.Sequence)
	if err != nil {
		return 0, err
	}
	for i := range b.Deliveries {
		n, err := tx.Exec("UPDATE deliveries SET batch = NULL, due_at = ? WHERE id = ? AND outcome = 0 AND batch = ?",
			now, idOf(update, b.Deliveries[i].Target), b.ID)
		if err != nil {
			return 0, err
		}
		freed += int(n)
	}
	if freed > 0 {
		if err := noteWaits(tx, update); err != nil {
			return 0, err
		}
	}
	_, err = tx.Exec("DELETE FROM batches WHERE id = ?", b.ID)
	return freed, err
}

// resume makes what waited for a provider of the channel due now.
func (s *Store) resume(ctx context.Context, channel string, now time.Time) (resumed int, err error) {
	type waiting struct {
		id  int64
		due time.Time
	}
	last := waiting{due: now} // what is due by now comes anyway
	for {
		var rows []waiting
		if err := s.read(ctx, func(tx *sqlitedb.Tx) error {
			found := tx.Query(waitForProvider, last.due, last.id, dispatcher.NoProvider, channel, s.sweepRows)
			for found.Next() {
				rows = append(rows, waiting{found.Int(0), found.Time(1)})
			}
			return found.Err()
		}); err != nil || len(rows) == 0 {
			return resumed, err
		}
		if err := s.write(ctx, sqlitedb.Plan, func(tx *sqlitedb.Tx) error {
			for _, r := range rows {
				if _, err := tx.Exec("UPDATE deliveries SET due_at = ?, detail = '' WHERE id = ? AND outcome = 0 AND batch IS NULL", now, r.id); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return resumed, err
		}
		resumed, last = resumed+len(rows), rows[len(rows)-1]
	}
}

func (s *Store) unserved(ctx context.Context, channel string) (n int, err error) {
	err = s.read(ctx, func(tx *sqlitedb.Tx) error {
		rows := tx.Query(unserved, channel)
		for rows.Next() {
			n = int(rows.Int(0))
		}
		return rows.Err()
	})
	return n, err
}
