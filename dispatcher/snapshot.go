package dispatcher

import (
	"context"
	"maps"
	"time"

	"github.com/sony/gobreaker/v2"
)

// Snapshot is what an engine is doing, at most a quarter of a second old.
type Snapshot struct {
	// Holding counts the deliveries in this worker, InFlight those of them
	// being sent, Blocked those whose lane can't start them now.
	Holding, InFlight, Blocked int
	// Failovers counts deliveries that another provider took over, since the
	// start; TakenOver counts them by that provider.
	Failovers int
	TakenOver map[string]int
	Groups    map[string]GroupSnapshot
	// Providers are the named ones.
	Providers map[string]ProviderSnapshot
}

// GroupSnapshot is one group's part.
type GroupSnapshot struct {
	// Lanes counts lanes by what keeps them from starting: idle, ready,
	// window, limited, paused, open, delayed.
	Lanes    map[string]int
	Waiting  int
	InFlight int
}

// ProviderSnapshot is one named provider's lane.
type ProviderSnapshot struct {
	Group  string
	State  string
	Tokens float64
	// Breaker is "closed", "half-open" or "open".
	Breaker string
}

// Snapshot returns the engine's figures.
func (e *Engine) Snapshot() *Snapshot { return e.snapshot.Load() }

// snapshot copies the scheduler's counts.
func (s *scheduler) snapshot() *Snapshot {
	out := &Snapshot{
		Holding: s.holding, InFlight: s.inFlight, Blocked: s.blocked, TakenOver: maps.Clone(s.takenOver),
		Groups: make(map[string]GroupSnapshot, len(s.counts)), Providers: make(map[string]ProviderSnapshot),
	}
	for _, n := range s.takenOver {
		out.Failovers += n
	}
	for name, c := range s.counts {
		g := GroupSnapshot{Lanes: make(map[string]int), Waiting: c.held - c.inFlight, InFlight: c.inFlight}
		for state, n := range c.lanes {
			g.Lanes[laneStateNames[state]] = n
		}
		out.Groups[name] = g
	}
	for key, l := range s.named {
		p := ProviderSnapshot{Group: key.group, State: laneStateNames[l.state], Tokens: l.bucket.Tokens(s.now, l.policy.Limit), Breaker: "closed"}
		if l.breaker != nil {
			switch l.breaker.cb.State() {
			case gobreaker.StateOpen:
				p.Breaker = "open"
			case gobreaker.StateHalfOpen:
				p.Breaker = "half-open"
			}
		}
		out.Providers[key.provider] = p
	}
	return out
}

// measure reports the ledger's backlog until ctx ends.
func (e *Engine) measure(ctx context.Context) error {
	for e.pause(ctx, measureEvery) {
		now := e.now()
		if b, err := e.ledger.Backlog(ctx, now); err == nil {
			e.meter.Backlog(b, now)
		}
	}
	return nil
}

const measureEvery = 2 * time.Second
