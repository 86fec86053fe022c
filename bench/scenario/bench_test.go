package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tocsin/tocsin/bench/result"
)

func TestTheTable(t *testing.T) {
	seen := make(map[string]bool)
	for _, s := range Table() {
		if s.Full == (Size{}) || s.FullS <= 0 || s.Quick != (Size{}) && s.QuickS <= 0 || s.Engine == nil || len(s.Results) == 0 || s.Title == "" {
			t.Errorf("%s says too little", s.ID)
		}
		for _, r := range s.Results {
			if seen[r.ID] || len(r.Goals) == 0 || !s.is(r.ID) {
				t.Errorf("%s: of %s", r.ID, s.ID)
			}
			seen[r.ID] = true
			for _, g := range r.Goals {
				known := g.Against == "" || slices.ContainsFunc(r.Floors, func(f Floor) bool { return f.Name == g.Against })
				if !known || g.AtMost != (g.Of != result.PerS) || g.AtMost == (g.Aim > g.Must) && g.Aim != g.Must {
					t.Errorf("%s: the goal %s", r.ID, &g)
				}
			}
		}
	}
	for id := range strings.FieldsSeq("w1 w2 w3.cold w3.resumed w4 w5.embedded w5.rabbitmq w6 m1 s1 s1.20ms f1.200x50 f1.304x50 f1.200x1000 f1.304x1000 p1 i1.http i1.amqp i2 i3 x1") {
		if !seen[id] {
			t.Errorf("%s is missing", id)
		}
	}
}

