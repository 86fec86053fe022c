package report

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/tocsin/tocsin/bench/result"
	"github.com/tocsin/tocsin/bench/run"
)

// draw parses the page of a file.
func draw(t *testing.T, f *result.File) (*html.Node, string) {
	t.Helper()
	var out bytes.Buffer
	if err := Write(&out, f); err != nil {
		t.Fatal(err)
	}
	root, err := html.Parse(bytes.NewReader(out.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	return root, out.String()
}

// all are the elements of a name below a node.
func all(n *html.Node, name string) (found []*html.Node) {
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && d.Data == name {
			found = append(found, d)
		}
	}
	return found
}

func attribute(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// text is what a reader sees of a node, spaces made one.
func text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode && d.Parent.Data != "style" {
			b.WriteString(d.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// byID is the element with an id.
func byID(n *html.Node, id string) *html.Node {
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && attribute(d, "id") == id {
			return d
		}
	}
	return nil
}

// measured is a round with everything that a report can show.
func measured(perS float64) *result.Measurement {
	return &result.Measurement{Deliveries: 1000,
		Figures: result.Figures{PerS: perS, WallS: 1000 / perS, CPUS: 0.08, PeakRSSMB: 48, P50MS: 12, P99MS: 99},
		Latency: []result.Quantile{{Percent: 0, MS: 1}, {Percent: 50, MS: 12}, {Percent: 99, MS: 99}, {Percent: 100, MS: 120}},
		Processes: map[string]run.Usage{
			"engine": {UserS: 0.05, SysS: 0.03, PeakRSSMB: 48, MaxFDs: 2012, Switches: 7, Series: []run.Sample{{RSSMB: 20, FDs: 12}, {AtS: 0.5, RSSMB: 48, FDs: 2012}}},
			"sink":   {UserS: 0.01, PeakRSSMB: 30, MaxFDs: 2010, Series: []run.Sample{{RSSMB: 20, FDs: 12}, {AtS: 0.5, RSSMB: 30, FDs: 2010}}},
		},
		More: map[string]float64{"handshakes": 1234}}
}

// ran is a scenario with an engine, a floor, and goals that it was judged by.
func ran(id string, engine, floor float64) *result.Scenario {
	s := &result.Scenario{ID: id, Title: "the work of " + id, Size: map[string]int{"targets": 2000}, Notes: []string{},
		Engine: result.NewSide("engine", []*result.Measurement{measured(engine), measured(engine * 1.1), measured(engine * 0.9)})}
	if floor > 0 {
		s.Floor = result.NewSide("raw", []*result.Measurement{measured(floor)})
	}
	s.Judge([]result.Goal{{Of: result.PerS, Against: "raw", Must: 0.5, Aim: 0.8}, {Of: result.PeakRSSMB, AtMost: true, Must: 250, Aim: 40}}, false)
	return s
}

func file(scenarios ...*result.Scenario) *result.File {
	return &result.File{Machine: run.Machine{Name: "here", CPU: "Z80", Cores: 2, Kernel: "Linux 9"}, Commit: "abc123",
		StartedAt: time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC), EndedAt: time.Date(2026, 11, 21, 5, 1, 14, 0, time.UTC),
		Scenarios: scenarios, Notes: []string{}}
}

func sweepOf(id string) *result.Sweep {
	return &result.Sweep{ID: id, Title: "dials under way at once (w1)", Unit: "connections", Default: "256", Recommended: "512",
		Points: []result.SweepPoint{{Value: "256", PerS: 1000, P99MS: 20, PeakRSSMB: 40, Spread: 0.1}, {Value: "512", PerS: 1500, P99MS: 18, PeakRSSMB: 44},
			{Value: "1024", Note: "it failed here"}},
		Notes: []string{"a network namespace is not allowed here"}}
}

func TestEveryScenarioHasItsRowAndCharts(t *testing.T) {
	f := file(ran("w1", 700, 1000), ran("w2", 300, 1000), ran("w3.cold", 900, 1000))
	root, _ := draw(t, f)
	rows := all(root, "tbody")
	for _, s := range f.Scenarios {
		var row, part *html.Node
		for _, r := range rows {
			for _, a := range all(r, "a") {
				if text(a) == s.ID {
					row, part = r, byID(root, strings.TrimPrefix(attribute(a, "href"), "#"))
				}
			}
		}
		if row == nil || part == nil {
			t.Fatalf("%s has no row, or the row leads nowhere", s.ID)
		}
		for _, want := range []string{s.Title, result.Number(s.Engine.PerS), result.Number(s.Floor.PerS), result.Number(*s.Ratio), "20 %", "0 / 0 / 0"} {
			if !strings.Contains(text(row), want) {
				t.Errorf("%s: the row doesn't say %q: %s", s.ID, want, text(row))
			}
		}
		var charts []string
		for _, c := range all(part, "figcaption") {
			charts = append(charts, text(c))
		}
		if got := strings.Join(charts, ", "); got != "Rounds: throughput, Latency by percentile, Memory over time, Descriptors over time" {
			t.Errorf("%s has the charts %s", s.ID, got)
		}
		if got := text(part); !strings.Contains(got, "2,000 targets") || !strings.Contains(got, "handshakes 1,234") || !strings.Contains(got, "2,012") {
			t.Errorf("%s: %s", s.ID, got)
		}
	}
	if got := text(root); !strings.Contains(got, "abc123") || !strings.Contains(got, "21 November 2026, 05:00 UTC") || !strings.Contains(got, "1m14s") || !strings.Contains(got, "Z80") {
		t.Errorf("machine, date or commit is missing: %s", got)
	}
}

// TestCurvesShowTheSamples follows the memory of an engine to its last sample.
func TestCurvesShowTheSamples(t *testing.T) {
	s := ran("w1", 700, 0)
	c := memoryChart(s)
	var path string
	for _, shape := range c.Shapes {
		if shape.Kind == "path" && strings.Contains(shape.Class, "engine") {
			path = shape.Path
		}
	}
	// 48 MB of an axis to 60 after all of the time: 4/5 of the height, at the right.
	a := area{left: marginLeft, right: width - marginRight, top: marginTop, bottom: curveHeight - 34}
	want := px(a.right).String() + " " + px(a.bottom-(a.bottom-a.top)*48/60).String()
	if !strings.HasSuffix(path, "L"+want) {
		t.Errorf("the curve %s doesn't end at %s", path, want)
	}
}

func TestMarks(t *testing.T) {
	left := ran("left", 700, 0)
	failed := ran("failed", 700, 1000)
	failed.Error = "it fell over"
	lossy := ran("lossy", 900, 1000)
	lossy.Lost = 3
	aim := ran("aim", 900, 1000)
	aim.Judge([]result.Goal{{Of: result.PerS, Against: "raw", Must: 0.5, Aim: 0.6}, {Of: result.PerS, Against: "raw", Aim: 2}}, false)
	for _, test := range []struct {
		s    *result.Scenario
		want string
	}{
		{ran("met", 700, 1000), "✓ must"}, {ran("missed", 300, 1000), "✗ missed"}, {failed, "✗ failed"}, {lossy, "✗ promise broken"},
		{aim, "not the aim"}, {&result.Scenario{ID: "nothing"}, "not measured"}, {left, "not measured"},
	} {
		root, _ := draw(t, file(test.s))
		var marks []string
		for _, n := range all(root, "span") {
			if strings.HasPrefix(attribute(n, "class"), "mark") {
				marks = append(marks, text(n))
			}
		}
		if !strings.Contains(strings.Join(marks, ", "), test.want) {
			t.Errorf("%s is marked %q", test.s.ID, marks)
		}
	}
	root, page := draw(t, file(lossy))
	if !strings.Contains(text(root), "3 / 0 / 0") || !strings.Contains(page, `class="verdict bad"`) {
		t.Error("a loss looks like nothing")
	}
	if _, page := draw(t, file(ran("met", 700, 1000))); !strings.Contains(page, `class="verdict good"`) {
		t.Error("what is well doesn't look so")
	}
}

func TestNothingMeasuredLooksBad(t *testing.T) {
	for name, sweeps := range map[string][]*result.Sweep{"nothing": nil, "sweeps without a value": {{ID: "bare", Notes: []string{"no round was completed"}}}} {
		f := file()
		f.Sweeps = sweeps
		if _, page := draw(t, f); !strings.Contains(page, `class="verdict bad">Nothing was measured`) {
			t.Errorf("%s looks like something", name)
		}
	}
}

func TestSweeps(t *testing.T) {
	f := file()
	f.Sweeps = []*result.Sweep{sweepOf("dial_gate"), nil, {ID: "bare", Title: "nothing was measured here"}}
	root, _ := draw(t, f)
	var found int
	for _, n := range all(root, "article") {
		switch got := text(n); {
		case strings.Contains(got, "dial_gate"):
			found++
			for _, want := range []string{"Recommended: 512 connections", "the default is 256", "1,500", "10 %", "it failed here"} {
				if !strings.Contains(got, want) {
					t.Errorf("the sweep doesn't say %q: %s", want, got)
				}
			}
			if len(all(n, "figure")) != 1 {
				t.Error("the sweep has no chart")
			}
		case strings.Contains(got, "bare"):
			found++
			if len(all(n, "figure")) != 0 || !strings.Contains(got, "No value is recommended") {
				t.Errorf("of nothing: %s", got)
			}
		}
	}
	if got := text(root); strings.Contains(got, "No scenario has results") || !strings.Contains(got, "1 of 2 settings were tried out") ||
		!strings.Contains(got, "make bench-tune SWEEPS=dial_gate,bare") {
		t.Errorf("a page of sweeps alone: %s", got)
	}
	if found != 2 || !strings.Contains(text(root), "a network namespace is not allowed here") {
		t.Errorf("%d sweeps: %s", found, text(root))
	}
}

// alone complains of anything that a page would load or run.
func alone(t *testing.T, root *html.Node) {
	t.Helper()
	for d := range root.Descendants() {
		if d.Type != html.ElementNode {
			continue
		}
		switch d.Data {
		case "script", "link", "img", "iframe", "object", "embed", "base", "form", "image", "use", "foreignobject", "audio", "video":
			t.Errorf("there is a %s", d.Data)
		case "style":
			if css := d.FirstChild.Data; strings.Contains(css, "url(") || strings.Contains(css, "@import") {
				t.Error("the style loads something")
			}
		}
		for _, a := range d.Attr {
			switch {
			case strings.HasPrefix(a.Key, "on"), a.Key == "src", a.Key == "srcset", a.Key == "style":
				t.Errorf("%s has %s", d.Data, a.Key)
			case a.Key == "href" && !strings.HasPrefix(a.Val, "#"):
				t.Errorf("a link leads to %s", a.Val)
			}
		}
	}
}

const hostile = `"><script>alert(1)</script><img src=x onerror=alert(2)>'</style></svg><a href="javascript:x">`

// spoiled has the text in every place that a file has one.
func spoiled(text string) *result.File {
	s := ran(text, 700, 1000)
	s.Title, s.Error, s.Notes = text, text, []string{text}
	s.Size = map[string]int{text: 1}
	for _, side := range []*result.Side{s.Engine, s.Floor} {
		side.Name = text
		for _, m := range side.Rounds {
			m.More = map[string]float64{text: 1}
			m.Processes[text] = m.Processes["engine"]
		}
	}
	s.Goals[0].Of, s.Goals[0].Against = text, text
	f := file(s)
	f.Machine.Name, f.Machine.CPU, f.Machine.Kernel, f.Commit = text, text, text, text
	f.Notes = []string{text + " noisy"}
	w := sweepOf(text)
	w.Title, w.Unit, w.Default, w.Recommended, w.Notes = text, text, text, text, []string{text}
	w.Points[0].Value, w.Points[0].Note = text, text
	f.Sweeps = []*result.Sweep{w}
	return f
}

func TestThePageStandsAlone(t *testing.T) {
	f := file(ran("w1", 700, 1000))
	f.Sweeps = []*result.Sweep{sweepOf("dial_gate")}
	root, page := draw(t, f)
	alone(t, root)
	if strings.Contains(strings.ReplaceAll(page, "http://www.w3.org/2000/svg", ""), "://") {
		t.Error("the page names an address")
	}
}

func TestNoTextBecomesMarkup(t *testing.T) {
	root, _ := draw(t, spoiled(hostile))
	alone(t, root)
	if !strings.Contains(text(root), "<script>alert(1)</script>") {
		t.Error("the text is not shown at all")
	}
	pre := text(all(root, "pre")[0])
	if strings.Contains(pre, "script") {
		t.Errorf("a command to copy has text of the file: %s", pre)
	}
	root, _ = draw(t, spoiled("w1; rm -rf ~"))
	if pre := text(all(root, "pre")[0]); strings.Contains(pre, "rm") {
		t.Errorf("a command to copy does something else: %s", pre)
	}
}

func TestWhatIsMissingOrAbsurd(t *testing.T) {
	absurd := ran("absurd", 700, 1000)
	huge := math.MaxFloat64
	for _, side := range []*result.Side{absurd.Engine, absurd.Floor} {
		side.PerS, side.P99MS = huge, -5
		for _, m := range side.Rounds {
			m.PerS, m.Deliveries = -huge, -1
			m.Latency = []result.Quantile{{Percent: 500, MS: huge}, {Percent: -3, MS: -1}}
			m.Processes["engine"] = run.Usage{Series: []run.Sample{{AtS: -1, RSSMB: huge, FDs: -4}, {AtS: huge, RSSMB: 1}}}
		}
		side.Rounds = append(side.Rounds, nil)
	}
	absurd.Goals[0].Value, absurd.Spread = &huge, huge
	bare := ran("bare", 700, 1000)
	bare.Engine.Rounds, bare.Floor.Rounds, bare.Goals = nil, nil, nil
	floorOnly := ran("floor", 700, 1000)
	floorOnly.Engine = nil
	interrupted := file(ran("w1", 700, 1000))
	interrupted.Interrupted = true
	for name, f := range map[string]*result.File{
		"nothing":     {},
		"no scenario": file(),
		"nulls":       {Scenarios: []*result.Scenario{nil, {}}, Sweeps: []*result.Sweep{nil, {}}},
		"absurd":      file(absurd), "no rounds": file(bare), "no engine": file(floorOnly), "interrupted": interrupted,
	} {
		root, page := draw(t, f)
		alone(t, root)
		if strings.Contains(page, "NaN") || strings.Contains(page, "Inf") || strings.Contains(page, "%!") {
			t.Errorf("%s: a figure is no number", name)
		}
		if name == "interrupted" && !strings.Contains(text(root), "was interrupted") {
			t.Error("nobody says that it was interrupted")
		}
	}
}

func TestWriteFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "report.html")
	if err := WriteFile(name, file(ran("w1", 700, 1000))); err != nil {
		t.Fatal(err)
	}
	if page, err := os.ReadFile(name); err != nil || !bytes.HasSuffix(bytes.TrimSpace(page), []byte("</html>")) {
		t.Errorf("the page is not whole: %v", err)
	}
	if err := WriteFile(filepath.Join(name, "x"), file()); err == nil {
		t.Error("a page was written below a file")
	}
}

