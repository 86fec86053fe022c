package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/internal/crash"
)

// fake is a chaos whose trials are made up; tried has them.
type fake struct {
	Chaos
	tried []crash.Options
	said  []string
}

// newFake has trials over both queues end as try says.
func newFake(t *testing.T, rounds int, try func(o crash.Options) *crash.Outcome) *fake {
	f := &fake{}
	f.Chaos = Chaos{Queues: []string{Embedded, RabbitMQ}, Broker: "amqp://user:hidden@broker", Rounds: rounds, Targets: 7, Seed: 40, Folder: t.TempDir(),
		Progress: func(text string) { f.said = append(f.said, text) }, Say: func(text string) { f.said = append(f.said, text) },
		Try: func(_ context.Context, o crash.Options) *crash.Outcome {
			f.tried = append(f.tried, o)
			if err := os.WriteFile(filepath.Join(o.Folder, "receipts"), nil, 0o600); err != nil {
				t.Error(err)
			}
			return try(o)
		}}
	return f
}

// killed is a trial with nothing wrong.
func killed(o crash.Options) *crash.Outcome {
	for range o.Kills {
		o.Killed()
	}
	return &crash.Outcome{Losses: make(crash.Losses, o.Kills), Duplicates: 3, Outcomes: map[string]int{"delivered": o.Kills}, Broken: map[string]int{}}
}

func printed(t *testing.T, r *Report) string {
	t.Helper()
	var b strings.Builder
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestQueuesTakeTurns(t *testing.T) {
	f := newFake(t, 60, killed)
	r, err := f.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range f.tried {
		got = append(got, fmt.Sprintf("%s %s seed %d, %d kills, %d targets", o.Queue, o.Deployment, o.Seed, o.Kills, o.Targets))
	}
	want := []string{"sqlite chaos-1 seed 40, 25 kills, 7 targets", "amqp://user:hidden@broker chaos-2 seed 41, 25 kills, 7 targets", "sqlite chaos-3 seed 42, 10 kills, 7 targets"}
	if !slices.Equal(got, want) {
		t.Errorf("tried %q, want %q", got, want)
	}
	if !r.Sound() || r.Rounds() != 60 || r.Queues[0].Duplicates != 6 || r.Queues[0].Outcomes["delivered"] != 35 {
		t.Errorf("%+v", r)
	}
	if text := printed(t, r); !strings.Contains(text, "Held: 60 of 60 kills") || strings.Contains(text, "BROKEN") {
		t.Error(text)
	}
	if left, err := os.ReadDir(f.Folder); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
	if said := strings.Join(f.said, "\n"); !strings.Contains(said, "rabbitmq  50 of 60 kills, 3 sent again, 0 faults, about") || strings.Contains(said, "hidden") {
		t.Error(said)
	}
}

func TestWhatABrokenPromiseLeft(t *testing.T) {
	f := newFake(t, 100, func(o crash.Options) *crash.Outcome {
		out := killed(o)
		if o.Seed == 41 {
			out.Faults, out.Broken = []string{"A: somebody was not told"}, map[string]int{"A": 1}
		}
		return out
	})
	r, err := f.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Sound() || len(r.Failed) != 1 || len(f.tried) != 4 {
		t.Fatalf("%d trials, %d failed", len(f.tried), len(r.Failed))
	}
	text := printed(t, r)
	for _, want := range []string{"BROKEN: 100 of 100", "A: somebody was not told", "make chaos QUEUE=rabbitmq ROUNDS=25 SEED=41", "lost or unexplained 1 (A)", r.Failed[0].Folder} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	left, err := os.ReadDir(f.Folder)
	if err != nil || len(left) != 1 || filepath.Join(f.Folder, left[0].Name()) != r.Failed[0].Folder {
		t.Errorf("it left %v, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(r.Failed[0].Folder, "receipts")); err != nil {
		t.Error(err)
	}
}

// An engine that doesn't even start has no kills, and must not be tried for ever.
func TestTooMuchHasFailed(t *testing.T) {
	f := newFake(t, 1000, func(crash.Options) *crash.Outcome { return &crash.Outcome{Faults: []string{"there is no tea"}} })
	r, err := f.Run(t.Context())
	if err != nil || len(f.tried) != maxFailed || r.Sound() {
		t.Errorf("%d trials, %v", len(f.tried), err)
	}
	if text := printed(t, r); !strings.Contains(text, "BROKEN: 0 of 1000") || !strings.Contains(text, "other 2") {
		t.Error(text)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	f := newFake(t, 1000, func(o crash.Options) *crash.Outcome {
		interrupt()
		o.Kills = 4
		return killed(o)
	})
	r, err := f.Run(ctx)
	if err != nil || len(f.tried) != 1 || !r.Interrupted || !r.Sound() {
		t.Errorf("%d trials, %+v, %v", len(f.tried), r, err)
	}
	if text := printed(t, r); !strings.Contains(text, "Interrupted: 4 of 1000") {
		t.Error(text)
	}
}
