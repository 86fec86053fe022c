package dispatcher

import (
	"context"
	"sync"
	"time"

	"github.com/tocsin/tocsin/queue"
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
	limit    int // of what is not settled; 0: whatever the total leaves
	settling int // limit of ended, where there is the other
	held     int
	ended    int // of those held, the settled ones whose settlement is not durable yet
	// paused: an operator wants nothing received.
	paused bool
	wake   chan struct{}
}

const (
	// ahead is the time whose tokens of a named provider are held, as far as the
	// rest of its share goes: longer than to receive the next batches, which waits
	// for two group commits. Without it a fast provider's window stands empty
	// meanwhile, however wide it is.
	ahead = 50 * time.Millisecond
	// maxAhead is the most held for that.
	maxAhead = 1000
	// maxEnded is how many settlements of a named provider may be on their way to
	// the ledger while more is received for it.
	maxEnded = settleRows
)

// newAdmission shares total among the groups. Named ones get twice their window, at
// least two batches, or what their rate takes ahead; and a part for what is being
// settled. What of that is above the least comes out of a quarter of the total, for
// all of them. Pools share the rest.
func newAdmission(total int, groups []Group, policy func(group, provider string) ProviderPolicy) *admission {
	a := &admission{total: total, groups: make(map[string]*groupAdmission)}
	named := 0
	for _, g := range groups {
		if g.Provider != "" {
			named++
		}
	}
	for _, g := range groups {
		ga := &groupAdmission{wake: make(chan struct{}, 1)}
		if g.Provider != "" {
			p, share := policy(g.Name, g.Provider), total/8/named
			ga.limit = max(2*p.Window, 2*queue.MaxDeliveries, min(int(p.Limit.PerSecond*ahead.Seconds()), maxAhead, share))
			ga.settling = max(2*queue.MaxDeliveries, min(maxEnded, share))
			a.total -= ga.limit + ga.settling
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
	case g.limit > 0 && g.ended >= g.settling:
		return 0
	case g.limit > 0:
		return g.limit - (g.held - g.ended)
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

// end counts deliveries as settled whose settlements the scheduler has handed out.
func (a *admission) end(settled []settlement) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(settled) > 0 {
		name, n := settled[0].held.hold.lease.Group, 1
		for n < len(settled) && settled[n].held.hold.lease.Group == name {
			n++
		}
		if g := a.groups[name]; g.limit > 0 {
			g.ended += n
			g.nudge(-n)
		}
		settled = settled[n:]
	}
}

// settled counts out n deliveries whose settlements are durable.
func (a *admission) settled(group string, n int) {
	a.mu.Lock()
	a.groups[group].ended -= n
	a.mu.Unlock()
	a.add(group, -n)
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
