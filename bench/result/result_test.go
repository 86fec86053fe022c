package result

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/bench/run"
)

func round(perS, wallS, rss float64) *Measurement {
	return &Measurement{Deliveries: 1000, Figures: Figures{PerS: perS, WallS: wallS, PeakRSSMB: rss, CPUS: 1, P50MS: 1, P99MS: 10}}
}

func TestMediansAndSpreads(t *testing.T) {
	for _, test := range []struct {
		values         []float64
		median, spread float64
	}{
		{[]float64{5}, 5, 0},
		{[]float64{3, 1, 2}, 2, 1},
		{[]float64{4, 1, 2, 3}, 2.5, 1.2},
		{[]float64{0, 0}, 0, 0},
	} {
		if median, spread := Sum(test.values); median != test.median || spread != test.spread {
			t.Errorf("%v: %v, %v; want %v, %v", test.values, median, spread, test.median, test.spread)
		}
	}
}

// sample is a scenario with these rates of the engine and the floors.
func sample(engine, raw, fast float64) *Scenario {
	s := &Scenario{ID: "w1", Engine: NewSide("engine", []*Measurement{round(engine*0.9, 1, 200), round(engine, 1, 210), round(engine*1.1, 1, 240)})}
	if raw > 0 {
		s.Floor = NewSide("raw", []*Measurement{round(raw, 0.5, 0)})
	}
	if fast > 0 {
		s.Others = []*Side{NewSide("fasthttp", []*Measurement{round(fast, 0.5, 0)})}
	}
	return s
}

var goals = []Goal{
	{Of: PerS, Against: "raw", Must: 0.65, Aim: 0.75},
	{Of: PerS, Against: "fasthttp", Must: 0.80, Aim: 0.80},
	{Of: PeakRSSMB, AtMost: true, Must: 250, Aim: 205},
}

func TestJudge(t *testing.T) {
	for name, test := range map[string]struct {
		engine, raw, fast float64
		rss               float64 // 0 leaves it
		quick             bool
		met               bool
		ratio             float64 // 0 for none
	}{
		"everything is met":               {engine: 700, raw: 1000, fast: 800, met: true, ratio: 0.7},
		"a slowed engine":                 {engine: 600, raw: 1000, fast: 700, met: false, ratio: 0.6},
		"slow beside the second floor":    {engine: 700, raw: 1000, fast: 900, met: false, ratio: 0.7},
		"too much memory":                 {engine: 700, raw: 1000, fast: 800, rss: 251, met: false, ratio: 0.7},
		"memory of a quick run":           {engine: 700, raw: 1000, fast: 800, rss: 251, quick: true, met: true, ratio: 0.7},
		"ratios of a quick run":           {engine: 600, raw: 1000, fast: 700, quick: true, met: false, ratio: 0.6},
		"a floor that can't be installed": {engine: 1, met: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := sample(test.engine, test.raw, test.fast)
			if test.rss > 0 {
				s.Engine.PeakRSSMB = test.rss
			}
			s.Judge(goals, test.quick)
			if s.Met != test.met || s.Sound() != test.met {
				t.Errorf("met %v, sound %v, goals %+v", s.Met, s.Sound(), s.Goals)
			}
			if test.ratio == 0 != (s.Ratio == nil) || s.Ratio != nil && *s.Ratio != test.ratio {
				t.Errorf("ratio %v", s.Ratio)
			}
			if *s.Must != 0.65 || *s.Aim != 0.75 || s.RatioOf != PerS || s.Spread != 0.2 {
				t.Errorf("must %v, aim %v, of %s, spread %v", *s.Must, *s.Aim, s.RatioOf, s.Spread)
			}
		})
	}
	s := sample(700, 1000, 800)
	s.Judge(goals, false)
	if !s.Goals[0].Met || s.Goals[0].Aimed || !s.Goals[1].Aimed || s.Goals[2].Aimed {
		t.Errorf("the aims: %+v", s.Goals)
	}
	empty := &Scenario{}
	if empty.Judge(goals, false); empty.Met {
		t.Error("what was not measured counts as met")
	}
}

func TestFaultsFailAScenario(t *testing.T) {
	for name, spoil := range map[string]func(*Measurement){
		"lost":       func(m *Measurement) { m.Lost = 1 },
		"duplicates": func(m *Measurement) { m.Duplicates = 1 },
		"order":      func(m *Measurement) { m.OrderViolations = 1 },
	} {
		s := sample(700, 1000, 800)
		spoil(s.Engine.Rounds[1])
		if s.Judge(goals, false); s.Sound() || s.Lost+s.Duplicates+s.OrderViolations != 1 {
			t.Errorf("%s: sound %v, %d, %d, %d", name, s.Sound(), s.Lost, s.Duplicates, s.OrderViolations)
		}
	}
}

