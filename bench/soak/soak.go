package soak

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/peer"
	"github.com/tocsin/tocsin/internal/testenv"
)

// Options are what a soak is made of.
type Options struct {
	// Length is how long the load lasts.
	Length time.Duration
	// RabbitMQ has the engine use a private broker instead of the embedded queue.
	RabbitMQ bool
	// Targets is how many there are all the time; guests come on top.
	Targets int
	// Every is the time between two updates, FaultEvery that between two faults,
	// RestEvery that between two rests.
	Every, FaultEvery, RestEvery time.Duration
	// Seed decides over the faults and their order.
	Seed uint64
	// Tocsin is the engine's binary.
	Tocsin string
	// Folder is where the engine's log goes and, while it runs, its data: on the
	// disk that is meant.
	Folder string
	// Environ is what the engine gets, without variables that would configure it.
	Environ []string
	// Progress shows how far it is; each text replaces the one before.
	Progress func(text string)

	settled, restLeast time.Duration                             // see there
	swallow            func(channel string, r peer.Receipt) bool // a test's: what was not received
}

const feedChannel = incident.ChannelRSS

// shares are the parts of the targets, in percent; webhooks are the rest.
var shares = []struct {
	channel string
	percent int
}{{incident.ChannelSMTP, 20}, {incident.ChannelSMPP, 9}, {feedChannel, 1}}

// everyUpdate says which webhooks want all updates: one in so many.
const everyUpdate = 10

// soak is one run. Each of its parts runs in a goroutine of its own; what one owns is
// read by others only once that has ended.
type soak struct {
	options   *Options
	crew      *crew
	broker    *testenv.RabbitMQ // nil without one
	engine    *engine
	desk      *desk
	names     *names
	residents map[address]bool // whether they want every update
	begun     time.Time        // the load

	load    load
	current atomic.Pointer[string] // the fault that is on now

	calm, quiet sync.RWMutex       // held by a rest: no fault, no event
	rests       chan chan struct{} // to sample, which closes each once it has seen it

	faults   []Fault   // of trouble
	samples  []Sample  // of sample
	promises *Promises // of audit
}

// Run soaks. The result has what was seen, also with an error, which says why it ended
// early, if it began at all; nil if not.
func Run(ctx context.Context, o Options) (_ *Result, err error) {
	o.settled, o.restLeast = cmp.Or(o.settled, settled), cmp.Or(o.restLeast, restLeast)
	s := &soak{options: &o, desk: newDesk(), names: &names{byID: make(map[string]address)}, residents: make(map[address]bool),
		promises: newPromises(), rests: make(chan chan struct{})}
	folder, err := os.MkdirTemp(o.Folder, ".work-")
	if err == nil {
		folder, err = filepath.Abs(folder)
	}
	if err != nil {
		return nil, fmt.Errorf("folder of the soak: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	if s.crew, err = newCrew(s.receive); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.crew.close()) }()
	queue := "sqlite"
	if o.RabbitMQ {
		o.Progress("starting RabbitMQ")
		if s.broker, err = testenv.StartRabbitMQ(ctx, testenv.Options{}); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.broker.Close()) }()
		queue = s.broker.URL()
	}
	if s.engine, err = o.startEngine(ctx, folder, queue, s.crew); err != nil {
		return nil, err
	}
	defer s.engine.Kill() // does nothing to one that was stopped
	if err := s.settle(ctx); err != nil {
		return nil, err
	}
	r := newResult(&o)
	failed := s.endure(ctx)
	stopped := s.engine.Shut()
	s.complete(r, ctx.Err() != nil, failed, stopped)
	return r, errors.Join(ctx.Err(), err)
}

// receive takes what a receiver got.
func (s *soak) receive(channel string, r peer.Receipt) {
	if s.options.swallow == nil || !s.options.swallow(channel, r) {
		s.desk.take(channel, r)
	}
}

