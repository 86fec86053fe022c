package tune

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/bench/result"
	"github.com/tocsin/tocsin/bench/run"
	"github.com/tocsin/tocsin/bench/scenario"
)

// TestATinySweepEndToEnd turns a setting of the real engine, which the sink notices:
// with room for one session none is resumed, with room for all of them all are.
func TestATinySweepEndToEnd(t *testing.T) {
	chosen, err := Select(Table(20_000), []string{"tls_sessions"})
	if err != nil {
		t.Fatal(err)
	}
	s := chosen[0]
	s.Trial.Size = scenario.Size{Targets: 50, Hosts: 50}
	measured := map[string]float64{}
	b := newBench(t, "")
	measure := func(ctx context.Context, trial Trial) (*result.Measurement, error) {
		m, err := b.Measure(ctx, trial)
		if err == nil {
			measured[trial.Tuning.Env[0]] = m.More["resumed_percent"]
		}
		return m, err
	}
	s.Values = []Value{s.Values[0], s.Values[2]}
	file, _, err := tune(t, 1, measure, s)
	if err != nil {
		t.Fatal(err)
	}
	if off, on := measured["TOCSIN_EGRESS_SESSIONS=1"], measured["TOCSIN_EGRESS_SESSIONS=16384"]; off > 5 || on != 100 || len(measured) != 2 {
		t.Errorf("%v %% resumed", measured)
	}
	for _, p := range file.Sweeps[0].Points {
		if p.PerS <= 0 || p.P99MS <= 0 || p.PeakRSSMB <= 0 || !strings.Contains(p.Note, "resumed") {
			t.Errorf("%+v", p)
		}
	}
}

// TestATrialOfAFloor has no engine at all, and flags that reach the floor.
func TestATrialOfAFloor(t *testing.T) {
	b := newBench(t, "/bin/false")
	trial := Trial{Scenario: "w2", Result: "w2", Floor: "raw", Size: scenario.Size{Targets: 20, Hosts: 20, Updates: 2}}
	for _, v := range writes().Values {
		asked := (&Sweep{Trial: trial}).trial(&v)
		if m, err := b.Measure(t.Context(), asked); err != nil || m.Deliveries != 40 || m.PerS <= 0 || m.PeakRSSMB <= 0 {
			t.Errorf("%s: %+v, %v", v.Name, m, err)
		}
	}
	odd := (&Sweep{Trial: trial}).trial(new(flags("odd", "--early")))
	if _, err := b.Measure(t.Context(), odd); err == nil || !strings.Contains(err.Error(), "--source") {
		t.Errorf("the flag did not arrive: %v", err)
	}
	trial.Floor = "fasthttp"
	if _, err := b.Measure(t.Context(), trial); err == nil || !strings.Contains(err.Error(), "no floor fasthttp") {
		t.Errorf("a floor that w2 doesn't have: %v", err)
	}
}

// TestTheEdgeOfOpenFiles gives an engine fewer files than requests: they wait, and none
// fails.
func TestTheEdgeOfOpenFiles(t *testing.T) {
	const limit = 192
	chosen, err := Select(Table(20_000), []string{"open_files"})
	if err != nil {
		t.Fatal(err)
	}
	s := chosen[0]
	s.Trial.Size = scenario.Size{Targets: 200, Hosts: 200}
	s.Trial.Tuning.Files = limit
	m, err := newBench(t, "").Measure(t.Context(), s.Trial)
	if err != nil {
		t.Fatal(err)
	}
	if note, broken := s.Observe(s.Trial, m); broken != nil || !strings.Contains(note, "no EMFILE") {
		t.Errorf("%q, %v", note, broken)
	}
	// 96 connections, each for a second: the last are told in the third.
	if m.Lost > 0 || m.WallS < 3 || m.Processes["engine"].MaxFDs >= limit {
		t.Errorf("%d lost in %v s, %d files at most", m.Lost, m.WallS, m.Processes["engine"].MaxFDs)
	}
}

func TestEMFILEIsFoundInTheLog(t *testing.T) {
	b := newBench(t, "/bin/false")
	log := filepath.Join(b.Rig.Logs, "engine.log")
	say := func(words string) {
		f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		fmt.Fprintln(f, words)
	}
	say("before: accept: too many open files")
	b.Scenarios = []scenario.Scenario{{ID: "t", Engine: func(context.Context, *scenario.Rig, scenario.Size) (scenario.Found, error) {
		say("now: accept: too many open files")
		return scenario.Found{"t": at(1)}, nil
	}}}
	m, err := b.Measure(t.Context(), Trial{Scenario: "t", Result: "t"})
	if err != nil || m.More[emfile] != 1 {
		t.Errorf("%+v, %v", m, err)
	}
}

