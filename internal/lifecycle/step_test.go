package lifecycle

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/incident"
)

var epoch = time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)

// signals reads "a:critical@api,db!private" as a firing signal a of an impact, of
// components and with a mark; "-a" is its end. Only the key has to be there.
func signals(text string, now time.Time) []Signal {
	var list []Signal
	for word := range strings.FieldsSeq(text) {
		key, ended := strings.CutPrefix(word, "-")
		key, mark, _ := strings.Cut(key, "!")
		key, components, _ := strings.Cut(key, "@")
		key, impact, _ := strings.Cut(key, ":")
		s := Signal{Key: key, Firing: !ended, Impact: incident.Impact(impact), Mark: Mark(mark), StartedAt: epoch,
			Title: "Title " + key, Message: "Message " + key}
		if impact == "" {
			s.Impact = incident.ImpactCritical
		}
		if components == "" {
			s.Components = []string{key}
		} else if components != "none" {
			s.Components = strings.Split(components, ",")
		}
		if ended {
			s.EndedAt = now
			s.Message = "Ended " + key
		}
		list = append(list, s)
	}
	return list
}

func said(decisions []Decision) string {
	var list []string
	for _, d := range decisions {
		e := d.Event
		text := fmt.Sprintf("%s %s/%d %s %s", d.Action, e.IncidentID, d.Number, e.Impact, strings.Join(e.AffectedComponents, ","))
		if e.Visibility == incident.Private {
			text += " private"
		}
		list = append(list, text)
	}
	return strings.Join(list, "; ")
}

// move is one thing that happens: a report of the whole group, of a part of it
// ("+…"), or, for "timer", the time that was asked for.
type move struct {
	at       time.Duration
	report   string
	expected string
}

func tell(t *testing.T, rules Rules, moves []move) *Case {
	t.Helper()
	c := NewCase("default", "g")
	for i, m := range moves {
		now := epoch.Add(m.at)
		var decisions []Decision
		state, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		var after *Case
		if m.report == "timer" {
			if !c.DueAt.Equal(now) {
				t.Fatalf("move %d: the case is due at %s", i, c.DueAt.Sub(epoch))
			}
			after, decisions = Due(c, now, rules)
		} else {
			text, part := strings.CutPrefix(m.report, "+")
			r := &Report{Source: "alerts", Page: "default", Group: "g", Whole: !part, Signals: signals(text, now)}
			if err := r.Check(); err != nil {
				t.Fatal(err)
			}
			after, decisions = Step(c, r, now, rules)
		}
		if got := said(decisions); got != m.expected {
			t.Fatalf("move %d (%s, %q) is\n    %s\nnot %s", i, m.at, m.report, got, m.expected)
		}
		if again, _ := c.Encode(); string(again) != string(state) {
			t.Fatalf("move %d changed the case it was given", i)
		}
		c = after
		for _, d := range decisions {
			if err := d.Event.Validate(); err != nil || d.Cause == "" {
				t.Fatalf("move %d: %v, cause %q", i, err, d.Cause)
			}
		}
	}
	return c
}

const s, m = time.Second, time.Minute

