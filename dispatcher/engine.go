package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/queue"
)

// Engine runs the whole way of the data in one process.
type Engine struct {
	opt      Options
	ledger   Ledger
	queue    queue.Queue
	intake   queue.Intake
	channels map[string]channels.Channel
	meter    Meter
	log      *slog.Logger

	callbacks Callbacks
	budgets   map[string]*Budget // by group; not changed

	epoch     int64
	ids       batchIDs
	latest    *latest
	planner   *planner
	admission *admission
	holdings  holdings
	claims    chan []*queue.Lease
	inbox     *inbox
	recalls   recalls
	pauses    pauses
	settler   *settler
	snapshot  atomic.Pointer[Snapshot]

	senders *senders
	// sending ends when sends in flight have to be cut.
	sending    context.Context
	cutSending context.CancelFunc
	// crash ends everything at once: a failpoint hit.
	crash   context.CancelCauseFunc
	crashed atomic.Bool
}

// New makes an engine. It starts nothing.
func New(opt Options, p Ports) (*Engine, error) {
	if err := opt.check(&p); err != nil {
		return nil, err
	}
	if opt.Clock == nil {
		opt.Clock = time.Now
	}
	if opt.Rand == nil {
		opt.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	e := &Engine{
		opt: opt, ledger: p.Ledger, queue: p.Queue, intake: p.Intake, channels: p.Channels, meter: p.Meter, log: p.Log,
		callbacks: p.Callbacks, budgets: opt.budgets(),
		latest: newLatest(), planner: newPlanner(),
		admission: newAdmission(opt.Admission, opt.Groups, opt.Policy),
		holdings:  holdings{by: make(map[int64][]*queue.Lease)},
		claims:    make(chan []*queue.Lease), inbox: newInbox(), settler: newSettler(),
	}
	e.senders = newSenders(e.send)
	e.snapshot.Store(new(Snapshot))
	return e, nil
}

// Run works until ctx ends, then hands over in order: nothing new starts,
// sends in flight finish (cut after Options.DrainFor), what is left goes back
// to the ledger, everything is committed and acked. It returns nil after that,
// and an error if it could not begin or had to give up.
func (e *Engine) Run(ctx context.Context) error {
	// Settling outlives ctx; only a crash ends it early.
	core, crash := context.WithCancelCause(context.WithoutCancel(ctx))
	defer crash(nil)
	e.crash = crash
	e.sending, e.cutSending = context.WithCancel(core)
	defer e.cutSending()

	epoch, err := e.ledger.Register(ctx, e.opt.Worker, e.now())
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("registering this worker with the store: %w", err)
	}
	e.epoch = epoch
	e.ids = batchIDs{now: e.now, epoch: epoch}

	if err := e.loadPauses(ctx); err != nil {
		return err
	}
	counted, err := e.counted(ctx)
	if err != nil {
		return endOf(ctx, err)
	}
	taking, stopTaking := context.WithCancel(core) // new work, and retries
	defer stopTaking()
	var takers, settling group
	settling.run(crash, func() error { return e.settle(core) })
	var scheduling group
	scheduling.run(crash, func() error { return e.schedule(core, counted) })
	for _, loop := range []func(context.Context) error{e.claim, e.plan, e.accept, e.retry, e.expire, e.measure} {
		takers.run(crash, func() error { return loop(taking) })
	}
	for _, g := range e.opt.Groups {
		takers.run(crash, func() error { return e.pump(taking, g.Name) })
	}
	var calling group
	calling.run(crash, func() error { return e.callBack(taking, core) })
	if !e.opt.EmbeddedQueue {
		takers.run(crash, func() error { return e.sweep(taking) })
	}

	select {
	case <-ctx.Done():
		e.log.Info("stopping: sends in flight finish, the rest is handed back", "limit", e.opt.DrainFor.String())
	case <-core.Done():
	}
	stopTaking()
	takers.Wait()
	e.inbox.drain()
	cut := time.AfterFunc(e.opt.DrainFor, e.cutSending)
	defer cut.Stop()
	scheduling.Wait()
	e.senders.close()
	calling.Wait()
	e.settler.close()
	settling.Wait()
	if core.Err() != nil {
		e.cutSending()
	}
	e.senders.Wait()
	if err := context.Cause(core); err != nil {
		return err
	}
	e.log.Info("stopped; everything is settled or handed back")
	return nil
}

// group waits for goroutines; the first error ends the engine.
type group struct{ sync.WaitGroup }

func (g *group) run(crash context.CancelCauseFunc, f func() error) {
	g.Add(1)
	go func() {
		defer g.Done()
		if err := f(); err != nil {
			crash(err)
		}
	}()
}

func (e *Engine) now() time.Time { return e.opt.Clock() }

// fail asks a failpoint; an error means that everything after this place did
// not happen.
func (e *Engine) fail(at Failpoint) error {
	if e.opt.Fail == nil {
		return nil
	}
	if e.crashed.Load() {
		return errCrashed
	}
	if err := e.opt.Fail(at); err != nil {
		e.crashed.Store(true)
		e.crash(err)
		return errCrashed
	}
	return nil
}

var errCrashed = errors.New("the engine crashed at a failpoint")

// insist repeats f until it succeeds, ctx ends, or repeating can't help. The
// caller holds what it has meanwhile: nothing is acked or dropped because the
// store or the broker is away.
func (e *Engine) insist(ctx context.Context, what string, f func() error) error {
	for n := 0; ; n++ {
		if e.crashed.Load() {
			return errCrashed
		}
		err := f()
		switch {
		case err == nil:
			if n > 0 {
				e.log.Info("going on", "step", what, "tries", n+1)
			}
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrStopped) || errors.Is(err, ErrLedgerRefused):
			return err
		}
		if n == 0 || n%100 == 0 {
			e.log.Warn("a step failed; trying again until it succeeds", "step", what, "tries", n+1, "error", err)
		}
		if !e.pause(ctx, min(e.opt.ErrorPause<<min(n, 5), 10*time.Second)) {
			return ctx.Err()
		}
	}
}

// pause waits and says whether ctx is still going on.
func (e *Engine) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// endOf is nil where err is only ctx's end.
func endOf(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}
