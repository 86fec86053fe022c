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
	mu       sync.Mutex
	rows     []settlement
	finished []*hold
	dropped  map[string]int // by group
	wake     chan struct{}
	closed   bool
}

func newSettler() *settler {
	return &settler{wake: make(chan struct{}, 1), dropped: make(map[string]int)}
}

// put adds what a step settled.
func (s *settler) put(out *outputs) {
	if len(out.settle) == 0 && len(out.finished) == 0 && len(out.dropped) == 0 {
		return
	}
	s.mu.Lock()
	s.rows = append(s.rows, out.settle...)
	s.finished = append(s.finished, out.finished...)
	for group, n := range out.dropped {
		s.dropped[group] += n
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

func (s *settler) take() (rows []settlement, finished []*hold, dropped map[string]int, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows, finished, dropped = s.rows, s.finished, s.dropped
	s.rows, s.finished, s.dropped = nil, nil, make(map[string]int)
	return rows, finished, dropped, s.closed
}

// settle writes results to the ledger, then acks, until the settler is closed
// and empty. A crash before the commit loses results of sends that were
// answered: they are sent again, with the same idempotency key. A crash after
// it and before the ack brings the batch again: its claim finds nothing open.
func (e *Engine) settle(ctx context.Context) error {
	linger := time.NewTimer(e.opt.SettleEvery)
	defer linger.Stop()
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
			rows, finished, dropped, closed := e.settler.take()
			if len(rows) == 0 && len(finished) == 0 && len(dropped) == 0 {
				if closed {
					return nil
				}
				break
			}
			if err := e.settleAll(ctx, rows, finished); err != nil {
				return endOf(ctx, err)
			}
			for group, n := range dropped {
				e.admission.add(group, -n)
			}
		}
	}
}

// settleAll commits rows in their order; batches are finished with the last
// of them, when every row of theirs is in.
func (e *Engine) settleAll(ctx context.Context, rows []settlement, finished []*hold) error {
	for {
		n := min(len(rows), settleRows)
		var ended []*hold
		if n == len(rows) {
			ended = finished
		}
		if err := e.settleGroup(ctx, rows[:n], ended); err != nil {
			return err
		}
		if rows = rows[n:]; len(rows) == 0 {
			return nil
		}
	}
}

func (e *Engine) settleGroup(ctx context.Context, rows []settlement, finished []*hold) error {
	plain := make([]Settlement, len(rows))
	for i := range rows {
		plain[i] = rows[i].Settlement
		group := rows[i].held.hold.lease.Group
		if b := e.budgets[group]; b != nil && b.counts() && plain[i].Outcome == Delivered {
			plain[i].Counts = group
		}
	}
	batches := make([]int64, len(finished))
	for i, h := range finished {
		batches[i] = h.lease.ID
	}
	if err := e.insist(ctx, "settle", func() error { return e.ledger.Settle(ctx, plain, batches) }); err != nil {
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
	var settled []*held
	groups := make(map[string]int)
	for i := range rows {
		r := &rows[i]
		groups[r.held.hold.lease.Group]++
		if r.Outcome != Open {
			channel := channelOf(r.held.hold.lease.Group)
			e.meter.Outcome(channel, r.Outcome, 1)
			if r.Outcome == Delivered {
				e.meter.Latency(channel, r.DoneAt.Sub(r.held.hold.lease.AcceptedAt))
			}
		}
		if r.Outcome == Delivered && r.held.d.EveryUpdate {
			settled = append(settled, r.held)
		}
	}
	for group, n := range groups {
		e.admission.add(group, -n)
	}
	if len(settled) > 0 {
		e.inbox.settled(settled)
	}
	return nil
}
