package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strconv"
	"time"

	"github.com/tocsin/tocsin/bench/floor"
	"github.com/tocsin/tocsin/bench/result"
	"github.com/tocsin/tocsin/bench/run"
	"github.com/tocsin/tocsin/internal/peer"
)

const (
	// exitUnavailable is how a floor says that it needs what isn't installed.
	exitUnavailable = 3
	floorPatience   = 5 * time.Minute
	floorStart      = 30 * time.Second
)

// runFloor runs `tocsin-bench floor KIND …` beside the processes it talks to: it says
// "ready", is told "go", does its work once and prints a line of JSON.
func (r *Rig) runFloor(ctx context.Context, args []string, beside ...*run.Process) (*result.Measurement, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, floorPatience, fmt.Errorf("the floor did not end within %v", floorPatience))
	defer cancel()
	process, err := r.start("floor", append([]string{"floor"}, args...)...)
	if err != nil {
		return nil, err
	}
	defer process.Kill() // if it has not ended by then
	answer, cost, err := r.directFloor(ctx, process, beside)
	if err == nil {
		err = process.Wait(ctx)
	}
	if exit, ok := errors.AsType[*run.Exit](err); ok && exit.Code == exitUnavailable {
		return nil, fmt.Errorf("%w: %w", ErrLeftOut, err)
	}
	if err != nil {
		return nil, err
	}
	if answer.Errors > 0 || answer.Deliveries == 0 || answer.WallS <= 0 {
		return nil, fmt.Errorf("the floor failed in %d of %d deliveries", answer.Errors, answer.Errors+answer.Deliveries)
	}
	m := &result.Measurement{Deliveries: answer.Deliveries,
		Figures: result.Figures{PerS: answer.PerS, WallS: answer.WallS, P50MS: answer.P50MS, P99MS: answer.P99MS}}
	m.Cost(*cost, "floor")
	if own := answer.CPUUserS + answer.CPUSysS; own > 0 {
		// What a program did that the floor runs is no stranger's.
		programs := max(own-m.CPUS, 0) / (answer.WallS * float64(runtime.NumCPU()))
		m.ForeignPercent = math.Round(max(m.ForeignPercent-100*programs, 0))
		m.CPUS = result.Round(own) // of the measured part alone
	}
	return m, nil
}

func (r *Rig) directFloor(ctx context.Context, process *run.Process, beside []*run.Process) (*floor.Result, *run.Cost, error) {
	starting, cancel := context.WithTimeoutCause(ctx, floorStart, errors.New("the floor did not say that it is ready"))
	defer cancel()
	line, err := process.Line(starting)
	if err != nil {
		return nil, nil, cause(starting, err)
	}
	if string(line) != "ready" {
		return nil, nil, fmt.Errorf("the floor said %.80q instead of ready", line)
	}
	watch := run.Observe(append([]*run.Process{process}, beside...)...)
	err = process.Tell("go")
	if err == nil {
		line, err = process.Line(ctx)
	}
	cost := watch.End()
	if err != nil {
		return nil, nil, cause(ctx, err)
	}
	var answer floor.Result
	if err := json.Unmarshal(line, &answer); err != nil {
		return nil, nil, fmt.Errorf("the floor printed no result: %w", err)
	}
	return &answer, &cost, nil
}

// cause prefers why a context ended to that it did.
func cause(ctx context.Context, err error) error {
	if why := context.Cause(ctx); why != nil && errors.Is(err, ctx.Err()) {
		return why
	}
	return err
}

// webhookFloor is a floor for a fanout.
type webhookFloor struct {
	name, kind string
	scheme     string
	mix        peer.Mix
	// sequences is how many updates the floor sends in all, and measured how many
	// of them count.
	sequences, measured func(Size) int
	args                func(Size) []string
}

// floor makes it one of a scenario. What it sent is checked as the engine's
// deliveries are: a floor that cheats shows nothing.
func (w webhookFloor) floor() Floor {
	return Floor{w.name, func(ctx context.Context, r *Rig, size Size) (_ *result.Measurement, err error) {
		p := population{targets: size.Targets, hosts: size.Hosts, scheme: w.scheme}
		far, err := r.startSink(ctx, p, w.sequences(size), w.mix)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, far.close()) }()
		args := append([]string{w.kind, "--port", strconv.Itoa(r.port)}, w.args(size)...)
		args = append(args, r.Tuning.Floor...)
		if far.ca != "" {
			args = append(args, "--ca", far.ca)
		}
		m, err := r.runFloor(ctx, args, far.Process)
		if err != nil {
			return nil, err
		}
		counts, err := far.Counts(ctx)
		if err != nil {
			return nil, err
		}
		for sequence, n := range counts.Delivered {
			if n != size.Targets {
				return nil, fmt.Errorf("the floor told %d of %d targets of update %d", n, size.Targets, sequence+1)
			}
		}
		if want := size.Targets * w.measured(size); m.Deliveries != want {
			return nil, fmt.Errorf("the floor counts %d deliveries, where %d are measured", m.Deliveries, want)
		}
		return m, nil
	}}
}
