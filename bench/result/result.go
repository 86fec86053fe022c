// Package result is what a benchmark found: the results file that scripts, the
// comparison and the report read, and the arithmetic behind it.
//
// Promise: names in the file are a contract; fields are added, never renamed. A
// ratio is one of medians, both sides measured in the same run. A side
// that was not measured is null.
//
// Words: a [Side] is the engine or a floor; a [Measurement] is one round of one
// side; a [Goal] is what a scenario must reach and where it aims; the spread of a
// side is (largest − smallest) / median over its rounds.
package result

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/tocsin/tocsin/bench/run"
)

// File is results.json.
type File struct {
	Machine   run.Machine `json:"machine"`
	Commit    string      `json:"commit"`
	StartedAt time.Time   `json:"started_at"`
	EndedAt   time.Time   `json:"ended_at"`
	// Quick runs have smaller sizes: ratios are judged, absolute figures are
	// only reported.
	Quick bool `json:"quick"`
	// Interrupted says that not everything that was asked for is there.
	Interrupted bool        `json:"interrupted"`
	Scenarios   []*Scenario `json:"scenarios"`
	// Sweeps are settings that were tried out; absent in a run that does not tune.
	Sweeps []*Sweep `json:"sweeps,omitempty"`
	// Notes say what holds for the whole run: what was left out, what was made
	// smaller and why.
	Notes []string `json:"notes"`
}

// Scenario is one line of the table.
type Scenario struct {
	// ID is as in w1, or w3.resumed for a variant.
	ID    string `json:"id"`
	Title string `json:"title"`
	// Size says how many targets, hosts, updates or events there were.
	Size   map[string]int `json:"size"`
	Engine *Side          `json:"engine"`
	// Floor is what Ratio compares with, Others those beside it.
	Floor  *Side   `json:"floor"`
	Others []*Side `json:"other_floors,omitempty"`
	// Ratio is the engine's median through the floor's, of what RatioOf names.
	Ratio   *float64 `json:"ratio"`
	RatioOf string   `json:"ratio_of,omitempty"`
	// Spread is the larger of the two sides' spreads, of RatioOf.
	Spread float64 `json:"spread"`
	// Must and Aim are those of the first goal; the others are in Goals.
	Must *float64 `json:"must"`
	Aim  *float64 `json:"aim"`
	// Met is false only if a goal is missed that is judged.
	Met   bool   `json:"met"`
	Goals []Goal `json:"goals"`

	// Lost, Duplicates and OrderViolations are sums over all rounds, as counted
	// by the peers.
	Lost            int `json:"lost"`
	Duplicates      int `json:"duplicates"`
	OrderViolations int `json:"order_violations"`
	// Error says why the scenario could not be measured to its end.
	Error string   `json:"error,omitempty"`
	Notes []string `json:"notes"`
}

// Sound reports whether the scenario shows what it should: it could be measured,
// its goals are met and nothing was lost, sent twice or out of order.
func (s *Scenario) Sound() bool {
	return s.Error == "" && s.Met && s.Lost+s.Duplicates+s.OrderViolations == 0
}

// Side is the engine or a floor: medians over its rounds.
type Side struct {
	Name string `json:"name"`
	Figures
	// Spreads are by the names of the figures.
	Spreads map[string]float64 `json:"spreads"`
	Rounds  []*Measurement     `json:"rounds"`
}

// Figures are what is measured of a side, in each round and, as medians, over all.
// What was not is 0.
type Figures struct {
	// PerS is deliveries (or targets, events, requests) a second, WallS how
	// long they took.
	PerS  float64 `json:"per_s"`
	WallS float64 `json:"wall_s"`
	// CPUS and PeakRSSMB are of the side's own process.
	CPUS      float64 `json:"cpu_s"`
	PeakRSSMB float64 `json:"peak_rss_mb"`
	// P50MS and P99MS are, for the engine, from the acceptance of the update to
	// the peer's answer; for a floor, of the single request.
	P50MS float64 `json:"p50_ms"`
	P99MS float64 `json:"p99_ms"`
}

// Measurement is one round of one side.
type Measurement struct {
	// Deliveries counts what was done: PerS × WallS.
	Deliveries int `json:"deliveries"`
	Figures

	// Lost, Duplicates and OrderViolations are what the peers counted.
	Lost            int `json:"lost"`
	Duplicates      int `json:"duplicates"`
	OrderViolations int `json:"order_violations"`

	// Latency is the distribution, from the best to the worst.
	Latency []Quantile `json:"latency,omitempty"`
	// Done counts deliveries over time.
	Done []Progress `json:"done,omitempty"`
	// ForeignPercent is how much of the machine's CPU went to processes that have
	// no part in the benchmark.
	ForeignPercent float64 `json:"foreign_cpu_percent"`
	// Processes is what each cost in the measured phase, by name, with memory and
	// descriptors over time.
	Processes map[string]run.Usage `json:"processes"`
	// More are figures of this scenario, by name, with their unit at its end.
	More map[string]float64 `json:"more,omitempty"`
}

// Cost notes what the measured phase cost, with the process of that name as the
// side's own.
func (m *Measurement) Cost(c run.Cost, own string) {
	m.Processes, m.ForeignPercent = c.Processes, c.ForeignPercent
	u := c.Processes[own]
	m.CPUS, m.PeakRSSMB = Round(u.CPUS()), Round(u.PeakRSSMB)
}

// Quantile is one point of a distribution.
type Quantile struct {
	// Percent of the deliveries took at most MS milliseconds.
	Percent float64 `json:"percent"`
	MS      float64 `json:"ms"`
}

// Progress is how many deliveries were done after a time.
type Progress struct {
	AtS   float64 `json:"at_s"`
	Count int     `json:"count"`
}

// Write writes the file: whole, or not at all.
func (f *File) Write(name string) error {
	text, err := json.MarshalIndent(f, "", " ")
	if err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	if err := os.WriteFile(name+".part", append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	if err := os.Rename(name+".part", name); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return nil
}

// Read reads a file that [File.Write] wrote.
func Read(name string) (*File, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read the results: %w", err)
	}
	f, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s holds no results of a benchmark: %w", name, err)
	}
	return f, nil
}

// Parse reads what is in such a file. It has no scenario, side, round or sweep that is
// null where there should be one, and names no figure that there isn't.
func Parse(text []byte) (*File, error) {
	var f File
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, err
	}
	if f.StartedAt.IsZero() {
		return nil, errors.New("it has no started_at")
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	return &f, nil
}

// check finds what those who read results don't expect.
func (f *File) check() error {
	if slices.Contains(f.Scenarios, nil) || slices.Contains(f.Sweeps, nil) {
		return errors.New("a scenario or sweep of it is null")
	}
	for _, s := range f.Scenarios {
		if slices.Contains(s.Others, nil) {
			return fmt.Errorf("a floor of %q is null", s.ID)
		}
		for _, side := range append([]*Side{s.Engine, s.Floor}, s.Others...) {
			if side != nil && slices.Contains(side.Rounds, nil) {
				return fmt.Errorf("a round of %q is null", s.ID)
			}
		}
		for _, g := range s.Goals {
			if !slices.Contains(figures[:], g.Of) {
				return fmt.Errorf("a goal of %q is for %q, which is no figure", s.ID, g.Of)
			}
		}
	}
	return nil
}
