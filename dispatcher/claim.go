package dispatcher

import (
	"context"
	"errors"
	"sync"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/queue"
)

// holdings are the batches this worker holds, by id, with the leases to ack
// once they are settled. A broker that lost the connection gives a held batch
// out again: the new lease joins the hold.
type holdings struct {
	mu sync.Mutex
	by map[int64][]*queue.Lease
}

// take notes a lease and says whether its batch is new to this worker.
func (h *holdings) take(l *queue.Lease) (first bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	leases, held := h.by[l.ID]
	h.by[l.ID] = append(leases, l)
	return !held
}

// has says whether a batch is held, or on its way to be.
func (h *holdings) has(batch int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.by[batch]) > 0
}

// end forgets a batch and returns its leases.
func (h *holdings) end(batch int64) []*queue.Lease {
	h.mu.Lock()
	defer h.mu.Unlock()
	leases := h.by[batch]
	delete(h.by, batch)
	return leases
}

// pump receives the batches of one group, as far as the admission has room,
// until ctx ends.
func (e *Engine) pump(ctx context.Context, group string) error {
	for {
		room := e.admission.room(ctx, group)
		if ctx.Err() != nil {
			return nil
		}
		leases, err := e.queue.Receive(ctx, group, max(1, room/queue.MaxDeliveries))
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, queue.ErrClosed) {
				return nil
			}
			e.log.Warn("the delivery queue can't be read; trying again", "group", group, "error", err)
			if !e.pause(ctx, e.opt.ErrorPause) {
				return nil
			}
			continue
		}
		for _, l := range leases {
			e.admission.add(group, len(l.Deliveries))
		}
		select {
		case e.claims <- leases:
		case <-ctx.Done():
			e.giveBack(leases)
			return nil
		}
	}
}

// giveBack returns leases that were not claimed.
func (e *Engine) giveBack(leases []*queue.Lease) {
	for _, l := range leases {
		e.admission.add(l.Group, -len(l.Deliveries))
	}
	e.queue.Return(leases)
}

// claim takes received batches to the scheduler until ctx ends. It is one
// goroutine for all groups: what the ledger says of a batch and the batch's
// way into the scheduler are not overtaken by a newer batch's. That, and asking
// for newer rows wherever there can be some, is what keeps an older update
// from starting after a newer one.
func (e *Engine) claim(ctx context.Context) error {
	kept := newContents()
	for {
		var leases []*queue.Lease
		select {
		case <-ctx.Done():
			return nil
		case leases = <-e.claims:
		}
		for more := true; more; { // whatever else came meanwhile: one transaction
			select {
			case l := <-e.claims:
				leases = append(leases, l...)
			default:
				more = false
			}
		}
		if err := e.claimSlice(ctx, kept, leases); err != nil {
			return endOf(ctx, err)
		}
	}
}

func (e *Engine) claimSlice(ctx context.Context, kept *contents, received []*queue.Lease) error {
	leases := received[:0]
	for _, l := range received {
		if !e.holdings.take(l) {
			e.admission.add(l.Group, -len(l.Deliveries))
			continue
		}
		leases = append(leases, l)
	}
	if len(leases) == 0 {
		return nil
	}
	e.claimBegins()
	var holds []*hold
	defer func() { e.claimEnds(holds) }()
	requests := make([]ClaimRequest, len(leases))
	for i, l := range leases {
		verify := l.Verify || l.Takes != 1
		requests[i] = ClaimRequest{
			Batch: l.Batch, Leased: l.Claimed, Verify: verify,
			Newer:  verify || e.latest.maybeNewer(l.Incident, l.Sequence),
			Budget: e.budgets[l.Group], Now: e.now(),
		}
	}
	var answers []ClaimAnswer
	err := e.insist(ctx, "claim", func() (err error) {
		answers, err = e.ledger.Claim(ctx, e.epoch, e.now().Add(e.opt.lease()), requests)
		return err
	})
	if err != nil {
		for _, l := range leases {
			e.holdings.end(l.ID)
		}
		e.giveBack(leases)
		return err
	}
	if err := e.fail(FailClaimed); err != nil {
		return err
	}
	for i, l := range leases {
		switch answers[i].State {
		case ClaimGone:
			e.admission.add(l.Group, -len(l.Deliveries))
			e.queue.Ack(e.holdings.end(l.ID))
			continue
		case ClaimHeld:
			e.holdings.end(l.ID)
			e.giveBack([]*queue.Lease{l})
			continue
		}
		var c *content
		err := e.insist(ctx, "claim", func() (err error) {
			c, err = kept.get(updateKey{l.Incident, l.Sequence}, func() (*channels.Update, error) {
				return e.ledger.Content(ctx, l.Incident, l.Sequence)
			})
			return err
		})
		if errors.Is(err, ErrLedgerRefused) {
			e.log.Error("an update can't be read; its deliveries end as suppressed", "incident_key", l.Incident, "sequence", l.Sequence, "error", err)
			holds = append(holds, unreadable(l))
			continue
		}
		if err != nil {
			for _, l := range leases[i:] {
				e.holdings.end(l.ID)
			}
			e.giveBack(leases[i:])
			return err
		}
		holds = append(holds, &hold{lease: l, content: c, exceptions: answers[i].Exceptions, costs: e.costs(l, c),
			takes: answers[i].Takes, starts: answers[i].Starts, heard: answers[i].Heard})
	}
	return nil
}

// unreadable is a hold none of whose deliveries can be sent.
func unreadable(l *queue.Lease) *hold {
	h := &hold{lease: l, content: &content{update: new(channels.Update)}}
	for i := range l.Deliveries {
		h.exceptions = append(h.exceptions, Exception{Index: i, Why: WhyInactive, Detail: "its update can't be read"})
	}
	return h
}

// costs returns what each delivery takes from its provider's bucket, nil where
// it is one token each. To know it the update is rendered here, once.
func (e *Engine) costs(l *queue.Lease, c *content) []int {
	name := channelOf(l.Group)
	ch := e.channels[name]
	coster, ok := ch.(channels.Coster)
	if !ok {
		return nil
	}
	costs := make([]int, len(l.Deliveries))
	for i := range l.Deliveries {
		costs[i] = 1 // what can't be rendered fails when it is sent
		if p, err := c.payload(name, ch, variantOf(&l.Deliveries[i])); err == nil {
			costs[i] = max(coster.Cost(p), 1)
		}
	}
	return costs
}
