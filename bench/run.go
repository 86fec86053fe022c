package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/tocsin/tocsin/bench/report"
	"github.com/tocsin/tocsin/bench/result"
	"github.com/tocsin/tocsin/bench/run"
	"github.com/tocsin/tocsin/bench/scenario"
)

type runCommand struct {
	Scenarios []string `sep:"," placeholder:"ID,…" help:"Only these, as in w1,w5 or w3.resumed; all without it."`
	Rounds    *int     `placeholder:"N" help:"Rounds of each, three at least for a spread that says something (3; 2 with --quick)."`
	Quick     bool     `help:"Smaller sizes, within 90 s; only ratios are judged."`
	Out       string   `default:"bench/out" placeholder:"DIR" help:"Where results go, in a folder with the date (bench/out). Data is kept there while a scenario runs: its disk is what is measured."`
	Tocsin    string   `placeholder:"FILE" help:"The engine's binary; tocsin beside this one without it."`
}

// Help is shown by --help.
func (*runCommand) Help() string {
	return `Each scenario measures the engine and, in turn with it, a floor that does the same work with nothing around it. ` +
		`What counts is what the peers received. The table says what was reached and what was to be; report.html shows it, results.json has all of it.

    tocsin-bench run
    tocsin-bench run --scenarios w1,w5 --rounds 5
    tocsin-bench run --quick

Exit codes: 0 all goals are met; 1 one is missed, or anything was lost, sent twice or out of order; 3 the engine's binary, ` +
		`or what all the scenarios need, isn't there; 130 interrupted, with what was measured until then kept.`
}

// Run runs the scenarios, prints the table and writes the results.
func (c *runCommand) Run(ctx context.Context, p *program) (err error) {
	chosen, err := scenario.Select(scenario.Table(), c.Scenarios, c.Quick)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	rounds := scenario.Rounds(c.Quick)
	if c.Rounds != nil {
		rounds = *c.Rounds
	}
	if rounds < 1 || rounds > 100 {
		return &exitError{exitUsage, errors.New("--rounds must be from 1 to 100")}
	}
	bench, engine, err := c.binaries()
	if err != nil {
		return err
	}
	file := &result.File{Machine: run.ReadMachine(), Commit: commit(ctx), StartedAt: time.Now().UTC().Truncate(time.Second), Quick: c.Quick,
		Scenarios: []*result.Scenario{}, Notes: []string{}}
	folder, err := c.folder(file.StartedAt)
	if err != nil {
		return err
	}
	live := newLive(p.stderr)
	rig, err := scenario.NewRig(engine, bench, folder, p.environ, live.progress)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rig.Close()) }()
	name, page := filepath.Join(folder, "results.json"), filepath.Join(folder, "report.html")
	b := &scenario.Bench{Rig: rig, Rounds: rounds, Quick: c.Quick, Files: file.Machine.Limits.Files, Say: live.say,
		Save: func() error { return file.Write(name) }}
	if c.Quick {
		b.Limit = quickLimit
	}
	announce(live, file, chosen, rounds)
	measured := b.Run(ctx, chosen, file)
	live.clear()
	if measured != nil && !file.Interrupted {
		return measured
	}
	if err := report.WriteFile(page, file); err != nil {
		return err
	}
	if err := c.link(folder); err != nil {
		return err
	}
	if err := file.Print(p.stdout); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "\n%s\n%s\n", name, page)
	if measured != nil {
		return measured
	}
	return verdict(file)
}

// quickLimit leaves room, below 90 s, for building and for the round that is under way
// then, on a machine that is busy with other things.
const quickLimit = 76 * time.Second

// announce says beforehand what will happen and how long it takes.
func announce(live *live, file *result.File, chosen []scenario.Scenario, rounds int) {
	var expected time.Duration
	var ids []string
	for i := range chosen {
		expected += chosen[i].Expected(rounds, file.Quick)
		ids = append(ids, chosen[i].ID)
	}
	live.say(file.Machine.String())
	live.say(fmt.Sprintf("%s: %d rounds each, about %v in all", strings.Join(ids, ", "), rounds, max(expected, time.Second).Round(time.Second)))
	for _, w := range warnings(file.Machine) {
		live.say("!! " + w)
		file.Notes = append(file.Notes, w)
	}
}

