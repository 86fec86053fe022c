package simulate

import (
	"slices"
	"testing"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/ratelimit"
)

// shrinking is bounded: by runs, and, where somebody waits for it, by real time.
const (
	shrinkRuns = 400
	shrinkFor  = 20 * time.Second
)

// shrink takes away what a failure doesn't need, as long as a promise of the same
// kind is still broken, and returns the smallest world found. A time of zero is no bound.
func (m *machine) shrink(t *testing.T, w *world, until time.Time) (small *world, runs int) {
	try := func(change func(*scenario) bool) bool {
		sc := w.sc.clone()
		if runs >= shrinkRuns || !until.IsZero() && time.Now().After(until) || !change(sc) {
			return false
		}
		runs++
		got := m.run(t, sc, w.mutation)
		same := slices.ContainsFunc(got.faults, func(f fault) bool { return f.promise == w.faults[0].promise })
		if same {
			w = got
		}
		return same
	}
	for again := true; again; {
		again = false
		for size := max(len(w.sc.steps)/2, 1); size > 0; size /= 2 {
			for at := len(w.sc.steps) - size; at >= 0; at -= size {
				again = try(func(s *scenario) bool {
					if at+size > len(s.steps) {
						return false
					}
					s.steps = slices.Delete(s.steps, at, at+size)
					return true
				}) || again
			}
		}
		for size := max(len(w.sc.targets)/2, 1); size > 0; size /= 2 {
			for at := 0; at < len(w.sc.targets); at += size {
				again = try(func(s *scenario) bool { return s.without(at, at+size) }) || again
			}
		}
		for i := range w.sc.providers {
			again = try(func(s *scenario) bool {
				p := &s.providers[i]
				was := *p
				p.mood, p.rate, p.burst, p.window, p.bound = healthy, 1000, 1000, 16, dispatcher.Bound{}
				return *p != was
			}) || again
		}
		for _, less := range []func(*dispatcher.Budget){
			func(b *dispatcher.Budget) { b.PerIncident = ratelimit.Quota{} }, func(b *dispatcher.Budget) { b.PerTarget = ratelimit.Quota{} },
			func(b *dispatcher.Budget) { b.PerHour = 0 }, func(b *dispatcher.Budget) { b.PerDay = 0 },
		} {
			again = try(func(s *scenario) bool {
				was := s.budget
				less(&s.budget)
				return s.budget != was
			}) || again
		}
		again = try(func(s *scenario) bool {
			was := s.slow
			s.slow = 1
			return was != 1
		}) || again
	}
	return w, runs
}

// without makes targets absent and says whether any was there.
func (s *scenario) without(from, to int) (any bool) {
	for i := from; i < min(to, len(s.targets)); i++ {
		any = any || !s.targets[i].absent
		s.targets[i].absent = true
	}
	return any
}

func (s *scenario) clone() *scenario {
	c := *s
	c.steps, c.targets, c.providers = slices.Clone(s.steps), slices.Clone(s.targets), slices.Clone(s.providers)
	return &c
}
