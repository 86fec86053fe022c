package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/bench/result"
	"github.com/tocsin/tocsin/bench/run"
)

func bench(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Main(t.Context(), args, &program{strings.NewReader(""), &out, &errs, os.Environ(), nil})
	return code, out.String(), errs.String()
}

func TestUsage(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		code int
		says string
	}{
		"help":               {[]string{"run", "--help"}, 0, ""},
		"no command":         {nil, exitUsage, "--help"},
		"unknown flag":       {[]string{"run", "--fast"}, exitUsage, "--fast"},
		"unknown scenario":   {[]string{"run", "--scenarios", "w1,w99"}, exitUsage, "w99"},
		"no rounds":          {[]string{"run", "--rounds", "0"}, exitUsage, "--rounds"},
		"no engine":          {[]string{"run", "--tocsin", "no/such/file", "--out", t.TempDir()}, exitUnavailable, "make build"},
		"help of chaos":      {[]string{"chaos", "--help"}, 0, ""},
		"no kills":           {[]string{"chaos", "--rounds", "0"}, exitUsage, "--rounds"},
		"no queue to kill":   {[]string{"chaos", "--queue", "tea"}, exitUsage, "--queue"},
		"no engine to kill":  {[]string{"chaos", "--tocsin", "no/such/file", "--out", t.TempDir()}, exitUnavailable, "make build"},
		"help of sweeps":     {[]string{"tune", "--help"}, 0, ""},
		"unknown sweep":      {[]string{"tune", "--sweeps", "gogc,tea"}, exitUsage, "tea"},
		"no rounds of it":    {[]string{"tune", "--rounds", "0"}, exitUsage, "--rounds"},
		"no engine to tune":  {[]string{"tune", "--tocsin", "no/such/file", "--out", t.TempDir()}, exitUnavailable, "make build"},
		"help of soaks":      {[]string{"soak", "--help"}, 0, ""},
		"no minutes":         {[]string{"soak", "--minutes", "0"}, exitUsage, "--minutes"},
		"no such queue":      {[]string{"soak", "--queue", "kafka"}, exitUsage, "--queue"},
		"no engine to soak":  {[]string{"soak", "--tocsin", "no/such/file", "--out", t.TempDir()}, exitUnavailable, "make build"},
		"nothing to compare": {[]string{"compare", "no/such.json", "no/such.json"}, exitUsage, "no/such.json"},
		"nothing to draw":    {[]string{"report", "no/such.json"}, exitUsage, "no/such.json"},
		"no such floor":      {[]string{"floor", "sand"}, exitUsage, "sand"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := bench(t, test.args...)
			if code != test.code || !strings.Contains(stderr, test.says) {
				t.Errorf("exit code %d, %q", code, stderr)
			}
			if test.code == 0 && !strings.Contains(stdout, "Exit codes") {
				t.Errorf("help: %q", stdout)
			}
		})
	}
}

