package simulate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/queue"
	"github.com/tocsin/tocsin/ratelimit"
)

// queues is both ports of one queue.
type queues interface {
	queue.Queue
	queue.Intake
}

// process is one engine, from its start until it is stopped or dies. Death is
// sudden: from that moment nothing it does reaches the store, the queue or a peer,
// and what it was doing there happened, or didn't, as the seed says.
type process struct {
	w      *world
	n      int // counts the world's processes
	engine *dispatcher.Engine
	queue  queues
	cancel context.CancelFunc
	ended  chan error

	dead chan struct{}
	kill func()
	// diedAt is set before dead is closed.
	diedAt time.Time

	mu    sync.Mutex
	calls map[string]uint64 // by kind, for their luck
	// doomed is the death to come: by failpoint, or by calls.
	doomed *doom
}

type doom struct {
	at     dispatcher.Failpoint // "": in a call
	kind   string               // of calls; "" is any
	n      int
	down   time.Duration
	before bool // of a call: what it asked for doesn't happen
}

var errDead = fmt.Errorf("%w: this process is dead", dispatcher.ErrLedgerRefused)

// start begins a process on what is durable.
func (w *world) start() {
	w.processes++
	p := &process{
		w: w, n: w.processes, dead: make(chan struct{}), calls: make(map[string]uint64),
		ended: make(chan error, 1), queue: w.connect(),
	}
	ctx, cancel := context.WithCancel(w.ctx)
	p.cancel = cancel
	p.kill = sync.OnceFunc(func() {
		p.diedAt = time.Now()
		w.note("process %d dies", p.n)
		close(p.dead)
		cancel()
	})
	w.mu.Lock()
	p.doomed, w.doomed = w.doomed, nil
	w.mu.Unlock()
	s := &w.sc.engine
	opt := dispatcher.DefaultOptions()
	opt.EmbeddedQueue = !w.sc.broker
	opt.Groups = []dispatcher.Group{{Name: "webhook"}, {Name: "smtp:main", Provider: "main"}}
	opt.Policy = w.policy
	opt.Admission, opt.MaxInFlight, opt.PlanPage = s.admission, s.inFlight, s.page
	opt.LaneWait, opt.HoldFor, opt.LongestSend = s.laneWait, s.hold, s.longest
	opt.Backoff, opt.ExpiresAfter, opt.DrainFor = s.backoff, s.life, s.drain
	opt.RetryEvery, opt.ExpireEvery, opt.SweepEvery, opt.CallbackEvery = s.retry, 3*time.Second, s.sweep, time.Hour
	opt.SweepUnpublished, opt.SweepUnclaimed = s.unpublished, s.unclaimed
	opt.Budgets = map[string]dispatcher.Budget{"webhook": w.sc.budget, "smtp": w.sc.budget}
	opt.Clock = w.clock.now
	opt.Rand = rand.New(rand.NewPCG(w.sc.seed, uint64(p.n)))
	opt.Fail = p.failpoint
	var own dispatcher.Ledger = &ledger{Ledger: w.store, p: p}
	var line queues = &line{queues: p.queue, p: p}
	var ch channels.Channel = &channel{p}
	if m := w.mutation; m != nil {
		own, line, ch = m.wrap(own, line, ch)
		if m.options != nil {
			m.options(&opt)
		}
	}
	engine, err := dispatcher.New(opt, dispatcher.Ports{
		Ledger: own, Queue: line, Intake: line, Channels: map[string]channels.Channel{"webhook": ch, "smtp": ch},
		Callbacks: nobody{}, Meter: nobody{}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		panic(err)
	}
	p.engine = engine
	w.mu.Lock()
	w.process = p
	w.mu.Unlock()
	w.note("process %d starts", p.n)
	go func() { p.ended <- engine.Run(ctx) }()
}

func (w *world) policy(group, name string) dispatcher.ProviderPolicy {
	for i := range w.sc.providers {
		if p := &w.sc.providers[i]; p.name == name {
			return dispatcher.ProviderPolicy{
				Limit: ratelimit.Limit{PerSecond: p.rate, Burst: p.burst}, Window: p.window, Named: strings.Contains(group, ":"),
				Account: dispatcher.Account{Name: group + " " + name, Where: "at this provider", Bound: p.bound},
			}
		}
	}
	return dispatcher.ProviderPolicy{Limit: ratelimit.Limit{PerSecond: 1, Burst: 1}, Window: 1, Named: true} // nobody's
}

func (p *process) isDead() bool {
	select {
	case <-p.dead:
		return true
	default:
		return false
	}
}

// failpoint dies there if it is to.
func (p *process) failpoint(at dispatcher.Failpoint) error {
	if p.isDead() {
		return errDead
	}
	p.mu.Lock()
	hit := p.doomed != nil && p.doomed.at == at
	if hit {
		p.doomed.n--
		hit = p.doomed.n == 0
	}
	p.mu.Unlock()
	if hit {
		p.kill()
		return errDead
	}
	return nil
}

// call takes what goes through a port: it takes its time, may fail, and may be
// where the process dies.
func (p *process) call(ctx context.Context, kind string, f func() error) error {
	luck := p.draw(kind)
	if err := p.spend(ctx, luck.before); err != nil {
		return err
	}
	p.mu.Lock()
	hit := p.doomed != nil && p.doomed.at == "" && (p.doomed.kind == "" || p.doomed.kind == kind)
	before := hit && p.doomed.before
	if hit {
		p.doomed.n--
		hit = p.doomed.n == 0
	}
	p.mu.Unlock()
	if hit && before {
		p.kill()
		return errDead
	}
	trouble := p.w.troubled(kind, luck.roll)
	if trouble == failsBefore {
		return errTrouble(kind)
	}
	err := f()
	if hit {
		p.kill()
		return errDead
	}
	if err := p.spend(ctx, luck.after); err != nil && p.isDead() {
		return err
	}
	if err == nil && trouble == failsAfter {
		return errTrouble(kind)
	}
	return err
}

// luck is what the seed decides about one call.
type luck struct {
	before, after time.Duration
	roll          uint64
}

func (p *process) draw(kind string) luck {
	p.mu.Lock()
	n := p.calls[kind]
	p.calls[kind]++
	p.mu.Unlock()
	h := mix(p.w.sc.seed, uint64(p.n), word(kind), n)
	most := uint64(time.Millisecond) * uint64(p.w.sc.slow)
	if h&7 != 0 { // most calls are quick
		most = uint64(2 * time.Millisecond)
	}
	return luck{before: time.Duration(1 + mix(h, 1)%most), after: time.Duration(1 + mix(h, 2)%most), roll: mix(h, 3)}
}

// spend lets time go by, unless the process dies over it.
func (p *process) spend(ctx context.Context, d time.Duration) error {
	if p.isDead() {
		return errDead
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		if p.isDead() {
			return errDead
		}
		return nil
	case <-p.dead:
		return errDead
	case <-ctx.Done():
		return ctx.Err()
	}
}

// mix hashes numbers (splitmix64).
func mix(parts ...uint64) uint64 {
	h := uint64(0x9e3779b97f4a7c15)
	for _, v := range parts {
		h ^= v
		h += 0x9e3779b97f4a7c15
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h = (h ^ h>>27) * 0x94d049bb133111eb
		h ^= h >> 31
	}
	return h
}

// word is the number of a string (FNV-1a).
func word(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

func errTrouble(kind string) error {
	if strings.HasPrefix(kind, "queue.") {
		return fmt.Errorf("%s: %w", kind, queue.ErrUnavailable)
	}
	return errors.New(kind + ": the simulated store is in trouble")
}

// nobody is the ports of no interest here.
type nobody struct{}

func (nobody) Check(incident.CallbackURL) error { return nil }
func (nobody) Post(context.Context, string, incident.CallbackURL, []byte) channels.Result {
	return channels.Result{Class: channels.Delivered}
}
func (nobody) EventAccepted(string, string)            {}
func (nobody) UpdatePlanned()                          {}
func (nobody) Attempt(string, channels.Class)          {}
func (nobody) Outcome(string, dispatcher.Outcome, int) {}
func (nobody) Latency(string, time.Duration)           {}
func (nobody) Backlog(dispatcher.Backlog, time.Time)   {}
