package simulate

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/queue"
)

// mutation takes a defence away, between an engine and its ports. Each must be
// found out: a simulation that can't fail proves nothing.
type mutation struct {
	name string
	// seed is the first that finds it, as far as is known: tried before the others.
	seed    uint64
	ports   func(dispatcher.Ledger, queues, channels.Channel) (dispatcher.Ledger, queues, channels.Channel)
	options func(*dispatcher.Options)
}

func (m *mutation) wrap(l dispatcher.Ledger, q queues, c channels.Channel) (dispatcher.Ledger, queues, channels.Channel) {
	if m.ports == nil {
		return l, q, c
	}
	return m.ports(l, q, c)
}

// TestMutationsAreCaught takes the defences away one by one.
func TestMutationsAreCaught(t *testing.T) {
	m := newMachine(t)
	for _, mu := range mutations() {
		t.Run(mu.name, func(t *testing.T) {
			t.Parallel()
			for n := range uint64(seedsOfCI + 1) {
				seed := n
				if n == 0 {
					seed = mu.seed
				}
				w := m.run(t, generate(seed), &mu)
				if len(w.faults) == 0 {
					continue
				}
				t.Logf("caught by seed %d, as it must be: %s", seed, w.faults[0])
				if n > 0 {
					t.Logf("scenarios have changed: note seed %d with this mutation", n)
				}
				return
			}
			t.Errorf("nothing is wrong in %d seeds without this defence", seedsOfCI)
		})
	}
}

// onLedger is a mutation of the ledger alone.
func onLedger(f func(dispatcher.Ledger) dispatcher.Ledger) func(dispatcher.Ledger, queues, channels.Channel) (dispatcher.Ledger, queues, channels.Channel) {
	return func(l dispatcher.Ledger, q queues, c channels.Channel) (dispatcher.Ledger, queues, channels.Channel) {
		return f(l), q, c
	}
}

// onClaims changes what claims ask and are answered.
func onClaims(request func(*dispatcher.ClaimRequest), answer func(dispatcher.Exception) bool) func(dispatcher.Ledger, queues, channels.Channel) (dispatcher.Ledger, queues, channels.Channel) {
	return onLedger(func(l dispatcher.Ledger) dispatcher.Ledger { return &changedClaims{l, request, answer} })
}

type changedClaims struct {
	dispatcher.Ledger
	request func(*dispatcher.ClaimRequest)
	keep    func(dispatcher.Exception) bool
}

func (l *changedClaims) Claim(ctx context.Context, epoch int64, until time.Time, r []dispatcher.ClaimRequest) ([]dispatcher.ClaimAnswer, error) {
	if l.request != nil {
		for i := range r {
			l.request(&r[i])
		}
	}
	answers, err := l.Ledger.Claim(ctx, epoch, until, r)
	if l.keep != nil {
		for i := range answers {
			var kept []dispatcher.Exception
			for _, ex := range answers[i].Exceptions {
				if l.keep(ex) {
					kept = append(kept, ex)
				}
			}
			answers[i].Exceptions = kept
		}
	}
	return answers, err
}

