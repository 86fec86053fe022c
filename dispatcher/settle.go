package dispatcher

import (
	"context"
	"sync"
	"time"

	"github.com/tocsin/tocsin/queue"
)

// settleRows is how many results one transaction takes at most.
const settleRows = 2000

// settler collects what the scheduler settles, for one transaction per group
// of results. What it holds is bounded by the admission.
type settler struct {
	mu     sync.Mutex
	in     settled
	wake   chan struct{}
	closed bool
}

// settled is what is to be written: rows, and for each the delivery that it settles.
type settled struct {
	rows     []Settlement
	held     []*held
	finished []*hold
	dropped  map[string]int // by group
}

func (s *settled) empty() bool {
	return len(s.rows) == 0 && len(s.finished) == 0 && len(s.dropped) == 0
}

// clear empties s. Its room stays, unless that was an unusual lot.
func (s *settled) clear() {
	if cap(s.rows) > roomKept {
		s.rows, s.held = nil, nil
	}
	clear(s.rows)
	clear(s.held)
	clear(s.finished)
	clear(s.dropped)
	s.rows, s.held, s.finished = s.rows[:0], s.held[:0], s.finished[:0]
}

// roomKept is for how many rows room is kept.
const roomKept = 4 * settleRows

func newSettler() *settler {
	return &settler{wake: make(chan struct{}, 1)}
}

// put adds what a step settled.
func (s *settler) put(out *outputs) {
	if len(out.settle) == 0 && len(out.finished) == 0 && len(out.dropped) == 0 {
		return
	}
	s.mu.Lock()
	for i := range out.settle {
		s.in.rows = append(s.in.rows, out.settle[i].Settlement)
		s.in.held = append(s.in.held, out.settle[i].held)
	}
	s.in.finished = append(s.in.finished, out.finished...)
	for group, n := range out.dropped {
		if s.in.dropped == nil {
			s.in.dropped = make(map[string]int)
		}
		s.in.dropped[group] += n
	}
	s.mu.Unlock()
	s.nudge()
}

func (s *settler) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// close lets the settler's goroutine end once all is settled.
func (s *settler) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.nudge()
}

// take swaps what waits for done, which the caller has no more use for.
func (s *settler) take(done *settled) (closed bool) {
	done.clear()
	s.mu.Lock()
	defer s.mu.Unlock()
	*done, s.in = s.in, *done
	return s.closed
}

// settle writes results to the ledger, then acks, until the settler is closed
// and empty. A crash before the commit loses results of sends that were
// answered: they are sent again, with the same idempotency key. A crash after
// it and before the ack brings the batch again: its claim finds nothing open.
func (e *Engine) settle(ctx context.Context) error {
	linger := time.NewTimer(e.opt.SettleEvery)
	defer linger.Stop()
	var s settled
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.settler.wake:
		}
		// A moment for more results to share the transaction.
		linger.Reset(e.opt.SettleEvery)
		select {
		case <-ctx.Done():
			return nil
		case <-linger.C:
		}
		for {
			closed := e.settler.take(&s)
			if s.empty() {
				if closed {
					return nil
				}
				break
			}
			if err := e.settleAll(ctx, &s); err != nil {
				return endOf(ctx, err)
			}
			for group, n := range s.dropped {
				e.admission.add(group, -n)
			}
		}
	}
}

// settleAll commits rows in their order; batches are finished with the last
// of them, when every row of theirs is in.
func (e *Engine) settleAll(ctx context.Context, s *settled) error {
	for from := 0; ; {
		to := min(from+settleRows, len(s.rows))
		var ended []*hold
		if to == len(s.rows) {
			ended = s.finished
		}
		if err := e.settleGroup(ctx, s.rows[from:to], s.held[from:to], ended); err != nil {
			return err
		}
		if from = to; from == len(s.rows) {
			return nil
		}
	}
}

// settleGroup commits rows, which settle the deliveries held.
func (e *Engine) settleGroup(ctx context.Context, rows []Settlement, of []*held, finished []*hold) error {
	batches := make([]int64, len(finished))
	for i, h := range finished {
		batches[i] = h.lease.ID
	}
	if err := e.insist(ctx, "settle", func() error { return e.ledger.Settle(ctx, rows, batches) }); err != nil {
		return err
	}
	if err := e.fail(FailSettled); err != nil {
		return err
	}
	var leases []*queue.Lease
	for _, id := range batches {
		leases = append(leases, e.holdings.end(id)...)
	}
	if len(leases) > 0 {
		e.queue.Ack(leases)
	}
	var durable []*held
	groups := make(map[string]int)
	for i := range rows {
		r, h := &rows[i], of[i].hold
		groups[h.lease.Group]++
		if r.Parked {
			e.log.Error("a delivery is given up, for an operator to look at: tocsin parked show", "incident_key", r.Incident, "target", r.Target, "sequence", r.Sequence, "why", r.Detail)
		}
		if r.Outcome != Open {
			channel := channelOf(h.lease.Group)
			e.meter.Outcome(channel, r.Outcome, 1)
			if r.Outcome == Delivered {
				e.meter.Latency(channel, r.DoneAt.Sub(h.lease.AcceptedAt))
			}
		}
		if r.Outcome == Delivered && of[i].d.EveryUpdate || r.Noted {
			durable = append(durable, of[i])
		}
	}
	for group, n := range groups {
		e.admission.settled(group, n)
	}
	if len(durable) > 0 {
		e.inbox.settled(durable)
	}
	return nil
}
