package tune

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/bench/result"
	"github.com/tocsin/tocsin/bench/scenario"
)

// Measure runs one trial. An error that wraps [scenario.ErrLeftOut] says that this
// machine doesn't let us try the setting; any other that the work failed.
type Measure func(context.Context, Trial) (*result.Measurement, error)

// Tuner runs sweeps.
type Tuner struct {
	Measure Measure
	Rounds  int
	// Limit is how long all of it may take: no round of a sweep but the first
	// begins after it. 0 is no limit.
	Limit time.Duration
	// Say tells what was measured, a line each; Progress what is under way.
	Say, Progress func(text string)
	// Save keeps the results so far: it is called after each round of all sweeps.
	Save func() error
}

// course is a sweep that runs.
type course struct {
	*Sweep
	values []attempts
	// out says why the sweep is left out.
	out error
	// rounds is how many are complete.
	rounds int
}

// attempts are the trials of one value.
type attempts struct {
	trials []*result.Measurement
	// failed says why there are no more.
	failed string
	note   string
}

// Run tries the sweeps, a round of each after the other, and puts what it finds into
// the file. It ends early, with the error of ctx, keeping the rounds that were complete.
// The other error is that a promise was broken, or that the file can't be written.
func (t *Tuner) Run(ctx context.Context, sweeps []Sweep, file *result.File) error {
	begun := time.Now()
	all := make([]*course, len(sweeps))
	for i := range sweeps {
		all[i] = &course{Sweep: &sweeps[i], values: make([]attempts, len(sweeps[i].Values))}
	}
	var broken []error
	for round := range t.Rounds {
		for _, c := range all {
			if c.out != nil || ctx.Err() != nil || t.Limit > 0 && round > 0 && time.Since(begun) > t.Limit {
				continue
			}
			if err := t.round(ctx, c, round); err != nil {
				broken = append(broken, err)
			}
		}
		file.Sweeps = nil
		for _, c := range all {
			file.Sweeps = append(file.Sweeps, c.result(t.Rounds))
		}
		file.EndedAt, file.Interrupted = time.Now(), ctx.Err() != nil
		if err := t.Save(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return errors.Join(broken...)
}

// round tries every value once.
func (t *Tuner) round(ctx context.Context, c *course, round int) (broken error) {
	for n := range c.Values {
		if round%2 == 1 {
			n = len(c.Values) - 1 - n // what drifts drifts for all
		}
		v := &c.values[n]
		if v.failed != "" {
			continue
		}
		label := fmt.Sprintf("%-19s %-14s %d/%d", c.ID, c.Values[n].Name, round+1, t.Rounds)
		t.Progress(label + " …")
		trial, begun := c.trial(&c.Values[n]), time.Now()
		m, err := t.Measure(ctx, trial)
		if err != nil && ctx.Err() == nil && !errors.Is(err, scenario.ErrLeftOut) {
			// Once may be chance, such as a port that somebody took; twice is how
			// it is.
			t.Say(fmt.Sprintf("%s  failed, trying again: %v", label, err))
			m, err = t.Measure(ctx, trial)
		}
		if ctx.Err() != nil {
			return broken
		}
		if errors.Is(err, scenario.ErrLeftOut) {
			c.out = err
			t.Say(fmt.Sprintf("!! %s: %v", c.ID, err))
			return broken
		}
		if err = v.take(c.Sweep, trial, m, err); err != nil {
			broken = errors.Join(broken, fmt.Errorf("%s at %s: %w", c.ID, c.Values[n].Name, err))
		}
		t.Say(label + v.line() + fmt.Sprintf("  (took %.1f s)", time.Since(begun).Seconds()))
	}
	c.rounds++
	return broken
}

// take notes a trial. The error is a promise that was broken.
func (v *attempts) take(s *Sweep, trial Trial, m *result.Measurement, err error) error {
	if err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		v.failed = "failed: " + first
		return nil
	}
	if m.Duplicates+m.OrderViolations > 0 {
		err = fmt.Errorf("%d sent twice, %d out of order", m.Duplicates, m.OrderViolations)
	}
	if s.Observe != nil {
		note, broken := s.Observe(trial, m)
		v.note, err = note, errors.Join(err, broken)
	}
	if m.Lost > 0 {
		v.failed = fmt.Sprintf("%d had not arrived when the patience ended", m.Lost)
	}
	if err != nil {
		v.failed = err.Error()
	}
	v.trials = append(v.trials, m)
	return err
}

func (v *attempts) line() string {
	if v.failed != "" {
		return "  " + v.failed
	}
	m := v.trials[len(v.trials)-1]
	line := fmt.Sprintf("  %9s/s  p99 %s ms  %s MB", result.Number(m.PerS), result.Number(m.P99MS), result.Number(m.PeakRSSMB))
	if v.note != "" {
		line += "  " + v.note
	}
	return line
}

// result sums up the rounds that are complete, of so many that there were to be.
func (c *course) result(asked int) *result.Sweep {
	out := &result.Sweep{ID: c.ID, Title: c.Title, Unit: c.Unit, Default: c.Default, Points: []result.SweepPoint{}, Notes: slices.Clone(c.Notes)}
	if c.out != nil {
		out.Notes = append(out.Notes, c.out.Error())
		return out
	}
	if c.rounds == 0 {
		out.Notes = append(out.Notes, "no round was completed")
		return out
	}
	if c.rounds < asked {
		out.Notes = append(out.Notes, fmt.Sprintf("%d of %d rounds", c.rounds, asked))
	}
	rates := make([][]float64, len(c.Values))
	given := -1
	for i := range c.Values {
		if c.Values[i].Name == c.Default {
			given = i
		}
		var p result.SweepPoint
		p, rates[i] = c.values[i].point(c.rounds)
		p.Value = c.Values[i].Name
		out.Points = append(out.Points, p)
	}
	best := recommend(rates, given)
	switch {
	case best >= 0 && given >= 0 && best != given && c.Keep == "" && c.rounds < sure && rates[given][0] > 0:
		out.Notes = append(out.Notes, fmt.Sprintf("%s was better than the default, but %d rounds are too few to speak against one: repeat it with --sweeps %s --rounds %d",
			c.Values[best].Name, c.rounds, c.ID, sure))
	case c.rounds < enough:
		out.Notes = append(out.Notes, fmt.Sprintf("nothing is recommended after less than %d rounds: what differs may be chance", enough))
	case best < 0:
		out.Notes = append(out.Notes, "no value beats another beyond the noise")
	case c.Keep != "" && c.Values[best].Name != c.Default:
		out.Notes = append(out.Notes, fmt.Sprintf("the figures speak for %s; the default stays: %s", c.Values[best].Name, c.Keep))
		out.Recommended = c.Default
	default:
		out.Recommended = c.Values[best].Name
	}
	return out
}

// point sums up one value, and returns its rates by round.
func (v *attempts) point(rounds int) (result.SweepPoint, []float64) {
	rates := make([]float64, rounds)
	if v.failed != "" {
		return result.SweepPoint{Note: v.failed}, rates
	}
	side := result.NewSide("engine", v.trials[:rounds])
	for i := range rates {
		rates[i] = v.trials[i].PerS
	}
	return result.SweepPoint{PerS: side.PerS, P99MS: side.P99MS, PeakRSSMB: side.PeakRSSMB, Spread: side.Spreads[result.PerS], Note: v.note}, rates
}
