package scenario

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/tocsin/tocsin/bench/floor"
	"github.com/tocsin/tocsin/bench/result"
	"github.com/tocsin/tocsin/bench/run"
	"github.com/tocsin/tocsin/bench/sink"
	"github.com/tocsin/tocsin/internal/peer"
)

// fanout is a kind of work: updates of one incident to many webhooks.
type fanout struct {
	scheme string
	mix    peer.Mix
	// hot is how many targets, from the first on, share one host; they alone behave
	// as mix says then.
	hot int
	// config is added to the engine's.
	config string
	broker bool
	// steps are the measured phases, in order.
	steps []step
	// patience is how long an update may take to reach everyone it can reach;
	// what has not arrived then is lost.
	patience time.Duration
}

// step is one phase: updates that are published one after the other, each once the
// one before it has reached everyone.
type step struct {
	// id is that of the result, "" for what is not measured.
	id      string
	updates int
	// reconnect has the peers close all connections first.
	reconnect bool
}

// sequences is how many updates there are in all.
func (f *fanout) sequences() int {
	n := 0
	for _, s := range f.steps {
		n += s.updates
	}
	return n
}

// answers reports whether a target answers 2xx sooner or later; the others can't be
// lost.
func (f *fanout) answers(n int) bool { return f.behaviour(n).Status(math.MaxInt) == 200 }

// healthy reports whether a target answers 2xx at once, or after the hold: latency
// and throughput are theirs.
func (f *fanout) healthy(n int) bool { return f.behaviour(n).Kind == peer.OK }

func (f *fanout) behaviour(n int) peer.Behaviour {
	if f.hot > 0 && n > f.hot {
		return peer.Behaviour{}
	}
	return f.mix.Behaviour(n)
}

// phase is what one step of one sender came to.
type phase struct {
	step  step
	first int         // sequence
	since []time.Time // by update: when it was accepted
	cost  run.Cost
	more  map[string]float64
}

// engine does the work with the engine, once.
func (f *fanout) engine(ctx context.Context, r *Rig, size Size) (_ Found, err error) {
	p := population{targets: size.Targets, hosts: size.Hosts, hot: f.hot, scheme: f.scheme}
	queue, err := r.queue(ctx, f.broker)
	if err != nil {
		return nil, err
	}
	folder, imported, err := r.prepare(ctx, p)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.clear(folder)) }()
	far, err := r.startSink(ctx, p, f.sequences(), f.mix)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, far.close()) }()
	e, err := r.startEngine(ctx, engineOptions{data: folder, queue: queue, port: r.port, config: f.config, ca: far.ca, tuning: r.Tuning})
	if err != nil {
		return nil, err
	}
	phases, err := f.publish(ctx, e, far, size.Targets)
	// With the engine gone all its requests have ended, and the record is whole.
	// How it ends is part of what is tested.
	if stopped := e.Shut(); err == nil {
		err = stopped
	}
	if err != nil {
		return nil, err
	}
	record, err := far.Record(ctx)
	if err != nil {
		return nil, err
	}
	found := make(Found)
	for _, ph := range phases {
		m := f.measure(record, &ph, size.Targets)
		if imported > 0 {
			m.More["import_per_s"] = result.Round(float64(size.Targets) / imported.Seconds())
		}
		found[ph.step.id] = m
	}
	return found, nil
}

// outcomes is the metric that counts durable outcomes; the one here is delivered.
const outcomes = `tocsin_deliveries_total{channel="webhook",outcome="delivered"}`

// settlePatience is how long the ledger may take to have what the peers answered.
const settlePatience = 30 * time.Second

