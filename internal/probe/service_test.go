package probe

import (
	"testing"
	"time"
)

var start = time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)

// site drives one service: each step is a second after the one before.
type site struct {
	t       *testing.T
	now     time.Time
	rules   Rules
	service Service
	told    []Health
}

func newSite(t *testing.T) *site {
	rules := DefaultRules()
	return &site{t: t, now: start, rules: rules}
}

func (s *site) pass(d time.Duration) {
	s.now = s.now.Add(d)
	s.note(s.service.Tick(s.now, s.rules))
}

func (s *site) note(change *Transition) {
	if change == nil {
		return
	}
	if change.From == change.To || change.Cause == "" {
		s.t.Errorf("a change from %v to %v because of %q", change.From, change.To, change.Cause)
	}
	s.told = append(s.told, change.To)
}

func (s *site) see(location string, weight int64, ok bool, times int) {
	for range times {
		s.now = s.now.Add(time.Second)
		change, taken := s.service.Fold(Result{Location: location, OK: ok, At: s.now, Weight: weight}, s.now, s.rules)
		if !taken {
			s.t.Errorf("a result of %s was not taken", location)
		}
		s.note(change)
	}
}

func (s *site) want(health Health, told ...Health) {
	s.t.Helper()
	if s.service.Health != health {
		s.t.Errorf("the service is %v, want %v", s.service.Health, health)
	}
	if len(told) != len(s.told) {
		s.t.Fatalf("told %v, want %v", s.told, told)
	}
	for i := range told {
		if told[i] != s.told[i] {
			s.t.Fatalf("told %v, want %v", s.told, told)
		}
	}
}

func TestThreeFailuresAndFiveSuccesses(t *testing.T) {
	s := newSite(t)
	s.see("a", 1000, true, 1)
	s.see("b", 1000, true, 1)
	s.see("c", 1000, true, 1)
	s.see("a", 1000, false, 2)
	s.want(Operational)
	s.see("a", 1000, false, 1)
	s.want(Degraded, Degraded)
	s.see("a", 1000, true, 4)
	s.want(Degraded, Degraded)
	s.see("a", 1000, false, 1) // begins anew
	s.see("a", 1000, true, 4)
	s.want(Degraded, Degraded)
	s.see("a", 1000, true, 1)
	s.want(Operational, Degraded, Operational)
}

func TestAFailureNowAndThenIsNone(t *testing.T) {
	s := newSite(t)
	for range 50 {
		s.see("a", 1000, false, 2)
		s.see("a", 1000, true, 1)
	}
	s.want(Operational)
}

func TestStrictlyMoreThanHalfIsDown(t *testing.T) {
	for _, c := range []struct {
		name    string
		failing []int64
		well    []int64
		want    Health
	}{
		{"the only one", []int64{1000}, nil, Down},
		{"exactly half", []int64{1000, 1000}, []int64{1000, 1000}, Degraded},
		{"exactly half by weight", []int64{3000}, []int64{1000, 2000}, Degraded},
		{"a thousandth more", []int64{3001}, []int64{1000, 2000}, Down},
		{"many light ones", []int64{100, 100, 100}, []int64{1000}, Degraded},
		{"one heavy one", []int64{1000}, []int64{100, 100, 100}, Down},
		{"tenths that no binary fraction has", []int64{100, 200}, []int64{300}, Degraded},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			for i, weight := range c.well {
				s.see("well"+string(rune('0'+i)), weight, true, 1)
			}
			for i, weight := range c.failing {
				s.see("failing"+string(rune('0'+i)), weight, false, 3)
			}
			if s.service.Health != c.want {
				t.Errorf("got %v, want %v", s.service.Health, c.want)
			}
		})
	}
}

func TestStaleLocationsDoNotVote(t *testing.T) {
	s := newSite(t)
	s.see("a", 1000, true, 1)
	s.see("b", 1000, true, 1)
	s.see("c", 1000, false, 3)
	s.want(Degraded, Degraded)
	s.pass(s.rules.StaleAfter / 2)
	s.see("c", 1000, false, 1)
	if next := s.service.Next(s.now, s.rules); !next.Equal(start.Add(time.Second + s.rules.StaleAfter)) {
		t.Errorf("the next look is at %v", next)
	}
	s.pass(s.rules.StaleAfter / 2) // a and b are silent
	s.want(Down, Degraded, Down)
	s.pass(s.rules.StaleAfter) // and so is c: nobody knows
	s.want(Down, Degraded, Down)
	if next := s.service.Next(s.now, s.rules); !next.IsZero() {
		t.Errorf("with nobody left, a look at %v", next)
	}
	s.see("a", 1000, true, 1)
	s.want(Operational, Degraded, Down, Operational)
}

