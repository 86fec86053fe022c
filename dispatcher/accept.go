package dispatcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/queue"
)

// MaxAhead is how far updated_at may lie in the future before an event is
// refused: such a time would make every later update stale.
const MaxAhead = 5 * time.Minute

// acceptSlice is how many events one transaction accepts at most.
const acceptSlice = 256

// Decide returns the rule of acceptance at the given time: what becomes of an
// arrival, given what the ledger knows of its incident. expiresAfter is the
// life of an update that names no expires_at.
func Decide(now time.Time, expiresAfter time.Duration) DecideFunc {
	return func(s IncidentState, a *Arrival) Decision {
		ev := a.Event
		switch {
		case s.KnownHere:
			return Decision{Result: AcceptedDuplicate, Sequence: s.Known, Resume: s.Known > 0 && !s.KnownPlanned}
		case ev.UpdatedAt.After(now.Add(MaxAhead)):
			return Decision{
				Result: AcceptedRefused, Field: "updated_at",
				Reason: fmt.Sprintf("is more than %s ahead of this engine's clock; check the producer's clock", MaxAhead),
			}
		case s.Exists && s.Hash == a.Hash:
			return Decision{Result: AcceptedDuplicate, Sequence: s.Sequence, Resume: !s.Planned}
		case s.Exists && !ev.UpdatedAt.IsZero() && ev.UpdatedAt.Before(s.UpdatedAt):
			return Decision{Result: AcceptedStale, UpdateID: a.UpdateID, UpdatedAt: ev.UpdatedAt, AcceptedAt: now}
		}
		d := Decision{
			Result:     AcceptedNew,
			Sequence:   s.Sequence + 1,
			UpdateID:   a.UpdateID,
			UpdatedAt:  ev.UpdatedAt,
			ExpiresAt:  ev.ExpiresAt,
			AcceptedAt: now,
			Highest:    incident.Highest(s.Highest, ev.Impact),
			Components: union(s.Components, ev.AffectedComponents),
			Whole:      s.Whole || len(ev.AffectedComponents) == 0,
		}
		if d.UpdateID == "" {
			d.UpdateID = incident.UpdateID(ev.Page, ev.IncidentID, d.Sequence)
		}
		if d.UpdatedAt.IsZero() { // arrival order, and never behind the latest
			d.UpdatedAt = a.ReceivedAt
			if d.UpdatedAt.Before(s.UpdatedAt) {
				d.UpdatedAt = s.UpdatedAt
			}
		}
		if d.ExpiresAt.IsZero() {
			d.ExpiresAt = now.Add(expiresAfter)
		}
		return d
	}
}

// union appends to a what b has and a doesn't, keeping order.
func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// accept takes events from the intake, in order, until ctx ends. A crash
// between the ledger's commit and Conclude brings the events again: they are
// then duplicates whose plan is resumed.
func (e *Engine) accept(ctx context.Context) error {
	for {
		events, err := e.intake.Take(ctx, acceptSlice)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, queue.ErrClosed) {
				return nil
			}
			e.log.Warn("intake can't be read; trying again", "error", err)
			if !e.pause(ctx, e.opt.ErrorPause) {
				return nil
			}
			continue
		}
		verdicts, plans, err := e.acceptSlice(ctx, events)
		if err != nil {
			return endOf(ctx, err)
		}
		if err := e.fail(FailAccepted); err != nil {
			return err
		}
		for _, p := range plans {
			e.planner.add(p)
		}
		if err := e.conclude(ctx, events, verdicts); err != nil {
			return err
		}
	}
}

