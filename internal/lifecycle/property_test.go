package lifecycle

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tocsin/tocsin/incident"
)

// TestPromises lets one group fire, end, flap and repeat at random, with timers that
// are late and a process that dies between any two steps, and holds every update
// against the promises of the package.
func TestPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := Rules{
			Cooldown: time.Duration(rapid.IntRange(1, 60).Draw(t, "cooldown")) * time.Second,
			Window:   time.Duration(rapid.IntRange(0, 20).Draw(t, "window")) * time.Second,
			Promote:  rapid.SliceOfN(rapid.Custom(drawPromotion), 0, 3).Draw(t, "rules"),
		}
		now := epoch
		c := NewCase("default", "g")
		var told []Decision
		apply := func(do func(*Case) (*Case, []Decision)) {
			state, err := c.Encode()
			if err != nil {
				t.Fatal(err)
			}
			lost, first := do(c) // and then the process dies, and begins anew from the state
			restored, err := ParseCase(state)
			if err != nil {
				t.Fatal(err)
			}
			next, again := do(restored)
			a, _ := lost.Encode()
			b, _ := next.Encode()
			if string(a) != string(b) || fmt.Sprint(ids(first)) != fmt.Sprint(ids(again)) {
				t.Fatalf("after a crash it is\n%s %v\nnot\n%s %v", b, ids(again), a, ids(first))
			}
			if untouched, _ := c.Encode(); string(untouched) != string(state) {
				t.Fatal("the case that was given is changed")
			}
			for _, d := range again {
				check(t, rules, told, d, now)
				told = append(told, d)
			}
			c = next
			settled(t, c, rules, now)
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			if rapid.IntRange(0, 3).Draw(t, "what") == 0 && !c.DueAt.IsZero() {
				if c.DueAt.After(now) {
					now = c.DueAt
				}
				now = now.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "late")) * time.Second)
				apply(func(c *Case) (*Case, []Decision) { return Due(c, now, rules) })
				continue
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 30).Draw(t, "wait")) * time.Second)
			r := &Report{Source: "alerts", Page: "default", Group: "g", Whole: rapid.Bool().Draw(t, "whole"),
				Signals: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Signal { return drawSignal(t, now) }), 0, 4).Draw(t, "signals")}
			if err := r.Check(); err != nil {
				t.Fatal(err)
			}
			apply(func(c *Case) (*Case, []Decision) { return Step(c, r, now, rules) })
			for range 3 {
				before, count := c, len(told)
				apply(func(c *Case) (*Case, []Decision) { return Step(c, r, now, rules) })
				a, _ := before.Encode()
				b, _ := c.Encode()
				if string(a) != string(b) || len(told) != count {
					t.Fatalf("a repeat makes %s\nof %s", b, a)
				}
			}
		}
		// In the end everything ends, and so does every incident.
		now = now.Add(time.Minute)
		apply(func(c *Case) (*Case, []Decision) {
			return Step(c, &Report{Source: "alerts", Page: "default", Group: "g", Whole: true}, now, rules)
		})
		for range 3 {
			if !c.DueAt.IsZero() {
				now = c.DueAt
				apply(func(c *Case) (*Case, []Decision) { return Due(c, now, rules) })
			}
		}
		if c.Phase != Quiet || !c.DueAt.IsZero() || len(told) > 0 && told[len(told)-1].Event.Status != incident.Completed {
			t.Fatalf("nothing fires any more, and the case is %+v", c)
		}
	})
}

// settled wants what was told to be what is, unless the window has it wait.
func settled(t *rapid.T, c *Case, rules Rules, now time.Time) {
	if !c.DueAt.IsZero() && c.DueAt.Before(now) {
		t.Fatalf("it is %s, and the case was due at %s", now, c.DueAt)
	}
	if !c.DueAt.IsZero() && c.DueAt.Equal(c.Said.At.Truncate(time.Second).Add(rules.Window)) {
		return
	}
	v, _ := rules.promote(c.Firing, now)
	switch c.Phase {
	case Quiet:
		if v != "" {
			t.Fatalf("nobody is told of what is %s", v)
		}
	case Open:
		if len(c.telling()) == 0 || !c.content().same(c.Said) || wider(c.Said.Visibility, v) != c.Said.Visibility {
			t.Fatalf("said was %+v, and it is %+v", c.Said, c.content())
		}
	case Cooling:
		if len(c.telling()) > 0 || c.Visibility != c.Said.Visibility || !c.DueAt.Equal(c.CompleteAt) {
			t.Fatalf("it is over, and the case is %+v", c)
		}
	}
}