// warnings are what makes a machine's figures worse than they could be, or less
// sure.
func warnings(m run.Machine) (all []string) {
	if m.Load > float64(m.Cores)/2 {
		all = append(all, fmt.Sprintf("the machine is busy (load %.1f on %d cores): figures are noisy", m.Load, m.Cores))
	}
	if m.Limits.Ports > 0 && m.Limits.Ports < 4096 {
		all = append(all, fmt.Sprintf("only %d local ports (net.ipv4.ip_local_port_range): connections to hosts that targets share may run out of them", m.Limits.Ports))
	}
	if m.Limits.Backlog > 0 && m.Limits.Backlog < 1024 {
		all = append(all, fmt.Sprintf("net.core.somaxconn is %d: connects at once may be dropped and come a second late", m.Limits.Backlog))
	}
	return all
}

// verdict is the exit code's reason.
func verdict(file *result.File) error {
	if len(file.Scenarios) == 0 {
		return &exitError{exitUnavailable, errors.New("nothing was measured: all of it needs what isn't there; see the notes")}
	}
	var failed []string
	for _, s := range file.Scenarios {
		if !s.Sound() {
			failed = append(failed, s.ID)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("not as it must be: %s; see the table", strings.Join(failed, ", "))
	}
	return nil
}

// binaries finds our own and the engine's.
func (c *runCommand) binaries() (bench, engine string, err error) {
	if bench, err = os.Executable(); err != nil {
		return "", "", fmt.Errorf("find our own binary: %w", err)
	}
	engine = c.Tocsin
	if engine == "" {
		engine = filepath.Join(filepath.Dir(bench), "tocsin")
	}
	if engine, err = exec.LookPath(engine); err == nil {
		engine, err = filepath.Abs(engine)
	}
	if err != nil {
		return "", "", &exitError{exitUnavailable, fmt.Errorf("the engine's binary isn't there (%w): run make build, or name it with --tocsin", err)}
	}
	return bench, engine, nil
}

// folder makes the one of this run.
func (c *runCommand) folder(at time.Time) (string, error) {
	folder := filepath.Join(c.Out, at.Format("2006-01-02T150405Z"))
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("folder of the results: %w", err)
	}
	return folder, nil
}

// link makes bench/out/latest this run.
func (c *runCommand) link(folder string) error {
	latest := filepath.Join(c.Out, "latest")
	if err := os.Remove(latest); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("link to the latest results: %w", err)
	}
	if err := os.Symlink(filepath.Base(folder), latest); err != nil {
		return fmt.Errorf("link to the latest results: %w", err)
	}
	return nil
}

// commit names what is measured, as git does.
func commit(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=12").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// live shows what happens: lines that stay and, on a terminal, one that changes.
type live struct {
	out   io.Writer
	width int // of the terminal, 0 if it is none
	drawn bool
	last  time.Time
}

const (
	redrawEvery = 100 * time.Millisecond
	repeatEvery = 10 * time.Second // where nothing can be redrawn
)

func newLive(out io.Writer) *live {
	l := &live{out: out, last: time.Now()}
	if f, ok := out.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			l.width = width
		}
	}
	return l
}

func (l *live) progress(text string) {
	pause := repeatEvery
	if l.width > 0 {
		pause = redrawEvery
	}
	if time.Since(l.last) < pause {
		return
	}
	l.last = time.Now()
	if l.width == 0 {
		fmt.Fprintln(l.out, text)
		return
	}
	if runes := []rune(text); len(runes) >= l.width {
		text = string(runes[:l.width-1])
	}
	fmt.Fprintf(l.out, "\r\033[K%s", text)
	l.drawn = true
}

func (l *live) clear() {
	if l.drawn {
		fmt.Fprint(l.out, "\r\033[K")
		l.drawn = false
	}
}

func (l *live) say(line string) {
	l.clear()
	fmt.Fprintln(l.out, line)
	l.last = time.Now()
}
