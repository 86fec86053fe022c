// Command tocsin-bench measures what the engine can do on this machine, beside what
// anything could.
//
// It runs the engine, the peers that it tells and, for comparison, floors that do
// the same work with nothing around it, each in a process of its own. What it does,
// scenario by scenario, is in docs/performance.md; each command's --help has
// examples. Exit codes: 0 done; 1 a goal was missed, or anything was lost, sent
// twice or out of order; 2 usage; 3 something that is needed isn't there; 130
// interrupted, after a clean stop.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/tocsin/tocsin/bench/chaos"
	"github.com/tocsin/tocsin/bench/floor"
	"github.com/tocsin/tocsin/bench/scenario"
	"github.com/tocsin/tocsin/bench/sink"
	"github.com/tocsin/tocsin/bench/tool"
	"github.com/tocsin/tocsin/bench/tune"
)

// The exit codes, a contract.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitUnavailable = 3
	exitInterrupted = 130
)

// commands is the command line.
type commands struct {
	Run     runCommand     `cmd:"" help:"Run scenarios; write results.json and report.html."`
	Tune    tuneCommand    `cmd:"" help:"Try settings out, one at a time."`
	Soak    soakCommand    `cmd:"" help:"Run the engine for long, in steady trouble; write soak.json and soak.html."`
	Compare compareCommand `cmd:"" help:"Print what moved between two results beyond the noise."`
	Report  reportCommand  `cmd:"" help:"Draw results as one page for a browser."`
	Chaos   chaosCommand   `cmd:"" help:"Kill the engine again and again, and judge what it promises."`
	Floor   floor.Commands `cmd:"" hidden:"" help:"Do the work of a scenario with nothing around it."`
	Sink    sink.Command   `cmd:"" hidden:"" help:"Be the far side of a scenario."`

	Trial tune.TrialCommand `cmd:"" hidden:"" help:"Make one measurement of a sweep, in a network of its own."`

	Centre scenario.CentreCommand `cmd:"" hidden:"" help:"Be the SMS centre of a scenario."`
}

// program is what a command has of the world around it.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
	// try is nil, except in tests of chaos.
	try chaos.Try
}

// exitError is an error that knows its exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code := Main(ctx, os.Args[1:], &program{os.Stdin, os.Stdout, os.Stderr, os.Environ(), nil})
	stop()
	os.Exit(code)
}

// Main runs one command and returns its exit code. It ends early, and cleanly, when
// ctx does.
func Main(ctx context.Context, args []string, p *program) int {
	err := parse(ctx, args, p)
	if err == nil {
		return 0
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		fmt.Fprintln(p.stderr, "tocsin-bench: interrupted")
		return exitInterrupted
	}
	fmt.Fprintln(p.stderr, "tocsin-bench:", err)
	if exit, ok := errors.AsType[*exitError](err); ok {
		return exit.code
	}
	if errors.Is(err, tool.ErrNotInstalled) || errors.Is(err, chaos.ErrNoBroker) {
		return exitUnavailable
	}
	return exitFailed
}

// helped is how kong ends a command line that asks for help.
type helped struct{}

func parse(ctx context.Context, args []string, p *program) (err error) {
	defer func() {
		if end := recover(); end != nil && end != (helped{}) {
			panic(end)
		}
	}()
	parser, err := kong.New(&commands{}, kong.Name("tocsin-bench"),
		kong.Description("Measures the engine on this machine, beside raw sockets that do the same work."),
		kong.Writers(p.stdout, p.stderr), kong.Exit(func(int) { panic(helped{}) }), kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.BindTo(p.stdin, (*io.Reader)(nil)), kong.BindTo(p.stdout, (*io.Writer)(nil)), kong.Bind(p))
	if err != nil {
		panic("tocsin-bench: the command line is defined wrongly: " + err.Error())
	}
	command, err := parser.Parse(args)
	if err != nil {
		return &exitError{exitUsage, fmt.Errorf("%w; see tocsin-bench --help", err)}
	}
	return command.Run()
}