func drawPromotion(t *rapid.T) Promotion {
	return Promotion{
		Visibility: rapid.SampledFrom([]incident.Visibility{incident.Public, incident.Private}).Draw(t, "to"),
		Impact:     rapid.SampledFrom([]incident.Impact{"", "none", "minor", "major", "critical"}).Draw(t, "at least"),
		For:        time.Duration(rapid.IntRange(0, 3).Draw(t, "for")) * 20 * time.Second,
		Components: rapid.IntRange(0, 3).Draw(t, "components"),
	}
}

func drawSignal(t *rapid.T, now time.Time) Signal {
	key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key")
	s := Signal{Key: key, Firing: rapid.Bool().Draw(t, "firing"), Title: "T " + key, Message: "M " + key,
		Impact:    rapid.SampledFrom([]incident.Impact{"none", "minor", "major", "critical", "maintenance"}).Draw(t, "impact"),
		Mark:      rapid.SampledFrom([]Mark{"", "", "", MarkPublic, MarkPrivate, MarkNone}).Draw(t, "mark"),
		StartedAt: now.Add(time.Duration(rapid.IntRange(-100, 20).Draw(t, "began")) * time.Second)}
	if rapid.Bool().Draw(t, "with details") {
		s.PublicDetails = map[string]string{"code": "of " + key + " " + string(s.Mark), "n": rapid.SampledFrom([]string{"1", "2"}).Draw(t, "n")}
	}
	if rapid.Bool().Draw(t, "known place") {
		s.Components = []string{rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "component")}
	}
	if !s.Firing {
		s.EndedAt = now.Add(time.Duration(rapid.IntRange(-100, 100).Draw(t, "ended")) * time.Second)
	}
	return s
}

func ids(decisions []Decision) (list []string) {
	for _, d := range decisions {
		list = append(list, d.Event.UpdateID)
	}
	return list
}

// check holds one update against those before it.
func check(t *rapid.T, rules Rules, told []Decision, d Decision, now time.Time) {
	e := d.Event
	if err := e.Validate(); err != nil {
		t.Fatalf("%s: %v", d.Action, err)
	}
	if e.Visibility == incident.Public && strings.Contains(e.PublicDetails["code"], string(MarkPrivate)) || strings.Contains(e.PublicDetails["code"], string(MarkNone)) {
		t.Fatalf("%s tells a %s audience %v", d.Action, e.Visibility, e.PublicDetails)
	}
	if e.UpdatedAt.Before(now) || e.UpdatedAt.After(now.Add(time.Second)) {
		t.Fatalf("%s at %s is dated %s", d.Action, now, e.UpdatedAt)
	}
	for _, earlier := range told {
		if earlier.Event.UpdateID == e.UpdateID {
			t.Fatalf("%s and %s have one update_id", earlier.Action, d.Action)
		}
	}
	if len(told) == 0 {
		if d.Action != Opened || d.Number != 1 {
			t.Fatalf("it begins with %s, number %d", d.Action, d.Number)
		}
		return
	}
	last := told[len(told)-1]
	from := last.Action
	if from == Changed || from == Reopened {
		from = Opened
	}
	allowed := map[Action]Action{Opened: Completed, Changed: Opened, Resolved: Opened, Reopened: Resolved, Completed: Resolved}
	if allowed[d.Action] != from {
		t.Fatalf("%s comes after %s", d.Action, last.Action)
	}
	if d.Action == Opened {
		if d.Number != 1 || e.IncidentID == last.Event.IncidentID {
			t.Fatalf("%s, number %d, is a new incident", e.IncidentID, d.Number)
		}
		return
	}
	if d.Number != last.Number+1 || e.IncidentID != last.Event.IncidentID || !e.UpdatedAt.After(last.Event.UpdatedAt) {
		t.Fatalf("%s/%d of %s comes after %s/%d of %s", e.IncidentID, d.Number, e.UpdatedAt, last.Event.IncidentID, last.Number, last.Event.UpdatedAt)
	}
	if e.ContentHash() == last.Event.ContentHash() {
		t.Fatalf("%s says what %s said", d.Action, last.Action)
	}
	if last.Event.Visibility == incident.Public && e.Visibility != incident.Public {
		t.Fatal("a public incident became private")
	}
	wait := rules.Window
	if d.Action == Completed {
		wait = rules.Cooldown
	}
	if now.Sub(last.Event.UpdatedAt.Truncate(time.Second)) < wait {
		t.Fatalf("%s comes %s after %s", d.Action, now.Sub(last.Event.UpdatedAt), last.Action)
	}
}
