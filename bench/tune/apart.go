package tune

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tocsin/tocsin/bench/result"
	"github.com/tocsin/tocsin/bench/run"
	"github.com/tocsin/tocsin/bench/scenario"
)

// TrialCommand is the process of a trial in a network namespace of its own, for kong:
// it reads an order from standard input and prints an answer, both as a line of JSON.
type TrialCommand struct{}

// order is what the process of a trial is told.
type order struct {
	Trial  Trial  `json:"trial"`
	Tocsin string `json:"tocsin"`
	Bench  string `json:"bench"`
	Folder string `json:"folder"`
	// Outside is the network of who gives the order. Nothing is set in it.
	Outside string `json:"outside"`
}

// network names the one that this process has.
func network() (string, error) {
	name, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return "", fmt.Errorf("%w: which network namespace this is: %w", scenario.ErrLeftOut, err)
	}
	return name, nil
}

// answer is what came of it. One of the three is set.
type answer struct {
	Measurement *result.Measurement `json:"measurement,omitempty"`
	// LeftOut is why the trial can't be made here, Failed how the work failed.
	LeftOut string `json:"left_out,omitempty"`
	Failed  string `json:"failed,omitempty"`
}

// trialPatience bounds a trial apart: both times the work is done, with what their
// scenarios have patience for.
const trialPatience = 5 * time.Minute

// apart runs a trial in a process with a network of its own.
func (b *Bench) apart(ctx context.Context, t Trial) (m *result.Measurement, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, trialPatience, fmt.Errorf("the trial did not end within %v", trialPatience))
	defer cancel()
	folder, err := os.MkdirTemp(b.Rig.Folder, "trial-")
	if err != nil {
		return nil, fmt.Errorf("folder of a trial: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	process, err := run.Start(run.Command{Name: "trial", Path: b.Rig.Bench, Args: []string{"trial"}, Env: b.Rig.Environ, Logs: b.Rig.Logs, Network: true})
	if errors.Is(err, run.ErrNoNetwork) {
		return nil, fmt.Errorf("%w: %w", scenario.ErrLeftOut, err)
	}
	if err != nil {
		return nil, err
	}
	outside, err := network()
	var line []byte
	if err == nil {
		line, err = ask(ctx, process, order{t, b.Rig.Tocsin, b.Rig.Bench, folder, outside})
	}
	if err != nil {
		// Told to end, it ends its engine and sink first.
		return nil, errors.Join(err, process.Stop(time.Minute))
	}
	if err := process.Wait(ctx); err != nil {
		return nil, err
	}
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		return nil, fmt.Errorf("the trial printed no answer: %w", err)
	}
	switch {
	case a.LeftOut != "":
		return nil, fmt.Errorf("%w: %s", scenario.ErrLeftOut, a.LeftOut)
	case a.Measurement == nil:
		return nil, errors.New(a.Failed)
	}
	return a.Measurement, nil
}

func ask(ctx context.Context, process *run.Process, o order) ([]byte, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("order of a trial: %w", err)
	}
	if err := process.Tell(string(text)); err != nil {
		return nil, err
	}
	line, err := process.Line(ctx)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return line, err
}

// Run makes the trial that it is told.
func (*TrialCommand) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	var o order
	if err := json.NewDecoder(in).Decode(&o); err != nil {
		return fmt.Errorf("order of a trial: %w", err)
	}
	m, err := o.run(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	a := answer{Measurement: m}
	switch {
	case errors.Is(err, scenario.ErrLeftOut):
		a = answer{LeftOut: strings.TrimPrefix(err.Error(), scenario.ErrLeftOut.Error()+": ")}
	case err != nil:
		a = answer{Failed: err.Error()}
	}
	if err := json.NewEncoder(out).Encode(a); err != nil {
		return fmt.Errorf("answer of a trial: %w", err)
	}
	return nil
}

func (o *order) run(ctx context.Context) (m *result.Measurement, err error) {
	inside, err := network()
	if err != nil {
		return nil, err
	}
	if o.Outside == "" || inside == o.Outside {
		return nil, errors.New("this is not a network of the trial's own: nothing is set in it")
	}
	if err := raiseLoopback(); err != nil {
		return nil, fmt.Errorf("%w: the loopback interface of the namespace: %w", scenario.ErrLeftOut, err)
	}
	for _, s := range o.Trial.Kernel {
		if err := s.apply(); err != nil {
			return nil, fmt.Errorf("%w: %s can't be set in a network namespace here: %w", scenario.ErrLeftOut, s.Name, err)
		}
	}
	rig, err := scenario.NewRig(o.Tocsin, o.Bench, o.Folder, os.Environ(), func(string) {})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rig.Close()) }()
	b := &Bench{Rig: rig, Scenarios: scenario.Table()}
	return b.here(ctx, o.Trial)
}

// apply sets it for the network that this process has.
func (s Setting) apply() error {
	file := filepath.Join("/proc/sys", filepath.FromSlash(strings.ReplaceAll(s.Name, ".", "/")))
	return os.WriteFile(file, []byte(s.Value), 0)
}
