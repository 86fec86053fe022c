package dispatcher

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/queue"
	"github.com/tocsin/tocsin/ratelimit"
)

// TestSchedulerProperties drives a scheduler with random batches, answers and
// waits, and checks what must hold whatever happens: every delivery gets
// exactly one settlement, no older update starts after a newer one, at most
// one send per (incident, target), windows and rates hold, and in the end
// nothing is held.
func TestSchedulerProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) { runScheduler(t, rt) })
}

func runScheduler(t *testing.T, rt *rapid.T) {
	providers := rapid.IntRange(1, 4).Draw(rt, "providers")
	r := newRig(t, func(o *schedulerOptions) {
		o.Admission = rapid.IntRange(8, 200).Draw(rt, "admission")
		o.MaxInFlight = rapid.IntRange(1, 40).Draw(rt, "maxInFlight")
		o.MaxStarting = rapid.IntRange(0, 10).Draw(rt, "maxStarting")
		o.MaxFresh = rapid.IntRange(0, 10).Draw(rt, "maxFresh")
		o.Tells = func(string) bool { return true }
		o.Backoff = Backoff{Base: time.Second, Cap: time.Minute}
		// Breakers read the process's clock, and time here is the model's.
		o.Breaker.Requests, o.Breaker.Connects = 1<<30, 1<<30
		o.Rand = rand.New(rand.NewPCG(uint64(rapid.IntRange(0, 99).Draw(rt, "seed")), 7))
	})
	for p := range providers {
		r.policies[fmt.Sprint("p", p)] = ProviderPolicy{
			Limit:  ratelimit.Limit{PerSecond: float64(rapid.IntRange(1, 50).Draw(rt, "rate")), Burst: rapid.IntRange(1, 10).Draw(rt, "burst")},
			Window: rapid.IntRange(1, 8).Draw(rt, "window"),
			Named:  rapid.Bool().Draw(rt, "named"),
		}
	}
	m := &model{rt: rt, r: r, open: map[*queue.Delivery]bool{}, started: map[int64]int{}}
	sequence := 0
	for range rapid.IntRange(1, 60).Draw(rt, "ops") {
		var in inputs
		switch op := rapid.IntRange(0, 9).Draw(rt, "op"); {
		case op <= 2:
			if rapid.Bool().Draw(rt, "newUpdate") || sequence == 0 {
				sequence++
			}
			in.holds = []*hold{m.batch(rapid.IntRange(max(1, sequence-2), sequence).Draw(rt, "sequence"), providers)}
		case op <= 6 && len(r.flying) > 0:
			for range rapid.IntRange(1, len(r.flying)).Draw(rt, "answers") {
				in.results = append(in.results, m.answer())
			}
		case op == 8 && len(r.flying) > 0:
			first := rapid.IntRange(0, len(r.flying)-1).Draw(rt, "written")
			in.written = append(in.written, r.flying[first:]...)
		case op == 7:
			in.changed = map[int64]bool{int64(rapid.IntRange(0, 20).Draw(rt, "changed")): true}
		default:
			r.now = r.now.Add(rapid.SampledFrom([]time.Duration{time.Millisecond, 100 * time.Millisecond, 3 * time.Second, 40 * time.Second, 120 * time.Second}).Draw(rt, "wait"))
		}
		m.step(in)
	}
	m.step(inputs{draining: true})
	for len(r.flying) > 0 {
		m.step(inputs{results: []attempt{m.answer()}})
	}
	if len(m.open) > 0 || r.s.holding != 0 || len(r.s.slots) != 0 {
		rt.Fatalf("in the end %d deliveries have no settlement, the scheduler holds %d, %d slots", len(m.open), r.s.holding, len(r.s.slots))
	}
	if len(r.finished) != int(r.batch) {
		rt.Fatalf("%d of %d batches finished", len(r.finished), r.batch)
	}
}

// model checks a scheduler's outputs against what they must never be.
type model struct {
	rt      *rapid.T
	r       *rig
	open    map[*queue.Delivery]bool
	started map[int64]int // target → highest sequence started
}

func (m *model) batch(sequence, providers int) *hold {
	n := rapid.IntRange(1, 12).Draw(m.rt, "size")
	ds := make([]queue.Delivery, 0, n)
	first := rapid.IntRange(0, 10).Draw(m.rt, "first")
	for i := range n {
		target := int64(first + i)
		d := to(target, fmt.Sprint("p", int(target)%providers))
		d.Since = m.r.now
		ds = append(ds, d)
	}
	m.r.expires = rapid.SampledFrom([]time.Duration{time.Hour, 30 * time.Second}).Draw(m.rt, "expires")
	h := m.r.lease(sequence, ds...)
	for i := range h.lease.Deliveries {
		m.open[&h.lease.Deliveries[i]] = true
	}
	return h
}

func (m *model) answer() attempt {
	i := rapid.IntRange(0, len(m.r.flying)-1).Draw(m.rt, "which")
	d := m.r.flying[i]
	m.r.flying = append(m.r.flying[:i:i], m.r.flying[i+1:]...)
	res := rapid.SampledFrom([]channels.Result{
		ok, ok, ok, temporary, refused, throttled,
		{Class: channels.Permanent}, {Class: channels.Gone}, {Class: channels.NotSent}, {Class: channels.Throttled, RetryAfter: time.Hour},
	}).Draw(m.rt, "result")
	return attempt{held: d, result: res, sentAt: m.r.now, doneAt: m.r.now}
}

func (m *model) step(in inputs) {
	r := m.r
	for spins := 0; ; spins++ {
		if spins > 100 {
			m.rt.Fatal("the scheduler asks to be called again and again")
		}
		r.out.reset()
		r.s.step(r.now, &in, &r.out)
		in = inputs{}
		for _, st := range r.out.settle {
			if !m.open[st.held.d] {
				m.rt.Fatalf("settled twice: %+v", st.Settlement)
			}
			delete(m.open, st.held.d)
		}
		for _, d := range r.out.start {
			if !m.open[d.d] {
				m.rt.Fatal("started after it was settled")
			}
			for _, o := range r.flying {
				if o.key() == d.key() {
					m.rt.Fatal("two sends in flight for one (incident, target)")
				}
			}
			if m.started[d.d.Target] > d.hold.lease.Sequence {
				// Allowed only where the newer one is no longer held: then
				// the claim has to know, not the scheduler.
				if m.heldNewer(d) {
					m.rt.Fatalf("sequence %d started for target %d while a newer one is held", d.hold.lease.Sequence, d.d.Target)
				}
			}
			m.started[d.d.Target] = max(m.started[d.d.Target], d.hold.lease.Sequence)
			r.flying = append(r.flying, d)
		}
		for _, h := range r.out.finished {
			r.finished = append(r.finished, h.lease.ID)
		}
		if len(r.flying) > r.s.opt.MaxInFlight {
			m.rt.Fatalf("%d in flight, at most %d may be", len(r.flying), r.s.opt.MaxInFlight)
		}
		if err := r.check(); err != nil {
			m.rt.Fatal(err)
		}
		if r.out.wake.IsZero() || r.out.wake.After(r.now) {
			return
		}
	}
}

func (m *model) heldNewer(d *held) bool {
	for o := m.r.s.slots[d.key()]; o != nil; o = o.next {
		if o.hold.lease.Sequence > d.hold.lease.Sequence {
			return true
		}
	}
	return false
}
