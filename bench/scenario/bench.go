package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tocsin/tocsin/bench/result"
)

// Bench runs scenarios, one after the other.
type Bench struct {
	Rig    *Rig
	Rounds int
	Quick  bool
	// Limit is how long all of it may take, 0 for as long as it does. Where a
	// scenario has had its share, further rounds are left out, and what has not
	// begun at the end is left out whole; the results say so.
	Limit time.Duration
	// Files is how many descriptors a process may have.
	Files int
	// Say tells what was measured, a line each.
	Say func(line string)
	// Save keeps the results so far: it is called after each scenario.
	Save func() error
}

// Run measures the scenarios and adds what it finds to the file. It ends early, with
// the error of ctx, keeping what was measured; what goes wrong with a scenario is in
// the file.
func (b *Bench) Run(ctx context.Context, chosen []Scenario, file *result.File) error {
	begun, shares := time.Now(), b.shares(chosen)
	for i := range chosen {
		s := &chosen[i]
		if b.Limit > 0 && time.Since(begun) > b.Limit {
			file.Notes = append(file.Notes, fmt.Sprintf("%s: left out: the %v for all scenarios were over", s.ID, b.Limit))
			continue
		}
		results, notes := b.measure(ctx, s, begun.Add(shares[i]))
		file.Scenarios = append(file.Scenarios, results...)
		file.Notes = append(file.Notes, notes...)
		file.EndedAt = time.Now()
		file.Interrupted = ctx.Err() != nil
		if err := b.Save(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// shares says until when, from the beginning, each scenario may begin another round:
// whoever is quicker than expected leaves the rest to those after it.
func (b *Bench) shares(chosen []Scenario) []time.Duration {
	shares := make([]time.Duration, len(chosen))
	var sum time.Duration
	for i := range chosen {
		sum += chosen[i].Expected(b.Rounds, b.Quick)
		shares[i] = sum
	}
	for i := range shares {
		shares[i] = time.Duration(float64(b.Limit) * float64(shares[i]) / float64(max(sum, 1)))
	}
	return shares
}

// contestant is the engine or a floor in one scenario.
type contestant struct {
	name string
	// result is the id of what a floor is for, "" for the engine.
	result string
	run    func(context.Context, *Rig, Size) (Found, error)
	rounds map[string][]*result.Measurement // by result
	failed error
}

func contestants(s *Scenario) []*contestant {
	all := []*contestant{{name: "engine", run: s.Engine, rounds: make(map[string][]*result.Measurement)}}
	for _, res := range s.Results {
		for _, floor := range res.Floors {
			all = append(all, &contestant{name: floor.Name, result: res.ID, rounds: make(map[string][]*result.Measurement),
				run: func(ctx context.Context, r *Rig, size Size) (Found, error) {
					m, err := floor.Run(ctx, r, size)
					return Found{res.ID: m}, err
				}})
		}
	}
	return all
}

// measure runs the rounds of a scenario, none but the first after a time if there is
// a limit. The notes say why there are no results, if
// there are none.
func (b *Bench) measure(ctx context.Context, s *Scenario, until time.Time) (results []*result.Scenario, notes []string) {
	size := s.size(b.Quick)
	if smaller, note := s.fit(size, b.Files); note != "" {
		size = smaller
		b.Rig.note(note)
		b.Say("!! " + s.ID + ": " + note)
	}
	all := contestants(s)
	for round := range b.Rounds {
		if b.Limit > 0 && round > 0 && time.Now().After(until) {
			b.Rig.note(fmt.Sprintf("%d of %d rounds, so that all scenarios end within %v", round, b.Rounds, b.Limit))
			break
		}
		turn := slices.Clone(all)
		if round%2 == 1 {
			slices.Reverse(turn) // what drifts drifts for both sides
		}
		for _, c := range turn {
			if c.failed != nil || all[0].failed != nil {
				continue
			}
			b.once(ctx, s, c, size, round)
			if ctx.Err() != nil {
				return b.results(s, all, size), nil
			}
		}
		if err := all[0].failed; errors.Is(err, ErrLeftOut) {
			return nil, []string{fmt.Sprintf("%s: %v", s.ID, err)}
		}
	}
	return b.results(s, all, size), nil
}

// once runs one contestant once.
func (b *Bench) once(ctx context.Context, s *Scenario, c *contestant, size Size, round int) {
	label := fmt.Sprintf("%-12s %d/%d  %-9s", orID(c.result, s.ID), round+1, b.Rounds, c.name)
	show := b.Rig.Progress
	b.Rig.Progress = func(text string) { show(label + " " + text) }
	defer func() { b.Rig.Progress = show }()
	b.Rig.Progress("…")
	begun := time.Now()
	found, err := c.run(ctx, b.Rig, size)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		c.failed = err
		b.Say(fmt.Sprintf("%s FAILED: %v", label, err))
		return
	}
	for _, res := range s.Results {
		m := found[res.ID]
		if m == nil {
			continue
		}
		c.rounds[res.ID] = append(c.rounds[res.ID], m)
		line := fmt.Sprintf("%-12s %d/%d  %-9s %9s/s  %7.2f s", res.ID, round+1, b.Rounds, c.name, result.Number(m.PerS), m.WallS)
		if m.P99MS > 0 {
			line += fmt.Sprintf("  p99 %s ms", result.Number(m.P99MS))
		}
		if m.PeakRSSMB > 0 {
			line += fmt.Sprintf("  %s MB", result.Number(m.PeakRSSMB))
		}
		if m.Lost+m.Duplicates+m.OrderViolations > 0 {
			line += fmt.Sprintf("  LOST %d, DUPLICATES %d, OUT OF ORDER %d", m.Lost, m.Duplicates, m.OrderViolations)
		}
		b.Say(fmt.Sprintf("%s  (took %.1f s)", line, time.Since(begun).Seconds()))
	}
}

func orID(id, otherwise string) string {
	if id == "" {
		return otherwise
	}
	return id
}

// results sums the rounds up.
func (b *Bench) results(s *Scenario, all []*contestant, size Size) []*result.Scenario {
	var out []*result.Scenario
	for _, res := range s.Results {
		r := &result.Scenario{ID: res.ID, Title: orID(res.Title, s.Title), Size: size.figures(), Notes: slices.Clone(b.Rig.notes)}
		if r.Notes == nil {
			r.Notes = []string{}
		}
		for _, c := range all {
			if c.result != "" && c.result != res.ID {
				continue
			}
			rounds := c.rounds[res.ID]
			if c.failed != nil && c.result == "" {
				r.Error = c.failed.Error()
			} else if c.failed != nil {
				r.Notes = append(r.Notes, fmt.Sprintf("the floor %s is missing: %v", c.name, c.failed))
			}
			if len(rounds) == 0 {
				continue
			}
			switch side := result.NewSide(c.name, rounds); {
			case c.result == "":
				r.Engine = side
			case c.name == res.Floors[0].Name:
				r.Floor = side
			default:
				r.Others = append(r.Others, side)
			}
		}
		if busy := r.Foreign(); busy > noisy {
			r.Notes = append(r.Notes, fmt.Sprintf("other processes took more than %d %% of the CPU meanwhile: figures are noisy", about(busy)))
		}
		r.Judge(res.Goals, b.Quick || size != s.Full)
		if r.Engine != nil || r.Error != "" {
			out = append(out, r)
		}
	}
	b.Rig.notes = nil
	return out
}

// noisy is how many percent of the CPU others may take without a word.
const noisy = 5

// about rounds down to one of a few figures, so that scenarios with the same trouble
// share a line.
func about(percent float64) int {
	for _, least := range []int{50, 25, 10} {
		if percent > float64(least) {
			return least
		}
	}
	return noisy
}

// fit makes a size smaller for which the limit of descriptors has no room: the engine
// keeps a tenth for itself, and the far side has as many connections.
func (s *Scenario) fit(size Size, files int) (Size, string) {
	const rest = 200 // pipes, logs, the store, control connections
	if files == 0 {
		return size, ""
	}
	most := max(files-max(rest, files/10), 1)
	why := fmt.Sprintf("a process may have only %d descriptors (ulimit -n)", files)
	if crowd := max(most-warmTargets, 1); s.Connections && size.Targets > crowd {
		note := fmt.Sprintf("scaled down from %d to %d targets: %s", size.Targets, crowd, why)
		if size.Hosts == size.Targets {
			size.Hosts = crowd
		}
		size.Targets = crowd
		return size, note
	}
	if s.HostConnections && size.Hosts > most {
		note := fmt.Sprintf("scaled down from %d to %d hosts: %s", size.Hosts, most, why)
		size.Hosts = most
		return size, note
	}
	if size.Connections > most {
		size.Connections = most
		return size, fmt.Sprintf("what has more than %d connections is left out: %s", most, why)
	}
	return size, ""
}
