package main

import (
	"context"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/gateway"
	"github.com/tocsin/tocsin/internal/store"
)

// feedTargets is the store as the control API changes it: published is called
// once a change that may concern feeds is committed, and must not block. If the
// process dies first, feeds are published at the next start.
type feedTargets struct {
	gateway.Targets
	published func()
}

// Upsert implements [gateway.Targets].
func (f feedTargets) Upsert(ctx context.Context, targets []*incident.Target) ([]store.Upserted, error) {
	done, err := f.Targets.Upsert(ctx, targets)
	if err != nil {
		return nil, err
	}
	for i, u := range done {
		// What existed may have been a feed.
		if u.Changed || !u.Existed && targets[i].Channel == incident.ChannelRSS {
			f.published()
			break
		}
	}
	return done, nil
}

// Patch implements [gateway.Targets].
func (f feedTargets) Patch(ctx context.Context, id int64, change func(*incident.Target) error, asked ...dispatcher.Asked) (*incident.Target, error) {
	before := ""
	t, err := f.Targets.Patch(ctx, id, func(t *incident.Target) error {
		before = t.Channel
		return change(t)
	}, asked...)
	if err == nil && (before == incident.ChannelRSS || t.Channel == incident.ChannelRSS) {
		f.published()
	}
	return t, err
}

// Delete implements [gateway.Targets].
func (f feedTargets) Delete(ctx context.Context, id int64, asked ...dispatcher.Asked) error {
	t, err := f.Target(ctx, id)
	if err != nil {
		return err
	}
	if err := f.Targets.Delete(ctx, id, asked...); err != nil {
		return err
	}
	if t.Channel == incident.ChannelRSS {
		f.published()
	}
	return nil
}
