package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/bench/result"
)

// Size is how much work a scenario does. What it has no use for is 0.
type Size struct {
	Targets, Hosts, Updates, Events int
	// Seconds is how long something is done for.
	Seconds int
	// Connections is how many are open at once at most, where the work comes over
	// connections that are neither targets' nor hosts'.
	Connections int
}

// figures names the size for results.
func (s Size) figures() map[string]int {
	all := map[string]int{"targets": s.Targets, "hosts": s.Hosts, "updates": s.Updates, "events": s.Events, "seconds": s.Seconds}
	for name, n := range all {
		if n == 0 {
			delete(all, name)
		}
	}
	return all
}

// Scenario is one kind of work. To add one, add an entry to the table.
type Scenario struct {
	ID    string
	Title string
	// Full and Quick are the sizes; a Quick of nothing leaves the scenario out of
	// quick runs.
	Full, Quick Size
	// FullS and QuickS are about how long a round of all contestants takes, in
	// seconds.
	FullS, QuickS float64
	// Connections says that every target holds one at a time, HostConnections that
	// every host has one at least, so that descriptors bound the size.
	Connections, HostConnections bool
	// Broker says that RabbitMQ is needed.
	Broker bool
	// Engine does the work once and returns what it measured, by the results' ids.
	Engine func(context.Context, *Rig, Size) (Found, error)
	// Results are what comes out: one, or one for each variant.
	Results []Result
}

// Found is what one run of the engine measured, by the results' ids.
type Found map[string]*result.Measurement

// Result is one line of the table.
type Result struct {
	// ID is the scenario's, or has a variant after a dot.
	ID    string
	Title string
	// Goals are what it is judged by; the first gives the ratio.
	Goals []result.Goal
	// Floors do the same work; the first is the one that the ratio is with.
	Floors []Floor
}

// Floor does the work of a scenario as fast as anything could.
type Floor struct {
	Name string
	Run  func(context.Context, *Rig, Size) (*result.Measurement, error)
}

// ErrLeftOut is wrapped by what needs a program that isn't there: the floor, or the
// scenario, is left out, and the results say why.
var ErrLeftOut = errors.New("left out")

// Select returns the scenarios with the given ids, in the order of the table, or
// those of the run's kind if none is given.
func Select(table []Scenario, ids []string, quick bool) ([]Scenario, error) {
	var chosen []Scenario
	for _, id := range ids {
		if !slices.ContainsFunc(table, func(s Scenario) bool { return s.is(id) }) {
			var known []string
			for _, s := range table {
				known = append(known, s.ID)
			}
			return nil, fmt.Errorf("there is no scenario %q; there are %s", id, strings.Join(known, ", "))
		}
	}
	for _, s := range table {
		wanted := slices.ContainsFunc(ids, s.is)
		if quick && s.Quick == (Size{}) {
			if wanted {
				return nil, fmt.Errorf("%s has no quick form; run it without --quick", s.ID)
			}
			continue
		}
		if wanted || len(ids) == 0 {
			chosen = append(chosen, s)
		}
	}
	return chosen, nil
}

// is reports whether id means the scenario: by its name, or by the part before
// the dot.
func (s Scenario) is(id string) bool {
	family, _, _ := strings.Cut(s.ID, ".")
	return s.ID == id || family == id || slices.ContainsFunc(s.Results, func(r Result) bool { return r.ID == id })
}

// size returns that of the run's kind.
func (s *Scenario) size(quick bool) Size {
	if quick {
		return s.Quick
	}
	return s.Full
}

// Rounds is how many there are of each scenario if nobody says otherwise. Quick runs
// have fewer: ratios are what they are for, and there is no time for a third.
func Rounds(quick bool) int {
	if quick {
		return 2
	}
	return 3
}

// Expected is how long so many rounds take, about.
func (s *Scenario) Expected(rounds int, quick bool) time.Duration {
	seconds := s.FullS
	if quick {
		seconds = s.QuickS
	}
	return time.Duration(seconds * float64(rounds) * float64(time.Second))
}
