package dispatcher

import (
	"context"
	"sync"
)

// admission counts the deliveries in this worker, from their batch's receipt
// until their settlement is durable: what bounds the worker's memory. Named
// providers have a share of their own, so that a pool never fills the worker
// before them.
type admission struct {
	mu     sync.Mutex
	total  int
	held   int
	groups map[string]*groupAdmission
}

type groupAdmission struct {
	limit int // 0: whatever the total leaves
	held  int
	// paused: an operator wants nothing received.
	paused bool
	wake   chan struct{}
}

// newAdmission shares total among the groups: named ones get twice their
// window, at least two batches; pools share the rest.
func newAdmission(total int, groups []Group, policy func(group, provider string) ProviderPolicy) *admission {
	a := &admission{total: total, groups: make(map[string]*groupAdmission)}
	for _, g := range groups {
		ga := &groupAdmission{wake: make(chan struct{}, 1)}
		if g.Provider != "" {
			ga.limit = max(2*policy(g.Name, g.Provider).Window, 200)
			a.total -= ga.limit
		}
		a.groups[g.Name] = ga
	}
	a.total = max(a.total, total/4)
	return a
}

// room waits until the group may receive and says how many deliveries fit; 0
// when ctx ended.
func (a *admission) room(ctx context.Context, group string) int {
	g := a.groups[group]
	for {
		if n := a.free(g); n > 0 {
			return n
		}
		select {
		case <-ctx.Done():
			return 0
		case <-g.wake:
		}
	}
}

func (a *admission) free(g *groupAdmission) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case g.paused:
		return 0
	case g.limit > 0:
		return g.limit - g.held
	}
	return a.total - a.held
}

// pause stops a group's receiving, or lets it go on.
func (a *admission) pause(group string, paused bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.groups[group].paused = paused
	a.groups[group].nudge(-1)
}

// add counts n deliveries in (or, negative, out).
func (a *admission) add(group string, n int) {
	g := a.groups[group]
	a.mu.Lock()
	defer a.mu.Unlock()
	if g.limit > 0 {
		g.held += n
		g.nudge(n)
		return
	}
	a.held += n
	for _, g := range a.groups {
		g.nudge(n)
	}
}

func (g *groupAdmission) nudge(n int) {
	if n < 0 {
		select {
		case g.wake <- struct{}{}:
		default:
		}
	}
}
