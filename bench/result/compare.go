package result

import (
	"fmt"
	"io"
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

// Compare returns what moved from one run to another by more than the larger of
// their spreads, and at least 5 %. Ratios are always compared, other figures only
// between runs on the same machine. notes say what could not be compared.
func Compare(before, then *File) (moves []Move, notes []string) {
	same := before.Machine.Name == then.Machine.Name && before.Machine.CPU == then.Machine.CPU
	if !same {
		notes = append(notes, "the runs are of different machines: only ratios are compared")
	}
	if before.Quick != then.Quick {
		return nil, append(notes, "one of the runs is a quick one: their sizes differ and they can't be compared")
	}
	old := make(map[string]*Scenario)
	for _, s := range before.Scenarios {
		old[s.ID] = s
	}
	for _, s := range then.Scenarios {
		was := old[s.ID]
		delete(old, s.ID)
		switch {
		case was == nil:
			notes = append(notes, s.ID+" is in the second run only")
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
		consider("ratio", *was.Ratio, *is.Ratio, max(was.Spread, is.Spread), is.RatioOf != PerS)
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
			max(was.Engine.Spreads[figure], is.Engine.Spreads[figure]), figure != PerS)
	}
	consider("cpu_us", was.Engine.cpuMicros(), is.Engine.cpuMicros(), max(was.Engine.Spreads[CPUS], is.Engine.Spreads[CPUS]), true)
	return moves
}

// PrintMoves writes what [Compare] found.
func PrintMoves(out io.Writer, moves []Move, notes []string) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, m := range moves {
		mark := "better"
		if m.Worse {
			mark = "WORSE"
		}
		change := "–"
		if m.Before != 0 {
			change = fmt.Sprintf("%+.1f%%", (m.Then/m.Before-1)*100)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t→ %s\t%s\t(noise %.0f%%)\t%s\n", m.Scenario, m.Figure, Number(m.Before), Number(m.Then), change, m.Noise*100, mark)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(moves) == 0 {
		b.WriteString("Nothing moved beyond the noise.\n")
	}
	for _, n := range notes {
		fmt.Fprintf(&b, "%s\n", n)
	}
	_, err := io.WriteString(out, b.String())
	return err
}