// publish warms the engine up, goes through the steps and returns those that are
// measured.
func (f *fanout) publish(ctx context.Context, e *engine, far *far, targets int) ([]phase, error) {
	warm, err := newStory("WARM-1")
	if err == nil {
		err = f.tell(ctx, e, far, announcement{&warm, warmPage, 1, warmTargets, 0}, nil)
	}
	if err != nil {
		return nil, err
	}
	expected := 0
	for n := 1; n <= targets; n++ {
		if f.answers(n) {
			expected++
		}
	}
	story, err := newStory("BENCH-1")
	if err != nil {
		return nil, err
	}
	var phases []phase
	sequence := 1
	for _, s := range f.steps {
		if s.reconnect {
			if err := far.hangUp(ctx); err != nil {
				return nil, err
			}
		}
		before, err := far.Counts(ctx)
		if err != nil {
			return nil, err
		}
		ph := phase{step: s, first: sequence, more: make(map[string]float64)}
		watch := run.Observe(e.rig.withBroker(f.broker, e.Process, far.Process)...)
		for range s.updates {
			before := 0
			if sequence == 1 {
				before = warmTargets
			}
			if err = f.tell(ctx, e, far, announcement{&story, floor.Page, sequence, expected, before}, &ph); err != nil {
				break
			}
			sequence++
		}
		ph.cost = watch.End()
		if err != nil {
			return nil, err
		}
		after, err := far.Counts(ctx)
		if err != nil {
			return nil, err
		}
		ph.count(before, after)
		if s.id != "" {
			phases = append(phases, ph)
		}
	}
	if err := f.check(ctx, e, far, story.Incident); err != nil {
		return nil, err
	}
	failed, err := e.failedAttempts(ctx)
	for i := range phases {
		phases[i].more[FailedAttempts] = failed
	}
	return phases, err
}

// FailedAttempts names, in [result.Measurement].More, how many attempts of the run came
// back with anything but delivered.
const FailedAttempts = "failed_attempts"

// announcement is an update and how many targets answer it 2xx in the end. Some have
// answered the same sequence before, of another incident.
type announcement struct {
	story              *floor.Story
	page               string
	sequence, expected int
	before             int
}

// tell publishes one update and waits until everyone has it and the ledger says so.
func (f *fanout) tell(ctx context.Context, e *engine, far *far, a announcement, ph *phase) error {
	event, err := eventOf(a.story, a.page, a.sequence)
	if err != nil {
		return err
	}
	closed, err := e.counter(ctx, outcomes)
	if err != nil {
		return err
	}
	accepted, err := e.publish(ctx, event)
	if err != nil {
		return err
	}
	reached, err := far.await(ctx, a.sequence, a.before+a.expected, f.patience, e.rig.Progress, e.Process)
	if err != nil {
		return err
	}
	if _, _, err := e.await(ctx, outcomes, closed+float64(reached-a.before), settlePatience); err != nil {
		return err
	}
	if ph != nil {
		ph.since = append(ph.since, accepted)
	}
	return nil
}

// check holds the ledger against the peers: as many deliveries are delivered in it as
// were answered.
func (f *fanout) check(ctx context.Context, e *engine, far *far, incident string) error {
	v, err := e.incident(ctx, floor.Page, incident)
	if err != nil {
		return err
	}
	counts, err := far.Counts(ctx)
	if err != nil {
		return err
	}
	answered := -warmTargets
	for _, n := range counts.Delivered {
		answered += n
	}
	if recorded := v.progress()["delivered"]; recorded != answered {
		return fmt.Errorf("the ledger has %d deliveries as delivered, and the peers answered %d", recorded, answered)
	}
	return nil
}

// count notes how connections were made.
func (ph *phase) count(before, after *sink.Counts) {
	if n := after.Handshakes - before.Handshakes; n > 0 {
		ph.more["handshakes"] = float64(n)
		ph.more["resumed_percent"] = result.Round(100 * float64(after.Resumed-before.Resumed) / float64(n))
	}
	if n := after.Requests - before.Requests; n > 0 {
		ph.more["request_bytes"] = math.Round(float64(after.Bytes-before.Bytes) / float64(n))
	}
}

// measure computes what a phase came to from the record of the peers.
func (f *fanout) measure(record *sink.Record, ph *phase, targets int) *result.Measurement {
	m := &result.Measurement{More: ph.more, Duplicates: record.Duplicates, OrderViolations: record.OrderViolations}
	latencies := sink.NewHistogram()
	var done timeline
	for i, since := range ph.since {
		sequence := ph.first + i
		m.Lost += record.Lost(sequence, targets, f.answers)
		_, last, n := record.Span(sequence, targets, f.healthy)
		if n == 0 {
			continue
		}
		wall := max(last.Sub(since), 0)
		done.add(record, sequence, targets, since, wall, f.healthy)
		record.Latencies(latencies, sequence, targets, since, f.healthy)
		m.Deliveries += n
		m.WallS += wall.Seconds()
	}
	if m.WallS > 0 {
		m.PerS = float64(m.Deliveries) / m.WallS
	}
	m.P50MS, m.P99MS = float64(latencies.ValueAtPercentile(50))/1000, float64(latencies.ValueAtPercentile(99))/1000
	m.Latency, m.Done = quantiles(latencies), done.points
	m.Cost(ph.cost, "engine")
	return m
}