func file(scenarios ...*Scenario) *File {
	for _, s := range scenarios {
		s.Judge(goals, false)
		s.Notes = []string{}
	}
	return &File{Machine: run.Machine{Name: "here", CPU: "fast"}, Commit: "abc", StartedAt: time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC), Scenarios: scenarios, Notes: []string{}}
}

func TestCompare(t *testing.T) {
	moved := func(before, then *File) string {
		moves, _ := Compare(before, then)
		var all []string
		for _, m := range moves {
			text := m.Scenario + "." + m.Figure + " better"
			if m.Worse {
				text = m.Scenario + "." + m.Figure + " worse"
			}
			all = append(all, text)
		}
		return strings.Join(all, ", ")
	}
	base := func() *File { return file(sample(700, 1000, 800)) }
	if got := moved(base(), base()); got != "" {
		t.Errorf("between equals: %s", got)
	}
	if got := moved(base(), file(sample(620, 1000, 800))); got != "" { // spread 20 %
		t.Errorf("within the noise: %s", got)
	}
	if got := moved(base(), file(sample(400, 1000, 800))); got != "w1.ratio worse, w1.per_s worse" {
		t.Errorf("a slowed engine: %s", got)
	}
	if got := moved(file(sample(400, 1000, 800)), base()); got != "w1.ratio better, w1.per_s better" {
		t.Errorf("a quicker one: %s", got)
	}
	elsewhere := file(sample(1400, 2000, 1600))
	elsewhere.Machine.Name = "there"
	if got := moved(base(), elsewhere); got != "" {
		t.Errorf("another machine, the same ratio: %s", got)
	}
	lossy := base()
	lossy.Scenarios[0].Lost = 1
	if got := moved(base(), lossy); got != "w1.lost worse" {
		t.Errorf("a loss: %s", got)
	}
	heavy := base()
	heavy.Scenarios[0].Engine.PeakRSSMB *= 1.5
	if got := moved(base(), heavy); got != "w1.peak_rss_mb worse" {
		t.Errorf("more memory: %s", got)
	}
	slow := base()
	slow.Scenarios[0].Engine.P99MS *= 2
	if got := moved(base(), slow); got != "w1.p99_ms worse" {
		t.Errorf("a worse p99: %s", got)
	}
	hungry := base()
	hungry.Scenarios[0].Engine.CPUS *= 2
	if got := moved(base(), hungry); got != "w1.cpu_us worse" {
		t.Errorf("more CPU: %s", got)
	}
	smaller := file(sample(70, 100, 80))
	smaller.Scenarios[0].Size = map[string]int{"targets": 624}
	if moves, notes := Compare(base(), smaller); len(moves) > 0 || len(notes) != 1 {
		t.Errorf("with one of another size: %v, %v", moves, notes)
	}
	fallen := base()
	fallen.Scenarios[0].Error, fallen.Scenarios[0].Engine = "it fell over", nil
	if got := moved(base(), fallen); got != "w1.failed worse" {
		t.Errorf("one that fails now: %s", got)
	}
	if got := moved(fallen, base()); got != "w1.failed better" {
		t.Errorf("one that failed before: %s", got)
	}
	quick := base()
	quick.Quick = true
	if moves, notes := Compare(base(), quick); len(moves) > 0 || len(notes) != 1 {
		t.Errorf("with a quick run: %v, %v", moves, notes)
	}
	single, slower := file(sample(700, 1000, 800)), file(sample(560, 1000, 800))
	for _, f := range []*File{single, slower} {
		e := f.Scenarios[0].Engine
		*e = *NewSide("engine", e.Rounds[1:2])
		f.Scenarios[0].Judge(goals, false)
	}
	if got := moved(single, slower); got != "" { // a fifth slower
		t.Errorf("after one round: %s", got)
	}
	busy := base()
	busy.Scenarios[0].Floor.Rounds[0].ForeignPercent = 60
	if moves, notes := Compare(base(), busy); len(moves) > 0 || len(notes) != 1 || !strings.Contains(notes[0], "60 %") || !strings.Contains(notes[0], "second") {
		t.Errorf("on a busy machine: %v, %q", moves, notes)
	}
	other := file(&Scenario{ID: "w2", Engine: sample(1, 0, 0).Engine})
	if moves, notes := Compare(base(), other); len(moves) > 0 || len(notes) != 2 {
		t.Errorf("of other scenarios: %v, %v", moves, notes)
	}
	var out bytes.Buffer
	moves, notes := Compare(base(), file(sample(400, 1000, 800)))
	if err := PrintMoves(&out, moves, notes); err != nil || !strings.Contains(out.String(), "-42.9%") || !strings.Contains(out.String(), "WORSE") {
		t.Errorf("%v: %s", err, out.String())
	}
}

