package report

import (
	"bytes"
	_ "embed" // the page's template
	"fmt"
	"html/template"
	"io"
	"os"
	"strings"

	"github.com/tocsin/tocsin/bench/soak"
)

//go:embed soak.tmpl
var soakText string

// soakPage is what the template of a soak shows.
type soakPage struct {
	*soak.Result
	Style   template.CSS // ours alone
	Started string
	Lasted  string
	Words   string // the verdict
	Good    bool
	Lines   []soakLine
	Charts  []*chart
	Text    string
}

// soakLine is a series in the table.
type soakLine struct {
	Name, First, Last, Peak, Growth, Between, Limit string
	Mark                                            mark
}

// WriteSoak writes the page of a soak.
func WriteSoak(out io.Writer, r *soak.Result) error {
	t, err := template.New("page").Parse(pageText)
	if err == nil {
		t, err = t.New("soak").Parse(soakText)
	}
	if err != nil {
		panic("report: the template of a soak is at fault: " + err.Error())
	}
	p, err := newSoakPage(r)
	if err == nil {
		err = t.Execute(out, p)
	}
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// WriteSoakFile writes the page of a soak to a file: whole, or not at all.
func WriteSoakFile(name string, r *soak.Result) error {
	return writeFile(name, func(out io.Writer) error { return WriteSoak(out, r) })
}

// writeFile writes a page to a file: whole, or not at all.
func writeFile(name string, write func(io.Writer) error) error {
	var page bytes.Buffer
	if err := write(&page); err != nil {
		return err
	}
	if err := os.WriteFile(name+".part", page.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if err := os.Rename(name+".part", name); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

func newSoakPage(r *soak.Result) (*soakPage, error) {
	p := &soakPage{Result: r, Style: template.CSS(style), Started: r.StartedAt.UTC().Format("2 January 2006, 15:04 UTC"),
		Words: r.Praise(), Good: true}
	if err := r.Verdict(); err != nil {
		p.Words, p.Good = err.Error(), false
	} else if r.Interrupted {
		p.Words, p.Good = "Interrupted: nothing was wrong until then.", false
	}
	var text strings.Builder
	if err := r.Print(&text); err != nil {
		return nil, err
	}
	p.Text = text.String()
	for _, s := range r.Series {
		p.Lines = append(p.Lines, newSoakLine(s))
	}
	for _, f := range []struct {
		label, unit string
		curves      []soakCurve
	}{
		{"Memory", "MB", []soakCurve{{"resident", "engine", func(s *soak.Sample) float64 { return s.RSSMB }},
			{"heap after collection", "other", func(s *soak.Sample) float64 { return s.HeapMB }}}},
		{"Goroutines", "", []soakCurve{{"goroutines", "engine", func(s *soak.Sample) float64 { return s.Goroutines }}}},
		{"Files", "", []soakCurve{{"open descriptors", "engine", func(s *soak.Sample) float64 { return s.Files }},
			{"outbound connections", "other", func(s *soak.Sample) float64 { return s.Connections }}}},
		{"Store", "MB", []soakCurve{{"store", "other", func(s *soak.Sample) float64 { return s.StoreMB }},
			{"its log (WAL)", "engine", func(s *soak.Sample) float64 { return s.WALMB }}}},
		{"Open deliveries", "", []soakCurve{{"open in the ledger", "engine", func(s *soak.Sample) float64 { return s.Open }},
			{"waiting in lanes", "other", func(s *soak.Sample) float64 { return s.Lanes }}}},
		{"Batches in the queues", "", []soakCurve{{"batches and events", "engine", func(s *soak.Sample) float64 { return s.Batches }}}},
	} {
		if c := soakChart(r, f.label, f.unit, f.curves); c != nil {
			p.Charts = append(p.Charts, c)
		}
	}
	return p, nil
}

func newSoakLine(s soak.Series) soakLine {
	figure := func(f float64) string { return fmt.Sprintf("%.1f", f) }
	l := soakLine{Name: s.Name, First: figure(s.First), Last: figure(s.Last), Peak: figure(s.Peak), Growth: "–", Between: "–", Limit: "–",
		Mark: mark{"none", s.Verdict}}
	if s.Unit != "" {
		l.Name += ", " + s.Unit
	}
	if s.Trend != nil {
		l.Growth, l.Between = fmt.Sprintf("%+.1f", s.Trend.PerHour), fmt.Sprintf("%+.1f … %+.1f", s.Trend.Low, s.Trend.High)
	}
	if s.Limit > 0 {
		l.Limit = figure(s.Limit)
	}
	switch s.Verdict {
	case soak.Flat:
		l.Mark.Class = "good"
	case soak.Grows:
		l.Mark.Class = "bad"
	}
	return l
}

type soakCurve struct {
	name, class string
	of          func(*soak.Sample) float64
}

// soakChart shows figures over the run, with the faults along the bottom; nil if there
// is nothing to show.
func soakChart(r *soak.Result, label, unit string, curves []soakCurve) *chart {
	most, end := 0.0, 0.0
	for i := range r.Samples {
		end = max(end, usable(r.Samples[i].AtS))
		for _, k := range curves {
			most = max(most, usable(k.of(&r.Samples[i])))
		}
	}
	if most == 0 || end == 0 {
		return nil
	}
	c, a := frame(label, unit, curveHeight, most)
	c.xAxis(&a, "minutes", end/60)
	for _, f := range r.Faults {
		if from, to := usable(f.FromS)/60, usable(f.ToS)/60; to > from {
			c.rect("recommended", a.x.at(from), a.bottom-4, a.x.at(to)-a.x.at(from), 4, f.Name)
		}
	}
	for _, k := range curves {
		var points []point
		for i := 0; i < len(r.Samples); { // the highest of each stretch: peaks are what matters
			stretch := max(len(r.Samples)/mostPoints, 1)
			at, value := r.Samples[i].AtS, 0.0
			for j := i; j < min(i+stretch, len(r.Samples)); j++ {
				value = max(value, usable(k.of(&r.Samples[j])))
			}
			points = append(points, point{a.x.at(at / 60), a.y.at(value)})
			i += stretch
		}
		c.path("curve "+k.class, points, k.name)
		c.key("curve "+k.class, k.name)
	}
	return c
}