// settle imports the targets that stay.
func (s *soak) settle(ctx context.Context) error {
	var all []target
	left := s.options.Targets
	add := func(channel string, n int) {
		for i := 1; i <= n; i++ {
			every := channel == feedChannel || channel == incident.ChannelWebhook && i%everyUpdate == 0
			all = append(all, target{Channel: channel, Page: page, Address: s.crew.address(channel, i), EveryUpdate: every})
		}
		left -= n
	}
	feeds := 0
	for _, share := range shares {
		n := max(s.options.Targets*share.percent/100, 1)
		if share.channel == feedChannel {
			feeds = n
		}
		add(share.channel, n)
	}
	add(incident.ChannelWebhook, left)
	imported, err := s.engine.importTargets(ctx, all)
	if err != nil {
		return err
	}
	for _, t := range imported {
		a := address{t.Channel, number(t.Channel, t.Address)}
		s.names.add(t.ID, a)
		s.residents[a] = t.EveryUpdate
	}
	return s.crew.follow(s.engine.public, feeds)
}

// endure has the load and the faults for as long as asked, then waits until everything
// is closed. The error is why it ended early, if it was not ctx.
func (s *soak) endure(ctx context.Context) error {
	s.begun = time.Now()
	all, ctx := errgroup.WithContext(ctx)
	loadCtx, cancel := context.WithTimeout(ctx, s.options.Length)
	defer cancel()
	loaded, audited := make(chan struct{}), make(chan struct{})
	all.Go(func() error {
		defer close(loaded)
		var work errgroup.Group
		for _, part := range []func() error{
			// What was begun is finished: an event or a target of which we don't know
			// whether it was taken could not be judged.
			func() error { return s.publish(ctx, loadCtx.Done()) },
			func() error { return s.entertain(ctx, loadCtx.Done()) },
			func() error { return s.trouble(loadCtx) },
			func() error { return s.rest(loadCtx) },
			func() error { return s.sample(loadCtx) },
		} {
			work.Go(func() error {
				err := part()
				if err != nil {
					cancel() // the others have nothing more to show
				}
				return err
			})
		}
		return work.Wait()
	})
	reading, read := context.WithCancel(ctx)
	defer read()
	all.Go(func() error {
		defer close(audited)
		defer read()
		return s.audit(ctx, loaded)
	})
	all.Go(func() error {
		s.read(reading)
		return nil
	})
	all.Go(func() error {
		select {
		case <-s.engine.Ended():
			return s.engine.Died()
		case <-audited:
			return nil
		}
	})
	return all.Wait()
}

// show tells how it goes.
func (s *soak) show(now *Sample) {
	fault := "all is well"
	switch name := s.current.Load(); {
	case now.Rest:
		fault = "at rest"
	case name != nil:
		fault = *name
	}
	s.options.Progress(fmt.Sprintf("%s of %v · %d updates · %.0f ended, %.0f open · RSS %.0f MB, heap %.1f, %.0f goroutines, %.0f files, WAL %.1f MB · %s",
		clock(now.AtS), s.options.Length, s.load.updates.Load(), now.Ended, now.Open, now.RSSMB, now.HeapMB, now.Goroutines, now.Files, now.WALMB, fault))
}

// progress tells how the draining goes.
func (s *soak) progress(rows, stories int) {
	s.options.Progress(fmt.Sprintf("the load is over; %d deliveries of %d stories are open or just closed", rows, stories))
}

func clock(seconds float64) string {
	return fmt.Sprintf("%d:%02d", int(seconds)/60, int(seconds)%60)
}

// complete says what was seen.
func (s *soak) complete(r *Result, interrupted bool, failed, stopped error) {
	r.EndedAt = time.Now().UTC().Truncate(time.Second)
	r.Interrupted = interrupted
	r.Load, r.Faults, r.Samples = s.load.counts(), append([]Fault{}, s.faults...), append([]Sample{}, s.samples...)
	p := s.promises
	_, p.Unjudged = s.desk.open()
	p.Invalid = s.crew.invalid()
	var late []string
	p.Late, late = s.desk.lateOnes()
	for _, text := range late {
		p.example(text)
	}
	r.Promises = p
	r.Series = judge(r.Samples)
	if n := len(r.Samples); n > 0 {
		last := r.Samples[n-1]
		r.CPUPercent = round(100 * last.CPUS / last.AtS)
		r.PerS = round(last.Ended / last.AtS)
		if first := r.Samples[n/2]; last.Ended > first.Ended {
			r.BytesPerDelivery = round((last.StoreMB - first.StoreMB) * (1 << 20) / (last.Ended - first.Ended))
		}
	}
	for _, err := range []error{failed, stopped} {
		if err != nil && !slices.Contains(r.Errors, err.Error()) && !(interrupted && errors.Is(err, context.Canceled)) {
			r.Errors = append(r.Errors, err.Error())
		}
	}
}