// apart is a trial in a network of its own; it skips the test where there are none.
func apart(t *testing.T, b *Bench, trial Trial) (*result.Measurement, error) {
	t.Helper()
	m, err := b.Measure(t.Context(), trial)
	if errors.Is(err, run.ErrNoNetwork) {
		if !errors.Is(err, scenario.ErrLeftOut) {
			t.Errorf("%v is not left out", err)
		}
		t.Skip(err)
	}
	return m, err
}

func TestATrialInANetworkOfItsOwn(t *testing.T) {
	trial := Trial{Scenario: "w1", Result: "w1", Size: scenario.Size{Targets: 50, Hosts: 50}, Kernel: []Setting{{localPorts, "40000 40999"}}}
	b := newBench(t, "")
	m, err := apart(t, b, trial)
	if errors.Is(err, scenario.ErrLeftOut) {
		t.Skip(err)
	}
	if err != nil || m.Deliveries != 50 || m.PerS <= 0 || m.Lost > 0 {
		t.Fatalf("%+v, %v", m, err)
	}
	if left := running(t, b.Rig.Folder); len(left) > 0 {
		t.Errorf("still running: %q", left)
	}
}

// TestSettingsStayInside sets one in a network of its own, in which the loopback works, and
// looks at the machine's.
func TestSettingsStayInside(t *testing.T) {
	process, err := run.Start(run.Command{Name: "inside", Path: os.Args[0], Args: []string{"inside"}, Env: append(os.Environ(), "GORACE=atexit_sleep_ms=0"), Logs: t.TempDir(), Network: true})
	if errors.Is(err, run.ErrNoNetwork) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := process.Line(t.Context())
	if ended := process.Wait(t.Context()); err != nil || ended != nil || string(line) != oddBacklog {
		t.Fatalf("the backlog is %q inside, %v, %v", line, err, ended)
	}
	outside, err := os.ReadFile(backlogFile)
	if err != nil || string(bytes.TrimSpace(outside)) == oddBacklog {
		t.Errorf("the backlog of the machine is %s, %v", outside, err)
	}
}

func TestASettingThatIsNotThere(t *testing.T) {
	b := newBench(t, "/bin/false")
	_, err := apart(t, b, Trial{Scenario: "w1", Result: "w1", Kernel: []Setting{{"net.ipv4.no_such_setting", "1"}}})
	if !errors.Is(err, scenario.ErrLeftOut) || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("the error is %v", err)
	}
}

func TestAnEngineThatFailsApart(t *testing.T) {
	b := newBench(t, "/bin/false")
	_, err := apart(t, b, Trial{Scenario: "w1", Result: "w1", Size: scenario.Size{Targets: 5, Hosts: 5}, Kernel: []Setting{{localPorts, "40000 40999"}}})
	if err == nil || errors.Is(err, scenario.ErrLeftOut) || !strings.Contains(err.Error(), "engine") {
		t.Errorf("the error is %v", err)
	}
}

// TestNothingIsSetInTheNetworkOfOthers is what keeps a trial that is started by hand from
// changing the machine.
func TestNothingIsSetInTheNetworkOfOthers(t *testing.T) {
	here, err := network()
	if err != nil {
		t.Skip(err)
	}
	for _, outside := range []string{"", here} {
		o := order{Trial: Trial{Kernel: []Setting{{"net.ipv4.no_such_setting", "1"}}}, Outside: outside, Folder: t.TempDir()}
		if _, err := o.run(t.Context()); err == nil || !strings.Contains(err.Error(), "of the trial's own") {
			t.Errorf("ordered from %q: %v", outside, err)
		}
	}
}

// TestAnInterruptedTrialLeavesNothing cancels one that would take a minute.
func TestAnInterruptedTrialLeavesNothing(t *testing.T) {
	b := newBench(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	trial := Trial{Scenario: "w3", Result: "w3.cold", Size: scenario.Size{Targets: 500, Hosts: 1}, Kernel: []Setting{{localPorts, "40000 40999"}},
		// One after the other; the others wait in the ledger meanwhile.
		Tuning: scenario.Tuning{Env: []string{"TOCSIN_WEBHOOK_WINDOW=1", "TOCSIN_WEBHOOK_CONNECTIONS=1"}}}
	ended := make(chan error, 1)
	go func() {
		_, err := b.Measure(ctx, trial)
		ended <- err
	}()
	// An engine and a sink, which has its authority there, are at it.
	for len(running(t, b.Rig.Folder)) < 2 {
		select {
		case err := <-ended:
			if errors.Is(err, scenario.ErrLeftOut) {
				t.Skip(err)
			}
			t.Fatalf("it ended by itself: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	if left := running(t, b.Rig.Folder); len(left) > 0 {
		t.Errorf("still running: %q", left)
	}
	if left, err := os.ReadDir(b.Rig.Folder); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// running lists the commands of processes that name the folder.
func running(t *testing.T, folder string) (commands []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		if text, err := os.ReadFile(file); err == nil && bytes.Contains(text, []byte(folder)) {
			commands = append(commands, string(bytes.ReplaceAll(text, []byte{0}, []byte(" "))))
		}
	}
	return commands
}
