package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/tocsin/tocsin/bench/report"
	"github.com/tocsin/tocsin/bench/result"
	"github.com/tocsin/tocsin/bench/run"
	"github.com/tocsin/tocsin/bench/scenario"
	"github.com/tocsin/tocsin/bench/tune"
)

type tuneCommand struct {
	Sweeps []string `sep:"," placeholder:"ID,…" help:"Only these, as in dial_gate,gogc; all without it."`
	Rounds int      `default:"3" help:"Rounds of each: with less than three nothing is recommended, with less than five nothing but defaults (3)."`
	Into   string   `placeholder:"results.json" help:"Put the sweeps into the results of a run, for its report, instead of a file of their own."`
	Out    string   `default:"bench/out" placeholder:"DIR" help:"Where results go, in a folder with the date (bench/out)."`
	Tocsin string   `placeholder:"FILE" help:"The engine's binary; tocsin beside this one without it."`
}

// Help is shown by --help.
func (*tuneCommand) Help() string {
	return `Each sweep varies one setting of the engine or of the kernel and leaves the rest as it is. Values take turns, and one is ` +
		`recommended only if it beat others in every round, and by more than the spread of either; against a default only after ` +
		`five rounds. Settings of the kernel are changed in a network ` +
		`namespace that ends with the measurement, never for the machine; where that isn't allowed they are left out.

    tocsin-bench tune
    tocsin-bench tune --sweeps dial_gate,gogc --rounds 5
    tocsin-bench tune --into bench/out/latest/results.json

Exit codes: 0 done; 1 something was sent twice or out of order, or the engine ran out of files; 3 the engine's binary isn't ` +
		`there; 130 interrupted, with the rounds that were complete kept.`
}

// tuneLimit is when no further round begins.
const tuneLimit = 20 * time.Minute

// Run tries the settings, prints the table and writes the results.
func (c *tuneCommand) Run(ctx context.Context, p *program) (err error) {
	machine := run.ReadMachine()
	chosen, err := tune.Select(tune.Table(machine.Limits.Files), c.Sweeps)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	if c.Rounds < 1 || c.Rounds > 100 {
		return &exitError{exitUsage, errors.New("--rounds must be from 1 to 100")}
	}
	runs := &runCommand{Out: c.Out, Tocsin: c.Tocsin}
	bench, engine, err := runs.binaries()
	if err != nil {
		return err
	}
	file := &result.File{Machine: machine, Commit: commit(ctx), StartedAt: time.Now().UTC().Truncate(time.Second), Scenarios: []*result.Scenario{}}
	file.Notes = append(tune.NotSwept(), warnings(machine)...)
	into, err := c.into()
	if err != nil {
		return err
	}
	folder, err := runs.folder(file.StartedAt)
	if err != nil {
		return err
	}
	live := newLive(p.stderr)
	rig, err := scenario.NewRig(engine, bench, folder, p.environ, live.progress)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rig.Close()) }()
	name := filepath.Join(folder, "results.json")
	measure := &tune.Bench{Rig: rig, Scenarios: scenario.Table()}
	t := &tune.Tuner{Measure: measure.Measure, Rounds: c.Rounds, Limit: tuneLimit, Say: live.say, Progress: live.progress,
		Save: func() error { return file.Write(name) }}
	expect(live, file, chosen, c.Rounds)
	tried := t.Run(ctx, chosen, file)
	live.clear()
	if len(file.Sweeps) == 0 {
		return tried
	}
	if err := file.PrintSweeps(p.stdout); err != nil {
		return err
	}
	if into != nil {
		into.Add(file)
		file, name = into, c.Into
		err = file.Write(name)
	} else {
		err = runs.link(folder)
	}
	page := filepath.Join(filepath.Dir(name), "report.html")
	if err = errors.Join(err, report.WriteFile(page, file)); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "\n%s\n%s\n", name, page)
	return tried
}

// into reads the results that the sweeps are to be added to, nil if they are not.
func (c *tuneCommand) into() (*result.File, error) {
	if c.Into == "" {
		return nil, nil
	}
	file, err := result.Read(c.Into)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return file, nil
}

// expect says beforehand what will happen and how long it takes.
func expect(live *live, file *result.File, chosen []tune.Sweep, rounds int) {
	var expected time.Duration
	var ids []string
	for i := range chosen {
		expected += chosen[i].Expected(rounds)
		ids = append(ids, chosen[i].ID)
	}
	live.say(file.Machine.String())
	live.say(fmt.Sprintf("%s: %d rounds each, about %v in all, and no new round after %v", strings.Join(ids, ", "), rounds,
		max(expected, time.Second).Round(time.Second), tuneLimit))
	for _, w := range warnings(file.Machine) {
		live.say("!! " + w)
	}
}
