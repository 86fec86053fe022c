package dispatcher

import (
	"context"
	"time"

	"github.com/tocsin/tocsin/queue"
)

// dueSlice is how many due rows one turn of the retry looks at.
const dueSlice = 5000

// paceAhead is how much of a provider's rate the retry hands out ahead.
const paceAhead = 10 * time.Second

// retry gives rows that are due to new batches and publishes them, until ctx
// ends. The transaction comes first: a crash before publishing leaves batches
// that the sweeper finds, or that are the queue already.
func (e *Engine) retry(ctx context.Context) error {
	p := newPacer(e.opt.Policy)
	for {
		if err := e.finishResends(ctx); err != nil {
			return endOf(ctx, err)
		}
		full, err := e.retrySlice(ctx, p)
		if err != nil {
			return endOf(ctx, err)
		}
		if !full && !e.pause(ctx, e.opt.RetryEvery) {
			return nil
		}
	}
}

func (e *Engine) retrySlice(ctx context.Context, p *pacer) (full bool, err error) {
	var rows []DueRow
	err = e.insist(ctx, "retry", func() (err error) {
		rows, err = e.ledger.Due(ctx, e.now(), dueSlice)
		return err
	})
	if err != nil || len(rows) == 0 {
		return false, err
	}
	batches, postponed, closed := rebatch(rows, e.now(), p, e.ids.next, e.opt.serves)
	tried := false
	if err := e.insist(ctx, "retry", func() error {
		if tried { // and may have happened: its batches may have ended since, and an id is used once
			for _, b := range batches {
				b.ID = e.ids.next()
			}
		}
		tried = true
		return e.ledger.Rebatch(ctx, e.now(), batches, postponed, closed)
	}); err != nil {
		return false, err
	}
	if err := e.fail(FailRebatched); err != nil {
		return false, err
	}
	for channel, outcomes := range countOutcomes(rows, closed) {
		for o, n := range outcomes {
			e.meter.Outcome(channel, o, n)
		}
	}
	if err := e.publish(ctx, batches); err != nil {
		return false, err
	}
	return len(rows) == dueSlice, nil
}

// countOutcomes counts the closed ones of rows by channel.
func countOutcomes(rows []DueRow, closed []Settlement) map[string]map[Outcome]int {
	if len(closed) == 0 {
		return nil
	}
	groups := make(map[Row]string, len(rows))
	for i := range rows {
		groups[rows[i].Row] = rows[i].Group
	}
	counts := make(map[string]map[Outcome]int)
	for i := range closed {
		channel := channelOf(groups[closed[i].Row])
		if counts[channel] == nil {
			counts[channel] = make(map[Outcome]int)
		}
		counts[channel][closed[i].Outcome]++
	}
	return counts
}

// rebatch decides what becomes of due rows: most go to new batches, at most
// the next ten seconds of their provider's rate; the rest is spread over the
// time after. What no worker serves waits until it expires.
func rebatch(rows []DueRow, now time.Time, p *pacer, nextID func() int64, serves func(group string) bool) (batches []*queue.Batch, postponed []Postponement, closed []Settlement) {
	type batchKey struct {
		incident int64
		sequence int
		group    string
	}
	open := make(map[batchKey]*queue.Batch)
	for i := range rows {
		r := &rows[i]
		end := Settlement{Row: r.Row, Attempt: r.Attempt, DoneAt: now}
		switch {
		case !now.Before(r.ExpiresAt):
			if end.Outcome = Expired; r.Attempt > 0 { // else it says nothing of the target
				end.Streak = StreakFailed
			}
			closed = append(closed, end)
			continue
		case r.Inactive != "":
			end.Outcome, end.Detail = Suppressed, r.Inactive
			closed = append(closed, end)
			continue
		case r.Newer && !r.EveryUpdate:
			end.Outcome = Superseded
			closed = append(closed, end)
			continue
		case !serves(r.Group):
			postponed = append(postponed, Postponement{r.Row, r.ExpiresAt, NoProvider})
			continue
		case r.Blocked:
			postponed = append(postponed, Postponement{Row: r.Row, DueAt: now.Add(blockedPause)})
			continue
		}
		if later, ok := p.admit(r.Group, r.Provider, now); !ok {
			postponed = append(postponed, Postponement{Row: r.Row, DueAt: later})
			continue
		}
		key := batchKey{r.Incident, r.Sequence, r.Group}
		b := open[key]
		if b == nil || len(b.Deliveries) == queue.MaxDeliveries {
			b = &queue.Batch{
				ID: nextID(), Incident: r.Incident, Sequence: r.Sequence, Group: r.Group, Urgent: r.Urgent, Verify: true,
				AcceptedAt: r.AcceptedAt, ExpiresAt: r.ExpiresAt, Revision: r.Revision,
			}
			open[key] = b
			batches = append(batches, b)
		}
		d := r.Audient.delivery()
		d.Attempt, d.Edition = r.Attempt, r.Edition
		b.Deliveries = append(b.Deliveries, d)
	}
	p.forget(now)
	return batches, postponed, closed
}

