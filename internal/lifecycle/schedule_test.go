package lifecycle

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/incident"
)

// heard is what decisions say, and whether they are told: "opened investigating
// major api: We look." or "(planned)" for the audit log alone.
func heard(decisions []Decision) string {
	var list []string
	for _, d := range decisions {
		if d.Event == nil {
			list = append(list, "("+string(d.Action)+")")
			continue
		}
		e := d.Event
		text := fmt.Sprintf("%s %s %s %s", d.Action, e.Status, e.Impact, strings.Join(e.AffectedComponents, ","))
		if e.Message != "" {
			text += ": " + e.Message
		}
		list = append(list, text)
	}
	return strings.Join(list, "; ")
}

// desktop is an agenda in virtual time, with a ledger that takes all that is told at
// once, unless it is behind.
type desktop struct {
	*testing.T
	agenda *Agenda
	now    time.Time
	latest *incident.Event
	behind bool
	n      int
}

func newDesktop(t *testing.T) *desktop {
	return &desktop{T: t, agenda: NewAgenda("default", "INC-1"), now: epoch}
}

func (d *desktop) accept(decisions []Decision) {
	d.Helper()
	for _, one := range decisions {
		if one.Event == nil {
			continue
		}
		if err := one.Event.Validate(); err != nil {
			d.Fatalf("%s: %v", one.Action, err)
		}
		if !d.behind {
			e := *one.Event
			e.UpdatedAt = d.now
			d.latest = &e
		}
	}
}

// pass goes through the store and through time, timer by timer.
func (d *desktop) pass(until time.Duration) string {
	d.Helper()
	var all []Decision
	for end := epoch.Add(until); ; {
		state, err := d.agenda.Encode()
		if err != nil {
			d.Fatal(err)
		}
		if d.agenda, err = ParseAgenda(state); err != nil {
			d.Fatal(err)
		}
		due := d.agenda.DueAt()
		if due.IsZero() || due.After(end) {
			d.now = end
			break
		}
		d.now = due
		early, none := ObeyDue(d.agenda, d.latest, due.Add(-time.Microsecond))
		if again, _ := early.Encode(); len(none) > 0 || string(again) != string(state) {
			d.Fatalf("too early, %s", heard(none))
		}
		after, decisions := ObeyDue(d.agenda, d.latest, due)
		d.agenda = after
		d.accept(decisions)
		all = append(all, decisions...)
	}
	return heard(all)
}

func (d *desktop) order(o Order) (string, error) {
	d.Helper()
	d.n++
	o.Page, o.IncidentID, o.Caller = "default", "INC-1", "local"
	if o.UpdateID == "" {
		o.UpdateID = fmt.Sprintf("key-%d", d.n)
	}
	if err := o.Check(d.now); err != nil {
		return "", err
	}
	after, decisions, duplicate, err := Obey(d.agenda, &o, d.latest, d.now)
	if err != nil {
		return "", err
	}
	if duplicate {
		return "duplicate", nil
	}
	d.agenda = after
	d.accept(decisions)
	return heard(decisions), nil
}

func (d *desktop) want(o Order, expected string) {
	d.Helper()
	got, err := d.order(o)
	if err != nil {
		got = err.Error()
	}
	if got != expected {
		d.Fatalf("%s is\n    %s\nnot %s", o.Action, got, expected)
	}
}

func (d *desktop) wantPass(until time.Duration, expected string) {
	d.Helper()
	if got := d.pass(until); got != expected {
		d.Fatalf("until %s there is\n    %s\nnot %s", until, got, expected)
	}
}

var (
	opening = Order{Action: OrderOpen, Words: Words{Impact: incident.ImpactMajor, Components: []string{"api"}, Title: "API down", Message: "We look."}}
	works   = Order{Action: OrderSchedule, Words: Words{Components: []string{"db"}, Title: "Works"}, Start: epoch.Add(2 * time.Hour), End: epoch.Add(4 * time.Hour), Reminder: time.Hour}
)

