package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tocsin/tocsin/internal/crash"
	"github.com/tocsin/tocsin/internal/testenv"
)

const (
	// roundsPerTrial bounds how much a store has to remember, and how much is done in
	// vain if it comes to the worst.
	roundsPerTrial = 25
	// maxFailed trials are enough to go by; each leaves up to 100 MB.
	maxFailed = 3
	// expiry leaves the slowest machine its time: nobody here is waited for in vain.
	expiry = time.Hour
	// roundS is about how long a kill takes on two cores, in seconds, with its share
	// of what a trial needs before and after.
	roundS = 1
)

// The queues of an engine.
const (
	Embedded = "embedded"
	RabbitMQ = "rabbitmq"
)

// ErrNoBroker says that RabbitMQ is not installed.
var ErrNoBroker = testenv.ErrNotInstalled

// StartBroker starts a RabbitMQ of our own. Whoever started it closes it.
func StartBroker(ctx context.Context) (*testenv.RabbitMQ, error) {
	ctx, cancel := context.WithTimeout(ctx, brokerPatience)
	defer cancel()
	return testenv.StartRabbitMQ(ctx, testenv.Options{})
}

const brokerPatience = 2 * time.Minute

// Try runs one trial.
type Try func(context.Context, crash.Options) *crash.Outcome

// Chaos is one run. Its fields are set before Run.
type Chaos struct {
	// Engine is the binary.
	Engine string
	// Queues take turns: [Embedded], [RabbitMQ].
	Queues []string
	// Broker is the URL of RabbitMQ.
	Broker string
	// Rounds is how many kills there are in all.
	Rounds int
	// Targets is how many an update goes out to.
	Targets int
	// Seed is that of the first trial; each further one has the next.
	Seed uint64
	// Folder takes what failed trials leave.
	Folder string
	// Progress shows how far the run is; each text replaces the one before. Say
	// tells what stays.
	Progress, Say func(string)
	// Try runs a trial; nil is [crash.Run].
	Try Try

	begun time.Time
	done  int // rounds
}

// Expected is how long so many rounds take, about.
func Expected(rounds int) time.Duration {
	return time.Duration(float64(rounds) * roundS * float64(time.Second))
}

// Run kills until all rounds are done, ctx ends, or too much has failed. What is
// found until then is in the report in any case; an error is one of the folder.
func (c *Chaos) Run(ctx context.Context) (*Report, error) {
	r := &Report{Asked: c.Rounds}
	for _, q := range c.Queues {
		r.Queues = append(r.Queues, &Tally{Queue: q})
	}
	c.begun = time.Now()
	size := min(roundsPerTrial, (c.Rounds+len(c.Queues)-1)/len(c.Queues))
	for trial := 0; c.done < c.Rounds && ctx.Err() == nil && len(r.Failed) < maxFailed; trial++ {
		which := trial % len(c.Queues)
		if err := c.try(ctx, r, trial, which, min(size, c.Rounds-c.done)); err != nil {
			return r, err
		}
	}
	r.Interrupted = ctx.Err() != nil
	return r, nil
}

// try runs one trial.
func (c *Chaos) try(ctx context.Context, r *Report, trial, which, kills int) error {
	tally := r.Queues[which]
	folder, err := filepath.Abs(filepath.Join(c.Folder, fmt.Sprintf("trial-%d-%s", trial+1, tally.Queue)))
	if err == nil {
		err = os.MkdirAll(folder, 0o755)
	}
	if err != nil {
		return fmt.Errorf("folder of a trial: %w", err)
	}
	o := crash.Options{Engine: c.Engine, Queue: "sqlite", Deployment: fmt.Sprintf("chaos-%d", trial+1), Mix: crash.MixToGo, Expiry: expiry,
		Targets: c.Targets, Seed: c.Seed + uint64(trial), Kills: kills, Folder: folder}
	if tally.Queue == RabbitMQ {
		o.Queue = c.Broker
	}
	done := c.done + kills // also where it couldn't even begin
	o.Killed = func() {
		c.done++
		c.progress(r, tally.Queue)
	}
	if c.Try == nil {
		c.Try = crash.Run
	}
	out := c.Try(ctx, o)
	tally.add(out)
	c.done = done
	if len(out.Faults) == 0 {
		if err := os.RemoveAll(folder); err != nil {
			return fmt.Errorf("folder of a trial: %w", err)
		}
		return nil
	}
	f := &Failure{Queue: tally.Queue, Folder: folder, Seed: o.Seed, Kills: kills, Faults: out.Faults}
	r.Failed = append(r.Failed, f)
	c.Say(f.String())
	return nil
}

// progress says how far the run is.
func (c *Chaos) progress(r *Report, queue string) {
	took := time.Since(c.begun)
	left := time.Duration(float64(took) / float64(c.done) * float64(c.Rounds-c.done))
	broken, again := 0, 0
	for _, t := range r.Queues {
		broken, again = broken+t.faults(), again+t.Duplicates
	}
	c.Progress(fmt.Sprintf("%-8s  %d of %d kills, %d sent again, %d faults, about %v left", queue, c.done, c.Rounds, again, broken, left.Round(time.Second)))
}

// ErrBroken says that a promise was not kept.
var ErrBroken = errors.New("a promise was broken")

// Failure is a trial in which something was not kept.
type Failure struct {
	Queue  string
	Folder string
	Seed   uint64
	Kills  int
	Faults []string
}

// String says what it was, what it left, and how to have it again.
func (f *Failure) String() string {
	const most = 5
	faults := f.Faults
	if len(faults) > most {
		faults = append(faults[:most:most], fmt.Sprintf("… and more, in trial.log (%d here)", len(f.Faults)))
	}
	return fmt.Sprintf("FAILED over %s:\n  %s\n  what it left: %s\n  again with:   make chaos QUEUE=%s ROUNDS=%d SEED=%d",
		f.Queue, strings.Join(faults, "\n  "), f.Folder, f.Queue, f.Kills, f.Seed)
}
