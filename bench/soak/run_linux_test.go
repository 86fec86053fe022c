package soak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tocsin/tocsin/internal/peer"
)

const (
	engineVariable = "TOCSIN_SOAK_ENGINE"
	command        = "github.com/tocsin/tocsin/cmd/tocsin"
)

// TestMain builds the engine: what is soaked is the program that is shipped.
func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "tocsin-soak-")
	if err == nil {
		err = exec.Command("go", "build", "-o", filepath.Join(folder, "tocsin"), command).Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "build the engine:", err)
		os.Exit(1)
	}
	os.Setenv(engineVariable, filepath.Join(folder, "tocsin"))
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(folder)
		os.Exit(code)
	}))
}

// restOnEngine reads the folders of the engine's packages, so that `go test` runs the
// test again when the engine has changed.
func restOnEngine(t *testing.T) {
	t.Helper()
	folders, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.Dir}}{{end}}", command).Output()
	if err != nil {
		t.Fatal(err)
	}
	for folder := range strings.FieldsSeq(string(folders)) {
		if _, err := os.ReadDir(folder); err != nil {
			t.Fatal(err)
		}
	}
}

// short is a soak of seconds.
func short(t *testing.T) Options {
	restOnEngine(t)
	return Options{Length: 4 * time.Second, Targets: 60, Every: 200 * time.Millisecond, FaultEvery: time.Second, RestEvery: time.Second, Seed: 1,
		Tocsin: os.Getenv(engineVariable), Folder: t.TempDir(), Environ: os.Environ(), Progress: func(string) {}, settled: 2 * time.Second, restLeast: time.Second}
}

func TestAShortSoakIsSound(t *testing.T) {
	t.Parallel()
	o := short(t)
	o.Length = 12 * time.Second
	r, err := Run(t.Context(), o)
	for err == nil && rests(r) == 0 && o.Length < time.Minute { // a busy machine takes longer to come to rest
		o.Length *= 2
		r, err = Run(t.Context(), o)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Verdict(); err != nil {
		t.Errorf("%v\n%+v", err, r.Promises)
	}
	p := r.Promises
	if p.Stories == 0 || int64(p.Stories) > r.Load.Stories || p.Unjudged != 0 || r.Load.Repeats == 0 || r.Load.Added == 0 || len(r.Faults) == 0 {
		t.Errorf("this soak shows little: %+v, %+v, %d faults", r.Load, p, len(r.Faults))
	}
	for _, channel := range append(dialled(), feedChannel) {
		if p.Outcomes[channel]["delivered"] == 0 {
			t.Errorf("nothing was delivered by %s", channel)
		}
	}
	if last := r.Samples[len(r.Samples)-1]; last.RSSMB == 0 || last.HeapMB == 0 || last.Goroutines == 0 || last.Files == 0 || last.WALMB == 0 || last.StoreMB == 0 || last.Ended == 0 {
		t.Errorf("a sample has gaps: %+v", last)
	}
	if rests(r) == 0 {
		t.Errorf("it never rested: %+v", r.Samples)
	}
	if err := errors.Join(r.Write(filepath.Join(o.Folder, "soak.json")), r.Print(io.Discard)); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(o.Folder, ".work-*")); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

// rests counts the samples of an engine at rest.
func rests(r *Result) (n int) {
	for _, sample := range r.Samples {
		if sample.Rest && sample.idle() && sample.HeapMB > 0 {
			n++
		}
	}
	return n
}

// A receipt that never was is a delivery that the ledger has and nobody else.
func TestALostDeliveryIsFound(t *testing.T) {
	t.Parallel()
	o := short(t)
	var swallowed atomic.Int32
	o.swallow = func(channel string, _ peer.Receipt) bool {
		return channel == feedChannel && swallowed.Add(1) == 1 // no cut can explain it there
	}
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if p := r.Promises; p.Unreceived != 1 || p.Lost != 1 || r.Verdict() == nil || len(p.Examples) == 0 {
		t.Errorf("it was not found: %v, %+v", r.Verdict(), p)
	}
}

func TestAnInterruptedSoakSaysWhatItSaw(t *testing.T) {
	t.Parallel()
	o := short(t)
	o.Length = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	samples := 0
	o.Progress = func(string) {
		if samples++; samples == 3 {
			cancel()
		}
	}
	r, err := Run(ctx, o)
	if !errors.Is(err, context.Canceled) || r == nil {
		t.Fatalf("it ended with %v", err)
	}
	if !r.Interrupted || len(r.Samples) < 2 || r.Load.Updates == 0 || r.Verdict() != nil {
		t.Errorf("%v, %d samples, %+v, %+v", r.Verdict(), len(r.Samples), r.Load, r.Promises)
	}
}

// An engine that dies is none that is flat.
func TestAnEngineThatDiesIsFound(t *testing.T) {
	t.Parallel()
	o := short(t)
	o.Length = time.Hour
	killed := false
	o.Progress = func(string) {
		if !killed {
			killed = true
			kill(t, o.Folder)
		}
	}
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Verdict(); err == nil || !strings.Contains(err.Error(), "engine") {
		t.Errorf("the verdict is %v", err)
	}
}

// kill ends the engine that has its data below folder.
func kill(t *testing.T, folder string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		line, _ := os.ReadFile(name) // it may have ended
		if !strings.Contains(string(line), folder) {
			continue
		}
		pid := 0
		if _, err := fmt.Sscanf(name, "/proc/%d/", &pid); err != nil {
			t.Fatal(err)
		}
		process, err := os.FindProcess(pid)
		if err == nil {
			err = process.Kill()
		}
		if err != nil {
			t.Error(err)
		}
		return
	}
	t.Error("there is no engine to kill")
}