const announced = "scheduled scheduled maintenance db: From 2026-11-21 07:00 UTC to 2026-11-21 09:00 UTC."

func TestOrders(t *testing.T) {
	for _, behind := range []bool{false, true} {
		d := newDesktop(t)
		d.behind = behind
		d.want(opening, "opened investigating major api: We look.")
		d.want(opening, "INC-1 is there already; update it, or leave the name to the engine")
		d.want(Order{Action: OrderUpdate, UpdateID: "k", Words: Words{Status: incident.Identified, Message: "A disk."}}, "changed identified major api: A disk.")
		d.want(Order{Action: OrderUpdate, UpdateID: "k", Words: Words{Message: "Another."}}, "duplicate")
		d.want(Order{Action: OrderUpdate, Words: Words{Impact: incident.ImpactMinor, Components: []string{}}}, "changed identified minor ")
		d.want(Order{Action: OrderUpdate, Words: Words{Test: true, Message: "x"}}, "test: is said of an incident when it is opened; its updates are tests, too")
		d.want(Order{Action: OrderCancel}, "nothing of INC-1 waits for its time")
		d.now = d.now.Add(time.Minute)
		d.want(Order{Action: OrderResolve, Words: Words{Message: "Done."}}, "resolved resolved minor : Done.")
		if end := d.agenda.Said; end.ResolvedAt != d.now || end.StartedAt != epoch || end.Title != "API down" || end.Message != "" {
			t.Errorf("the end is %+v", end)
		}
		d.want(Order{Action: OrderResolve}, "INC-1 is resolved already")
		d.want(Order{Action: OrderUpdate, Words: Words{Status: incident.Investigating}}, "changed investigating minor ")
		if !d.agenda.Said.ResolvedAt.IsZero() {
			t.Error("open again, it has an end")
		}
	}
}

// TestTheLaterWordCounts: a producer's update fills what an operator leaves out, once
// it is later than the last order.
func TestTheLaterWordCounts(t *testing.T) {
	d := newDesktop(t)
	d.want(opening, "opened investigating major api: We look.")
	d.latest = &incident.Event{Page: "default", IncidentID: "INC-1", Status: incident.Monitoring, Impact: incident.ImpactCritical,
		AffectedComponents: []string{"api", "db"}, StartedAt: epoch.Add(-time.Hour), Title: "Theirs", Message: "secret", Visibility: incident.Private, UpdatedAt: epoch.Add(-time.Second)}
	d.want(Order{Action: OrderUpdate, Words: Words{Message: "m"}}, "changed investigating major api: m")
	d.latest.UpdatedAt = epoch.Add(time.Second)
	d.latest.Status, d.latest.Impact = incident.Monitoring, incident.ImpactCritical
	d.want(Order{Action: OrderUpdate, Words: Words{Title: "Ours"}}, "changed monitoring critical api")
}

func TestUnknownIncidents(t *testing.T) {
	for _, action := range []OrderAction{OrderUpdate, OrderResolve, OrderCancel} {
		_, err := newDesktop(t).order(Order{Action: action, Words: Words{Message: "m"}})
		if refused, ok := errors.AsType[*Refused](err); !ok || !refused.Unknown {
			t.Errorf("%s: %v", action, err)
		}
	}
}

func TestSchedule(t *testing.T) {
	d := newDesktop(t)
	d.want(works, announced)
	if d.agenda.Said.StartedAt != works.Start {
		t.Errorf("it begins at %s", d.agenda.Said.StartedAt)
	}
	d.wantPass(59*time.Minute, "")
	d.wantPass(time.Hour, "reminded scheduled maintenance db: Begins at 2026-11-21 07:00 UTC.")
	d.wantPass(2*time.Hour, "started in_progress maintenance db")
	d.wantPass(4*time.Hour-time.Second, "")
	d.wantPass(4*time.Hour, "completed completed maintenance db")
	if end := d.agenda.Said; end.ResolvedAt != works.End || end.StartedAt != works.Start || end.Title != "Works" {
		t.Errorf("the end is %+v", end)
	}
	d.wantPass(100*time.Hour, "")
}

