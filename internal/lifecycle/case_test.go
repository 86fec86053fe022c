package lifecycle

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/incident"
)

// stepWith steps a case with a checked report of the whole group.
func stepWith(t *testing.T, c *Case, now time.Time, signals ...Signal) (*Case, []Decision) {
	t.Helper()
	r := &Report{Source: "test", Page: "default", Group: "g", Whole: true, Signals: signals}
	if err := r.Check(); err != nil {
		t.Fatal(err)
	}
	c, decisions := Step(c, r, now, DefaultRules())
	for _, d := range decisions {
		if err := d.Event.Validate(); err != nil {
			t.Fatal(err)
		}
	}
	return c, decisions
}

func firingSignal(n int) Signal {
	return Signal{Key: fmt.Sprintf("k%06d", n), Firing: true, Impact: incident.ImpactCritical, StartedAt: epoch.Add(time.Duration(n) * time.Second),
		Components: []string{fmt.Sprintf("c%d", n)}, Title: fmt.Sprintf("Title %d", n), Message: fmt.Sprintf("Message %d", n)}
}

func TestWhatIsTooMuchConcernsThePage(t *testing.T) {
	late := epoch.Add(24 * time.Hour)
	for n, components := range map[int]int{MaxComponents: MaxComponents, MaxComponents + 1: 0, MaxSignals + 1: 0} {
		var all []Signal
		for i := range n {
			s := firingSignal(i)
			if n > MaxSignals {
				s.Components, s.Title, s.Message = []string{"one"}, strings.Repeat("t", maxTitle), strings.Repeat("m", 1000)+fmt.Sprint(i)
			}
			all = append(all, s)
		}
		c, decisions := stepWith(t, NewCase("default", "g"), late, all...)
		if e := decisions[0].Event; len(e.AffectedComponents) != components || e.AffectedComponents == nil {
			t.Errorf("%d signals concern %d components", n, len(e.AffectedComponents))
		}
		if len(c.Firing) > MaxSignals || c.Crowded != (n > MaxSignals) {
			t.Errorf("%d of %d signals are held, crowded %v", len(c.Firing), n, c.Crowded)
		}
		state, err := c.Encode()
		if err != nil || len(state) > 4<<20 {
			t.Errorf("the state of %d signals has %d bytes, %v", n, len(state), err)
		}
		// Fewer, and it is no longer so.
		if c, decisions = stepWith(t, c, late.Add(time.Minute), all[0]); c.Crowded || len(decisions) != 1 || len(decisions[0].Event.AffectedComponents) != 1 {
			t.Errorf("of one that is left: %s", said(decisions))
		}
	}
}

func TestTextsAreBounded(t *testing.T) {
	long := strings.Repeat("ü", maxMessages)
	var all []Signal
	for i := range 40 {
		s := firingSignal(i)
		s.Title, s.Message = "a\nb\u2028\u0000"+long, fmt.Sprint(i, long)
		s.Details = json.RawMessage(fmt.Sprintf(`{"n":%d,"x":%q}`, i, strings.Repeat("x", 3000)))
		for l := range 3 {
			s.Links = append(s.Links, incident.Link{URL: fmt.Sprintf("https://example.com/%d/%d", i, l)})
		}
		all = append(all, s)
	}
	c, decisions := stepWith(t, NewCase("default", "g"), epoch.Add(time.Hour), all...)
	e := decisions[0].Event
	if len(e.Title) > maxTitle || !strings.HasPrefix(e.Title, "a b") || len(e.Message) > maxMessages || len(e.Links) > maxLinks || len(e.Links) < 3 ||
		len(e.Details) > maxDetails+1000 || !strings.Contains(string(e.Details), `"n":0`) {
		t.Errorf("title %d, message %d, links %d, details %d", len(e.Title), len(e.Message), len(e.Links), len(e.Details))
	}
	if state, err := c.Encode(); err != nil || len(state) > 200<<10 {
		t.Errorf("the state has %d bytes, %v", len(state), err)
	}
	if again, decisions := stepWith(t, c, epoch.Add(2*time.Hour), all...); len(decisions) > 0 || len(again.Firing) != len(c.Firing) {
		t.Errorf("the same again: %s", said(decisions))
	}
}

