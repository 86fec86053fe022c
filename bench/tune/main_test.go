package tune

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/alecthomas/kong"
	"go.uber.org/goleak"

	"github.com/tocsin/tocsin/bench/floor"
	"github.com/tocsin/tocsin/bench/scenario"
	"github.com/tocsin/tocsin/bench/sink"
)

// TestMain makes the test binary the sink, the floors, the process of a trial, and one that looks at
// the network it has.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && slices.Contains([]string{"sink", "floor", "trial", "inside"}, os.Args[1]) {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		if err := program(ctx, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func program(ctx context.Context, args []string) error {
	if args[0] == "inside" {
		return inside()
	}
	var commands struct {
		Sink  sink.Command   `cmd:""`
		Floor floor.Commands `cmd:""`
		Trial TrialCommand   `cmd:""`
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

// oddBacklog is no system's own.
const oddBacklog = "77"

// inside prints the backlog after it was set, once a connection over the loopback worked.
func inside() error {
	if err := raiseLoopback(); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.9.9.9:0")
	if err != nil {
		return err
	}
	defer listener.Close()
	c, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		return err
	}
	c.Close()
	if err := (Setting{somaxconn, oddBacklog}).apply(); err != nil {
		return err
	}
	value, err := os.ReadFile(backlogFile)
	fmt.Print(string(value))
	return err
}

const backlogFile = "/proc/sys/net/core/somaxconn"

// newBench is one with the real engine, unless its binary is given.
func newBench(t *testing.T, engine string) *Bench {
	t.Helper()
	if engine == "" {
		engine = filepath.Join(t.TempDir(), "tocsin")
		if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", engine, "github.com/tocsin/tocsin/cmd/tocsin").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	rig, err := scenario.NewRig(engine, os.Args[0], t.TempDir(), append(os.Environ(), "GORACE=atexit_sleep_ms=0"), func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rig.Close(); err != nil {
			t.Error(err)
		}
	})
	return &Bench{Rig: rig, Scenarios: scenario.Table()}
}