func TestScheduleEndsWithVerifying(t *testing.T) {
	d := newDesktop(t)
	o := works
	o.Verify, o.Reminder, o.Words.Message = true, 0, "Be patient."
	d.want(o, "scheduled scheduled maintenance db: Be patient.")
	d.wantPass(5*time.Hour, "started in_progress maintenance db; verifying verifying maintenance db")
	d.want(Order{Action: OrderResolve}, "resolved completed maintenance db")
}

// TestMissedTimes: the engine was down over all of it.
func TestMissedTimes(t *testing.T) {
	d := newDesktop(t)
	d.want(works, announced)
	d.now = epoch.Add(90 * time.Minute)
	_, decisions := ObeyDue(d.agenda, d.latest, d.now)
	if got := heard(decisions); got != "reminded scheduled maintenance db: Begins at 2026-11-21 07:00 UTC." {
		t.Errorf("the reminder, late: %s", got)
	}
	_, decisions = ObeyDue(d.agenda, d.latest, epoch.Add(9*time.Hour))
	if got := heard(decisions); got != "(dropped); started in_progress maintenance db; completed completed maintenance db" {
		t.Errorf("all of it, late: %s", got)
	}
	// An order that comes before the timers finds what they would have done.
	d.now = epoch.Add(9 * time.Hour)
	d.want(Order{Action: OrderUpdate, Words: Words{Message: "Sorry."}},
		"(dropped); started in_progress maintenance db; completed completed maintenance db; changed completed maintenance db: Sorry.")
}

// TestTheClockGoesBack: what was told is not told again.
func TestTheClockGoesBack(t *testing.T) {
	d := newDesktop(t)
	d.want(works, announced)
	d.wantPass(2*time.Hour, "reminded scheduled maintenance db: Begins at 2026-11-21 07:00 UTC.; started in_progress maintenance db")
	after, decisions := ObeyDue(d.agenda, d.latest, epoch)
	if d.agenda = after; len(decisions) > 0 {
		t.Errorf("with the clock set back: %s", heard(decisions))
	}
	d.wantPass(4*time.Hour, "completed completed maintenance db")
}

func TestReschedule(t *testing.T) {
	d := newDesktop(t)
	o := works
	o.Words.Message = "Works."
	d.want(o, "scheduled scheduled maintenance db: Works.")
	d.wantPass(time.Hour, "reminded scheduled maintenance db: Begins at 2026-11-21 07:00 UTC.")
	later := Order{Action: OrderSchedule, Start: epoch.Add(26 * time.Hour), End: epoch.Add(27 * time.Hour), Words: Words{Components: []string{"db"}, Message: "Works."}}
	d.want(later, "scheduled scheduled maintenance db: Works.\nFrom 2026-11-22 07:00 UTC to 2026-11-22 08:00 UTC.")
	d.wantPass(25*time.Hour, "")
	d.wantPass(26*time.Hour, "started in_progress maintenance db")
	later.Start, later.End = epoch.Add(30*time.Hour), epoch.Add(31*time.Hour)
	d.want(later, "INC-1 is in_progress already; schedule another incident")
}

func TestCancel(t *testing.T) {
	d := newDesktop(t)
	d.want(works, announced)
	d.want(Order{Action: OrderCancel}, "cancelled completed maintenance db: Cancelled.")
	d.wantPass(100*time.Hour, "")

	d = newDesktop(t)
	d.want(works, announced)
	d.wantPass(2*time.Hour, "reminded scheduled maintenance db: Begins at 2026-11-21 07:00 UTC.; started in_progress maintenance db")
	d.want(Order{Action: OrderCancel, Words: Words{Message: "m"}}, "message: would reach nobody: what is cancelled was not announced, or has begun; use the action update")
	d.want(Order{Action: OrderCancel}, "(cancelled)")
	d.wantPass(100*time.Hour, "")
	d.want(Order{Action: OrderResolve}, "resolved completed maintenance db")
}