func TestResultsThatComeLateChangeNothing(t *testing.T) {
	s := newSite(t)
	s.see("a", 1000, false, 2)
	for _, at := range []time.Time{s.now, s.now.Add(-time.Millisecond), s.now.Add(-s.rules.StaleAfter)} {
		if change, taken := s.service.Fold(Result{Location: "a", At: at, Weight: 1000}, s.now, s.rules); change != nil || taken {
			t.Errorf("a result of %v was taken at %v", at, s.now)
		}
	}
	if _, taken := s.service.Fold(Result{Location: "b", At: s.now.Add(-s.rules.StaleAfter), Weight: 1000}, s.now, s.rules); taken {
		t.Error("an ancient result of another location was taken")
	}
	s.want(Operational)
	s.see("a", 1000, false, 1)
	s.want(Down, Down)
}

// cycle is a cycle with so many successes, of which some were slow.
func (s *site) cycle(total, slow int) {
	s.now = s.now.Truncate(s.rules.Cycle).Add(s.rules.Cycle)
	for i := range total {
		s.now = s.now.Add(time.Millisecond)
		latency := s.rules.Slow
		if i < slow {
			latency++
		}
		change, _ := s.service.Fold(Result{Location: "a", OK: true, Latency: latency, At: s.now, Weight: 1000}, s.now, s.rules)
		s.note(change)
	}
}

func TestSlowForThreeCycles(t *testing.T) {
	s := newSite(t)
	s.cycle(200, 3)
	s.cycle(200, 3)
	s.cycle(200, 2) // one in a hundred: the 99th percentile is as allowed
	s.cycle(200, 3)
	s.cycle(200, 3)
	s.cycle(200, 3)
	s.want(Operational)
	s.cycle(200, 0)
	s.want(Degraded, Degraded)
	s.cycle(200, 0)
	s.cycle(200, 0)
	s.want(Degraded, Degraded)
	s.pass(s.rules.Cycle)
	s.want(Operational, Degraded, Operational)
	s.pass(s.rules.Cycle)
	if s.service.Latency.Total != 0 {
		t.Error("a cycle that is over is still counted")
	}
}

func TestAFlappingServiceMakesNoNotices(t *testing.T) {
	s := newSite(t)
	for range 20 {
		s.see("a", 1000, false, 3)
		s.see("a", 1000, true, 5)
	}
	s.want(Down, Down, Operational, Down)
	if !s.service.Flapping {
		t.Error("it doesn't flap")
	}
	s.pass(s.rules.Settle - time.Second)
	s.want(Down, Down, Operational, Down)
	s.see("a", 1000, true, 1)
	s.pass(time.Second)
	s.want(Operational, Down, Operational, Down, Operational)
	if s.service.Flapping {
		t.Error("it still flaps")
	}
}

func TestAFlappingServiceMayGetWorse(t *testing.T) {
	s := newSite(t)
	s.see("b", 1000, true, 1)
	s.see("c", 1000, true, 1)
	for range 4 {
		s.see("a", 1000, false, 3)
		s.see("a", 1000, true, 5)
	}
	s.want(Degraded, Degraded, Operational, Degraded)
	s.see("b", 1000, false, 3)
	s.see("c", 1000, false, 3)
	s.want(Down, Degraded, Operational, Degraded, Down)
}

func TestLocationsAreBounded(t *testing.T) {
	s := newSite(t)
	name := func(i int) string { return string(rune('a'+i/26)) + string(rune('a'+i%26)) }
	for i := range MaxLocations {
		s.see(name(i), 1000, true, 1)
	}
	if _, taken := s.service.Fold(Result{Location: "one more", OK: true, At: s.now, Weight: 1000}, s.now, s.rules); taken {
		t.Error("one location too many was taken while all vote")
	}
	s.now = start.Add(s.rules.StaleAfter + 2*time.Second)
	if _, taken := s.service.Fold(Result{Location: "one more", OK: true, At: s.now, Weight: 1000}, s.now, s.rules); !taken {
		t.Error("no room was made for it")
	}
	if len(s.service.Locations) != MaxLocations || s.service.Locations[name(0)] != nil {
		t.Error("it was not the longest silent one that went")
	}
}

func TestWeights(t *testing.T) {
	for weight, want := range map[float64]int64{1: 1000, 0.001: 1, 1000: 1_000_000, 0.1: 100, 2.0004: 2000} {
		if got, err := WeightOf(weight); err != nil || got != want {
			t.Errorf("WeightOf(%v) = %d, %v", weight, got, err)
		}
	}
	zero := 0.0
	for _, weight := range []float64{0, -1, 0.0001, 1001, zero / zero, 1 / zero} {
		if _, err := WeightOf(weight); err == nil {
			t.Errorf("WeightOf(%v) is no error", weight)
		}
	}
}
