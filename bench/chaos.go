package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/tocsin/tocsin/bench/chaos"
	"github.com/tocsin/tocsin/bench/result"
	"github.com/tocsin/tocsin/bench/run"
	"github.com/tocsin/tocsin/bench/scenario"
)

type chaosCommand struct {
	Rounds  int     `default:"1000" help:"How often the engine is killed, over all queues together (1000)."`
	Queue   string  `default:"both" placeholder:"NAME" enum:"embedded,rabbitmq,both" help:"The engine's queue: embedded, rabbitmq, or both, which take turns (both)."`
	Seed    *uint64 `placeholder:"N" help:"Draws the moments that an earlier run named, and leaves the neighbours of faults out."`
	Targets int     `default:"2000" hidden:"" help:"How many targets an update goes out to."`
	Out     string  `default:"bench/out" placeholder:"DIR" help:"What a broken promise left stays in a folder there (bench/out). Its disk is what is tried."`
	Tocsin  string  `placeholder:"FILE" help:"The engine's binary; tocsin beside this one without it."`
}

// Help is shown by --help.
func (*chaosCommand) Help() string {
	return `Kills the engine (SIGKILL) at random moments while updates go out to 2,000 webhooks, starts it again, and judges by what the ` +
		`webhooks received and the ledger says: nothing is lost, nothing is out of order, the ledger is right, and no kill has more sent ` +
		`again than was in flight or accepted and not yet committed. Afterwards it measures that healthy webhooks don't notice others ` +
		`that are silent, fail, limit or have nine tenths of the load: their p99 may be 1.3 times what it is alone, twice that ` +
		`with nine tenths of the load beside them.

    tocsin-bench chaos
    tocsin-bench chaos --rounds 100 --queue embedded
    tocsin-bench chaos --rounds 25 --queue rabbitmq --seed 7352108864

Exit codes: 0 everything held; 1 a promise was broken; 3 the engine's binary isn't there, or RabbitMQ; 130 interrupted, with ` +
		`what was found until then printed.`
}

// Run kills, measures the neighbours, and prints the verdict.
func (c *chaosCommand) Run(ctx context.Context, p *program) (err error) {
	switch {
	case c.Rounds < 1 || c.Rounds > 1_000_000:
		return &exitError{exitUsage, errors.New("--rounds must be from 1 to 1000000")}
	case c.Targets < 1:
		return &exitError{exitUsage, errors.New("--targets must be 1 or more")}
	}
	runs := &runCommand{Out: c.Out, Tocsin: c.Tocsin}
	bench, engine, err := runs.binaries()
	if err != nil {
		return err
	}
	folder, err := runs.folder(time.Now().UTC())
	if err != nil {
		return err
	}
	defer func() {
		if err == nil {
			err = os.RemoveAll(folder)
		} else {
			_ = os.Remove(folder) // unless there is something in it
		}
	}()
	live := newLive(p.stderr)
	k := &chaos.Chaos{Engine: engine, Queues: c.queues(), Rounds: c.Rounds, Targets: c.Targets, Seed: rand.Uint64N(1 << 48), Folder: folder,
		Progress: live.progress, Say: live.say, Try: p.try}
	if slices.Contains(k.Queues, chaos.RabbitMQ) && p.try == nil {
		live.say("starting RabbitMQ")
		broker, starting := chaos.StartBroker(ctx)
		if starting != nil {
			return starting
		}
		defer func() { err = errors.Join(err, broker.Close()) }()
		k.Broker = broker.URL()
	}
	expected := chaos.Expected(c.Rounds)
	if c.Seed != nil {
		k.Seed = *c.Seed
	} else {
		expected += isolationExpected()
	}
	machine := run.ReadMachine()
	live.say(machine.String())
	live.say(fmt.Sprintf("%d kills, about %v in all; seed %d", c.Rounds, expected.Round(time.Second), k.Seed))
	for _, w := range warnings(machine) {
		live.say("!! " + w)
	}
	report, err := k.Run(ctx)
	live.clear()
	if err = errors.Join(err, report.Print(p.stdout)); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if c.Seed == nil {
		err = isolation(ctx, &scenario.Bench{Rounds: isolationRounds, Files: machine.Limits.Files, Say: live.say, Save: func() error { return nil }},
			func() (*scenario.Rig, error) { return scenario.NewRig(engine, bench, folder, p.environ, live.progress) }, p.stdout)
		live.clear()
	}
	if !report.Sound() {
		err = errors.Join(chaos.ErrBroken, err)
	}
	return err
}

func (c *chaosCommand) queues() []string {
	if c.Queue == "both" {
		return []string{chaos.Embedded, chaos.RabbitMQ}
	}
	return []string{c.Queue}
}

// isolationRounds is enough for a median.
const isolationRounds = 5

func isolationExpected() (sum time.Duration) {
	for _, s := range scenario.Isolation() {
		sum += s.Expected(isolationRounds, false)
	}
	return sum
}

// isolation measures the neighbours of faults, and prints the table.
func isolation(ctx context.Context, b *scenario.Bench, newRig func() (*scenario.Rig, error), out io.Writer) (err error) {
	if b.Rig, err = newRig(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Rig.Close()) }()
	file := &result.File{Machine: run.ReadMachine(), Commit: commit(ctx), StartedAt: time.Now().UTC().Truncate(time.Second)}
	if err = errors.Join(b.Run(ctx, scenario.Isolation(), file), file.Print(out)); err != nil {
		return err
	}
	for _, s := range file.Scenarios {
		if busy := s.Foreign(); s.Error == "" && s.Lost+s.Duplicates+s.OrderViolations == 0 && !s.Met && busy > tooBusy {
			fmt.Fprintf(out, "%s is not judged: other processes took %.0f %% of the CPU meanwhile\n", s.ID, busy)
			s.Met = true
		}
	}
	return verdict(file)
}

// tooBusy is how many percent of the CPU others may take for a ratio of latencies to
// mean anything.
const tooBusy = 25
