package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/tocsin/tocsin/bench/report"
	"github.com/tocsin/tocsin/bench/run"
	"github.com/tocsin/tocsin/bench/soak"
	"github.com/tocsin/tocsin/internal/testenv"
)

type soakCommand struct {
	Minutes    float64       `default:"10" help:"How long the load lasts (10); slopes need six at least."`
	Queue      string        `default:"embedded" enum:"embedded,rabbitmq" help:"embedded, or rabbitmq for a private one."`
	Targets    int           `default:"1000" help:"How many targets there are all the time (1,000); a hundred guests come and go."`
	Every      time.Duration `default:"300ms" help:"Time between two updates (300ms)."`
	FaultEvery time.Duration `default:"5s" help:"Time from the end of one fault to the end of the next (5s)."`
	RestEvery  time.Duration `default:"12s" help:"Time between two rests, without load and faults, at which the engine is measured (12s)."`
	Seed       uint64        `help:"Has the same faults in the same order again; a new seed without it."`
	Out        string        `default:"bench/out/soak" placeholder:"DIR" help:"Where results go, in a folder with the date (bench/out/soak)."`
	Tocsin     string        `placeholder:"FILE" help:"The engine's binary; tocsin beside this one without it."`
}

// Help is shown by --help.
func (*soakCommand) Help() string {
	return `Runs the engine under a steady load over all channels, with targets that come and go, events that are repeated, and a ` +
		`fault every few seconds: receivers that are silent, slow, refuse, throttle or reset; a relay, an SMS centre or, with ` +
		`--queue rabbitmq, a broker that is cut off or stands still. Memory, goroutines, files, the store's log and the queues ` +
		`are sampled each second, and must be flat from rest to rest, after the first third; every incident is judged by what the receivers got.

    tocsin-bench soak
    tocsin-bench soak --minutes 60 --queue rabbitmq
    tocsin-bench soak --minutes 4 --seed 7 --targets 1000

Exit codes: 0 all was flat and every promise kept; 1 something grew, was lost, sent twice or out of order; 3 the engine's ` +
		`binary or RabbitMQ isn't there; 130 interrupted, with what was seen until then kept.`
}

// Run soaks the engine, prints what came of it and writes the results.
func (c *soakCommand) Run(ctx context.Context, p *program) error {
	switch {
	case !(c.Minutes > 0 && c.Minutes <= 7*24*60):
		return &exitError{exitUsage, errors.New("--minutes must be above 0, up to a week")}
	case c.Targets < 10 || c.Targets > 100_000:
		return &exitError{exitUsage, errors.New("--targets must be from 10 to 100000")}
	case c.Every < time.Millisecond || c.FaultEvery < time.Second || c.RestEvery < time.Second:
		return &exitError{exitUsage, errors.New("--every must be at least 1ms, --fault-every and --rest-every 1s")}
	}
	if c.Seed == 0 {
		c.Seed = uint64(rand.Uint32())
	}
	runs := &runCommand{Out: c.Out, Tocsin: c.Tocsin}
	_, engine, err := runs.binaries()
	if err != nil {
		return err
	}
	folder, err := runs.folder(time.Now().UTC())
	if err != nil {
		return err
	}
	live := newLive(p.stderr)
	live.say(run.ReadMachine().String())
	r, err := soak.Run(ctx, soak.Options{Length: time.Duration(c.Minutes * float64(time.Minute)), RabbitMQ: c.Queue == "rabbitmq", Targets: c.Targets,
		Every: c.Every, FaultEvery: c.FaultEvery, RestEvery: c.RestEvery, Seed: c.Seed, Tocsin: engine, Folder: folder, Environ: p.environ, Progress: live.progress})
	live.clear()
	if errors.Is(err, testenv.ErrNotInstalled) {
		return &exitError{exitUnavailable, err}
	}
	if r == nil {
		return err
	}
	r.Commit = commit(context.WithoutCancel(ctx))
	name, page := filepath.Join(folder, "soak.json"), filepath.Join(folder, "soak.html")
	if err := errors.Join(r.Write(name), report.WriteSoakFile(page, r), runs.link(folder), r.Print(p.stdout)); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "\n%s\n%s\n", name, page)
	if err := errors.Join(err, r.Verdict()); err != nil {
		return err
	}
	fmt.Fprintln(p.stdout, "\n"+r.Praise())
	return nil
}
