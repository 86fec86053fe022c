package lifecycle

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tocsin/tocsin/incident"
)

// The actions of orders, besides those of cases.
const (
	ScheduledFor Action = "scheduled" // a maintenance, or another one in its place
	Reminded     Action = "reminded"
	Started      Action = "started"
	Verifying    Action = "verifying"
	Planned      Action = "planned"   // an update waits for its time
	Cancelled    Action = "cancelled" // what waited
	Dropped      Action = "dropped"   // its time came, and it made no sense any more
)

// Obey does what a checked order asks for, and before that what is due. latest is the
// newest update in the ledger, with its UpdatedAt, or nil; it may be behind what was
// ordered. A known order is a duplicate and changes nothing. a is not changed. The
// error is an [*incident.Invalid] or a [*Refused].
func Obey(a *Agenda, o *Order, latest *incident.Event, now time.Time) (after *Agenda, decisions []Decision, duplicate bool, err error) {
	d := newDesk(a, latest, now)
	if slices.Contains(a.Orders, o.UpdateID) {
		return a, nil, true, nil
	}
	d.fire()
	d.actor = o.actor()
	if err := d.obey(o); err != nil {
		return a, nil, false, err
	}
	if len(d.Pending) > MaxPending {
		return a, nil, false, &Refused{Reason: fmt.Sprintf("%s has %d updates that wait for their time already; cancel them first", a.IncidentID, len(a.Pending))}
	}
	d.remember(o.UpdateID)
	return d.Agenda, d.decisions, false, nil
}

// ObeyDue does what waited for a time that has come. Too early, it changes nothing.
func ObeyDue(a *Agenda, latest *incident.Event, now time.Time) (*Agenda, []Decision) {
	d := newDesk(a, latest, now)
	d.fire()
	return d.Agenda, d.decisions
}

// desk is the work on a copy of an agenda.
type desk struct {
	*Agenda
	latest    *incident.Event
	now       time.Time
	actor     string
	decisions []Decision
}

func newDesk(a *Agenda, latest *incident.Event, now time.Time) *desk {
	return &desk{Agenda: a.copied(), latest: latest, now: now.UTC().Truncate(time.Microsecond)}
}

func (d *desk) obey(o *Order) error {
	base := d.stands(d.latest)
	if base == nil && o.Action != OrderOpen && o.Action != OrderSchedule && (o.Action != OrderCancel || len(d.Pending) == 0) {
		return &Refused{Unknown: true, Reason: "there is no incident by this name, or it is not open yet"}
	}
	switch o.Action {
	case OrderOpen:
		if base != nil || len(d.Pending) > 0 {
			return &Refused{Reason: o.IncidentID + " is there already; update it, or leave the name to the engine"}
		}
		o.Words.Status = or(o.Words.Status, incident.Investigating)
		return d.sayOrWait(o, StepOpen, Opened)
	case OrderUpdate:
		return d.sayOrWait(o, StepUpdate, Changed)
	case OrderResolve:
		if base.Status.Terminal() {
			return &Refused{Reason: fmt.Sprintf("%s is %s already", o.IncidentID, base.Status)}
		}
		return d.sayOrWait(o, StepResolve, Resolved)
	case OrderSchedule:
		return d.schedule(o, base)
	}
	return d.cancel(o, base)
}

// sayOrWait tells an update now or when its time comes. What can't be said now is
// refused even if it is for later.
func (d *desk) sayOrWait(o *Order, step PendingStep, action Action) error {
	if o.At.IsZero() {
		return d.say(action, step, o.UpdateID, o.Words, "an operator said so")
	}
	trial := &desk{Agenda: d.copied(), latest: d.latest, now: o.At}
	if err := trial.say(action, step, o.UpdateID, o.Words, ""); err != nil {
		return err
	}
	d.wait(Pending{At: o.At, Step: step, UpdateID: o.UpdateID, Actor: d.actor, Words: o.Words})
	d.note(Planned, fmt.Sprintf("an operator wants it told at %s: %s", o.At.Format(time.RFC3339), step))
	return nil
}