// FuzzPage draws files with any text and any figures: a page comes out that loads
// nothing and has no figure that is no number.
func FuzzPage(f *testing.F) {
	f.Add("w1", 700.0, 12.0, 0.5, 1000)
	f.Add(hostile, math.MaxFloat64, -1.0, math.Inf(1), -1)
	f.Add("w1; rm -rf ~", math.SmallestNonzeroFloat64, math.NaN(), 0.0, math.MaxInt)
	f.Fuzz(func(t *testing.T, text string, figure, latency, at float64, count int) {
		file := spoiled(text)
		s := file.Scenarios[0]
		s.Spread, s.Lost, s.Ratio = at, count, &figure
		for _, side := range []*result.Side{s.Engine, s.Floor} {
			side.PerS, side.P99MS = figure, latency
			m := side.Rounds[0]
			m.PerS, m.Deliveries, m.ForeignPercent = figure, count, at
			m.Latency[1] = result.Quantile{Percent: at, MS: latency}
			m.Processes["engine"].Series[1] = run.Sample{AtS: at, RSSMB: figure, FDs: count}
		}
		s.Goals[1].Value, s.Goals[1].Must, s.Goals[1].Aim, s.Goals[1].Against = &figure, latency, at, "raw"
		file.Sweeps[0].Points[1] = result.SweepPoint{PerS: figure, P99MS: latency, Spread: at}
		root, page := draw(t, file)
		alone(t, root)
		if !strings.Contains(text, "NaN") && strings.Contains(page, "NaN") {
			t.Error("a figure is no number")
		}
	})
}
