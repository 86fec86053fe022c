package tune

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/alecthomas/kong"
	"go.uber.org/goleak"

	"github.com/tocsin/tocsin/bench/scenario"
	"github.com/tocsin/tocsin/bench/sink"
)

// TestMain makes the test binary the sink and the process of a trial.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && slices.Contains([]string{"sink", "trial"}, os.Args[1]) {
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
	var commands struct {
		Sink  sink.Command `cmd:""`
		Trial TrialCommand `cmd:""`
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
