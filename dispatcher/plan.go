package dispatcher

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tocsin/tocsin/queue"
)

// planner holds the plans in progress. Plans of different incidents take
// turns page by page, urgent ones first; those of one incident go one after
// the other, so that audiences are planned in the order of the sequence.
type planner struct {
	mu     sync.Mutex
	active []*Plan
	// more: the ledger has plans that are not among the active ones.
	more bool
	wake chan struct{}
}

// plansKept is how many plans are in line at most; the others are in the ledger
// alone until those are done.
const plansKept = 1000

func newPlanner() *planner { return &planner{more: true, wake: make(chan struct{}, 1)} }

// behind says whether the ledger has more plans.
func (p *planner) behind() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.more
}

// reading is called before the ledger's plans are read, forgot when not all of
// them could be taken up.
func (p *planner) reading() { p.setMore(false) }
func (p *planner) forgot()  { p.setMore(true) }

func (p *planner) setMore(more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.more = more
}

// add puts a plan in line; one that is there already is left as it is.
func (p *planner) add(plan *Plan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.active) >= plansKept {
		p.more = true
		return
	}
	for _, a := range p.active {
		if a.Incident == plan.Incident && a.Sequence == plan.Sequence {
			return
		}
	}
	p.active = append(p.active, plan)
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// next returns the plan whose turn it is, nil if there is none: the first
// urgent one, else the first, that no earlier update of its incident precedes.
func (p *planner) next() *Plan {
	p.mu.Lock()
	defer p.mu.Unlock()
	var first *Plan
	for _, a := range p.active {
		if p.preceded(a) {
			continue
		}
		if a.Urgent() {
			return a
		}
		if first == nil {
			first = a
		}
	}
	return first
}

func (p *planner) preceded(plan *Plan) bool {
	for _, a := range p.active {
		if a.Incident == plan.Incident && a.Sequence < plan.Sequence {
			return true
		}
	}
	return false
}

// turn ends a plan's turn: it goes to the end of the line, or out of it.
func (p *planner) turn(plan *Plan, finished bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, a := range p.active {
		if a == plan {
			p.active = append(p.active[:i], p.active[i+1:]...)
			break
		}
	}
	if !finished {
		p.active = append(p.active, plan)
	}
}

// plan expands updates into deliveries until ctx ends. A crash loses nothing:
// a page is one transaction with its cursor, and at the next start the plan
// goes on after it; batches that were not published are found by the sweeper,
// or are the queue already.
func (e *Engine) plan(ctx context.Context) error {
	for {
		p := e.planner.next()
		if p == nil && e.planner.behind() {
			if err := e.loadPlans(ctx); err != nil {
				return endOf(ctx, err)
			}
			continue
		}
		if p == nil {
			select {
			case <-ctx.Done():
				return nil
			case <-e.planner.wake:
			}
			continue
		}
		finished, err := e.planPage(ctx, p)
		if err != nil {
			return endOf(ctx, err)
		}
		e.planner.turn(p, finished)
	}
}

// loadPlans takes up plans that the ledger has and the planner hasn't.
func (e *Engine) loadPlans(ctx context.Context) error {
	return e.insist(ctx, "plan", func() error {
		e.planner.reading()
		unplanned, err := e.ledger.Unplanned(ctx, plansKept)
		if err != nil {
			e.planner.forgot()
			return err
		}
		for _, p := range unplanned {
			e.planner.add(p)
		}
		if len(unplanned) == plansKept {
			e.planner.forgot()
		}
		return nil
	})
}

// firstPage is what part of a page the first of a plan is: the senders wait for it.
const firstPage = 8

