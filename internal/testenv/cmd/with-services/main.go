// Command with-services runs another command with private services beside it,
// and ends with that command's exit code.
//
//	with-services --rabbitmq -- go test ./...
//	with-services --rabbitmq -- ./bin/tocsin demo --queue {amqp}
//
// It tells the command about the services in its environment (see package
// testenv) and replaces {amqp} in its arguments by the broker's URL. Signals
// are passed on to the command and all its children; the services are stopped
// when the command has ended, whatever became of it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/tocsin/tocsin/internal/testenv"
)

// Exit codes of our own; all others are the command's.
const (
	exitUsage  = 2
	exitFailed = 125 // the services or the command could not be started, as in env(1)
)

func main() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	os.Exit(run(os.Args[1:], signals, os.Stdout, os.Stderr))
}

func run(args []string, signals <-chan os.Signal, stdout, stderr io.Writer) (code int) {
	fail := func(err error) int {
		fmt.Fprintln(stderr, "with-services:", err)
		return exitFailed
	}
	flags := flag.NewFlagSet("with-services", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: with-services [--rabbitmq] -- COMMAND [ARGUMENT…]\n{amqp} in an argument becomes the broker's URL.")
		flags.PrintDefaults()
	}
	rabbitmq := flags.Bool("rabbitmq", false, "start a private RabbitMQ")
	if err := flags.Parse(args); err != nil {
		return exitUsage
	}
	if flags.NArg() == 0 {
		flags.Usage()
		return exitUsage
	}
	command, env := flags.Args(), os.Environ()
	if *rabbitmq {
		ctx, cancel := untilSignal(signals)
		broker, err := testenv.StartRabbitMQ(ctx, testenv.Options{})
		cancel()
		if err != nil {
			return fail(err)
		}
		defer func() {
			if err := broker.Close(); err != nil {
				code = max(code, fail(err))
			}
		}()
		env = append(env, broker.Env()...)
		for i, arg := range command {
			command[i] = strings.ReplaceAll(arg, "{amqp}", broker.URL())
		}
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, stdout, stderr
	// In a group of its own, so that a Ctrl-C reaches it once, from here, and
	// not a second time from the terminal. It gets no standard input, because a
	// group in the background would be stopped for reading from the terminal.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fail(fmt.Errorf("can't run %s: %w", command[0], err))
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case sig := <-signals:
			// Fails only when the group has just ended, which we hear of next.
			_ = syscall.Kill(-cmd.Process.Pid, sig.(syscall.Signal))
		case err := <-ended:
			return exitCode(err, fail)
		}
	}
}

// exitCode is the command's code, or 128 + n if signal n ended it, as in sh(1).
func exitCode(err error, fail func(error) int) int {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok && err != nil {
		return fail(err)
	}
	if !ok {
		return 0
	}
	if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}

// untilSignal returns a context that ends with the next signal. Its cancel
// function returns once no signal can be taken from the channel any more.
func untilSignal(signals <-chan os.Signal) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case sig := <-signals:
			cancel(fmt.Errorf("stopped by a signal: %v", sig))
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil); <-watched }
}
