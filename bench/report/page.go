package report

import (
	"fmt"
	"html/template"
	"slices"
	"time"

	"github.com/tocsin/tocsin/bench/result"
)

// page is what the template shows.
type page struct {
	Style    template.CSS // ours alone
	Machine  string
	Limits   []string
	Commit   string
	Started  string
	Took     string
	Verdict  string
	Good     bool
	Warnings []string
	Rows     []row
	Against  []*chart
	Parts    []part
	Goals    []goal
	Sweeps   []sweep
	LeftOut  []leftOut
	Command  string
	Dirty    bool
}

// row is a scenario in the summary.
type row struct {
	Anchor, ID, Title        string
	Engine, Floor, FloorName string
	Ratio, Bounds            string
	Spread                   string
	P50, P99                 string
	RSS, FloorRSS            string
	CPU                      [3]string // engine, peer, floor
	Faults                   [3]int    // lost, duplicates, order violations
	Broken                   bool
	Mark                     mark
	Meaning                  string
}

// mark is a verdict: a word and a class, so that colour is not all there is.
type mark struct{ Class, Text string }

// part is all about one scenario.
type part struct {
	row
	Size   string
	Charts []*chart
	// Timing says how latency was taken.
	Timing string
	Usage  []usage
	More   []more
	Noise  string
}

// usage is a line of what a process cost.
type usage struct {
	Side, Process, User, Sys, Micros, RSS, Files, Switches, Preempted string
}

// more is a figure that only one scenario has.
type more struct{ Side, Name, Value string }

// goal is a line of the table of goals.
type goal struct {
	ID, Text, Value, Aim string
	Mark                 mark
}

type sweep struct {
	*result.Sweep
	Chart  *chart
	Points []sweepRow
}

type sweepRow struct {
	Value, PerS, Spread, P99, RSS, Note string
	Default, Recommended                bool
}

type leftOut struct{ What, Why string }

func newPage(f *result.File) *page {
	scenarios := present(f.Scenarios)
	p := &page{
		Style: template.CSS(style), Machine: f.Machine.String(), Commit: f.Commit,
		Started: f.StartedAt.UTC().Format("2 January 2006, 15:04 UTC"), Took: took(f),
		Limits: limits(f), Warnings: warnings(f),
		Against: against(scenarios), LeftOut: leftOuts(f, scenarios),
	}
	p.Verdict, p.Good = verdict(scenarios, present(f.Sweeps))
	for i, s := range scenarios {
		r := newRow(s, fmt.Sprintf("s%d", i+1), f.Quick)
		p.Rows = append(p.Rows, r)
		p.Parts = append(p.Parts, newPart(s, r))
		for _, g := range goals(s) {
			p.Goals = append(p.Goals, newGoal(s, g))
		}
	}
	for _, s := range present(f.Sweeps) {
		p.Sweeps = append(p.Sweeps, newSweep(s))
	}
	p.Command, p.Dirty = reproduce(f, scenarios)
	return p
}

// present leaves out what a file has as null.
func present[T any](all []*T) []*T {
	return slices.DeleteFunc(slices.Clone(all), func(v *T) bool { return v == nil })
}

// sides are the engine, the floor and the other floors, those that are there.
func sides(s *result.Scenario) []*result.Side {
	return present(append([]*result.Side{s.Engine, s.Floor}, s.Others...))
}

func took(f *result.File) string {
	if d := f.EndedAt.Sub(f.StartedAt); d > 0 && d < 1000*time.Hour {
		return d.Round(time.Second).String()
	}
	return ""
}

func limits(f *result.File) (all []string) {
	l := f.Machine.Limits
	for _, n := range []struct {
		count int
		text  string
	}{{l.Files, "%s descriptors a process"}, {l.Ports, "%s local ports"}, {l.Backlog, "accept queue of %s"}} {
		if n.count > 0 {
			all = append(all, fmt.Sprintf(n.text, number(float64(n.count))))
		}
	}
	if f.Machine.Load > 0 {
		all = append(all, fmt.Sprintf("load %s when it began", number(f.Machine.Load)))
	}
	return all
}

func newRow(s *result.Scenario, anchor string, quick bool) row {
	r := row{Anchor: anchor, ID: s.ID, Title: s.Title, Engine: "–", Floor: "–", Ratio: "–", Spread: "–", P50: "–", P99: "–", RSS: "–",
		CPU:    [3]string{"–", "–", "–"},
		Faults: [3]int{s.Lost, s.Duplicates, s.OrderViolations}, Broken: broken(s), Mark: markOf(s), Meaning: meaning(s, quick)}
	if e := s.Engine; e != nil {
		r.Engine, r.P50, r.P99, r.RSS = number(e.PerS), number(e.P50MS), number(e.P99MS), number(e.PeakRSSMB)
		r.CPU[0], r.CPU[1] = coarse(ownMicros(e)), coarse(peersMicros(e))
		if len(present(e.Rounds)) > 1 {
			r.Spread = percent(s.Spread)
		}
	}
	if f := s.Floor; f != nil {
		r.Floor, r.FloorName = number(f.PerS), f.Name
		if usable(f.PeakRSSMB) > 0 {
			r.FloorRSS = number(f.PeakRSSMB)
		}
		r.CPU[2] = coarse(ownMicros(f))
	}
	if all := goals(s); len(all) > 0 {
		first := all[0]
		if first.Value != nil && first.Against != "" {
			r.Ratio = number(*first.Value)
		}
		r.Bounds = bounds(first)
	}
	return r
}

func percent(part float64) string {
	if usable(part) == 0 && part != 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f %%", usable(part)*100)
}

func newGoal(s *result.Scenario, g result.Goal) goal {
	value := "–"
	if g.Value != nil {
		value = number(*g.Value)
	}
	return goal{ID: s.ID, Text: goalText(g), Value: value, Aim: number(g.Aim), Mark: goalMark(g)}
}

// reproduce is the command that does the same again. Only what is safe in a shell
// gets into it. dirty says that the commit is not all that ran.
func reproduce(f *result.File, scenarios []*result.Scenario) (command string, dirty bool) {
	var ids []string
	rounds := 0
	for _, s := range scenarios {
		if plain(s.ID) && !slices.Contains(ids, s.ID) {
			ids = append(ids, s.ID)
		}
		if s.Engine != nil {
			rounds = max(rounds, len(present(s.Engine.Rounds)))
		}
	}
	target, which := "bench", "SCENARIOS"
	if f.Quick {
		target = "bench-quick"
	}
	if sweeps := present(f.Sweeps); len(scenarios) == 0 && len(sweeps) > 0 {
		target, which = "bench-tune", "SWEEPS"
		for _, s := range sweeps {
			if plain(s.ID) {
				ids = append(ids, s.ID)
			}
		}
	}
	command = "make " + target
	if len(ids) > 0 {
		command += " " + which + "=" + join(ids, ",")
	}
	if rounds > 0 {
		command += fmt.Sprintf(" ROUNDS=%d", rounds)
	}
	commit, dirty := cutDirty(f.Commit)
	if plain(commit) && commit != "unknown" {
		command = "git checkout " + commit + "\n" + command
	}
	return command, dirty
}