// schedule announces a maintenance, or another time for one that hasn't begun.
func (d *desk) schedule(o *Order, base *incident.Event) error {
	if base != nil && base.Status != incident.Scheduled {
		return &Refused{Reason: fmt.Sprintf("%s is %s already; schedule another incident", o.IncidentID, base.Status)}
	}
	w := o.Words
	w.Status = incident.Scheduled
	// Times alone are no news to the ledger, so other times have to be in the text.
	if window := fmt.Sprintf("From %s to %s.", clock(o.Start), clock(o.End)); w.Message == "" {
		w.Message = window
	} else if base != nil {
		w.Message += "\n" + window
	}
	d.drop(PendingStep.maintenance)
	e, err := d.compose(StepUpdate, o.UpdateID, w)
	if err != nil {
		return err
	}
	e.StartedAt = o.Start
	d.tell(ScheduledFor, e, fmt.Sprintf("an operator scheduled it from %s to %s", o.Start.Format(time.RFC3339), o.End.Format(time.RFC3339)))
	if o.Reminder > 0 {
		remind := Words{Message: o.ReminderMessage}
		if remind.Message == "" {
			remind.Message = fmt.Sprintf("Begins at %s.", clock(o.Start))
		}
		d.wait(Pending{At: o.Start.Add(-o.Reminder), Step: StepReminder, UpdateID: o.stepID(StepReminder), Actor: d.actor, Words: remind})
	}
	d.wait(Pending{At: o.Start, Step: StepStart, UpdateID: o.stepID(StepStart), Actor: d.actor, Words: Words{Status: incident.InProgress}})
	end := Words{Status: incident.Completed}
	if o.Verify {
		end.Status = incident.Verifying
	}
	d.wait(Pending{At: o.End, Step: StepEnd, UpdateID: o.stepID(StepEnd), Actor: d.actor, Words: end})
	return nil
}

// cancel ends all that waits. Who heard of a maintenance that hasn't begun hears that
// it won't.
func (d *desk) cancel(o *Order, base *incident.Event) error {
	announced := base != nil && base.Status == incident.Scheduled
	dropped := d.drop(func(PendingStep) bool { return true })
	if dropped == 0 && !announced {
		return &Refused{Reason: "nothing of " + o.IncidentID + " waits for its time"}
	}
	if !announced {
		if o.Words.Message != "" {
			return &incident.Invalid{Field: "message", Reason: "would reach nobody: what is cancelled was not announced, or has begun; use the action update"}
		}
		d.note(Cancelled, fmt.Sprintf("an operator cancelled what waited for its time: %d updates", dropped))
		return nil
	}
	w := o.Words
	w.Status, w.Message = incident.Completed, or(w.Message, "Cancelled.")
	return d.say(Cancelled, StepUpdate, o.UpdateID, w, "an operator cancelled the maintenance")
}

// fire does what is due, in order. What was missed while the engine was down is told
// late, but a reminder of what begins with it.
func (d *desk) fire() {
	for len(d.Pending) > 0 && !d.Pending[0].At.After(d.now) {
		p := d.Pending[0]
		d.Pending = slices.Delete(d.Pending, 0, 1)
		d.actor = p.Actor
		action := map[PendingStep]Action{StepOpen: Opened, StepUpdate: Changed, StepResolve: Resolved,
			StepReminder: Reminded, StepStart: Started, StepEnd: Completed}[p.Step]
		if p.Words.Status == incident.Verifying && p.Step == StepEnd {
			action = Verifying
		}
		err := d.fits(p)
		if err == nil {
			err = d.say(action, p.Step, p.UpdateID, p.Words, "its time came: "+p.At.Format(time.RFC3339))
		}
		if err != nil {
			d.note(Dropped, fmt.Sprintf("the time of a %s came, %s, and nothing was told: %s", p.Step, p.At.Format(time.RFC3339), err))
		}
	}
}

