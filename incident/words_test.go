package incident

import (
	"strings"
	"testing"
)

func TestWordsAgreeWithTheirLists(t *testing.T) {
	check := func(list string, valid func(string) bool) {
		t.Helper()
		for word := range strings.SplitSeq(list, ", ") {
			if !valid(word) {
				t.Errorf("%q is offered in refusals and is not valid", word)
			}
			if valid(strings.ToUpper(word)) || valid(word+" ") {
				t.Errorf("a misspelt %q is valid", word)
			}
		}
		if valid("") {
			t.Errorf("the empty word is valid beside %s", list)
		}
	}
	check(statuses, func(s string) bool { return Status(s).Valid() })
	check(impacts, func(s string) bool { return Impact(s).Valid() })
	check(visibilities, func(s string) bool { return Visibility(s).Valid() })
	check(states, func(s string) bool { return TargetState(s).Valid() })
}

func TestTerminal(t *testing.T) {
	for word := range strings.SplitSeq(statuses, ", ") {
		want := word == "resolved" || word == "completed"
		if got := Status(word).Terminal(); got != want {
			t.Errorf("%s: Terminal() = %v", word, got)
		}
	}
}

func TestImpactRankAndUrgency(t *testing.T) {
	for _, c := range []struct {
		i      Impact
		rank   int
		urgent bool
	}{
		{ImpactNone, 0, false}, {ImpactMinor, 1, false}, {ImpactMaintenance, 1, false},
		{ImpactMajor, 2, true}, {ImpactCritical, 3, true}, {"", 0, false}, {"huge", 0, false},
	} {
		if c.i.Rank() != c.rank || c.i.Urgent() != c.urgent {
			t.Errorf("%q: rank %d, urgent %v", c.i, c.i.Rank(), c.i.Urgent())
		}
	}
}

func TestHighest(t *testing.T) {
	for _, c := range []struct{ a, b, want Impact }{
		{ImpactMinor, ImpactMajor, ImpactMajor}, {ImpactMajor, ImpactMinor, ImpactMajor},
		{ImpactMaintenance, ImpactMinor, ImpactMaintenance}, {ImpactMinor, ImpactMaintenance, ImpactMinor},
		{ImpactNone, ImpactMaintenance, ImpactMaintenance}, {ImpactNone, ImpactNone, ImpactNone},
		{"", ImpactNone, ImpactNone}, {"", ImpactCritical, ImpactCritical}, {ImpactNone, "", ImpactNone},
	} {
		if got := Highest(c.a, c.b); got != c.want {
			t.Errorf("Highest(%q, %q) = %q, want %q", c.a, c.b, got, c.want)
		}
	}
}