func mutations() []mutation {
	return []mutation{
		{name: "claims verify nothing", seed: 36, ports: onClaims(func(r *dispatcher.ClaimRequest) { r.Verify = false }, nil)},
		{name: "claims look for nothing newer", seed: 74, ports: onClaims(func(r *dispatcher.ClaimRequest) { r.Newer = false }, nil)},
		{name: "claims take inactive targets for active", seed: 117, ports: onClaims(nil, func(e dispatcher.Exception) bool { return e.Why != dispatcher.WhyInactive })},
		{name: "every update need not wait for the one before", seed: 5, ports: onClaims(nil, func(e dispatcher.Exception) bool { return e.Why != dispatcher.WhyBlocked })},
		{name: "supersede is forgotten", seed: 1, ports: onLedger(func(l dispatcher.Ledger) dispatcher.Ledger { return unsuperseding{l} })},
		{name: "acked before the commit", seed: 128, ports: func(l dispatcher.Ledger, q queues, c channels.Channel) (dispatcher.Ledger, queues, channels.Channel) {
			h := &hasty{Ledger: l, queues: q, leases: map[int64][]*queue.Lease{}}
			return hastyLedger{l, h}, h, c
		}},
		{name: "the bucket leaks", seed: 8, options: policies(func(p *dispatcher.ProviderPolicy) { p.Limit.PerSecond *= 1.3 })},
		{name: "the burst is one more", seed: 8, options: policies(func(p *dispatcher.ProviderPolicy) { p.Limit.Burst++ })},
		{name: "the window is one more", seed: 6, options: policies(func(p *dispatcher.ProviderPolicy) { p.Window++ })},
		{name: "Retry-After is ignored", seed: 6, ports: onResults(func(r *channels.Result) { r.RetryAfter = 0 })},
		{name: "what was begun counts as planned", seed: 72, ports: onLedger(func(l dispatcher.Ledger) dispatcher.Ledger { return hastyPlans{l, new(sync.Map)} })},
		{name: "plans of before a crash are not resumed", seed: 72, ports: onLedger(func(l dispatcher.Ledger) dispatcher.Ledger { return lostPlans{l} })},
		{name: "timeouts count as success", seed: 2, ports: onResults(func(r *channels.Result) {
			if r.Detail == "timeout" {
				r.Class = channels.Delivered
			}
		})},
		{name: "temporary is permanent", seed: 1, ports: onResults(func(r *channels.Result) {
			if r.Class == channels.Temporary {
				r.Class = channels.Permanent
			}
		})},
		{name: "failures are not settled", seed: 1, ports: onLedger(func(l dispatcher.Ledger) dispatcher.Ledger { return lostFailures{l} })},
		{name: "the last result of a group is not written", seed: 1, ports: onLedger(func(l dispatcher.Ledger) dispatcher.Ledger { return lossySettle{l} })},
		{name: "nothing is swept", seed: 16, ports: onLedger(func(l dispatcher.Ledger) dispatcher.Ledger { return unswept{l} })},
		{name: "those before a newer update lose their place", seed: 133, ports: onLedger(func(l dispatcher.Ledger) dispatcher.Ledger { return placeless{l} })},
		{name: "retries are never due", seed: 1, ports: onLedger(func(l dispatcher.Ledger) dispatcher.Ledger { return neverDue{l} })},
		{name: "few sends at once", seed: 82, options: func(o *dispatcher.Options) { o.MaxInFlight = 1 }},
		{name: "batches are dropped by the broker unconfirmed", seed: 1, ports: func(l dispatcher.Ledger, q queues, c channels.Channel) (dispatcher.Ledger, queues, channels.Channel) {
			return l, lostPublish{q}, c
		}},
		{name: "changes of targets are not looked at", seed: 117, ports: onClaims(func(r *dispatcher.ClaimRequest) { r.Batch.Revision = 1 << 60 }, nil)},
		{name: "keys differ from attempt to attempt", seed: 1, ports: func(l dispatcher.Ledger, q queues, c channels.Channel) (dispatcher.Ledger, queues, channels.Channel) {
			return l, q, otherKeys{c}
		}},
		{name: "an hour has one more", seed: 107, options: budgets(func(b *dispatcher.Budget) { more(&b.PerHour) })},
		{name: "a target hears once more", seed: 65, options: budgets(func(b *dispatcher.Budget) { more(&b.PerTarget.Messages) })},
		{name: "a target hears once more of an incident", seed: 8, options: budgets(func(b *dispatcher.Budget) { more(&b.PerIncident.Messages) })},
		{name: "a provider's account is not kept", seed: 33, options: policies(func(p *dispatcher.ProviderPolicy) { p.Account = dispatcher.Account{} })},
		{name: "what was counted before a start is forgotten", seed: 28, ports: onLedger(func(l dispatcher.Ledger) dispatcher.Ledger { return uncounted{l} })},
		{name: "ends count as other updates", seed: 65, ports: onLedger(func(l dispatcher.Ledger) dispatcher.Ledger { return unheard{l} })},
		{name: "duplicates are new", seed: 1, ports: onLedger(func(l dispatcher.Ledger) dispatcher.Ledger { return amnesia{l} })},
		{name: "the audience narrows with each update", seed: 1, ports: onLedger(func(l dispatcher.Ledger) dispatcher.Ledger { return narrowing{l} })},
	}
}

// unsuperseding supersedes nothing, when planning, claiming or retrying.
type unsuperseding struct{ dispatcher.Ledger }

