package sqlite

import (
	"context"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/sqlitedb"
)

const (
	// The list of channels is said for the partial index.
	subscribersAt = `SELECT id FROM targets WHERE channel IN ('smtp', 'smpp') AND channel = ? AND address = ? AND state < 3`
	unsubscribe   = "UPDATE targets SET state = 3, revision = ? WHERE id = ?"

	suppressedAt = "SELECT 1 FROM suppressions WHERE channel = ? AND address = ? AND page IN ('', ?)"
)

// Unsubscribe implements store.Subscribers.
func (s *Store) Unsubscribe(ctx context.Context, id int64) (changed bool, err error) {
	err = s.write(ctx, sqlitedb.Accept, func(tx *sqlitedb.Tx) error {
		changed = false
		t, err := findTarget(tx, targetByID, id)
		if err != nil || t.State == incident.StateUnsubscribed {
			return err
		}
		changed = true
		if t.incident != 0 {
			// The next incident brings the same address as another target.
			if err := suppress(tx, t.Channel, t.Address, t.Page); err != nil {
				return err
			}
		}
		return unsubscribeAll(tx, []int64{id})
	})
	return changed && err == nil, err
}

// OptOut implements store.Subscribers.
func (s *Store) OptOut(ctx context.Context, channel, address string) (ids []int64, err error) {
	if channel != incident.ChannelSMTP && channel != incident.ChannelSMPP {
		return nil, &incident.Invalid{Field: "channel", Reason: "must be smtp or smpp: only people opt out by their address"}
	}
	err = s.write(ctx, sqlitedb.Accept, func(tx *sqlitedb.Tx) error {
		ids = nil
		if err := suppress(tx, channel, address, ""); err != nil {
			return err
		}
		rows := tx.Query(subscribersAt, channel, address)
		for rows.Next() {
			ids = append(ids, rows.Int(0))
		}
		if err := rows.Err(); err != nil {
			return err
		}
		return unsubscribeAll(tx, ids)
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

func unsubscribeAll(tx *sqlitedb.Tx, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	raised, err := raiseRevision(tx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if _, err := tx.Exec(unsubscribe, raised, id); err != nil {
			return err
		}
	}
	return nil
}

// suppress keeps an address out of what is imported later: everywhere, or among the
// inline targets of a page.
func suppress(tx *sqlitedb.Tx, channel, address, page string) error {
	_, err := tx.Exec("INSERT INTO suppressions VALUES (?, ?, ?) ON CONFLICT DO NOTHING", channel, address, page)
	return err
}

// heedSuppression makes t unsubscribed if its address opted out.
func heedSuppression(tx *sqlitedb.Tx, t *targetRow) error {
	if t.State == incident.StateUnsubscribed {
		return nil
	}
	found, err := exists(tx, suppressedAt, t.Channel, t.Address, suppressionPage(t))
	if found {
		t.State = incident.StateUnsubscribed
	}
	return err
}

// lift ends the suppression of a target's address.
func lift(tx *sqlitedb.Tx, t *targetRow) error {
	_, err := tx.Exec("DELETE FROM suppressions WHERE channel = ? AND address = ? AND page IN ('', ?)",
		t.Channel, t.Address, suppressionPage(t))
	return err
}

// suppressionPage is the page whose suppressions concern a target besides those of
// all: none, unless it came inline.
func suppressionPage(t *targetRow) string {
	if t.incident == 0 {
		return ""
	}
	return t.Page
}
