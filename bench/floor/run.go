package floor

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Result is what a floor prints, as one line of JSON, before it ends. Before that it
// prints "ready" on a line of its own once everything is computed and nothing is
// dialled, and waits for a line "go". It exits with 0 if all went well, with 1 if
// anything failed, with 3 if a program that it needs is not installed.
type Result struct {
	// Deliveries counts those that the peer answered with yes.
	Deliveries int `json:"deliveries"`
	// WallS is how long the measured part took, in seconds; PerS is deliveries by
	// second.
	WallS float64 `json:"wall_s"`
	PerS  float64 `json:"per_s"`
	// P50MS and P99MS are of the time from when a delivery was begun to when its
	// answer had been read: the dial counts, the wait for the gate or the window
	// does not. They are 0 where nobody can know.
	P50MS float64 `json:"p50_ms"`
	P99MS float64 `json:"p99_ms"`
	// Errors counts deliveries that failed.
	Errors int `json:"errors"`
	// CPUUserS and CPUSysS are the CPU seconds of the measured part, of the program
	// that sent.
	CPUUserS float64 `json:"cpu_user_s"`
	CPUSysS  float64 `json:"cpu_sys_s"`
}

// perform is the life of a floor around its work.
func perform(ctx context.Context, in io.Reader, out io.Writer, limit time.Duration, work func(context.Context) (Result, error)) error {
	if _, err := io.WriteString(out, "ready\n"); err != nil {
		return fmt.Errorf("say that the floor is ready: %w", err)
	}
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil || line != "go\n" {
		return errors.New(`the floor was not told to start: write a line "go" to its standard input`)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the floor did not end within %v; allow more with --limit", limit))
	defer cancel()
	result, err := work(ctx)
	if result != (Result{}) {
		if err := json.NewEncoder(out).Encode(result); err != nil {
			return fmt.Errorf("print the floor's result: %w", err)
		}
	}
	return err
}

// tally collects what became of a known number of deliveries. Each is one
// goroutine's, so that counting costs a store.
type tally struct {
	// micros is how long each took, in microseconds; 0 if it failed.
	micros []uint32
	watch  stopwatch

	mu    sync.Mutex
	first error
}

func newTally(deliveries int) *tally { return &tally{micros: make([]uint32, deliveries)} }

// done counts a delivery that began at a time.
func (t *tally) done(delivery int, began time.Time) {
	t.micros[delivery] = uint32(min(max(time.Since(began).Microseconds(), 1), math.MaxUint32))
}

// fail keeps the first reason.
func (t *tally) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.first == nil {
		t.first = err
	}
}

// end returns what came of it all, and why not everything went well. It is the end of
// the tally.
func (t *tally) end(ctx context.Context) (Result, error) {
	slices.Sort(t.micros)
	failed, _ := slices.BinarySearch(t.micros, 1)
	took := t.micros[failed:]
	r := t.watch.result(len(took))
	r.Errors = failed
	r.P50MS, r.P99MS = percentile(took, 50), percentile(took, 99)
	why := t.first
	if failed == 0 {
		return r, why // a connection may have failed without a delivery
	}
	if ctx.Err() != nil {
		why = context.Cause(ctx) // the rest follows from that
	}
	return r, fmt.Errorf("%d of %d deliveries failed: %w", failed, len(t.micros), why)
}

// percentile returns the nearest rank of sorted microseconds, in milliseconds.
func percentile(sorted []uint32, percent int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[(len(sorted)*percent+99)/100-1]) / 1000
}

// stopwatch measures time and this process's CPU, or that of its children.
type stopwatch struct {
	whose     int // RUSAGE_SELF is the zero value
	began     time.Time
	wall      time.Duration
	user, sys time.Duration
}

func (w *stopwatch) start() {
	w.user, w.sys = w.cpu()
	w.began = time.Now()
}

func (w *stopwatch) stop() {
	w.wall = time.Since(w.began)
	user, sys := w.cpu()
	w.user, w.sys = user-w.user, sys-w.sys
}

func (w *stopwatch) cpu() (user, sys time.Duration) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(w.whose, &usage); err != nil {
		panic("floor: the kernel keeps no account of CPU time: " + err.Error())
	}
	return time.Duration(usage.Utime.Nano()), time.Duration(usage.Stime.Nano())
}

// result says how fast so many deliveries were.
func (w *stopwatch) result(deliveries int) Result {
	return Result{
		Deliveries: deliveries, WallS: w.wall.Seconds(), PerS: float64(deliveries) / w.wall.Seconds(),
		CPUUserS: w.user.Seconds(), CPUSysS: w.sys.Seconds(),
	}
}