// TestByHandBeforeItsTime: what someone says by hand takes the place of the timers.
func TestByHandBeforeItsTime(t *testing.T) {
	d := newDesktop(t)
	d.want(works, announced)
	d.want(Order{Action: OrderUpdate, Words: Words{Status: incident.InProgress}}, "changed in_progress maintenance db")
	d.wantPass(3*time.Hour, "")
	d.want(Order{Action: OrderResolve}, "resolved completed maintenance db")
	d.wantPass(100*time.Hour, "")
	d.want(Order{Action: OrderUpdate, Words: Words{Status: incident.InProgress}}, "changed in_progress maintenance db")

	// A producer's word, of which the agenda hears from the ledger alone.
	d = newDesktop(t)
	d.want(works, announced)
	ended := *d.latest
	ended.Status, ended.UpdatedAt = incident.Completed, epoch.Add(time.Minute)
	d.latest = &ended
	d.wantPass(100*time.Hour, "(dropped); (dropped); (dropped)")
}

func TestLater(t *testing.T) {
	d := newDesktop(t)
	o := opening
	o.At = epoch.Add(time.Hour)
	d.want(o, "(planned)")
	d.want(opening, "INC-1 is there already; update it, or leave the name to the engine")
	d.want(Order{Action: OrderUpdate, Words: Words{Message: "m"}}, "there is no incident by this name, or it is not open yet")
	d.wantPass(time.Hour, "opened investigating major api: We look.")
	if d.agenda.Said.StartedAt != o.At {
		t.Errorf("it began at %s", d.agenda.Said.StartedAt)
	}
	d.want(Order{Action: OrderUpdate, Words: Words{Message: "Soon."}, At: epoch.Add(2 * time.Hour)}, "(planned)")
	d.want(Order{Action: OrderResolve, At: epoch.Add(3 * time.Hour)}, "(planned)")
	d.want(Order{Action: OrderUpdate, Words: Words{Status: incident.Monitoring}}, "changed monitoring major api")
	d.wantPass(2*time.Hour, "changed monitoring major api: Soon.")
	d.wantPass(3*time.Hour, "resolved resolved major api")

	d = newDesktop(t)
	d.want(o, "(planned)")
	d.want(Order{Action: OrderCancel}, "(cancelled)")
	d.wantPass(9*time.Hour, "")
	d.want(opening, "opened investigating major api: We look.")
}

func TestTooMuchPending(t *testing.T) {
	d := newDesktop(t)
	d.want(opening, "opened investigating major api: We look.")
	for range MaxPending {
		d.want(Order{Action: OrderUpdate, Words: Words{Message: "m"}, At: epoch.Add(time.Hour)}, "(planned)")
	}
	d.want(Order{Action: OrderUpdate, Words: Words{Message: "m"}, At: epoch.Add(time.Hour)}, "INC-1 has 20 updates that wait for their time already; cancel them first")
	for range 2 * maxKeys {
		d.want(Order{Action: OrderUpdate, Words: Words{Message: "m"}}, "changed investigating major api: m")
	}
	if len(d.agenda.Orders) != maxKeys {
		t.Errorf("%d orders are remembered", len(d.agenda.Orders))
	}
}

