package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/tocsin/tocsin/internal/peer"
)

// ledger is what the engine's answers to "who was told, who not, and why" come to.
type ledger struct {
	outcomes map[string]map[string]int // by channel and outcome
	causes   map[cause]int             // of those that ended without being told
}

type cause struct{ Channel, Outcome, Detail string }

// demoTarget is who has an id in the engine.
type demoTarget struct {
	channel *channelWatch
	number  int
}

// readLedger gives the judges every row, and what should be there.
func (w *demoWatch) readLedger(ctx context.Context) (*ledger, error) {
	if err := sleep(ctx, settled); err != nil {
		return nil, err
	}
	targets, err := w.readTargets(ctx)
	if err != nil {
		return nil, err
	}
	l := &ledger{make(map[string]map[string]int), make(map[cause]int)}
	for row, err := range w.api.deliveries(ctx, "default", w.incident) {
		if err != nil {
			return nil, fmt.Errorf("read the ledger: %w", err)
		}
		t, ok := targets[row.Target]
		if !ok || row.Channel != t.channel.name {
			return nil, fmt.Errorf("the ledger has a row of channel %s for target %s, which isn't there", row.Channel, row.Target)
		}
		t.channel.judge.Row(peer.Delivery{Target: t.number, Incident: w.incident, Sequence: row.Sequence}, row.Outcome)
		if l.outcomes[row.Channel] == nil {
			l.outcomes[row.Channel] = make(map[string]int)
		}
		l.outcomes[row.Channel][row.Outcome]++
		if row.Outcome == "dead" || row.Outcome == "expired" || row.Outcome == "suppressed" {
			l.causes[cause{row.Channel, row.Outcome, row.Detail}]++
		}
	}
	return l, nil
}

// readTargets finds out who has which id. Each that is active should have heard of
// every update.
func (w *demoWatch) readTargets(ctx context.Context) (map[idText]demoTarget, error) {
	channels := make(map[string]*channelWatch)
	for _, c := range w.channels {
		channels[c.name] = c
	}
	targets := make(map[idText]demoTarget)
	for raw, err := range w.api.targets(ctx) {
		var t targetView
		if err == nil {
			err = json.Unmarshal(raw, &t)
		}
		if err != nil {
			return nil, fmt.Errorf("read the targets: %w", err)
		}
		c := channels[t.Channel]
		if c == nil {
			return nil, fmt.Errorf("the engine has a target of channel %s, which is not of this demo", t.Channel)
		}
		n := c.number(t.Address)
		targets[t.ID] = demoTarget{c, n}
		if t.State != "active" {
			continue // disabled on the way: it has rows as far as it was told
		}
		for s := range w.sent {
			c.judge.Expect(peer.Delivery{Target: n, Incident: w.incident, Sequence: s + 1})
		}
	}
	return targets, nil
}
