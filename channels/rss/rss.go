// Package rss is the channel that publishes feeds: RSS 2.0, Atom (RFC 4287, threads
// by RFC 4685) and JSON Feed 1.1, of the same entries, one entry per update.
//
// Promises, besides those of package channels:
//   - Delivered is said once the feed's documents, as a GET returns them from then
//     on, contain the update's entry, or so many newer ones that it has left the feed;
//     and, where feeds are written to a directory, once the files are on disk.
//   - An entry has the same id wherever and whenever it is rendered.
//   - However many updates come at once, a feed is rendered for all of them together,
//     within [Config].Patience.
//   - While the store can't be read, feeds stay as they are.
//
// Words: a feed is what a target of channel rss publishes, known by its page and its
// name, which is the target's address. A target whose address is the name of its page
// (in lower case) publishes the page's own feed, /feeds/{page}.atom, .rss and .json;
// every other one /feeds/{page}/{name}.atom, .rss and .json. So equal names on two
// pages are two feeds, and no feed can take another's place. Of several active targets
// with the same page and name the one with the lowest id counts, the others' updates
// are delivered as far as its filter covers them. A feed's documents are rendered in a
// round; a round that has not begun serves everyone who asks for it.
//
// A private feed, which shows private updates, is protected by its name alone: see
// [CheckTarget]. It is never written to the directory.
package rss

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/feeds"
)

// Store is what feeds are made from. Its methods are safe for concurrent use.
type Store interface {
	// FeedTargets returns the active targets of channel rss, those that came
	// inline with events left out, by page, address and ID.
	FeedTargets(ctx context.Context) ([]*incident.Target, error)
	// Feed returns the target that publishes a feed, of several the one with the
	// lowest ID, and the newest updates that its filter covers, at most limit, the
	// last accepted first. They need no timeline. more says that older ones were
	// left out. A nil target says that there is none.
	Feed(ctx context.Context, page, name string, limit int) (t *incident.Target, updates []*channels.Update, more bool, err error)
}

// Config is what an operator may change. See [Defaults].
type Config struct {
	// Title is what readers call the feeds, Link the page about them (an http or
	// https URL; "" for none).
	Title, Link string
	// Base is the URL that /feeds/ is below for readers, such as
	// "https://status.example.com".
	Base string
	// Authority is the host name that entry ids are made of (RFC 4151); if it is
	// empty, the host of Link, else of Base. Ids change with it, and readers see
	// every entry as new.
	Authority string
	// Entries is how many updates a feed shows at most.
	Entries int
	// Patience bounds one round: its wait for others and its question to the store.
	Patience time.Duration
	// Every is how often Run looks for feeds that were added, changed or removed.
	Every time.Duration
	// Generator and Version name the engine.
	Generator, Version string
	Clock              func() time.Time
	Log                *slog.Logger
}

// Defaults returns the configuration that applies where nothing is said; Base has to
// be added. version is the engine's.
func Defaults(version string) Config {
	return Config{
		Title: "Status", Entries: 50, Patience: 5 * time.Second, Every: 2 * time.Second,
		Generator: "Tocsin", Version: version, Clock: time.Now, Log: slog.Default(),
	}
}

// Channel publishes feeds. It implements [channels.Channel].
type Channel struct {
	config    Config
	site      site
	store     Store
	shelf     *feeds.Shelf
	directory *feeds.Directory

	ctx    context.Context // of the rounds
	cancel context.CancelFunc
	slots  chan struct{} // a token for each round that runs
	wake   chan struct{} // of Run

	mu     sync.Mutex
	feeds  map[key]*feed
	closed bool
	rounds sync.WaitGroup
}

var _ channels.Channel = (*Channel)(nil)

// roundsAtOnce leaves readers of the store, and processors, to others.
const roundsAtOnce = 2

// New returns a channel that publishes on shelf and, unless it is nil, in directory;
// both are the caller's to close. Nothing is published before [Channel.Warm] or the
// first update.
func New(config Config, store Store, shelf *feeds.Shelf, directory *feeds.Directory) (*Channel, error) {
	base, err := url.Parse(config.Base)
	if err != nil || base.Hostname() == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, errors.New("feeds: the base must be an http or https URL such as https://status.example.com")
	}
	if config.Link != "" && webURL(config.Link) == "" {
		return nil, errors.New("feeds: the link must be an http or https URL, or empty")
	}
	c := &Channel{
		config: config, store: store, shelf: shelf, directory: directory, feeds: make(map[key]*feed),
		site: site{
			title: clean(config.Title), link: config.Link, base: strings.TrimRight(config.Base, "/"), authority: config.Authority,
			generator: config.Generator, version: config.Version,
		},
		slots: make(chan struct{}, roundsAtOnce), wake: make(chan struct{}, 1),
	}
	if c.site.authority == "" {
		c.site.authority = base.Hostname()
		if link, err := url.Parse(config.Link); err == nil && link.Hostname() != "" {
			c.site.authority = link.Hostname()
		}
	}
	if c.site.link == "" {
		c.site.link = c.site.base + "/"
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// Close ends the rounds that still run and waits for them. What was published stays.
func (c *Channel) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.rounds.Wait()
	return nil
}

// formatTocsin is the only format so far; a target without one has it.
const formatTocsin = "tocsin"

// rendered is the payload: a feed's documents depend on all its updates, so there is
// nothing to prepare for one of them.
type rendered struct{}

// Render checks the format.
func (c *Channel) Render(_ *channels.Update, v channels.Variant) (channels.Payload, error) {
	if v.Format != "" && v.Format != formatTocsin {
		return nil, fmt.Errorf("the feed format %q is not known; use %q", v.Format, formatTocsin)
	}
	return rendered{}, nil
}

// Send publishes the feed anew and says whether the update is in it.
func (c *Channel) Send(ctx context.Context, m *channels.Message) channels.Result {
	if ctx.Err() != nil {
		return notSent
	}
	r := c.ask(key{m.Update.Page, m.Address})
	if r == nil {
		return notSent
	}
	select {
	case <-r.done:
		return r.judge(m.Update)
	case <-ctx.Done():
		return temporary("stopped while the feed was being published")
	}
}

var notSent = channels.Result{Class: channels.NotSent, Detail: "stopped before the feed was published"}

func temporary(detail string) channels.Result {
	return channels.Result{Class: channels.Temporary, Detail: detail}
}

func permanent(detail string) channels.Result {
	return channels.Result{Class: channels.Permanent, Detail: detail}
}

// judge says what a round that began after the update was accepted means for it.
func (r *round) judge(u *channels.Update) channels.Result {
	switch {
	case r.failed != "":
		return temporary(r.failed)
	case r.refused != "":
		return permanent(r.refused)
	case r.shows(u):
		return channels.Result{Class: channels.Delivered}
	case r.more && !u.AcceptedAt.After(r.oldest):
		return channels.Result{Class: channels.Delivered, Detail: "newer updates fill the feed"}
	}
	return permanent("the feed's filter leaves this update out")
}
