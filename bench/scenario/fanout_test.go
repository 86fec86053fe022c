package scenario

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/bench/result"
	"github.com/tocsin/tocsin/bench/run"
)

// newRig is a rig whose engine has a fault.
func newRig(t *testing.T, fault string) *Rig {
	t.Helper()
	r, err := NewRig(os.Args[0], os.Args[0], t.TempDir(), append(os.Environ(), faultVariable+"="+fault, "GORACE=atexit_sleep_ms=0"), func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// small is work for tests: one update, then two that are measured.
func small(patience time.Duration) fanout {
	return fanout{scheme: "http", steps: []step{{updates: 1}, {id: "t", updates: 2}}, patience: patience}
}

var smallSize = Size{Targets: 30, Hosts: 30}

func TestFaultyEnginesAreFoundOut(t *testing.T) {
	for fault, check := range map[string]func(*result.Measurement) bool{
		"":         func(m *result.Measurement) bool { return m.Lost+m.Duplicates+m.OrderViolations == 0 },
		losing:     func(m *result.Measurement) bool { return m.Lost == 2 && m.Duplicates+m.OrderViolations == 0 },
		repeating:  func(m *result.Measurement) bool { return m.Duplicates == 3 && m.Lost+m.OrderViolations == 0 },
		reordering: func(m *result.Measurement) bool { return m.OrderViolations > 0 },
	} {
		t.Run(fault, func(t *testing.T) {
			patience := time.Minute
			if fault == losing {
				patience = 3 * time.Second // what does not come has to be waited for, and all else has to come
			}
			f := small(patience)
			found, err := f.engine(t.Context(), newRig(t, fault), smallSize)
			if err != nil {
				t.Fatal(err)
			}
			m := found["t"]
			if !check(m) {
				t.Errorf("%d lost, %d duplicates, %d order violations", m.Lost, m.Duplicates, m.OrderViolations)
			}
			if len(found) != 1 || m.Deliveries < 58 || m.Deliveries > 60 || m.PerS <= 0 || m.WallS <= 0 || m.P99MS < m.P50MS || m.PeakRSSMB <= 0 {
				t.Errorf("measured %+v", m)
			}
			if n := len(m.Done); n != 2*pointsPerUpdate || m.Done[n-1].Count != m.Deliveries || len(m.Latency) == 0 {
				t.Errorf("%d points, the last %+v", n, m.Done[n-1])
			}
		})
	}
}

func TestASlowedEngineIsFoundOut(t *testing.T) {
	f := small(time.Minute)
	found, err := f.engine(t.Context(), newRig(t, slowed), smallSize)
	if err != nil {
		t.Fatal(err)
	}
	// 2 ms for each of 30 targets, twice: it can't be quicker, however quick the
	// machine is.
	m := found["t"]
	if m.PerS > 500 || m.WallS < 2*30*0.002 || m.P99MS < 29*2 {
		t.Errorf("%.0f/s in %.3f s, p99 %.1f ms", m.PerS, m.WallS, m.P99MS)
	}
	s := &result.Scenario{Engine: result.NewSide("engine", []*result.Measurement{m}),
		Floor: result.NewSide("raw", []*result.Measurement{{Figures: result.Figures{PerS: 1000}}})}
	if s.Judge([]result.Goal{{Of: result.PerS, Against: "raw", Must: 0.65}}, true); s.Sound() {
		t.Error("a slowed engine passes")
	}
}

func TestEnginesThatFail(t *testing.T) {
	for fault, words := range map[string]string{boasting: "the ledger has", dying: "out of tea", crashing: "could not end in order"} {
		t.Run(fault, func(t *testing.T) {
			f := small(time.Minute)
			if _, err := f.engine(t.Context(), newRig(t, fault), smallSize); err == nil || !strings.Contains(err.Error(), words) {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}

func TestInterruption(t *testing.T) {
	r := newRig(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	r.Progress = func(string) { cancel() } // while it waits for the peers
	f := small(time.Minute)
	f.steps = []step{{id: "t", updates: 1000}}
	if _, err := f.engine(ctx, r, smallSize); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}

// TestEngine runs the real one: w1, small, from the table's own entry.
func TestEngine(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the engine")
	}
	binary := filepath.Join(t.TempDir(), "tocsin")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "github.com/tocsin/tocsin/cmd/tocsin").CombinedOutput(); err != nil {
		t.Fatalf("build the engine: %v\n%s", err, out)
	}
	r := newRig(t, "")
	r.Tocsin = binary
	s := cold()
	s.Full = Size{Targets: 50, Hosts: 50}
	file := &result.File{Machine: run.ReadMachine(), StartedAt: time.Now()}
	b := &Bench{Rig: r, Rounds: 1, Files: file.Machine.Limits.Files, Say: func(line string) { t.Log(line) }, Save: func() error { return nil }}
	if err := b.Run(t.Context(), []Scenario{s}, file); err != nil {
		t.Fatal(err)
	}
	if len(file.Scenarios) != 1 {
		t.Fatalf("%d results, notes %q", len(file.Scenarios), file.Notes)
	}
	w1 := file.Scenarios[0]
	if w1.Error != "" || w1.Engine == nil || w1.Floor == nil || len(w1.Others) != 1 || w1.Lost+w1.Duplicates+w1.OrderViolations != 0 || w1.Ratio == nil {
		t.Fatalf("%+v", w1)
	}
	engine, floor := w1.Engine.Rounds[0], w1.Floor.Rounds[0]
	if engine.Deliveries != 50 || floor.Deliveries != 50 || engine.Processes["sink"].PeakRSSMB == 0 || floor.CPUS == 0 {
		t.Errorf("engine %+v, floor %+v", engine, floor)
	}
	// Both sides send the same bytes, but for what they sign and call themselves.
	if size := engine.More["request_bytes"]; size < bodySize || size > bodySize+500 {
		t.Errorf("a request has %v bytes", size)
	}
}