func TestFaultyOrders(t *testing.T) {
	in := func(d time.Duration) time.Time { return epoch.Add(d) }
	for name, test := range map[string]struct {
		change func(*Order)
		field  string
	}{
		"no action":            {func(o *Order) { o.Action = "do" }, "action"},
		"no components":        {func(o *Order) { o.Words.Components = nil }, "affected_components"},
		"nothing new":          {func(o *Order) { o.Action, o.Words = OrderUpdate, Words{} }, "message"},
		"a faulty impact":      {func(o *Order) { o.Words.Impact = "bad" }, "impact"},
		"a faulty page":        {func(o *Order) { o.Page = "a b" }, "page"},
		"a faulty component":   {func(o *Order) { o.Words.Components = []string{""} }, "affected_components[0]"},
		"a long title":         {func(o *Order) { o.Words.Title = strings.Repeat("x", 513) }, "title"},
		"scheduled by hand":    {func(o *Order) { o.Action, o.Words.Status = OrderUpdate, incident.Scheduled }, "status"},
		"a status to schedule": {func(o *Order) { o.Words.Status = incident.InProgress }, "status"},
		"opened as resolved": {func(o *Order) {
			o.Action, o.Words.Status, o.Words.Impact = OrderOpen, incident.Resolved, incident.ImpactMinor
		}, "status"},
		"an address as author":   {func(o *Order) { o.Author = "alice@example.com" }, "author"},
		"a number as author":     {func(o *Order) { o.Author = "+49 170 1234567" }, "author"},
		"two lines of author":    {func(o *Order) { o.Author = "a\nb" }, "author"},
		"no start":               {func(o *Order) { o.Start = time.Time{} }, "start"},
		"a start in the past":    {func(o *Order) { o.Start = in(0) }, "start"},
		"an end before":          {func(o *Order) { o.End = o.Start }, "end"},
		"far ahead":              {func(o *Order) { o.End = in(400 * 24 * time.Hour) }, "end"},
		"a reminder in the past": {func(o *Order) { o.Reminder = 2 * time.Hour }, "reminder"},
		"words for no reminder":  {func(o *Order) { o.Reminder, o.ReminderMessage = 0, "x" }, "reminder"},
		"a faulty reminder":      {func(o *Order) { o.ReminderMessage = "\x01" }, "reminder_message"},
		"a time to schedule":     {func(o *Order) { o.At = in(time.Hour) }, "at"},
		"a start to open":        {func(o *Order) { o.Action, o.Words.Impact = OrderOpen, incident.ImpactMinor }, "start"},
		"a time to cancel":       {func(o *Order) { *o = Order{Action: OrderCancel, At: in(time.Hour)} }, "at"},
		"in the past":            {func(o *Order) { *o = Order{Action: OrderResolve, At: in(-time.Hour)} }, "at"},
		"no incident":            {func(o *Order) { *o = Order{Action: OrderResolve, IncidentID: "none"} }, "incident_id"},
		"no name":                {func(o *Order) { *o = Order{Action: OrderResolve, UpdateID: "none"} }, "update_id"},
	} {
		o := works
		o.IncidentID, o.UpdateID = "I", "u"
		test.change(&o)
		switch {
		case o.IncidentID == "none":
			o.IncidentID = ""
		case o.UpdateID == "none":
			o.IncidentID, o.UpdateID = "I", ""
		case o.IncidentID == "":
			o.IncidentID, o.UpdateID = "I", "u"
		}
		invalid, ok := errors.AsType[*incident.Invalid](o.Check(epoch))
		if !ok || invalid.Field != test.field {
			t.Errorf("%s: %v, want the field %s", name, o.Check(epoch), test.field)
		}
	}
}

func TestNamesOfOrders(t *testing.T) {
	name := func(page, key string) string {
		o := opening
		o.Page, o.UpdateID = page, key
		if err := o.Check(epoch); err != nil {
			t.Fatal(err)
		}
		return o.IncidentID
	}
	one := name("default", "a")
	if len(one) != 12 || one != name("default", "a") || one == name("default", "b") || one == name("eu", "a") {
		t.Errorf("the same order opens %s and %s", one, name("default", "a"))
	}
}