// fits says why a pending update makes no sense any more.
func (d *desk) fits(p Pending) error {
	base := d.stands(d.latest)
	switch {
	case p.Step == StepOpen:
		if base != nil {
			return errors.New("the incident is there already")
		}
	case base == nil:
		return errors.New("there is no such incident")
	case p.Step == StepReminder || p.Step == StepStart:
		if base.Status != incident.Scheduled {
			return fmt.Errorf("it is %s already", base.Status)
		}
		begins := func(q Pending) bool { return q.Step == StepStart && !q.At.After(d.now) }
		if p.Step == StepReminder && slices.ContainsFunc(d.Pending, begins) {
			return errors.New("it begins now")
		}
	case p.Step == StepResolve || p.Step == StepEnd:
		if base.Status.Terminal() {
			return fmt.Errorf("it is %s already", base.Status)
		}
	}
	return nil
}

// say tells an update. By its status, steps of a schedule have no more sense.
func (d *desk) say(action Action, step PendingStep, updateID string, w Words, cause string) error {
	e, err := d.compose(step, updateID, w)
	if err != nil {
		return err
	}
	d.tell(action, e, cause)
	switch {
	case e.Status.Terminal():
		d.drop(PendingStep.maintenance)
	case e.Status == incident.InProgress || e.Status == incident.Verifying:
		d.drop(func(s PendingStep) bool { return s == StepReminder || s == StepStart })
	}
	return nil
}

// compose makes the whole update of what is said and how the incident stands. It has
// no time of its own: what is ordered by hand is told in the order in which it
// arrives, however clocks stand.
func (d *desk) compose(step PendingStep, updateID string, w Words) (*incident.Event, error) {
	e := &incident.Event{
		Page: d.Page, IncidentID: d.IncidentID, UpdateID: updateID, StartedAt: d.now, AffectedComponents: []string{},
		Status: incident.Investigating, Impact: incident.ImpactNone, Message: w.Message, Test: w.Test,
	}
	if base := d.stands(d.latest); base != nil {
		e.Status, e.Impact, e.AffectedComponents, e.Visibility = base.Status, base.Impact, base.AffectedComponents, base.Visibility
		e.StartedAt, e.ResolvedAt, e.Title, e.Links, e.Test = base.StartedAt, base.ResolvedAt, base.Title, base.Links, base.Test
		if w.Test && !base.Test {
			return nil, &incident.Invalid{Field: "test", Reason: "must not be said of an incident that is real"}
		}
	}
	if step == StepResolve {
		w.Status = endOf(e)
	}
	e.Status, e.Impact, e.Visibility, e.Title = or(w.Status, e.Status), or(w.Impact, e.Impact), or(w.Visibility, e.Visibility), or(w.Title, e.Title)
	if w.Components != nil {
		e.AffectedComponents = w.Components
	}
	switch {
	case !e.Status.Terminal():
		e.ResolvedAt = time.Time{}
	case e.ResolvedAt.IsZero():
		e.ResolvedAt = d.now
	}
	if err := e.Validate(); err != nil {
		return nil, err
	}
	return e, nil
}

// endOf is how an incident, or a maintenance, ends.
func endOf(e *incident.Event) incident.Status {
	switch e.Status {
	case incident.Scheduled, incident.InProgress, incident.Verifying:
		return incident.Completed
	}
	return incident.Resolved
}

// tell adds an update to the decisions and remembers it.
func (d *desk) tell(action Action, e *incident.Event, cause string) {
	d.decisions = append(d.decisions, Decision{Action: action, Cause: cause, Actor: d.actor, Event: e})
	said := *e
	said.Message, said.UpdatedAt = "", d.now
	d.Said = &said
}

// note adds what is for the audit log alone.
func (d *desk) note(action Action, cause string) {
	d.decisions = append(d.decisions, Decision{Action: action, Cause: cause, Actor: d.actor})
}

// clock is a time as readers of a notice are told it.
func clock(t time.Time) string { return t.Format("2006-01-02 15:04 UTC") }
