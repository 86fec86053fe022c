package dispatcher

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// pauses are the providers that operators paused, "" for all of them. What is
// in flight to them finishes, nothing starts; what was planned waits, in its
// queue where that is the provider's own, else in the ledger.
type pauses struct {
	mu  sync.Mutex
	now map[string]bool
}

// pausedWait is when a delivery to a paused provider looks again.
const pausedWait = 10 * time.Second

// Pause stops sending to a provider, or to all for "", until Resume: also
// across restarts.
func (e *Engine) Pause(ctx context.Context, provider string, asked ...Asked) error {
	return e.setPaused(ctx, provider, true, asked)
}

// Resume ends a pause.
func (e *Engine) Resume(ctx context.Context, provider string, asked ...Asked) error {
	return e.setPaused(ctx, provider, false, asked)
}

// Paused returns what is paused, in order; "" stands for all providers.
func (e *Engine) Paused() []string {
	e.pauses.mu.Lock()
	defer e.pauses.mu.Unlock()
	return slices.Sorted(maps.Keys(e.pauses.now))
}

func (e *Engine) setPaused(ctx context.Context, provider string, paused bool, asked []Asked) error {
	e.pauses.mu.Lock()
	defer e.pauses.mu.Unlock()
	if err := e.ledger.SetPaused(ctx, provider, paused, asked...); err != nil {
		return fmt.Errorf("noting the pause: %w", err)
	}
	now := make(map[string]bool) // there is none yet before Run has come to loadPauses
	maps.Copy(now, e.pauses.now)
	if paused {
		now[provider] = true
	} else {
		delete(now, provider)
	}
	e.applyPauses(now)
	return nil
}

// all says whether everything is paused.
func (p *pauses) all() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now[""]
}

// loadPauses takes up the pauses of before the start.
func (e *Engine) loadPauses(ctx context.Context) error {
	e.pauses.mu.Lock()
	defer e.pauses.mu.Unlock()
	list, err := e.ledger.Paused(ctx)
	if err != nil {
		return fmt.Errorf("reading what is paused: %w", err)
	}
	now := make(map[string]bool, len(list))
	for _, provider := range list {
		now[provider] = true
	}
	e.applyPauses(now)
	return nil
}

// applyPauses hands a new set to the pumps and to the scheduler; nobody changes
// it from here on.
func (e *Engine) applyPauses(now map[string]bool) {
	e.pauses.now = now
	for _, g := range e.opt.Groups {
		e.admission.pause(g.Name, now[""] || g.Provider != "" && now[g.Provider])
	}
	e.inbox.put(func(in *inputs) { in.paused = now })
}

// pause takes a new set of paused providers: rare, so every lane is looked at.
func (s *scheduler) pause(now map[string]bool) {
	s.paused = now
	for _, l := range s.lanes {
		s.touch(l)
	}
}

// isPaused says whether an operator paused a lane's provider.
func (s *scheduler) isPaused(l *lane) bool { return s.paused[""] || s.paused[l.provider] }