func TestStories(t *testing.T) {
	public := func(p Promotion) Promotion { p.Visibility = incident.Public; return p }
	private := func(p Promotion) Promotion { p.Visibility = incident.Private; return p }
	for _, story := range []struct {
		name    string
		promote []Promotion // nil: the default
		moves   []move
	}{
		{"the life of an incident", nil, []move{
			{0, "a", "opened g/1 critical a"},
			{10 * s, "a", ""},
			{20 * s, "a b", "changed g/2 critical a,b"},
			{30 * s, "a -b", "changed g/3 critical a"},
			{40 * s, "a", ""},
			{50 * s, "-a", "resolved g/4 critical a"},
			{60 * s, "-a", ""},
			{15*m + 50*s, "timer", "completed g/5 critical a"},
			{20 * m, "-a", ""},
		}},
		{"what isn't named any more has ended", nil, []move{
			{0, "a b", "opened g/1 critical a,b"}, {10 * s, "b", "changed g/2 critical b"}, {20 * s, "", "resolved g/3 critical b"},
		}},
		{"a part says nothing of the rest", nil, []move{
			{0, "+a", "opened g/1 critical a"}, {10 * s, "+b", "changed g/2 critical a,b"}, {20 * s, "+-a", "changed g/3 critical b"},
			{30 * s, "+-b", "resolved g/4 critical b"},
		}},
		{"it fires again within the cool-down", nil, []move{
			{0, "a", "opened g/1 critical a"}, {10 * s, "-a", "resolved g/2 critical a"}, {5 * m, "a b", "reopened g/3 critical a,b"},
			{6 * m, "-a -b", "resolved g/4 critical a,b"}, {21 * m, "timer", "completed g/5 critical a,b"},
		}},
		{"it fires again after it", nil, []move{
			{0, "a", "opened g/1 critical a"}, {10 * s, "-a", "resolved g/2 critical a"}, {15*m + 10*s, "timer", "completed g/3 critical a"},
			{16 * m, "a", "opened g-2/1 critical a"}, {17 * m, "-a", "resolved g-2/2 critical a"},
			{32 * m, "timer", "completed g-2/3 critical a"}, {33 * m, "b", "opened g-3/1 critical b"},
		}},
		{"the timer was late", nil, []move{
			{0, "a", "opened g/1 critical a"}, {10 * s, "-a", "resolved g/2 critical a"},
			{20 * m, "a", "completed g/3 critical a; opened g-2/1 critical a"},
		}},
		{"updates within the window are one", nil, []move{
			{0, "a", "opened g/1 critical a"}, {1 * s, "a b", ""}, {2 * s, "a b c", ""}, {5 * s, "timer", "changed g/2 critical a,b,c"},
			{6 * s, "a b", ""}, {7 * s, "a b c", ""}, {20 * s, "a", "changed g/3 critical a"},
		}},
		{"it ends within the window", nil, []move{
			{0, "a", "opened g/1 critical a"}, {1 * s, "-a", ""}, {5 * s, "timer", "resolved g/2 critical a"},
			{6 * s, "a", ""}, {10 * s, "timer", "reopened g/3 critical a"},
		}},
		{"it flaps within the window", nil, []move{
			{0, "a", "opened g/1 critical a"}, {1 * s, "-a", ""}, {2 * s, "a", ""}, {3 * s, "-a", ""}, {4 * s, "a", ""}, {5 * s, "a", ""},
		}},
		{"a new incident waits for no window", nil, []move{
			{0, "a", "opened g/1 critical a"}, {10 * s, "-a", "resolved g/2 critical a"}, {15*m + 10*s, "timer", "completed g/3 critical a"},
			{15*m + 11*s, "a", "opened g-2/1 critical a"},
		}},
		{"another impact", nil, []move{
			{0, "a", "opened g/1 critical a"}, {10 * s, "a:minor", "changed g/2 minor a"}, {20 * s, "a:major", "changed g/3 major a"},
			{30 * s, "-a", "resolved g/4 major a"},
		}},
		{"what nobody promotes is held back", nil, []move{
			{0, "a:major", ""}, {10 * s, "a:major b:minor", ""}, {20 * s, "a:major b:minor c", "opened g/1 critical a,b,c"},
			{30 * s, "a:major b:minor", "changed g/2 major a,b"}, {40 * s, "-a -b", "resolved g/3 major a,b"},
		}},
		{"it ended before anyone was told", nil, []move{{0, "a:minor", ""}, {10 * s, "-a:minor", ""}}},
		{"marks come before rules", nil, []move{
			{0, "a:none!public", "opened g/1 none a"}, {10 * s, "a:none!public b!none", ""}, {20 * s, "a:none!public c!private", ""},
			{30 * s, "c!private", "resolved g/2 none a"},
			{15*m + 30*s, "timer", "completed g/3 none a; opened g-2/1 critical c private"},
		}},
		{"a private incident becomes public, never the reverse", nil, []move{
			{0, "a!private", "opened g/1 critical a private"}, {10 * s, "a!private b", "changed g/2 critical b"},
			{20 * s, "a!private", "resolved g/3 critical b"}, {30 * s, "b", "reopened g/4 critical b"},
		}},
		{"a larger audience that never heard of it", nil, []move{
			{0, "a!private", "opened g/1 critical a private"}, {1 * s, "a!private b", ""}, {2 * s, "a!private", ""},
			{10 * s, "a!private", ""}, {20 * s, "a!private b", "changed g/2 critical b"},
		}},
		{"duration", []Promotion{public(Promotion{Impact: incident.ImpactMinor, For: 10 * m})}, []move{
			{0, "a:minor", ""}, {1 * m, "a:minor b:none", ""}, {10 * m, "timer", "opened g/1 minor a,b"},
		}},
		{"duration of what ended", []Promotion{public(Promotion{For: 10 * m})}, []move{{0, "a", ""}, {9 * m, "-a", ""}}},
		{"number of components", []Promotion{public(Promotion{Impact: incident.ImpactMinor, Components: 3})}, []move{
			{0, "a b", ""}, {1 * m, "a b c:none", ""}, {2 * m, "a b c:minor", "opened g/1 critical a,b,c"},
			{3 * m, "a", "changed g/2 critical a"},
		}},
		{"private at first, public after a time", []Promotion{private(Promotion{}), public(Promotion{For: 10 * m})}, []move{
			{0, "a", "opened g/1 critical a private"}, {10 * m, "timer", "changed g/2 critical a"}, {11 * m, "-a", "resolved g/3 critical a"},
		}},
		{"nobody knows where", nil, []move{{0, "a@none", "opened g/1 critical "}, {10 * s, "a@none b", "changed g/2 critical b"}}},
	} {
		t.Run(story.name, func(t *testing.T) {
			rules := DefaultRules()
			if story.promote != nil {
				rules.Promote = story.promote
			}
			tell(t, rules, story.moves)
		})
	}
}