// acceptSlice decodes events and brings them into the ledger, however long
// the store needs. It returns an error only when ctx ended or a failpoint hit.
func (e *Engine) acceptSlice(ctx context.Context, events []*queue.Event) ([]queue.Verdict, []*Plan, error) {
	if err := e.fail(FailBeforeAccept); err != nil {
		return nil, nil, err
	}
	verdicts := make([]queue.Verdict, len(events))
	arrivals := make([]*Arrival, 0, len(events))
	where := make([]int, 0, len(events)) // arrival → event
	for i, q := range events {
		ev, err := incident.Decode(q.Body)
		if err == nil && ev.CallbackURL != "" {
			err = e.callbacks.Check(ev.CallbackURL)
		}
		if err != nil {
			verdicts[i] = refusal(err)
			e.meter.EventAccepted(q.Source, "invalid")
			continue
		}
		id := ev.UpdateID
		if id == "" {
			id = q.UpdateID
		}
		arrivals = append(arrivals, &Arrival{Event: ev, Sender: q.Sender, UpdateID: id, ReceivedAt: q.ReceivedAt, Hash: ev.ContentHash()})
		where = append(where, i)
	}
	if len(arrivals) == 0 {
		return verdicts, nil, nil
	}
	accepted, err := e.acceptAll(ctx, arrivals)
	if err != nil {
		return nil, nil, err
	}
	var plans []*Plan
	for n, acc := range accepted {
		a, i := arrivals[n], where[n]
		v := queue.Verdict{IncidentID: a.Event.IncidentID, UpdateID: cmp.Or(acc.UpdateID, a.UpdateID), Sequence: acc.Sequence}
		switch acc.Result {
		case AcceptedNew:
			v.Result = "accepted"
		case AcceptedDuplicate:
			v.Result = "duplicate"
		case AcceptedStale:
			v.Result = "stale"
		case AcceptedRefused:
			v.Result, v.Field, v.Reason = "invalid", acc.Field, acc.Reason
		}
		if acc.Plan != nil {
			plans = append(plans, acc.Plan)
		}
		verdicts[i] = v
		e.meter.EventAccepted(events[i].Source, v.Result)
		told := []any{"page", a.Event.Page, "incident", a.Event.IncidentID,
			"sequence", acc.Sequence, "status", a.Event.Status, "impact", a.Event.Impact}
		if acc.Reason != "" {
			told = append(told, "field", acc.Field, "reason", acc.Reason)
		}
		e.log.Info("event "+v.Result, told...)
	}
	return verdicts, plans, nil
}

// acceptAll brings arrivals into the ledger. One that the store refuses for good
// is refused alone, and does not come again.
func (e *Engine) acceptAll(ctx context.Context, arrivals []*Arrival) (accepted []Acceptance, err error) {
	err = e.insist(ctx, "accept", func() (err error) {
		accepted, err = e.ledger.Accept(ctx, arrivals, Decide(e.now(), e.opt.ExpiresAfter))
		return err
	})
	switch {
	case !errors.Is(err, ErrLedgerRefused):
		return accepted, err
	case len(arrivals) == 1:
		e.log.Error("the store refuses an event", "page", arrivals[0].Event.Page, "incident", arrivals[0].Event.IncidentID, "error", err)
		return []Acceptance{{Decision: Decision{Result: AcceptedRefused, Field: "event", Reason: "the store can't keep it; the engine's log says why"}}}, nil
	}
	accepted = nil
	for i := range arrivals {
		one, err := e.acceptAll(ctx, arrivals[i:i+1])
		if err != nil {
			return nil, err
		}
		accepted = append(accepted, one...)
	}
	return accepted, nil
}

// refusal is the verdict on an event that is not valid here.
func refusal(err error) queue.Verdict {
	v := queue.Verdict{Result: "invalid", Reason: err.Error()}
	if inv := (*incident.Invalid)(nil); errors.As(err, &inv) {
		v.Field, v.Reason = inv.Field, inv.Reason
	}
	return v
}

// conclude removes accepted events from the intake. If the intake is away, so
// are the leases: the events come again and are recognised.
func (e *Engine) conclude(ctx context.Context, events []*queue.Event, verdicts []queue.Verdict) error {
	if err := e.intake.Conclude(ctx, events, verdicts); err != nil && ctx.Err() == nil {
		e.log.Warn("accepted events could not be removed from the intake; they will come again and be recognised", "error", err)
	}
	return nil
}
