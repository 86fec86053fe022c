package tune

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tocsin/tocsin/bench/result"
	"github.com/tocsin/tocsin/bench/scenario"
)

// Bench measures with a real engine. It is for one goroutine.
type Bench struct {
	// Rig is what it stands on: Tuning is the trials'.
	Rig *scenario.Rig
	// Scenarios are where the work is looked up.
	Scenarios []scenario.Scenario
}

// restart is the pause between two engines. The kernel lends out again (tcp_tw_reuse) what
// has waited for a second.
const restart = 2 * time.Second

// emfile names, in [result.Measurement].More, how often the engine said that it had no
// descriptor.
const emfile = "emfile"

// Measure runs a trial, in a network namespace if it changes the kernel.
func (b *Bench) Measure(ctx context.Context, t Trial) (*result.Measurement, error) {
	if len(t.Kernel) > 0 {
		return b.apart(ctx, t)
	}
	return b.here(ctx, t)
}

// here runs a trial with the network that this process has.
func (b *Bench) here(ctx context.Context, t Trial) (*result.Measurement, error) {
	work, err := b.work(t)
	if err != nil {
		return nil, err
	}
	b.Rig.Tuning = t.Tuning
	defer func() { b.Rig.Tuning = scenario.Tuning{} }()
	log := filepath.Join(b.Rig.Logs, "engine.log")
	before := size(log)
	if t.Again {
		if _, err := work(ctx, b.Rig, t.Size); err != nil {
			return nil, fmt.Errorf("the first time: %w", err)
		}
		select {
		case <-time.After(restart):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	m, err := work(ctx, b.Rig, t.Size)
	if err != nil || t.Floor != "" {
		return m, err
	}
	said, err := since(log, before)
	if err != nil {
		return nil, fmt.Errorf("log of the engine: %w", err)
	}
	if n := bytes.Count(said, []byte("too many open files")); n > 0 {
		m.More[emfile] = float64(n)
	}
	return m, nil
}

// work returns what does the work of a trial once.
func (b *Bench) work(t Trial) (func(context.Context, *scenario.Rig, scenario.Size) (*result.Measurement, error), error) {
	at := slices.IndexFunc(b.Scenarios, func(s scenario.Scenario) bool { return s.ID == t.Scenario })
	if at < 0 {
		return nil, fmt.Errorf("there is no scenario %s", t.Scenario)
	}
	s := &b.Scenarios[at]
	if t.Floor == "" {
		return func(ctx context.Context, r *scenario.Rig, size scenario.Size) (*result.Measurement, error) {
			found, err := s.Engine(ctx, r, size)
			if err == nil && found[t.Result] == nil {
				err = fmt.Errorf("%s has no result %s", t.Scenario, t.Result)
			}
			return found[t.Result], err
		}, nil
	}
	for _, r := range s.Results {
		for _, f := range r.Floors {
			if r.ID == t.Result && f.Name == t.Floor {
				return f.Run, nil
			}
		}
	}
	return nil, fmt.Errorf("%s has no floor %s of a result %s", t.Scenario, t.Floor, t.Result)
}

func size(file string) int64 {
	info, err := os.Stat(file)
	if err != nil {
		return 0 // the first engine makes it
	}
	return info.Size()
}

// since reads what was added to a file.
func since(file string, before int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(before, io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(f)
}