func (l unsuperseding) Claim(ctx context.Context, epoch int64, until time.Time, r []dispatcher.ClaimRequest) ([]dispatcher.ClaimAnswer, error) {
	for i := range r {
		r[i].Newer = false
	}
	return l.Ledger.Claim(ctx, epoch, until, r)
}

func (l unsuperseding) CommitPage(ctx context.Context, p *dispatcher.Plan, page *dispatcher.PlannedPage) error {
	page.Superseded = nil
	return l.Ledger.CommitPage(ctx, p, page)
}

func (l unsuperseding) Due(ctx context.Context, now time.Time, limit int) ([]dispatcher.DueRow, error) {
	rows, err := l.Ledger.Due(ctx, now, limit)
	for i := range rows {
		rows[i].Newer = false
	}
	return rows, err
}

// hasty acks what is finished before that is written, on a disk that is slow: else a
// crash hits the moment between the two in one world of hundreds.
type hasty struct {
	dispatcher.Ledger
	queues
	mu     sync.Mutex
	leases map[int64][]*queue.Lease
}

func (h *hasty) Receive(ctx context.Context, group string, most int) ([]*queue.Lease, error) {
	leases, err := h.queues.Receive(ctx, group, most)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range leases {
		h.leases[l.ID] = append(h.leases[l.ID], l)
	}
	return leases, err
}

type hastyLedger struct {
	dispatcher.Ledger
	h *hasty
}

func (l hastyLedger) Settle(ctx context.Context, rows []dispatcher.Settlement, finished []int64) error {
	l.h.mu.Lock()
	for _, id := range finished {
		l.h.queues.Ack(l.h.leases[id])
	}
	l.h.mu.Unlock()
	if len(finished) > 0 {
		time.Sleep(300 * time.Millisecond)
	}
	return l.Ledger.Settle(ctx, rows, finished)
}

func policies(change func(*dispatcher.ProviderPolicy)) func(*dispatcher.Options) {
	return func(o *dispatcher.Options) {
		policy := o.Policy
		o.Policy = func(group, provider string) dispatcher.ProviderPolicy {
			p := policy(group, provider)
			change(&p)
			return p
		}
	}
}

func budgets(change func(*dispatcher.Budget)) func(*dispatcher.Options) {
	return func(o *dispatcher.Options) {
		for channel, b := range o.Budgets {
			change(&b)
			o.Budgets[channel] = b
		}
	}
}

// more is one more than a bound, where there is one.
func more(bound *int) {
	if *bound > 0 {
		*bound++
	}
}

// onResults changes what peers answered.
func onResults(change func(*channels.Result)) func(dispatcher.Ledger, queues, channels.Channel) (dispatcher.Ledger, queues, channels.Channel) {
	return func(l dispatcher.Ledger, q queues, c channels.Channel) (dispatcher.Ledger, queues, channels.Channel) {
		return l, q, changedResults{c, change}
	}
}

type changedResults struct {
	channels.Channel
	change func(*channels.Result)
}

func (c changedResults) Send(ctx context.Context, m *channels.Message) channels.Result {
	r := c.Channel.Send(ctx, m)
	c.change(&r)
	return r
}

// hastyPlans take a plan that was begun before a crash for one that is finished.
type hastyPlans struct {
	dispatcher.Ledger
	begun *sync.Map // of *dispatcher.Plan
}

func (l hastyPlans) Unplanned(ctx context.Context, limit int) ([]*dispatcher.Plan, error) {
	plans, err := l.Ledger.Unplanned(ctx, limit)
	for _, p := range plans {
		if p.Cursor != "" {
			l.begun.Store(p, true)
		}
	}
	return plans, err
}

func (l hastyPlans) Audience(ctx context.Context, p *dispatcher.Plan, limit int) (*dispatcher.AudiencePage, error) {
	page, err := l.Ledger.Audience(ctx, p, limit)
	if _, begun := l.begun.Load(p); begun && err == nil {
		page.Targets, page.Last = nil, true
	}
	return page, err
}

// lostPlans forget what was accepted and not planned.
type lostPlans struct{ dispatcher.Ledger }

func (lostPlans) Unplanned(context.Context, int) ([]*dispatcher.Plan, error) { return nil, nil }

