package rss

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/tocsin/tocsin/incident"
)

// Warm publishes every feed there is, and is to be called before readers are let in.
// It returns after all were tried; the error says what is missing, which [Channel.Run]
// tries again.
func (c *Channel) Warm(ctx context.Context) error {
	targets, err := c.store.FeedTargets(ctx)
	if err != nil {
		return fmt.Errorf("read the feeds from the store: %w", err)
	}
	var errs []error
	var rounds []*round
	wait := func() error {
		first := rounds[0]
		rounds = rounds[1:]
		select {
		case <-first.done:
			errs = append(errs, first.err)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for _, k := range c.stale(targets) {
		if r := c.ask(k); r != nil {
			rounds = append(rounds, r)
		}
		if len(rounds) > ahead {
			if err := wait(); err != nil {
				return err
			}
		}
	}
	for len(rounds) > 0 {
		if err := wait(); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}

// ahead is how many rounds Warm asks for at once, so that none of very many loses its
// patience before it begins.
const ahead = 4 * roundsAtOnce

// stale returns the feeds that are not published as their targets say.
func (c *Channel) stale(targets []*incident.Target) (stale []key) {
	want := make(map[key]*incident.Target, len(targets))
	for _, t := range targets {
		k := key{t.Page, t.Address}
		if first := want[k]; CheckTarget(t) == nil && (first == nil || t.ID < first.ID) {
			want[k] = t
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, t := range want {
		if f := c.feeds[k]; f == nil || f.failed || !reflect.DeepEqual(f.published, t) {
			stale = append(stale, k)
		}
	}
	for k, f := range c.feeds {
		if want[k] == nil && (f.published != nil || f.failed) {
			stale = append(stale, k)
		}
	}
	return stale
}

// Changed makes [Channel.Run] look for changed feeds at once. It doesn't block.
func (c *Channel) Changed() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run publishes feeds that are added or changed, removes those whose target is gone,
// and repeats what failed, until ctx ends. It has to end before [Channel.Close].
func (c *Channel) Run(ctx context.Context) {
	every := time.NewTicker(c.config.Every)
	defer every.Stop()
	well := true
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		case <-c.wake:
		}
		err := c.Warm(ctx)
		if err != nil && well && ctx.Err() == nil {
			c.config.Log.Warn("feeds are not up to date, trying again", "error", err)
		}
		well = err == nil
	}
}