func write(t *testing.T, perS float64) string {
	t.Helper()
	s := &result.Scenario{ID: "w1", Engine: result.NewSide("engine", []*result.Measurement{{Deliveries: 1, Figures: result.Figures{PerS: perS, WallS: 1}}})}
	s.Judge([]result.Goal{{Of: result.PerS, Must: 1}}, false)
	f := &result.File{Machine: run.Machine{Name: "here"}, StartedAt: time.Now(), Scenarios: []*result.Scenario{s}}
	name := filepath.Join(t.TempDir(), "results.json")
	if err := f.Write(name); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestCompareSaysWhatBecameWorse(t *testing.T) {
	slow, quick := write(t, 100), write(t, 200)
	for _, test := range []struct {
		before, then string
		code         int
		says         string
	}{
		{quick, slow, exitFailed, "WORSE"},
		{slow, quick, 0, "better"},
		{slow, slow, 0, "Nothing moved"},
	} {
		if code, stdout, _ := bench(t, "compare", test.before, test.then); code != test.code || !strings.Contains(stdout, test.says) {
			t.Errorf("exit code %d, want %d; %s", code, test.code, stdout)
		}
	}
}

func TestReportIsDrawnAgain(t *testing.T) {
	results := write(t, 100)
	beside := filepath.Join(filepath.Dir(results), "report.html")
	elsewhere := filepath.Join(t.TempDir(), "page.html")
	for page, args := range map[string][]string{beside: {"report", results}, elsewhere: {"report", results, "-o", elsewhere}} {
		code, stdout, stderr := bench(t, args...)
		if code != 0 || strings.TrimSpace(stdout) != page {
			t.Errorf("%q: exit code %d, %q, %q", args, code, stdout, stderr)
		}
		if text, err := os.ReadFile(page); err != nil || !strings.Contains(string(text), "w1") {
			t.Errorf("%q: %v", args, err)
		}
	}
	if code, _, stderr := bench(t, "report", results, "-o", "no/such/folder/page.html"); code != exitFailed || stderr == "" {
		t.Errorf("no folder: exit code %d, %q", code, stderr)
	}
}

func TestVerdict(t *testing.T) {
	sound := &result.Scenario{ID: "w1", Met: true}
	if err := verdict(&result.File{Scenarios: []*result.Scenario{sound}}); err != nil {
		t.Error(err)
	}
	var exit *exitError
	if err := verdict(&result.File{}); !errors.As(err, &exit) || exit.code != exitUnavailable {
		t.Errorf("of nothing: %v", err)
	}
	for _, bad := range []*result.Scenario{{ID: "w2", Met: true, Lost: 1}, {ID: "w2"}, {ID: "w2", Met: true, Error: "it fell over"}} {
		if err := verdict(&result.File{Scenarios: []*result.Scenario{sound, bad}}); err == nil || !strings.Contains(err.Error(), "w2") {
			t.Errorf("%+v passes: %v", bad, err)
		}
	}
}

func TestWarnings(t *testing.T) {
	well := run.Machine{Cores: 2, Load: 0.2, Limits: run.Limits{Files: 20_000, Ports: 28_000, Backlog: 4096}}
	if w := warnings(well); len(w) > 0 {
		t.Errorf("%q", w)
	}
	ill := run.Machine{Cores: 2, Load: 3, Limits: run.Limits{Files: 20_000, Ports: 100, Backlog: 128}}
	if w := warnings(ill); len(w) != 3 {
		t.Errorf("%q", w)
	}
}

func TestInterruptionKeepsALink(t *testing.T) {
	engine := filepath.Join(t.TempDir(), "tocsin")
	if err := os.WriteFile(engine, []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	folder := t.TempDir()
	code := Main(ctx, []string{"run", "--scenarios", "w1", "--tocsin", engine, "--out", folder}, &program{strings.NewReader(""), &out, &errs, os.Environ(), nil})
	if code != exitInterrupted {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
	f, err := result.Read(filepath.Join(folder, "latest", "results.json"))
	if err != nil || !f.Interrupted {
		t.Errorf("%+v, %v", f, err)
	}
	page, err := os.ReadFile(filepath.Join(folder, "latest", "report.html"))
	if err != nil || !strings.Contains(string(page), "interrupted") {
		t.Errorf("the page: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(folder, "*", ".work-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

// TestSweepsWithAnEngineThatFails shows that sweeps end, and where what they found goes.
func TestSweepsWithAnEngineThatFails(t *testing.T) {
	engine := filepath.Join(t.TempDir(), "tocsin")
	if err := os.WriteFile(engine, []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	code, stdout, stderr := bench(t, "tune", "--sweeps", "gogc", "--rounds", "1", "--tocsin", engine, "--out", folder)
	if code != 0 || !strings.Contains(stdout, "failed: ") || !strings.Contains(stderr, "trying again") {
		t.Fatalf("exit code %d\n%s\n%s", code, stdout, stderr)
	}
	latest := filepath.Join(folder, "latest", "results.json")
	f, err := result.Read(latest)
	if err != nil || len(f.Sweeps) != 1 || f.Sweeps[0].Recommended != "" || len(f.Sweeps[0].Points) < 2 {
		t.Fatalf("%+v, %v", f, err)
	}
	page, err := os.ReadFile(filepath.Join(folder, "latest", "report.html"))
	if err != nil || !bytes.Contains(page, []byte("gogc")) {
		t.Errorf("the page has nothing of it, %v", err)
	}
	// Into the results of a run, which keep what they have.
	run := write(t, 1000)
	if code, _, stderr = bench(t, "tune", "--sweeps", "gomemlimit", "--rounds", "1", "--tocsin", engine, "--out", folder, "--into", run); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	if f, err = result.Read(run); err != nil || len(f.Scenarios) != 1 || len(f.Sweeps) != 1 || f.Sweeps[0].ID != "gomemlimit" {
		t.Errorf("%+v, %v", f, err)
	}
	left, err := filepath.Glob(filepath.Join(folder, "*", ".work-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}