func (l lostPlans) Accept(ctx context.Context, a []*dispatcher.Arrival, decide dispatcher.DecideFunc) ([]dispatcher.Acceptance, error) {
	list, err := l.Ledger.Accept(ctx, a, decide)
	for i := range list {
		if list[i].Result == dispatcher.AcceptedDuplicate {
			list[i].Plan = nil
		}
	}
	return list, err
}

// lostFailures leave out what has to be tried again.
type lostFailures struct{ dispatcher.Ledger }

func (l lostFailures) Settle(ctx context.Context, rows []dispatcher.Settlement, finished []int64) error {
	var kept []dispatcher.Settlement
	for _, r := range rows {
		if r.Outcome != dispatcher.Open {
			kept = append(kept, r)
		}
	}
	return l.Ledger.Settle(ctx, kept, finished)
}

// lossySettle says that it wrote what it will write in a moment.
type lossySettle struct{ dispatcher.Ledger }

func (l lossySettle) Settle(ctx context.Context, rows []dispatcher.Settlement, finished []int64) error {
	if len(rows) > 1 {
		return l.Ledger.Settle(ctx, rows[:len(rows)-1], finished)
	}
	return l.Ledger.Settle(ctx, rows, finished)
}

type unswept struct{ dispatcher.Ledger }

func (unswept) Lapsed(context.Context, time.Time, time.Time, time.Time, int) ([]dispatcher.LapsedBatch, error) {
	return nil, nil
}

// placeless forgets since when a target waits.
type placeless struct{ dispatcher.Ledger }

func (l placeless) Audience(ctx context.Context, p *dispatcher.Plan, limit int) (*dispatcher.AudiencePage, error) {
	page, err := l.Ledger.Audience(ctx, p, limit)
	if err == nil {
		for i := range page.Targets {
			page.Targets[i].Since = time.Time{}
		}
	}
	return page, err
}

// uncounted knows nothing of what earlier processes sent.
type uncounted struct{ dispatcher.Ledger }

func (uncounted) Counted(context.Context, time.Time) ([]dispatcher.HourCount, error) { return nil, nil }

// unheard doesn't say who heard of what ends.
type unheard struct{ dispatcher.Ledger }

func (l unheard) Claim(ctx context.Context, epoch int64, until time.Time, r []dispatcher.ClaimRequest) ([]dispatcher.ClaimAnswer, error) {
	answers, err := l.Ledger.Claim(ctx, epoch, until, r)
	for i := range answers {
		answers[i].Heard = nil
	}
	return answers, err
}

type neverDue struct{ dispatcher.Ledger }

func (neverDue) Due(context.Context, time.Time, int) ([]dispatcher.DueRow, error) { return nil, nil }

// lostPublish confirms what it did not take.
type lostPublish struct{ queues }

func (lostPublish) Publish(context.Context, []*queue.Batch) error { return nil }

type otherKeys struct{ channels.Channel }

func (c otherKeys) Send(ctx context.Context, m *channels.Message) channels.Result {
	m.ID = fmt.Sprint(m.ID, m.Attempt)
	return c.Channel.Send(ctx, m)
}

// amnesia knows no update_id and no content of before.
type amnesia struct{ dispatcher.Ledger }

func (l amnesia) Accept(ctx context.Context, a []*dispatcher.Arrival, decide dispatcher.DecideFunc) ([]dispatcher.Acceptance, error) {
	return l.Ledger.Accept(ctx, a, func(s dispatcher.IncidentState, a *dispatcher.Arrival) dispatcher.Decision {
		s.KnownHere, s.Known, s.Hash = false, 0, [16]byte{}
		a.UpdateID = fmt.Sprint(a.UpdateID, s.Sequence)
		return decide(s, a)
	})
}

// narrowing plans for the components of the update alone.
type narrowing struct{ dispatcher.Ledger }

func (l narrowing) Accept(ctx context.Context, a []*dispatcher.Arrival, decide dispatcher.DecideFunc) ([]dispatcher.Acceptance, error) {
	return l.Ledger.Accept(ctx, a, func(s dispatcher.IncidentState, a *dispatcher.Arrival) dispatcher.Decision {
		d := decide(s, a)
		d.Components, d.Whole = a.Event.AffectedComponents, len(a.Event.AffectedComponents) == 0
		d.Highest = incident.Highest("", a.Event.Impact)
		return d
	})
}
