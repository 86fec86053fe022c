package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
)

const (
	// feedReach is how many updates of a page are looked at for one feed, so that
	// a filter which few updates pass doesn't have the whole history read.
	feedReach = 5000
	// feedBytes bounds the events of one feed in memory.
	feedBytes = 4 << 20

	// Left to itself, SQLite would rather go through all targets.
	targetsFeeds = "INDEXED BY targets_feeds WHERE channel = 'rss' AND incident = 0 AND state = 0 ORDER BY page, address, id"
	targetFeed   = "WHERE page = ? AND address = ? AND channel = 'rss' AND incident = 0 AND state = 0 ORDER BY id LIMIT 1"

	pageUpdates = `SELECT u.id, u.sequence, u.highest, u.components, u.whole, u.private, u.test, u.sequence <= i.stopped
		FROM updates u JOIN incidents i ON i.id = u.incident
		WHERE u.page = ? AND u.sequence IS NOT NULL ORDER BY u.id DESC LIMIT ?`
	feedUpdate    = "SELECT event, updated_at, accepted_at, expires_at FROM updates WHERE id = ?"
	feedDelivered = "SELECT 1 FROM deliveries WHERE id = ? AND outcome = ?"
)

// FeedTargets returns the active feed targets, inline ones left out, by page,
// address and ID.
func (s *Store) FeedTargets(ctx context.Context) ([]*incident.Target, error) {
	var list []*incident.Target
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		list = nil
		rows := tx.Query(selectTarget + targetsFeeds)
		for rows.Next() {
			t, err := scanTarget(rows)
			if err != nil {
				return err
			}
			list = append(list, &t.Target)
		}
		return rows.Err()
	})
	return list, err
}

// Feed returns the target that publishes the feed of this name on a page (of
// several, the one with the lowest ID) and the newest updates it covers, the last
// accepted first and without timelines: at most limit, and at most 4 MiB of events.
// more says that older ones were left out; a feed looks back over the page's newest
// 5,000 updates. The target is nil if no active one publishes the feed.
//
// A feed covers what its target's audience would have: by the incident's components
// and highest impact up to the update. What an operator stopped before it was
// published stays out.
func (s *Store) Feed(ctx context.Context, page, name string, limit int) (t *incident.Target, updates []*channels.Update, more bool, err error) {
	err = s.read(ctx, func(tx *sqlitedb.Tx) (err error) {
		t, updates, more = nil, nil, false
		found, err := findTarget(tx, targetFeed, page, name)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		t = &found.Target
		updates, more, err = s.feedUpdates(tx, t, limit)
		return err
	})
	return t, updates, more, err
}

func (s *Store) feedUpdates(tx *sqlitedb.Tx, t *incident.Target, limit int) (updates []*channels.Update, more bool, err error) {
	size, seen := 0, 0
	rows := tx.Query(pageUpdates, t.Page, feedReach)
	defer rows.Close()
	for rows.Next() {
		seen++
		id, sequence := rows.Int(0), rows.Int(1)
		var components []string // none: the whole page
		if !rows.Bool(4) {
			if components, err = decodeList(rows.Text(3)); err != nil {
				return nil, false, err
			}
		}
		if !t.Matches(t.Page, components, incident.Impact(rows.Text(2)), visibility(rows.Bool(5)), rows.Bool(6)) {
			continue
		}
		if rows.Bool(7) {
			published, err := exists(tx, feedDelivered, idOf(id, t.ID), int(dispatcher.Delivered))
			if err != nil {
				return nil, false, err
			}
			if !published {
				continue
			}
		}
		if len(updates) >= limit || size >= feedBytes {
			return updates, true, nil
		}
		u, read, err := s.shown.get(id, func() (*channels.Update, int, error) { return readFeedUpdate(tx, id, int(sequence)) })
		if err != nil {
			return nil, false, err
		}
		updates = append(updates, u)
		size += read
	}
	return updates, seen == feedReach, rows.Err()
}

// shownUpdates keeps updates that feeds showed last: an update is in many feeds, and
// in each of them until fifty others came. An update never changes. The zero value is
// ready.
type shownUpdates struct {
	mu   sync.Mutex
	byID map[int64]shownUpdate
	size int // of the events, in bytes
}

type shownUpdate struct {
	update *channels.Update
	size   int
}

// get returns an update, reading it if it isn't kept.
func (k *shownUpdates) get(id int64, read func() (*channels.Update, int, error)) (*channels.Update, int, error) {
	k.mu.Lock()
	kept, ok := k.byID[id]
	k.mu.Unlock()
	if ok {
		return kept.update, kept.size, nil
	}
	u, size, err := read()
	if err != nil {
		return nil, 0, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.byID == nil || k.size > feedBytes {
		k.byID, k.size = make(map[int64]shownUpdate), 0
	}
	k.byID[id] = shownUpdate{u, size}
	k.size += size
	return u, size, nil
}

func readFeedUpdate(tx *sqlitedb.Tx, id int64, sequence int) (u *channels.Update, size int, err error) {
	rows := tx.Query(feedUpdate, id)
	defer rows.Close()
	if !rows.Next() {
		return nil, 0, errors.Join(rows.Err(), fmt.Errorf("update %d is gone from the database", id))
	}
	event := rows.Blob(0)
	e, err := incident.Decode(event)
	if err != nil {
		return nil, 0, fmt.Errorf("read update %d: %w", id, err)
	}
	u = channels.Project(e)
	u.Sequence = sequence
	u.UpdatedAt, u.AcceptedAt, u.ExpiresAt = rows.Time(1), rows.Time(2), rows.Time(3)
	return u, len(event), nil
}
