package result

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// PrintSweeps writes a table of the sweeps and what has to be said besides.
func (f *File) PrintSweeps(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\ncommit %s, %s\n", f.Machine, f.Commit, f.StartedAt.Format("2006-01-02 15:04 MST"))
	for _, s := range f.Sweeps {
		fmt.Fprintf(&b, "\n%s: %s\n", s.ID, s.Title)
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for i, p := range s.Points {
			if i == 0 {
				fmt.Fprintf(t, "  %s\t/s\tspread\tp99 ms\tRSS MB\t\t\n", orWord(s.Unit, "value"))
			}
			p.print(t, s)
		}
		if err := t.Flush(); err != nil {
			return err
		}
		for _, note := range s.Notes {
			fmt.Fprintf(&b, "  %s\n", note)
		}
	}
	b.WriteString("\n")
	for _, note := range f.Notes {
		fmt.Fprintf(&b, "%s\n", note)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func (p *SweepPoint) print(t io.Writer, s *Sweep) {
	figure := func(v float64) string {
		if v == 0 {
			return "–"
		}
		return Number(v)
	}
	var says []string
	if p.Value == s.Recommended {
		says = append(says, "RECOMMENDED")
	}
	if p.Value == s.Default {
		says = append(says, "default")
	}
	fmt.Fprintf(t, "  %s\t%s\t%.0f%%\t%s\t%s\t%s\t%s\n", p.Value, figure(p.PerS), p.Spread*100, figure(p.P99MS), figure(p.PeakRSSMB), strings.Join(says, ", "), p.Note)
}

func orWord(word, otherwise string) string {
	if word == "" {
		return otherwise
	}
	return word
}

// Add takes the sweeps of another file and what it has to say. A sweep that was there
// already is replaced.
func (f *File) Add(other *File) {
	for _, s := range other.Sweeps {
		replaced := false
		for i, was := range f.Sweeps {
			if was.ID == s.ID {
				f.Sweeps[i], replaced = s, true
			}
		}
		if !replaced {
			f.Sweeps = append(f.Sweeps, s)
		}
	}
	for _, note := range other.Notes {
		f.Notes = append(f.Notes, fmt.Sprintf("sweeps of %s, commit %s: %s", other.StartedAt.Format("2006-01-02 15:04 MST"), other.Commit, note))
	}
}