// TestNames holds the file against what is promised to scripts.
func TestNames(t *testing.T) {
	name := filepath.Join(t.TempDir(), "results.json")
	f := file(sample(700, 1000, 0))
	if err := f.Write(name); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var top map[string]json.RawMessage
	var scenarios []map[string]json.RawMessage
	var engine map[string]json.RawMessage
	for raw, into := range map[string]any{"": &top, "scenarios": &scenarios} {
		from := text
		if raw != "" {
			json.Unmarshal(text, &top)
			from = top[raw]
		}
		if err := json.Unmarshal(from, into); err != nil {
			t.Fatal(err)
		}
	}
	if err := json.Unmarshal(scenarios[0]["engine"], &engine); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		in    map[string]json.RawMessage
		names string
	}{
		{top, "machine commit started_at scenarios"},
		{scenarios[0], "id engine floor ratio spread must aim met lost duplicates order_violations"},
		{engine, "per_s wall_s cpu_s peak_rss_mb p50_ms p99_ms"},
	} {
		for field := range strings.FieldsSeq(want.names) {
			if _, ok := want.in[field]; !ok {
				t.Errorf("there is no %s", field)
			}
		}
	}
	alone := file(sample(700, 0, 0))
	if text, _ := json.Marshal(alone.Scenarios[0]); !bytes.Contains(text, []byte(`"floor":null,"ratio":null`)) {
		t.Errorf("without a floor: %s", text)
	}
	back, err := Read(name)
	if err != nil || back.Scenarios[0].Engine.PerS != 700 || *back.Scenarios[0].Ratio != 0.7 {
		t.Errorf("read back: %+v, %v", back, err)
	}
	for content, words := range map[string]string{"{}": "no started_at", "[": "holds no results",
		`{"started_at":"2026-11-21T05:00:00Z","scenarios":[null]}`:                                     "null",
		`{"started_at":"2026-11-21T05:00:00Z","scenarios":[{"engine":{"rounds":[null]}}]}`:             "null",
		`{"started_at":"2026-11-21T05:00:00Z","scenarios":[{"id":"w1","goals":[{"of":"happiness"}]}]}`: "happiness"} {
		os.WriteFile(name, []byte(content), 0o600)
		if _, err := Read(name); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%q was read: %v", content, err)
		}
	}
}

// FuzzParse holds whatever can be read against itself, and prints it.
func FuzzParse(f *testing.F) {
	for _, seed := range []*File{file(sample(700, 1000, 800)), file(), {StartedAt: time.Unix(0, 0)}} {
		text, err := json.Marshal(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		read, err := Parse(content)
		if err != nil {
			return
		}
		if moves, _ := Compare(read, read); len(moves) > 0 {
			t.Errorf("it differs from itself: %+v", moves)
		}
		if err := read.Print(io.Discard); err != nil {
			t.Error(err)
		}
	})
}

func TestTable(t *testing.T) {
	f := file(sample(600, 1000, 800), &Scenario{ID: "w9", Engine: sample(1, 0, 0).Engine, Error: "it fell over"})
	f.Scenarios[0].Notes = []string{"smaller than it should be"}
	f.Notes = []string{"nginx is left out"}
	var out bytes.Buffer
	if err := f.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"per_s / raw", "0.6 ", "≥ 0.65", "NO", "20%", "w9 FAILED: it fell over", "w1: smaller than it should be", "nginx is left out", "not judged", "0/0/0", "1,000"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table does not say %q:\n%s", want, out.String())
		}
	}
}

func TestNumber(t *testing.T) {
	for f, want := range map[float64]string{0: "0", 0.654: "0.65", 0.6: "0.6", 12.345: "12.35", 123.4: "123", 19738.6: "19,739", 1e6: "1,000,000"} {
		if got := Number(f); got != want {
			t.Errorf("%v is printed as %s, want %s", f, got, want)
		}
	}
}
