package cases

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/lifecycle"
	"github.com/tocsin/tocsin/internal/store"
	"github.com/tocsin/tocsin/queue"
)

// Store is what a keeper asks of a store, as package store says.
type Store interface {
	store.Cases
	ForgetAudit(ctx context.Context, before time.Time) (more bool, err error)
}

// Intake takes events: what Offer returned nil for is durable.
type Intake interface {
	Offer(ctx context.Context, e *queue.Event) error
}

// Options of a keeper.
type Options struct {
	Rules lifecycle.Rules
	// KeepAudit is how long entries of the audit log are kept; 0 is for ever.
	KeepAudit time.Duration
	// Clock returns the time; time.Now if nil.
	Clock func() time.Time
	// Log gets what goes wrong; slog.Default if nil.
	Log *slog.Logger
}

// Keeper keeps the cases. It is safe for concurrent use.
type Keeper struct {
	store  Store
	intake Intake
	opt    Options
	memory *memory
	// order counts transactions of reports, in the order of their commits.
	order   atomic.Uint64
	decided chan struct{} // a token: the outbox has something new
	due     alarm
}

// New returns a keeper, whose Run has to run beside it.
func New(s Store, intake Intake, opt Options) *Keeper {
	if opt.Clock == nil {
		opt.Clock = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	return &Keeper{
		store: s, intake: intake, opt: opt, memory: newMemory(), decided: make(chan struct{}, 1),
		due: alarm{wake: make(chan struct{}, 1)},
	}
}

// Run has timers fire and publishes the outbox until ctx ends. It is called once,
// and returns nil.
func (k *Keeper) Run(ctx context.Context) error {
	var running sync.WaitGroup
	running.Go(func() { k.watch(ctx) })
	running.Go(func() { k.publish(ctx) })
	if k.opt.KeepAudit > 0 {
		running.Go(func() { k.forget(ctx) })
	}
	running.Wait()
	return nil
}

// Recall answers a body that is known: the last one of every case that it is about,
// with nothing decided since. digest is the one that Report was given.
func (k *Keeper) Recall(digest [32]byte) ([]lifecycle.Answer, bool) { return k.memory.recall(digest) }

// Report brings checked reports into their cases, all or none of them, and returns
// once what they lead to is durable; len(answers) == len(reports). digest names what
// was sent, for Recall.
func (k *Keeper) Report(ctx context.Context, digest [32]byte, reports []*lifecycle.Report) ([]lifecycle.Answer, error) {
	keys := make([]store.CaseKey, len(reports))
	for i, r := range reports {
		keys[i] = store.CaseKey{Page: r.Page, Group: r.Group}
	}
	answers := make([]lifecycle.Answer, len(reports))
	var order uint64
	var news bool
	var now, due time.Time
	err := k.store.StepCases(ctx, keys, func(i int, state []byte) (change store.CaseChange, err error) {
		if i == 0 {
			// Inside the transaction, so that no case sees the time go back.
			order, news, now, due = k.order.Add(1), false, k.opt.Clock(), time.Time{}
		}
		r := reports[i]
		change, c, err := k.change(keys[i], state, func(c *lifecycle.Case) (*lifecycle.Case, []lifecycle.Decision) {
			return lifecycle.Step(c, r, now, k.opt.Rules)
		}, now)
		if err != nil {
			return change, err
		}
		if r.Note != "" && c.Occurrence > 0 {
			change.Audit = append(change.Audit, store.AuditEntry{
				At: now, Page: c.Page, IncidentID: c.Said.IncidentID, Source: r.Source, Action: string(r.Note),
				Cause: "a report of " + r.Source, Status: c.Said.Status, Impact: c.Said.Impact,
			})
		}
		news = news || len(change.Events) > 0
		due = earlier(due, c.DueAt)
		answers[i] = answerOf(c, change.State == nil && !change.Forget)
		return change, nil
	})
	if err != nil {
		return nil, err
	}
	k.memory.remember(digest, order, keys, answers)
	k.after(news, due)
	return answers, nil
}

// answerOf tells a sender how its case stands. An incident that is completed is of no
// signal that fires.
func answerOf(c *lifecycle.Case, unchanged bool) lifecycle.Answer {
	a := lifecycle.Answer{Page: c.Page, Duplicate: unchanged, HeldBack: c.HeldBack()}
	if c.Occurrence > 0 && (c.Phase != lifecycle.Quiet || len(c.Firing) == 0) {
		a.IncidentID, a.UpdateID = c.Said.IncidentID, c.Said.UpdateID
	}
	return a
}

// change runs a step of a case and says what the store has to change.
func (k *Keeper) change(key store.CaseKey, state []byte, step func(*lifecycle.Case) (*lifecycle.Case, []lifecycle.Decision), now time.Time) (change store.CaseChange, c *lifecycle.Case, err error) {
	c = lifecycle.NewCase(key.Page, key.Group)
	if state != nil {
		if c, err = lifecycle.ParseCase(state); err != nil {
			return change, nil, err
		}
	}
	c, decisions := step(c)
	if c.Forgettable() {
		return store.CaseChange{Forget: state != nil}, c, nil
	}
	after, err := c.Encode()
	if err != nil || bytes.Equal(state, after) {
		return change, c, err
	}
	change = store.CaseChange{State: after, DueAt: c.DueAt}
	for _, d := range decisions {
		e := d.Event
		body, err := incident.Encode(e)
		if err != nil {
			return change, nil, fmt.Errorf("encode an update: %w", err)
		}
		change.Events = append(change.Events, store.OutboxEvent{
			Page: e.Page, IncidentID: e.IncidentID, UpdateID: e.UpdateID, Source: c.Source, At: now, Body: body,
		})
		change.Audit = append(change.Audit, store.AuditEntry{
			At: now, Page: e.Page, IncidentID: e.IncidentID, Number: d.Number, UpdateID: e.UpdateID, Source: c.Source,
			Action: string(d.Action), Cause: d.Cause, Status: e.Status, Impact: e.Impact,
		})
	}
	return change, c, nil
}

// after wakes whoever has to do with what was committed.
func (k *Keeper) after(news bool, due time.Time) {
	if news {
		ring(k.decided)
	}
	k.due.set(due)
}

// ring leaves a token in a channel of capacity 1.
func ring(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// earlier returns the earlier of two times, of which zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
