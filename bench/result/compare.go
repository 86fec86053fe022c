package result

import (
	"fmt"
	"io"
	"maps"
	"math"
	"strings"
	"text/tabwriter"
)

// Move is a figure that differs between two runs by more than the noise.
type Move struct {
	Scenario string
	// Figure is as in the file, or "ratio", or "cpu_us" for the engine's CPU
	// microseconds a delivery.
	Figure       string
	Before, Then float64
	// Noise is the bound that was passed, as a part of Before.
	Noise float64
	// Worse says in which direction.
	Worse bool
}

// leastNoise is how far two runs on one machine differ though nothing changed, even
// if the rounds within each agree.
const leastNoise = 0.05

// unknownNoise is taken where one round says nothing of the others.
const unknownNoise = 0.25

// crowded is from how many percent of the CPU, taken by others, absolute figures say
// little.
const crowded = 10

// noise is the spread of a figure, or what is taken for it after one round alone.
func (s *Side) noise(figure string) float64 {
	if len(s.Rounds) < 2 {
		return unknownNoise
	}
	return s.Spreads[figure]
}

// noise is that of the ratio.
func (s *Scenario) noise() float64 {
	noise := s.Spread
	for _, side := range []*Side{s.Engine, s.Floor} {
		if side != nil {
			noise = max(noise, side.noise(s.RatioOf))
		}
	}
	return noise
}

// foreign is the most that others took of the CPU in any round, in percent.
func (f *File) foreign() (percent float64) {
	for _, s := range f.Scenarios {
		percent = max(percent, s.Foreign())
	}
	return percent
}

// Foreign is the most that others took of the CPU in any round, in percent.
func (s *Scenario) Foreign() (percent float64) {
	for _, side := range append([]*Side{s.Engine, s.Floor}, s.Others...) {
		if side == nil {
			continue
		}
		for _, m := range side.Rounds {
			percent = max(percent, m.ForeignPercent)
		}
	}
	return percent
}

// Compare returns what moved from one run to another by more than the larger of
// their spreads, and at least 5 %; a side with one round counts as spread by 25 %. Ratios are always compared, other figures only
// between runs on the same machine. notes say what could not be compared.
func Compare(before, then *File) (moves []Move, notes []string) {
	same := before.Machine.Name == then.Machine.Name && before.Machine.CPU == then.Machine.CPU
	if !same {
		notes = append(notes, "the runs are of different machines: only ratios are compared")
	}
	if before.Quick != then.Quick {
		return nil, append(notes, "one of the runs is a quick one: their sizes differ and they can't be compared")
	}
	for _, run := range []struct {
		name string
		file *File
	}{{"first", before}, {"second", then}} {
		if percent := run.file.foreign(); same && percent > crowded {
			notes = append(notes, fmt.Sprintf("other processes took up to %.0f %% of the CPU during the %s run: ratios and cpu_us say more than rates and times", percent, run.name))
		}
	}
	old := make(map[string]*Scenario)
	for _, s := range before.Scenarios {
		old[s.ID] = s
	}
	for _, s := range then.Scenarios {
		was := old[s.ID]
		delete(old, s.ID)
		if was != nil && (was.Error != "") != (s.Error != "") {
			failed := map[bool]float64{true: 1}
			moves = append(moves, Move{s.ID, "failed", failed[was.Error != ""], failed[s.Error != ""], 0, s.Error != ""})
		}
		switch {
		case was == nil:
			notes = append(notes, s.ID+" is in the second run only")
		case !maps.Equal(was.Size, s.Size):
			notes = append(notes, s.ID+" had another size in one of the runs, so that its figures can't be compared")
		case s.Engine == nil || was.Engine == nil:
			notes = append(notes, s.ID+" has no figures of the engine in one of the runs")
		default:
			moves = append(moves, compare(was, s, same)...)
		}
	}
	for _, s := range before.Scenarios {
		if old[s.ID] != nil {
			notes = append(notes, s.ID+" is in the first run only")
		}
	}
	return moves, notes
}

func compare(was, is *Scenario, same bool) (moves []Move) {
	consider := func(figure string, before, then, noise float64, smaller bool) {
		noise = max(noise, leastNoise)
		if before == 0 || then == 0 || math.Abs(then/before-1) <= noise {
			return
		}
		moves = append(moves, Move{is.ID, figure, before, then, noise, then > before == smaller})
	}
	if was.Ratio != nil && is.Ratio != nil && was.RatioOf == is.RatioOf {
		consider("ratio", *was.Ratio, *is.Ratio, max(was.noise(), is.noise()), is.RatioOf != PerS)
	}
	// What goes wrong has no noise.
	for _, fault := range []struct {
		name         string
		before, then int
	}{{"lost", was.Lost, is.Lost}, {"duplicates", was.Duplicates, is.Duplicates}, {"order_violations", was.OrderViolations, is.OrderViolations}} {
		if fault.before != fault.then {
			moves = append(moves, Move{is.ID, fault.name, float64(fault.before), float64(fault.then), 0, fault.then > fault.before})
		}
	}
	if !same {
		return moves
	}
	for _, figure := range []string{PerS, P99MS, PeakRSSMB} {
		consider(figure, was.Engine.Figure(figure), is.Engine.Figure(figure),
			max(was.Engine.noise(figure), is.Engine.noise(figure)), figure != PerS)
	}
	consider("cpu_us", was.Engine.cpuMicros(), is.Engine.cpuMicros(), max(was.Engine.noise(CPUS), is.Engine.noise(CPUS)), true)
	return moves
}

// PrintMoves writes what [Compare] found.
func PrintMoves(out io.Writer, moves []Move, notes []string) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if len(moves) > 0 {
		fmt.Fprintln(t, "\tfigure\tbefore\tthen\tchange\tnoise\t")
	}
	for _, m := range moves {
		mark := "better"
		if m.Worse {
			mark = "WORSE"
		}
		change := "–"
		if m.Before != 0 {
			change = fmt.Sprintf("%+.1f%%", (m.Then/m.Before-1)*100)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%.0f%%\t%s\n", m.Scenario, m.Figure, Number(m.Before), Number(m.Then), change, m.Noise*100, mark)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(moves) == 0 {
		b.WriteString("Nothing moved beyond the noise.\n")
	}
	for _, n := range notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	_, err := io.WriteString(out, b.String())
	return err
}
