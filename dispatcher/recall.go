package dispatcher

import (
	"context"
	"fmt"
	"maps"
	"sync"
)

// recalls collects the changes that come while a claim is under way: what the
// claim read may be older than they are, and what it claims is recalled as well.
type recalls struct {
	mu       sync.Mutex
	claiming bool
	changed  map[int64]bool
	stopped  map[int64]int
}

// TargetsChanged tells the engine that targets were changed or deleted: what
// it holds for them is handed back, to be sent as the store then says, or not
// at all.
func (e *Engine) TargetsChanged(ids []int64) {
	changed := make(map[int64]bool, len(ids))
	for _, id := range ids {
		changed[id] = true
	}
	e.recall(changed, nil)
}

// Stop ends an incident's fan-out, named by the store's key: what is in flight
// finishes, all else of its updates so far is suppressed.
func (e *Engine) Stop(ctx context.Context, incident int64, asked ...Asked) error {
	upTo, closed, err := e.ledger.Stop(ctx, incident, e.now(), asked...)
	for channel, n := range closed {
		e.meter.Outcome(channel, Suppressed, n)
	}
	if err != nil {
		return fmt.Errorf("stopping the fan-out: %w", err)
	}
	e.recall(nil, map[int64]int{incident: upTo})
	return nil
}

func (e *Engine) recall(changed map[int64]bool, stopped map[int64]int) {
	e.recalls.mu.Lock()
	defer e.recalls.mu.Unlock()
	if e.recalls.claiming {
		e.recalls.changed = merged(e.recalls.changed, changed)
		e.recalls.stopped = merged(e.recalls.stopped, stopped)
	}
	e.inbox.put(func(in *inputs) { in.recall(changed, stopped) })
}

// claimBegins is called before a claim reads the ledger.
func (e *Engine) claimBegins() {
	e.recalls.mu.Lock()
	defer e.recalls.mu.Unlock()
	e.recalls.claiming, e.recalls.changed, e.recalls.stopped = true, nil, nil
}

// claimEnds takes the claimed batches to the scheduler, and after them what
// changed meanwhile.
func (e *Engine) claimEnds(holds []*hold) {
	e.recalls.mu.Lock()
	defer e.recalls.mu.Unlock()
	e.inbox.put(func(in *inputs) {
		in.holds = append(in.holds, holds...)
		in.recall(e.recalls.changed, e.recalls.stopped)
	})
	e.recalls.claiming = false
}

// recall adds what a step has to recall, after it took its holds.
func (in *inputs) recall(changed map[int64]bool, stopped map[int64]int) {
	in.changed = merged(in.changed, changed)
	in.stopped = merged(in.stopped, stopped)
}

// merged adds what is in b to a, where there is anything.
func merged[V any](a, b map[int64]V) map[int64]V {
	if a == nil && len(b) > 0 {
		a = make(map[int64]V, len(b))
	}
	maps.Copy(a, b)
	return a
}
