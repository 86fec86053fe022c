package rss

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/feeds"
)

// feed is the state of one feed. It is guarded by the channel's mutex.
type feed struct {
	// next is the round that was asked for and has not begun, nil if none.
	next *round
	// running is true while a goroutine works on rounds.
	running bool
	// published is the target as of the last round that succeeded, nil if nothing
	// is published.
	published *incident.Target
	// failed says that the last round did not do everything.
	failed bool
}

// round is one publication of a feed. All but done is written before done is closed,
// and not changed after.
type round struct {
	done chan struct{}
	// failed is why the round should be repeated, refused why that would not help.
	failed, refused string
	err             error // what went wrong, for the log
	updates         []*channels.Update
	more            bool
	oldest          time.Time
}

// ask returns a round that begins after the call, nil if the channel is closed.
func (c *Channel) ask(k key) *round {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	f := c.feeds[k]
	if f == nil {
		f = new(feed)
		c.feeds[k] = f
	}
	if f.next == nil {
		f.next = &round{done: make(chan struct{})}
	}
	if !f.running {
		f.running = true
		c.rounds.Go(func() { c.work(k, f) })
	}
	return f.next
}

// work runs rounds of a feed, one after the other, until nobody asks.
func (c *Channel) work(k key, f *feed) {
	for r := c.begin(k, f); r != nil; r = c.begin(k, f) {
		t := c.run(k, r)
		c.mu.Lock()
		if f.failed = r.err != nil; !f.failed {
			f.published = t
		}
		c.mu.Unlock()
		close(r.done)
	}
}

// begin takes the round that was asked for. Without one, the work ends.
func (c *Channel) begin(k key, f *feed) *round {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := f.next
	f.next = nil
	if r == nil {
		f.running = false
		if f.published == nil && !f.failed {
			delete(c.feeds, k) // names that lead nowhere cost nothing
		}
	}
	return r
}

const storeDown = "the feed's updates could not be read from the store"

// run publishes a feed and returns its target, nil if there is none. A panic, which
// only texts of an update could bring about, is that feed's own trouble.
func (c *Channel) run(k key, r *round) (t *incident.Target) {
	defer func() {
		if p := recover(); p != nil {
			c.config.Log.Error("rendering a feed panicked", "page", k.page, "panic", fmt.Sprint(p))
			r.refused = "internal error: rendering the feed panicked"
			r.failed, r.err = "", errors.New(r.refused)
		}
	}()
	ctx, cancel := context.WithTimeout(c.ctx, c.config.Patience)
	defer cancel()
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done(): // the store keeps the rounds before this one waiting
		r.fail(storeDown, ctx.Err())
		return nil
	}
	t, updates, more, err := c.store.Feed(ctx, k.page, k.name, c.config.Entries)
	if err != nil {
		// Documents and files stay as they are: the last good ones.
		r.fail(storeDown, err)
		return nil
	}
	if t != nil {
		if bad := CheckTarget(t); bad != nil {
			r.refused, t = "the feed's target "+bad.Error(), nil
		}
	} else {
		r.refused = "no active target publishes this feed; an inline target can't, add one of its own"
	}
	if t == nil {
		c.shelf.Remove(k.path())
		if c.directory != nil {
			if err := c.directory.Remove(k.path()); err != nil {
				c.config.Log.Warn("the files of a removed feed stay", "page", k.page, "error", feeds.Cause(err))
			}
		}
		return nil
	}
	var cut bool
	r.updates, cut = bounded(updates)
	if r.more = more || cut; len(r.updates) > 0 {
		r.oldest = r.updates[len(r.updates)-1].AcceptedAt
	}
	c.publish(k, t, r)
	return t
}

// publish puts the documents where they are read: in memory first, so that a full
// disk holds up the files only.
func (c *Channel) publish(k key, t *incident.Target, r *round) {
	now := c.config.Clock()
	v := c.site.view(k, t, r.updates, now)
	edition := c.shelf.Publish(k.path(), feeds.Content{
		Bodies:  [feeds.Formats][]byte{feeds.Atom: v.atom(), feeds.RSS: v.rss(), feeds.JSON: v.json()},
		Private: v.private, Now: now, NewsAt: v.acceptedAt,
	})
	if c.directory == nil {
		return
	}
	if err := c.directory.Write(k.path(), edition); err != nil {
		r.fail("the feed could not be written to its directory: "+feeds.Cause(err), errors.New(feeds.Cause(err)))
	}
}

func (r *round) fail(what string, err error) { r.failed, r.err = what, fmt.Errorf("%s: %w", what, err) }

func (r *round) shows(u *channels.Update) bool {
	for _, shown := range r.updates {
		if shown.IncidentID == u.IncidentID && shown.Sequence == u.Sequence {
			return true
		}
	}
	return false
}

// maxText bounds the texts of a feed, in bytes; the newest update is in it anyway.
const maxText = 256 << 10

// bounded returns the newest updates whose texts are within [maxText] together, and
// whether others were left out.
func bounded(updates []*channels.Update) ([]*channels.Update, bool) {
	size := 0
	for i, u := range updates {
		size += len(u.Title) + len(u.Message) + len(u.Details)
		for _, t := range u.Translations {
			size += len(t.Title) + len(t.Message)
		}
		for _, c := range u.AffectedComponents {
			size += len(c)
		}
		for _, facts := range []map[string]string{u.Components, u.PublicDetails} {
			for name, value := range facts {
				size += len(name) + len(value)
			}
		}
		if size > maxText && i > 0 {
			return updates[:i], true
		}
	}
	return updates, false
}
