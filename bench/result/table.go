package result

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
)

// Number prints a figure as people read it: thousands with commas, small ones with
// up to three decimals.
func Number(f float64) string {
	switch {
	case f >= 1000 || f <= -1000:
		return humanize.Comma(int64(f + 0.5))
	case f >= 100:
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
	text := strconv.FormatFloat(f, 'f', 2, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// Print writes the table and what has to be said besides.
func (f *File) Print(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\ncommit %s, %s\n\n", f.Machine, f.Commit, f.StartedAt.Format("2006-01-02 15:04 MST"))
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\tengine/s\tfloor/s\twall s\tp99 ms\tCPU µs\tRSS MB\tgoal\treached\tmust\taim\tmet\tspread\tlost/dup/order\t")
	for _, s := range f.Scenarios {
		s.print(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	var notes []string
	of := make(map[string][]string) // the scenarios that have a note
	for _, s := range f.Scenarios {
		if s.Error != "" {
			fmt.Fprintf(&b, "\n%s FAILED: %s", s.ID, s.Error)
		}
		for _, note := range s.Notes {
			if of[note] == nil {
				notes = append(notes, note)
			}
			of[note] = append(of[note], s.ID)
		}
	}
	for _, note := range notes {
		fmt.Fprintf(&b, "\n%s: %s", strings.Join(of[note], ", "), note)
	}
	for _, note := range f.Notes {
		fmt.Fprintf(&b, "\n%s", note)
	}
	b.WriteString("\n")
	_, err := io.WriteString(out, b.String())
	return err
}

func (s *Scenario) print(t io.Writer) {
	figure := func(side *Side, name string) string {
		if side == nil || side.Figure(name) == 0 {
			return "–"
		}
		return Number(side.Figure(name))
	}
	for i := range max(len(s.Goals), 1) {
		if i == 0 {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t", s.ID, figure(s.Engine, PerS), figure(s.Floor, PerS),
				figure(s.Engine, WallS), figure(s.Engine, P99MS), s.micros(), figure(s.Engine, PeakRSSMB))
		} else {
			fmt.Fprint(t, "\t\t\t\t\t\t\t")
		}
		if i < len(s.Goals) {
			s.Goals[i].print(t)
		} else {
			fmt.Fprint(t, "\t\t\t\t\t")
		}
		if i == 0 {
			fmt.Fprintf(t, "%s\t%d/%d/%d\t", s.spread(), s.Lost, s.Duplicates, s.OrderViolations)
		} else {
			fmt.Fprint(t, "\t\t")
		}
		fmt.Fprintln(t)
	}
}

// spread is a dash where one round alone says nothing of it.
func (s *Scenario) spread() string {
	if s.Engine == nil || len(s.Engine.Rounds) < 2 {
		return "–"
	}
	return fmt.Sprintf("%.0f%%", s.Spread*100)
}

// micros is the CPU time a delivery of both sides.
func (s *Scenario) micros() string {
	if s.Engine == nil || s.Engine.CPUS == 0 {
		return "–"
	}
	text := Number(math.Round(s.Engine.cpuMicros()))
	if s.Floor != nil && s.Floor.CPUS > 0 {
		text += " : " + Number(math.Round(s.Floor.cpuMicros()))
	}
	return text
}

func (g *Goal) print(t io.Writer) {
	what, value, met := g.Of, "–", "not judged"
	if g.Against != "" {
		what += " / " + g.Against
	}
	sign := "≥"
	if g.AtMost {
		sign = "≤"
	}
	if g.Value != nil {
		value = Number(*g.Value)
	}
	must := sign + " " + Number(g.Must)
	switch {
	case g.Judged && g.Must == 0:
		must, met = "–", "not the aim"
		if g.Aimed {
			met = "aim"
		}
	case g.Judged && !g.Met:
		met = "NO"
	case g.Judged && g.Aimed:
		met = "yes, aim too"
	case g.Judged:
		met = "yes"
	}
	fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t", what, value, must, Number(g.Aim), met)
}
