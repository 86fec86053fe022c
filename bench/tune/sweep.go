package tune

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/bench/result"
	"github.com/tocsin/tocsin/bench/scenario"
)

// Sweep is one setting and the values to try. To add one, add an entry to the table.
type Sweep struct {
	// ID, Title, Unit and Default are as in [result.Sweep].
	ID, Title, Unit, Default string
	// Trial is what all values have in common.
	Trial Trial
	// Values are in their order, the smallest first if there is one.
	Values []Value
	// Seconds is about how long a round of all values takes.
	Seconds float64
	// Keep says why the default stays whatever the figures say; "" lets them
	// decide.
	Keep string
	// Observe says what else was seen at a value, if that is worth a note. Its
	// error is a promise that was broken there.
	Observe func(Trial, *result.Measurement) (note string, broken error)
	Notes   []string
}

// Value is one value of the setting.
type Value struct {
	// Name is as one would write it where it is set.
	Name string
	// Set changes the sweep's trial.
	Set func(*Trial)
}

// Trial is one measurement.
type Trial struct {
	// Scenario does the work, and Result names which of its results counts.
	Scenario string `json:"scenario"`
	Result   string `json:"result"`
	// Floor names the floor that does the work instead of the engine: for what the
	// engine does always, and has no setting for.
	Floor string        `json:"floor,omitempty"`
	Size  scenario.Size `json:"size"`
	// Tuning is what is different about the engine, or the floor.
	Tuning scenario.Tuning `json:"tuning"`
	// Kernel are settings as sysctl names them. If there are any, everything runs
	// in a network namespace of its own.
	Kernel []Setting `json:"kernel,omitempty"`
	// Again has the work done twice, by one engine after the other: the second
	// counts, which finds what the first left in the kernel.
	Again bool `json:"again,omitempty"`
}

// Setting is one of the kernel.
type Setting struct {
	// Name is as in net.core.somaxconn.
	Name  string `json:"name"`
	Value string `json:"value"`
}

// trial returns that of a value.
func (s *Sweep) trial(v *Value) Trial {
	t := s.Trial
	t.Tuning.Env = slices.Clone(t.Tuning.Env)
	t.Tuning.Floor = slices.Clone(t.Tuning.Floor)
	t.Kernel = slices.Clone(t.Kernel)
	if v.Set != nil {
		v.Set(&t)
	}
	return t
}

// Expected is how long so many rounds take, about.
func (s *Sweep) Expected(rounds int) time.Duration {
	return time.Duration(s.Seconds * float64(rounds) * float64(time.Second))
}

// Select returns the sweeps with the given ids, in the order of the table; all if none
// is given.
func Select(table []Sweep, ids []string) ([]Sweep, error) {
	if len(ids) == 0 {
		return table, nil
	}
	var chosen []Sweep
	var known []string
	for _, s := range table {
		known = append(known, s.ID)
		if slices.Contains(ids, s.ID) {
			chosen = append(chosen, s)
		}
	}
	for _, id := range ids {
		if !slices.Contains(known, id) {
			return nil, fmt.Errorf("there is no sweep %q; there are %s", id, strings.Join(known, ", "))
		}
	}
	return chosen, nil
}