// TestTextsOfAnIncident follows what an update says in words, and that words alone
// make none.
func TestTextsOfAnIncident(t *testing.T) {
	old, young := firingSignal(1), firingSignal(2)
	same := firingSignal(3)
	same.Message = young.Message
	now := epoch.Add(time.Hour)
	c, decisions := stepWith(t, NewCase("default", "g"), now, young, same, old)
	if e := decisions[0].Event; e.Title != "Title 1" || e.Message != "Message 1\nMessage 2" || !e.StartedAt.Equal(old.StartedAt) {
		t.Errorf("%q, %q, since %s", e.Title, e.Message, e.StartedAt)
	}
	other := old
	other.Message = "Other words"
	if c, decisions = stepWith(t, c, now.Add(time.Minute), young, same, other); len(decisions) != 0 {
		t.Errorf("words alone make %s", said(decisions))
	}
	if c, decisions = stepWith(t, c, now.Add(2*time.Minute), other); decisions[0].Event.Message != "Other words" {
		t.Errorf("the next update says %q", decisions[0].Event.Message)
	}
	end := other
	end.Firing, end.EndedAt, end.Message = false, now.Add(150*time.Second), "It is over"
	if c, decisions = stepWith(t, c, now.Add(3*time.Minute), end); decisions[0].Event.Message != "It is over" || decisions[0].Event.Title != "Title 1" ||
		!decisions[0].Event.ResolvedAt.Equal(end.EndedAt) {
		t.Errorf("the end is %+v", decisions[0].Event)
	}
	_, decisions = Due(c, c.DueAt, DefaultRules())
	if e := decisions[0].Event; e.Message != "" || e.Title != "Title 1" || !e.ResolvedAt.Equal(end.EndedAt) || !e.StartedAt.Equal(old.StartedAt) {
		t.Errorf("completed is %+v", e)
	}
}

// TestClocksOfOthers has senders whose clocks are wrong, and ours set back.
func TestClocksOfOthers(t *testing.T) {
	now := epoch.Add(1000 * time.Hour)
	future := firingSignal(1)
	future.StartedAt = now.Add(time.Hour)
	c, decisions := stepWith(t, NewCase("default", "g"), now, future)
	if e := decisions[0].Event; !e.StartedAt.Equal(now) || !e.UpdatedAt.Equal(now) {
		t.Errorf("what began in the future began at %s", e.StartedAt)
	}
	if again, decisions := stepWith(t, c, now.Add(time.Minute), future); len(decisions) > 0 || !again.Firing[0].StartedAt.Equal(now) {
		t.Errorf("again it began at %s", again.Firing[0].StartedAt)
	}
	end := future
	end.Firing, end.EndedAt = false, now.Add(-time.Hour)
	if _, decisions := stepWith(t, c, now.Add(time.Minute), end); !decisions[0].Event.ResolvedAt.Equal(now.Add(time.Minute)) {
		t.Errorf("what ended before it began ended at %s", decisions[0].Event.ResolvedAt)
	}
	// An hour back: updates go on, without a time that would be refused or stale.
	c, decisions = stepWith(t, c, now.Add(-time.Hour), future, firingSignal(2))
	if len(decisions) != 1 || !decisions[0].Event.UpdatedAt.IsZero() {
		t.Errorf("after the clock was set back: %s", said(decisions))
	}
	// A little back: never before the last one.
	if _, decisions = stepWith(t, c, now.Add(-time.Hour-time.Second), future); len(decisions) != 0 {
		t.Errorf("a second before the last update: %s", said(decisions))
	}
}

func TestChecks(t *testing.T) {
	for field, change := range map[string]func(*Report){
		"page":                   func(r *Report) { r.Page = "a b" },
		"incident_id":            func(r *Report) { r.Group = strings.Repeat("x", maxGroup+1) },
		"key":                    func(r *Report) { r.Signals[0].Key = "" },
		"impact":                 func(r *Report) { r.Signals[0].Impact = "bad" },
		"visibility":             func(r *Report) { r.Signals[0].Mark = "secret" },
		"started_at":             func(r *Report) { r.Signals[0].StartedAt = time.Time{} },
		"affected_components[0]": func(r *Report) { r.Signals[0].Components = []string{"a\nb"} },
		"links[0].url":           func(r *Report) { r.Signals[0].Links = []incident.Link{{URL: "javascript:x"}} },
	} {
		r := &Report{Group: "g", Signals: []Signal{firingSignal(1)}}
		change(r)
		if invalid, ok := errors.AsType[*incident.Invalid](r.Check()); !ok || invalid.Field != field {
			t.Errorf("%s: %v", field, invalid)
		}
	}
	r := &Report{Group: " g ", Signals: []Signal{firingSignal(1)}}
	r.Signals[0].Components, r.Signals[0].Details = []string{" a "}, json.RawMessage("{")
	if err := r.Check(); err != nil || r.Page != "default" || r.Group != "g" || r.Signals[0].Components[0] != "a" || r.Signals[0].Details != nil {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestStatesOfOtherVersionsAreRefused(t *testing.T) {
	for _, state := range []string{"", "{", `{"version":2}`, `{}`} {
		if c, err := ParseCase([]byte(state)); err == nil {
			t.Errorf("%s is read as %+v", state, c)
		}
	}
}
