package scenario

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"testing"

	"github.com/alecthomas/kong"
	"go.uber.org/goleak"

	"github.com/tocsin/tocsin/bench/floor"
	"github.com/tocsin/tocsin/bench/sink"
)

// TestMain makes the test binary all the programs of a benchmark: the sink, the
// floors, and an engine with faults.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && slices.Contains([]string{"sink", "floor", "serve"}, os.Args[1]) {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		if err := program(ctx, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// It ends by itself, 10 s after its last connection.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"))
}

func program(ctx context.Context, args []string) error {
	if args[0] == "serve" {
		failed := make(chan error, 1)
		go func() { failed <- runFakeEngine(args[2]) }() // ends with the process
		select {
		case err := <-failed:
			return err
		case <-ctx.Done():
		}
		if os.Getenv(faultVariable) == crashing {
			return fmt.Errorf("could not end in order")
		}
		return nil
	}
	if args[0] == "floor" && args[1] == "double" {
		return double(args[2])
	}
	var commands struct {
		Sink  sink.Command   `cmd:""`
		Floor floor.Commands `cmd:""`
	}
	parser, err := kong.New(&commands, kong.BindTo(ctx, (*context.Context)(nil)), kong.BindTo(os.Stdin, (*io.Reader)(nil)), kong.BindTo(os.Stdout, (*io.Writer)(nil)))
	if err != nil {
		return err
	}
	command, err := parser.Parse(args)
	if err != nil {
		return err
	}
	return command.Run()
}

// double is a floor that does no work, in several ways.
func double(kind string) error {
	answer := floor.Result{Deliveries: 100, WallS: 2, PerS: 50, P50MS: 1, P99MS: 2}
	switch kind {
	case "missing":
		fmt.Fprintln(os.Stderr, "wrk is not installed")
		os.Exit(exitUnavailable)
	case "rude":
		fmt.Println("what?")
	}
	fmt.Println("ready")
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil || line != "go\n" {
		return fmt.Errorf("told %q, %v", line, err)
	}
	switch kind {
	case "failing":
		answer.Errors = 1
	case "dying":
		return fmt.Errorf("out of tea")
	}
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		return err
	}
	if kind == "late" {
		return fmt.Errorf("it was all wrong")
	}
	return nil
}