// planPage plans one page of p and publishes its batches.
func (e *Engine) planPage(ctx context.Context, p *Plan) (finished bool, err error) {
	if err := e.fail(FailBeforePage); err != nil {
		return false, err
	}
	// Before the first row of this update can be seen: from here on claims of
	// older batches of the incident ask the ledger for newer rows.
	e.latest.note(p.Incident, p.Sequence)

	var page *PlannedPage
	err = e.insist(ctx, "plan", func() error {
		defer func() { p.Recheck = true }() // should it fail
		size := e.opt.PlanPage
		if p.Cursor == "" {
			size = max(size/firstPage, 1)
		}
		audience, err := e.ledger.Audience(ctx, p, size)
		if err != nil {
			return err
		}
		page = buildPage(p, audience, e.now(), e.ids.next, e.opt.serves)
		return e.ledger.CommitPage(ctx, p, page)
	})
	if errors.Is(err, ErrStopped) {
		e.log.Info("plan ended: the fan-out was stopped", "page", p.Page, "incident", p.IncidentID, "sequence", p.Sequence)
		return true, nil
	}
	if errors.Is(err, ErrLedgerRefused) { // finished already, as by a duplicate that came late
		e.log.Warn("plan ended by the store", "page", p.Page, "incident", p.IncidentID, "sequence", p.Sequence, "error", err)
		return true, nil
	}
	if err != nil {
		return false, err
	}
	p.Cursor, p.Recheck = page.Cursor, false
	for _, b := range page.Batches {
		p.Audience += len(b.Deliveries)
	}
	p.Audience += len(page.Unserved)
	if err := e.fail(FailPagePlanned); err != nil {
		return false, err
	}
	for channel, n := range page.superseded {
		e.meter.Outcome(channel, Superseded, n)
	}
	if err := e.publish(ctx, page.Batches); err != nil {
		return false, err
	}
	if err := e.fail(FailPagePublished); err != nil {
		return false, err
	}
	if page.Last {
		e.meter.UpdatePlanned()
		e.log.Info("update planned", "page", p.Page, "incident", p.IncidentID, "sequence", p.Sequence, "audience", p.Audience)
	}
	return page.Last, nil
}

// publish gets batches to their queues, however long the broker needs, and
// notes it. If this process dies before, the sweeper publishes them.
func (e *Engine) publish(ctx context.Context, batches []*queue.Batch) error {
	if len(batches) == 0 {
		return nil
	}
	if err := e.insist(ctx, "publish", func() error { return e.queue.Publish(ctx, batches) }); err != nil {
		return err
	}
	if e.opt.EmbeddedQueue {
		return nil
	}
	ids := make([]int64, len(batches))
	for i, b := range batches {
		ids[i] = b.ID
	}
	return e.insist(ctx, "publish", func() error { return e.ledger.Published(ctx, ids, e.now()) })
}

// buildPage turns a page of an audience into batches of its groups, in plan
// order, and names the older rows that the new ones supersede. What no worker
// serves waits: a queue that isn't there would hold up every other plan.
func buildPage(p *Plan, audience *AudiencePage, now time.Time, nextID func() int64, serves func(group string) bool) *PlannedPage {
	page := &PlannedPage{Cursor: audience.Cursor, Last: audience.Last, At: now}
	open := map[string]*queue.Batch{}
	for i := range audience.Targets {
		t := &audience.Targets[i]
		if t.Since.IsZero() || t.Since.After(now) {
			t.Since = now
		}
		page.supersede(p, t)
		if !serves(t.Group) {
			page.Unserved = append(page.Unserved, *t)
			continue
		}
		b := open[t.Group]
		if b == nil || len(b.Deliveries) == queue.MaxDeliveries {
			b = &queue.Batch{
				ID: nextID(), Incident: p.Incident, Sequence: p.Sequence, Group: t.Group, Urgent: p.Urgent(),
				AcceptedAt: p.AcceptedAt, ExpiresAt: p.ExpiresAt, Revision: audience.Revision,
				Deliveries: make([]queue.Delivery, 0, min(queue.MaxDeliveries, len(audience.Targets)-i)),
			}
			open[t.Group] = b
			page.Batches = append(page.Batches, b)
		}
		b.Deliveries = append(b.Deliveries, t.delivery())
	}
	return page
}

// supersede names the older rows of a target that wait.
func (page *PlannedPage) supersede(p *Plan, t *Audient) {
	if t.EveryUpdate {
		return
	}
	for _, seq := range t.Waiting {
		if page.superseded == nil {
			page.superseded = make(map[string]int)
		}
		page.superseded[channelOf(t.Group)]++
		page.Superseded = append(page.Superseded, Row{Incident: p.Incident, Target: t.Target, Sequence: seq})
	}
}

// delivery is the audient as a batch carries it.
func (t *Audient) delivery() queue.Delivery {
	return queue.Delivery{
		Target: t.Target, Provider: t.Provider, Address: t.Address, Locale: t.Locale, Format: t.Format,
		Private: t.Private, EveryUpdate: t.EveryUpdate, Failing: t.Failing, Since: t.Since, Secrets: t.Secrets,
	}
}
