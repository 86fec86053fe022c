package lifecycle

import (
	"fmt"
	"slices"
	"time"

	"github.com/tocsin/tocsin/incident"
)

// Action is what a decision did to an incident.
type Action string

// The actions.
const (
	Opened    Action = "opened"
	Changed   Action = "changed"
	Resolved  Action = "resolved"
	Reopened  Action = "reopened"
	Completed Action = "completed"
	// Acknowledged is that somebody looks into it; nobody is told of that.
	Acknowledged Action = "acknowledged"
)

// Decision is one update to be told, and why.
type Decision struct {
	Action Action
	// Cause is a sentence for the audit log. It has nothing of a sender's texts.
	Cause string
	// Number is that of the update within its incident.
	Number int
	// Event is valid, and has an update_id of its own: to publish it twice is a
	// known duplicate.
	Event *incident.Event
}

// Step brings a checked report into a case. It returns the case as it is then and
// what is to be told now, in order; c is not changed. Timers that are overdue go
// first, so it makes no difference how late they are.
func Step(c *Case, r *Report, now time.Time, rules Rules) (*Case, []Decision) {
	s := begin(c, now, rules)
	if !c.DueAt.IsZero() && !now.Before(c.DueAt) {
		s.settle("")
	}
	before := len(s.Firing)
	began, ended := s.fold(r, s.now)
	s.settle(fmt.Sprintf("a report of %s: of %d signals %d ended, and %d more fire", r.Source, before, ended, began))
	return s.Case, s.decisions
}

// Due does what a case waits for: the end of the window, of the cool-down, or of the
// time that a rule asks for. Too early, it changes nothing.
func Due(c *Case, now time.Time, rules Rules) (*Case, []Decision) {
	s := begin(c, now, rules)
	if !c.DueAt.IsZero() && !now.Before(c.DueAt) {
		s.settle("")
	}
	return s.Case, s.decisions
}

// step is the work on a copy of a case. Slices are replaced, never written to.
type step struct {
	*Case
	now       time.Time
	rules     Rules
	decisions []Decision
}

func begin(c *Case, now time.Time, rules Rules) *step {
	changed := *c
	changed.Firing = slices.Clone(c.Firing)
	return &step{Case: &changed, now: now.UTC().Truncate(time.Microsecond), rules: rules}
}

// settle brings what was told in line with what is, as far as the time allows, and
// sets when to go on. cause is "" for a timer.
func (s *step) settle(cause string) {
	s.DueAt = time.Time{}
	if s.Phase == Cooling {
		s.cool(cause)
	}
	switch s.Phase {
	case Quiet:
		s.open(cause)
	case Open:
		s.update(cause)
	}
}

// open begins to tell of a case that a rule or a mark promotes.
func (s *step) open(cause string) {
	v, next := s.rules.promote(s.Firing, s.now)
	if v == "" {
		s.DueAt = next
		return
	}
	s.Phase, s.Visibility, s.Said = Open, v, Said{}
	s.Ending = Ending{}
	s.Occurrence++
	s.StartedAt = s.telling()[0].StartedAt
	s.say(Opened, incident.Investigating, s.content(), because(cause, "it fired for as long as a rule asks"))
	_, s.DueAt = s.rules.promote(s.Firing, s.now)
}

// update tells what changed of an open incident.
func (s *step) update(cause string) {
	v, next := s.rules.promote(s.Firing, s.now)
	heard := s.Visibility
	s.Visibility = wider(heard, v)
	want := s.content()
	over := len(s.telling()) == 0
	if !over && want.same(s.Said) {
		s.DueAt = next
		return
	}
	if s.waits() {
		s.Visibility = heard // the larger audience may never hear of it
		return
	}
	if !over {
		s.say(Changed, s.Said.Status, want, because(cause, "the window after the last update ended"))
		s.DueAt = next
		return
	}
	if s.Ending.At.Before(s.StartedAt) { // by a sender's clock, or nobody said when
		s.Ending.At = s.now
	}
	s.say(Resolved, incident.Resolved, s.Said.content(), because(cause, "the window after the last update ended"))
	s.Phase, s.CompleteAt = Cooling, s.now.Add(s.rules.Cooldown)
	s.DueAt = s.CompleteAt
}

// cool completes a resolved incident or opens it again.
func (s *step) cool(cause string) {
	if len(s.telling()) == 0 {
		// One audience has heard the end; another may be told of what still fires
		// only afterwards, as of an incident of its own.
		if s.now.Before(s.CompleteAt) {
			s.DueAt = s.CompleteAt
			return
		}
		s.say(Completed, incident.Completed, s.Said.content(), fmt.Sprintf("nothing fired for the cool-down of %s", s.rules.Cooldown))
		s.Phase, s.Visibility, s.CompleteAt, s.Ending = Quiet, "", time.Time{}, Ending{}
		return
	}
	if s.waits() {
		return
	}
	s.Phase, s.CompleteAt, s.Ending = Open, time.Time{}, Ending{}
	v, _ := s.rules.promote(s.Firing, s.now)
	s.Visibility = wider(s.Visibility, v)
	s.say(Reopened, incident.Investigating, s.content(), because(cause, "the window after the last update ended"))
}

// waits says that it is too early for another update, and when it won't be. A clock
// that was set back far keeps nobody waiting.
func (s *step) waits() bool {
	if since := s.now.Sub(s.Said.At); since <= -s.rules.Window || since >= s.rules.Window {
		return false
	}
	s.DueAt = s.Said.At.Add(s.rules.Window)
	return true
}

func because(cause, timer string) string {
	if cause == "" {
		return timer
	}
	return cause
}