// TestTheTableIsDocumented wants each result, with its goals, as a line of the docs.
func TestTheTableIsDocumented(t *testing.T) {
	docs, err := os.ReadFile(filepath.Join("..", "..", "docs", "performance.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range Table() {
		for _, r := range s.Results {
			var goals []string
			for _, g := range r.Goals {
				goals = append(goals, fmt.Sprintf("%s (%s)", &g, result.Number(g.Aim)))
			}
			line := fmt.Sprintf("| %s | %s | %s |\n", r.ID, orID(r.Title, s.Title), strings.Join(goals, "; "))
			if !strings.Contains(string(docs), line) {
				t.Errorf("docs/performance.md does not have the line\n%s", line)
			}
		}
	}
}

func TestSelect(t *testing.T) {
	names := func(list []Scenario) (all []string) {
		for _, s := range list {
			all = append(all, s.ID)
		}
		return all
	}
	for asked, want := range map[string]string{
		"w5,w1": "w1 w5.embedded w5.rabbitmq", "w5.rabbitmq": "w5.rabbitmq", "w3.cold": "w3", "i1": "i1.http i1.amqp",
	} {
		chosen, err := Select(Table(), strings.Split(asked, ","), false)
		if err != nil || strings.Join(names(chosen), " ") != want {
			t.Errorf("%s: %v, %v", asked, names(chosen), err)
		}
	}
	if all, err := Select(Table(), nil, false); err != nil || len(all) != len(Table()) {
		t.Errorf("%d of %d, %v", len(all), len(Table()), err)
	}
	if quick, err := Select(Table(), nil, true); err != nil || slices.Contains(names(quick), "x1") {
		t.Errorf("%v, %v", names(quick), err)
	}
	for _, ids := range [][]string{{"w1", "w99"}, {""}} {
		if _, err := Select(Table(), ids, false); err == nil {
			t.Errorf("%q was found", ids)
		}
	}
	if _, err := Select(Table(), []string{"x1"}, true); err == nil {
		t.Error("x1 has a quick form")
	}
}

func TestQuickFitsIntoItsTime(t *testing.T) {
	quick, err := Select(Table(), nil, true)
	if err != nil {
		t.Fatal(err)
	}
	var expected time.Duration
	for _, s := range quick {
		expected += s.Expected(Rounds(true), true)
	}
	if expected > 75*time.Second {
		t.Errorf("a quick run is to take %v", expected)
	}
}

func TestFit(t *testing.T) {
	of := func(id string) Scenario {
		chosen, err := Select(Table(), []string{id}, false)
		if err != nil {
			t.Fatal(err)
		}
		return chosen[0]
	}
	for _, s := range Table() {
		for _, size := range []Size{s.Full, s.Quick} {
			if got, note := s.fit(size, 20_000); got != size || note != "" {
				t.Errorf("%s: %+v, %q", s.ID, got, note)
			}
		}
	}
	warm, shared, feeds := of("w2"), of("w5.embedded"), of("f1")
	got, note := warm.fit(warm.Full, 4096)
	if got.Targets > 4096-4096/10-warmTargets || got.Targets < 3000 || got.Hosts != got.Targets || got.Updates != 20 || !strings.Contains(note, "ulimit") {
		t.Errorf("%+v, %q", got, note)
	}
	// Its floor has a connection to each host, and some descriptors besides.
	if got, note := shared.fit(shared.Full, 1024); got.Hosts > 1024-32 || got.Hosts < 500 || got.Targets != shared.Full.Targets || !strings.Contains(note, "ulimit") {
		t.Errorf("%+v, %q", got, note)
	}
	got, note = feeds.fit(feeds.Full, 1024)
	if !strings.Contains(note, "ulimit") {
		t.Errorf("of many connections nothing is said: %+v, %q", got, note)
	}
	for _, v := range views() {
		if v.in(got) != (v.connections == 50) {
			t.Errorf("%s, with 1,024 descriptors: %v", v.id, v.in(got))
		}
	}
}

// TestWhatIsScaledDownIsJudgedByRatios has a goal for the memory of 10,000 targets, of
// which a few say nothing.
func TestWhatIsScaledDownIsJudgedByRatios(t *testing.T) {
	for files, judged := range map[int]bool{20_000: true, 1024: false} {
		measure := func(context.Context, *Rig, Size) (*result.Measurement, error) {
			return &result.Measurement{Deliveries: 1, Figures: result.Figures{PerS: 1, WallS: 1, PeakRSSMB: 50}}, nil
		}
		s := Scenario{ID: "t", Full: Size{Targets: 10_000}, Connections: true, Engine: func(ctx context.Context, r *Rig, size Size) (Found, error) {
			m, err := measure(ctx, r, size)
			return Found{"t": m}, err
		}, Results: []Result{{ID: "t", Floors: []Floor{{"f", measure}}, Goals: []result.Goal{
			{Of: result.PerS, Against: "f", Must: 0.5, Aim: 0.5}, {Of: result.PeakRSSMB, AtMost: true, Must: 250, Aim: 250}}}}}
		b := &Bench{Rig: &Rig{Progress: func(string) {}}, Rounds: 1, Files: files, Say: func(string) {}, Save: func() error { return nil }}
		file := &result.File{}
		if err := b.Run(t.Context(), []Scenario{s}, file); err != nil {
			t.Fatal(err)
		}
		if r := file.Scenarios[0]; !r.Goals[0].Judged || r.Goals[1].Judged != judged || !r.Met {
			t.Errorf("with %d descriptors, at %v: %+v", files, r.Size, r.Goals)
		}
	}
}

// bench runs a scenario without processes.
func bench(t *testing.T, rounds int, s Scenario) (*result.File, []string) {
	t.Helper()
	var said []string
	b := &Bench{Rig: &Rig{Progress: func(string) {}}, Rounds: rounds, Files: 20_000, Say: func(line string) { said = append(said, line) }, Save: func() error { return nil }}
	file := &result.File{}
	if err := b.Run(t.Context(), []Scenario{s}, file); err != nil {
		t.Fatal(err)
	}
	return file, said
}

func TestRoundsInterleave(t *testing.T) {
	var order []string
	side := func(name string, perS float64) func(context.Context, *Rig, Size) (*result.Measurement, error) {
		return func(context.Context, *Rig, Size) (*result.Measurement, error) {
			order = append(order, name)
			return &result.Measurement{Deliveries: 1, Figures: result.Figures{PerS: perS + float64(len(order)), WallS: 1}}, nil
		}
	}
	s := Scenario{ID: "t", Full: Size{Targets: 1}, Engine: func(ctx context.Context, r *Rig, size Size) (Found, error) {
		m, err := side("e", 700)(ctx, r, size)
		return Found{"t": m}, err
	}, Results: []Result{{ID: "t", Goals: []result.Goal{{Of: result.PerS, Against: "f", Must: 0.5, Aim: 0.6}}, Floors: []Floor{{"f", side("f", 1000)}, {"g", side("g", 900)}}}}}
	file, said := bench(t, 3, s)
	if got := strings.Join(order, ""); got != "efggfeefg" {
		t.Errorf("in the order %s", got)
	}
	r := file.Scenarios[0]
	if r.Engine.PerS != 706 || r.Floor.PerS != 1005 || r.Others[0].PerS != 904 || *r.Ratio != 0.702 || !r.Sound() || len(said) != 9 {
		t.Errorf("engine %v, floor %v, other %v, ratio %v, %d lines", r.Engine.PerS, r.Floor.PerS, r.Others[0].PerS, *r.Ratio, len(said))
	}
}

func TestTheLimitLeavesOutRounds(t *testing.T) {
	rounds := 0
	engine := func(context.Context, *Rig, Size) (Found, error) {
		rounds++
		time.Sleep(3 * time.Second)
		return Found{"t": {Deliveries: 1, Figures: result.Figures{PerS: 1, WallS: 1}}}, nil
	}
	s := Scenario{ID: "t", FullS: 1, Engine: engine, Results: []Result{{ID: "t"}}}
	synctest.Test(t, func(t *testing.T) {
		b := &Bench{Rig: &Rig{Progress: func(string) {}}, Rounds: 3, Limit: 5 * time.Second, Say: func(string) {}, Save: func() error { return nil }}
		file := &result.File{}
		if err := b.Run(t.Context(), []Scenario{s, s, s, s}, file); err != nil {
			t.Fatal(err)
		}
		// The first had a quarter of 5 s and took 3, the second ended at 6.
		if rounds != 2 || len(file.Scenarios) != 2 || len(file.Notes) != 2 || !strings.Contains(strings.Join(file.Scenarios[0].Notes, ""), "1 of 3 rounds") {
			t.Errorf("%d rounds of %d scenarios, notes %q", rounds, len(file.Scenarios), file.Notes)
		}
	})
}

func TestWhatFailsOrIsMissing(t *testing.T) {
	well := func(context.Context, *Rig, Size) (Found, error) {
		return Found{"t": {Deliveries: 1, Figures: result.Figures{PerS: 1, WallS: 1}}}, nil
	}
	goals := []result.Goal{{Of: result.PerS, Against: "f", Must: 0.5, Aim: 0.5}}
	floor := func(err error) []Floor {
		return []Floor{{"f", func(context.Context, *Rig, Size) (*result.Measurement, error) { return nil, err }}}
	}
	t.Run("no floor", func(t *testing.T) {
		file, _ := bench(t, 2, Scenario{ID: "t", Engine: well, Results: []Result{{ID: "t", Goals: goals, Floors: floor(fmt.Errorf("%w: no wrk", ErrLeftOut))}}})
		r := file.Scenarios[0]
		if r.Floor != nil || r.Ratio != nil || !r.Sound() || !strings.Contains(strings.Join(r.Notes, " "), "no wrk") || len(r.Engine.Rounds) != 2 {
			t.Errorf("%+v", r)
		}
	})
	t.Run("no broker", func(t *testing.T) {
		out := func(context.Context, *Rig, Size) (Found, error) {
			return nil, fmt.Errorf("%w: no RabbitMQ", ErrLeftOut)
		}
		file, _ := bench(t, 2, Scenario{ID: "t", Engine: out, Results: []Result{{ID: "t", Goals: goals}}})
		if len(file.Scenarios) != 0 || !strings.Contains(strings.Join(file.Notes, " "), "no RabbitMQ") {
			t.Errorf("%+v", file)
		}
	})
	t.Run("an engine that fails in the second round", func(t *testing.T) {
		rounds := 0
		once := func(ctx context.Context, r *Rig, size Size) (Found, error) {
			if rounds++; rounds == 2 {
				return nil, errors.New("it fell over")
			}
			return well(ctx, r, size)
		}
		file, _ := bench(t, 3, Scenario{ID: "t", Engine: once, Results: []Result{{ID: "t", Goals: goals}}})
		r := file.Scenarios[0]
		if r.Error != "it fell over" || r.Sound() || len(r.Engine.Rounds) != 1 || rounds != 2 {
			t.Errorf("%+v after %d rounds", r, rounds)
		}
	})
	t.Run("an interruption", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		rounds := 0
		engine := func(ctx context.Context, r *Rig, size Size) (Found, error) {
			if rounds++; rounds == 2 {
				cancel()
				return nil, ctx.Err()
			}
			return well(ctx, r, size)
		}
		s := Scenario{ID: "t", Engine: engine, Results: []Result{{ID: "t", Goals: goals}}}
		saved := 0
		b := &Bench{Rig: &Rig{Progress: func(string) {}}, Rounds: 3, Say: func(string) {}, Save: func() error { saved++; return nil }}
		file := &result.File{}
		if err := b.Run(ctx, []Scenario{s, s}, file); !errors.Is(err, context.Canceled) {
			t.Errorf("it ended with %v", err)
		}
		if len(file.Scenarios) != 1 || len(file.Scenarios[0].Engine.Rounds) != 1 || !file.Interrupted || saved != 1 {
			t.Errorf("%d results kept, interrupted %v, saved %d times", len(file.Scenarios), file.Interrupted, saved)
		}
	})
}

