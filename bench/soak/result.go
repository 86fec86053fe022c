package soak

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tocsin/tocsin/bench/run"
)

// Result is what a soak found: soak.json.
type Result struct {
	Machine   run.Machine `json:"machine"`
	Commit    string      `json:"commit"`
	StartedAt time.Time   `json:"started_at"`
	EndedAt   time.Time   `json:"ended_at"`
	// Queue is "sqlite" or "rabbitmq".
	Queue   string  `json:"queue"`
	Minutes float64 `json:"minutes"` // asked for
	Targets int     `json:"targets"`
	EveryS  float64 `json:"every_s"`
	// Seed repeats the faults.
	Seed        uint64 `json:"seed"`
	Interrupted bool   `json:"interrupted"`

	// Load is what the engine was given.
	Load Load `json:"load"`
	// PerS is how many deliveries ended in a second, CPUPercent what the engine
	// needed of one core, BytesPerDelivery what the store grew by for each.
	PerS             float64 `json:"per_s"`
	CPUPercent       float64 `json:"cpu_percent"`
	BytesPerDelivery float64 `json:"bytes_per_delivery"`

	// Promises are judged by what was received, Series by the rests among Samples.
	Promises *Promises `json:"promises"`
	Series   []Series  `json:"series"`
	Faults   []Fault   `json:"faults"`
	Samples  []Sample  `json:"samples"`
	// Errors say why it ended early, or that the engine did not end well.
	Errors []string `json:"errors,omitempty"`
}

func newResult(o *Options) *Result {
	r := &Result{Machine: run.ReadMachine(), StartedAt: time.Now().UTC().Truncate(time.Second), Queue: "sqlite", Minutes: o.Length.Minutes(),
		Targets: o.Targets, EveryS: o.Every.Seconds(), Seed: o.Seed}
	if o.RabbitMQ {
		r.Queue = "rabbitmq"
	}
	return r
}

// Verdict says what is not as it must be, nil if all is.
func (r *Result) Verdict() error {
	var wrong []string
	if n := r.Promises.Broken(); n > 0 {
		wrong = append(wrong, fmt.Sprintf("promises were broken %d times", n))
	}
	for _, s := range r.Series {
		if s.Verdict == Grows {
			wrong = append(wrong, s.Name+" grows")
		}
	}
	if wrong = append(wrong, r.Errors...); len(wrong) > 0 {
		return errors.New("the soak failed: " + strings.Join(wrong, "; "))
	}
	return nil
}

// Praise says how good a run is that nothing is wrong with.
func (r *Result) Praise() string {
	var unsure []string
	for _, s := range r.Series {
		if s.Verdict == Unclear || s.Verdict == TooShort {
			unsure = append(unsure, s.Name)
		}
	}
	if len(unsure) == 0 {
		return "Flat, and every promise kept."
	}
	return "Every promise kept, and nothing is shown to grow; of " + strings.Join(unsure, ", ") + " a longer run, or a quieter machine, would say more."
}

// Write writes the result to a file: whole, or not at all.
func (r *Result) Write(name string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err == nil {
		err = os.WriteFile(name+".part", append(text, '\n'), 0o644)
	}
	if err == nil {
		err = os.Rename(name+".part", name)
	}
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// Print prints the result for people.
func (r *Result) Print(out io.Writer) error {
	lasted := 0.0
	if n := len(r.Samples); n > 0 {
		lasted = r.Samples[n-1].AtS
	}
	fmt.Fprintf(out, "Soak: %s over %s, seed %d: %d targets and %d guests (%d left again), %d updates of %d incidents, %d repeated; %d faults.\n",
		clock(lasted), r.Queue, r.Seed, r.Targets, r.Load.Added, r.Load.Removed, r.Load.Updates, r.Load.Stories, r.Load.Repeats, len(r.Faults))
	fmt.Fprintf(out, "%.0f deliveries/s at %.0f %% of a core; the store grew by %.0f bytes for each.\n\n", r.PerS, r.CPUPercent, r.BytesPerDelivery)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tfirst\tlast\tpeak\tan hour\t99 % between\tlimit\t\t")
	for _, s := range r.Series {
		growth, between, limit := "", "", ""
		if s.Trend != nil {
			growth, between = fmt.Sprintf("%+.1f", s.Trend.PerHour), fmt.Sprintf("%+.1f and %+.1f", s.Trend.Low, s.Trend.High)
		}
		if s.Limit > 0 {
			limit = fmt.Sprintf("%.0f", s.Limit)
		}
		fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.1f\t%s\t%s\t%s\t%s\t\n", strings.TrimSpace(s.Name+" "+s.Unit), s.First, s.Last, s.Peak, growth, between, limit, s.Verdict)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print the result: %w", err)
	}
	r.printPromises(out)
	return nil
}

func (r *Result) printPromises(out io.Writer) {
	p := r.Promises
	fmt.Fprintf(out, "\n%d incidents judged by %d requests, of which %d were refused or not answered, and %d had their answer cut off.\n",
		p.Stories, p.Requests, p.Refused-p.CutOff, p.CutOff)
	for _, channel := range slices.Sorted(maps.Keys(p.Outcomes)) {
		fmt.Fprintf(out, "  %s:", channel)
		for _, outcome := range slices.Sorted(maps.Keys(p.Outcomes[channel])) {
			fmt.Fprintf(out, " %d %s", p.Outcomes[channel][outcome], outcome)
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintf(out, "lost %d, open %d, duplicates %d, out of order %d, keys mixed up %d, in the ledger but not received %d, received but not in the ledger %d, untold %d, unexpected %d, late %d, invalid %v\n",
		p.Lost, p.Open, p.Duplicates, p.OrderViolations, p.IDFaults, p.Unreceived, p.Unrecorded, p.Untold, p.Unexpected, p.Late, p.Invalid)
	if p.Unjudged > 0 {
		fmt.Fprintf(out, "%d incidents were under way and are not judged.\n", p.Unjudged)
	}
	for _, e := range p.Examples {
		fmt.Fprintln(out, "  "+e)
	}
	for _, s := range r.Series {
		if s.Verdict == TooShort {
			fmt.Fprintln(out, "Too short to say whether all of it is flat: that takes six minutes at least, and for rss a store larger than its cache.")
			return
		}
	}
}