// pacer spreads what comes back to a provider. Owned by the retry.
type pacer struct {
	policy    func(group, provider string) ProviderPolicy
	providers map[laneKey]*pace
}

type pace struct {
	per  time.Duration
	next time.Time // when the rate has caught up with what was handed out
	tail time.Time // when the last one postponed comes back
}

func newPacer(policy func(group, provider string) ProviderPolicy) *pacer {
	return &pacer{policy: policy, providers: make(map[laneKey]*pace)}
}

// admit says whether one more may go to the provider now or, if not, when.
func (p *pacer) admit(group, provider string, now time.Time) (later time.Time, ok bool) {
	key := laneKey{group, provider}
	at := p.providers[key]
	if at == nil {
		at = &pace{per: time.Duration(float64(time.Second) / p.policy(group, provider).Limit.PerSecond)}
		p.providers[key] = at
	}
	if at.next.Before(now) {
		at.next = now
	}
	if at.next.Sub(now) < paceAhead {
		at.next = at.next.Add(at.per)
		return time.Time{}, true
	}
	if at.tail.Before(at.next) {
		at.tail = at.next
	}
	at.tail = at.tail.Add(at.per)
	return at.tail, false
}

// forget drops the providers whose rate has caught up.
func (p *pacer) forget(now time.Time) {
	for key, at := range p.providers {
		if at.next.Before(now) && at.tail.Before(now) {
			delete(p.providers, key)
		}
	}
}

// expire closes what its update's expires_at has passed, until ctx ends.
func (e *Engine) expire(ctx context.Context) error {
	for {
		var more bool
		err := e.insist(ctx, "expire", func() error {
			closed, m, err := e.ledger.Expire(ctx, e.now())
			more = m
			for channel, n := range closed {
				e.log.Info("deliveries expired", "channel", channel, "count", n)
				e.meter.Outcome(channel, Expired, n)
			}
			return err
		})
		if err != nil {
			return endOf(ctx, err)
		}
		if !more && !e.pause(ctx, e.opt.ExpireEvery) {
			return nil
		}
	}
}

// sweep finds batches that nobody works on and gets their deliveries going
// again, until ctx ends: those the broker never confirmed, those whose worker
// is gone, those an operator's hand removed from the broker. Where the queue
// is the ledger itself (embedded) there are none.
func (e *Engine) sweep(ctx context.Context) error {
	// What was written and not published by a process that died need not wait:
	// to publish a batch twice is harmless.
	unpublishedFor := time.Duration(0)
	for {
		if err := e.sweepOnce(ctx, unpublishedFor); err != nil {
			return endOf(ctx, err)
		}
		unpublishedFor = e.opt.SweepUnpublished
		if !e.pause(ctx, e.opt.SweepEvery) {
			return nil
		}
	}
}

func (e *Engine) sweepOnce(ctx context.Context, unpublishedFor time.Duration) error {
	now := e.now()
	var lapsed []LapsedBatch
	err := e.insist(ctx, "sweep", func() (err error) {
		lapsed, err = e.ledger.Lapsed(ctx, now, now.Add(-unpublishedFor), now.Add(-e.opt.SweepUnclaimed), 1000)
		return err
	})
	if err != nil || len(lapsed) == 0 {
		return err
	}
	busy, err := e.queuesWithWork(ctx)
	if err != nil {
		return nil // the broker is away: what looks lost may be in there
	}
	var publish []*queue.Batch
	for _, l := range lapsed {
		switch {
		case e.holdings.has(l.ID):
			continue // here; its results wait for the store
		case !l.Published:
			publish = append(publish, l.Batch)
			continue
		case l.Holder == 0 && busy[l.Group]:
			continue // it may still be waiting in line
		}
		var b *queue.Batch
		if err := e.insist(ctx, "sweep", func() (err error) {
			b, err = e.ledger.Replace(ctx, l, e.ids.next(), e.now())
			return err
		}); err != nil {
			return err
		}
		if b != nil {
			publish = append(publish, b)
		}
	}
	if err := e.fail(FailReplaced); err != nil {
		return err
	}
	if len(publish) > 0 {
		e.log.Warn("batches found that nobody worked on; publishing them again", "count", len(publish))
	}
	return e.publish(ctx, publish)
}

// queuesWithWork names the groups whose queues hold anything ready.
func (e *Engine) queuesWithWork(ctx context.Context) (map[string]bool, error) {
	depths, err := e.queue.Depths(ctx)
	if err != nil {
		return nil, err
	}
	busy := make(map[string]bool)
	for _, d := range depths {
		for _, g := range e.opt.Groups {
			if d.Ready > 0 && (d.Queue == g.Name+".urgent" || d.Queue == g.Name+".normal") {
				busy[g.Name] = true
			}
		}
	}
	return busy, nil
}