func TestFloors(t *testing.T) {
	r := newRig(t, "")
	m, err := r.runFloor(t.Context(), []string{"double", "well"})
	if err != nil || m.Deliveries != 100 || m.PerS != 50 || m.WallS != 2 || m.P99MS != 2 {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := r.runFloor(t.Context(), []string{"double", "missing"}); !errors.Is(err, ErrLeftOut) || !strings.Contains(err.Error(), "wrk") {
		t.Errorf("what isn't installed: %v", err)
	}
	for kind, words := range map[string]string{"rude": "instead of ready", "failing": "1 of 101", "dying": "out of tea", "late": "it was all wrong"} {
		if _, err := r.runFloor(t.Context(), []string{"double", kind}); err == nil || !strings.Contains(err.Error(), words) || errors.Is(err, ErrLeftOut) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// TestASlowAnswerCountsForAllItHoldsUp drives a server that stalls once: every event
// that was due meanwhile has waited.
func TestASlowAnswerCountsForAllItHoldsUp(t *testing.T) {
	const stall = 500 * time.Millisecond
	var requests atomic.Int64
	var stalled atomic.Bool
	begun := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1) == 1 {
			stalled.Store(true)
			time.Sleep(stall)
			stalled.Store(false)
			close(begun)
		} else {
			<-begun // nobody is served while the first is
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	p := newPoster(server.URL, "/v1/incidents", clients, intakeEvent)
	defer p.client.CloseIdleConnections()
	v, err := p.run(t.Context(), 600, 1000)
	if err != nil {
		t.Fatal(err)
	}
	// At 1,000/s some 500 were due within the stall, more than there are clients.
	// Half of these waited for at least half of it, though only 128 were under way.
	var waited int64
	for _, bar := range v.latency.Distribution() {
		if bar.From >= (stall / 2).Microseconds() {
			waited += bar.Count
		}
	}
	if waited < 200 || v.latency.TotalCount() != 600 {
		t.Errorf("%d of %d events count as held up", waited, v.latency.TotalCount())
	}
	server.Config.Handler = http.NotFoundHandler()
	if _, err := p.run(t.Context(), 3, 0); err == nil {
		t.Error("a refusal passes")
	}
}
