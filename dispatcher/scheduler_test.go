package dispatcher

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/queue"
	"github.com/tocsin/tocsin/ratelimit"
)

// rig drives a scheduler by hand.
type rig struct {
	t        *testing.T
	s        *scheduler
	now      time.Time
	out      outputs
	batch    int64
	urgent   bool
	expires  time.Duration
	policies map[string]ProviderPolicy
	flying   []*held
	settled  []Settlement
	finished []int64
}

var wide = ProviderPolicy{Limit: ratelimit.Limit{PerSecond: 1e6, Burst: 1e6}, Window: 1000}

func newRig(t *testing.T, change ...func(*schedulerOptions)) *rig {
	r := &rig{t: t, now: time.Now(), expires: time.Hour, policies: map[string]ProviderPolicy{}}
	opt := schedulerOptions{
		Policy: func(_, provider string) ProviderPolicy {
			if p, ok := r.policies[provider]; ok {
				return p
			}
			return wide
		},
		Admission: 1000, MaxInFlight: 1000, LaneWait: 30 * time.Second, HoldFor: 100 * time.Second,
		Backoff: Backoff{Base: 2 * time.Second, Cap: time.Hour}, Breaker: DefaultBreaker(), Rand: rand.New(rand.NewPCG(1, 2)),
	}
	for _, c := range change {
		c(&opt)
	}
	r.s = newScheduler(r.now, opt)
	return r
}

// step runs one step and keeps what came out of it.
func (r *rig) step(in inputs) {
	r.t.Helper()
	for again := true; again; in = (inputs{}) {
		r.out.reset()
		r.s.step(r.now, &in, &r.out)
		r.flying = append(r.flying, r.out.start...)
		for _, st := range r.out.settle {
			r.settled = append(r.settled, st.Settlement)
		}
		for _, h := range r.out.finished {
			r.finished = append(r.finished, h.lease.ID)
		}
		again = !r.out.wake.IsZero() && !r.out.wake.After(r.now)
	}
	if err := r.check(); err != nil {
		r.t.Fatal(err)
	}
}

// check compares the counts that the scheduler keeps with what they count.
func (r *rig) check() error {
	blocked, inFlight := 0, 0
	for _, l := range r.s.lanes {
		if l.state != laneReady || l.parked {
			blocked += l.waiting.len() + l.delayed.len()
		}
		inFlight += l.inFlight
		if l.inFlight > l.policy.Window {
			return fmt.Errorf("lane %s has %d in flight, its window is %d", l.provider, l.inFlight, l.policy.Window)
		}
		if l.held < l.waiting.len()+l.delayed.len()+l.inFlight {
			return fmt.Errorf("lane %s holds %d, %d wait, %d are in flight", l.provider, l.held, l.waiting.len()+l.delayed.len(), l.inFlight)
		}
	}
	if blocked != r.s.blocked {
		return fmt.Errorf("blocked = %d, counted %d", r.s.blocked, blocked)
	}
	for _, y := range []*young{&r.s.starting, &r.s.fresh} {
		counted := 0
		for _, d := range r.flying {
			if !d.young[y.which].IsZero() {
				counted++
			}
		}
		if counted != y.count || y.limit > 0 && counted > y.limit {
			return fmt.Errorf("young %d = %d, counted %d, the limit is %d", y.which, y.count, counted, y.limit)
		}
	}
	if inFlight != r.s.inFlight || inFlight != len(r.flying) {
		return fmt.Errorf("in flight = %d, lanes have %d, %d were started", r.s.inFlight, inFlight, len(r.flying))
	}
	return nil
}

func (r *rig) wait(d time.Duration) {
	r.t.Helper()
	r.now = r.now.Add(d)
	r.step(inputs{})
}

// to is a delivery for a target of a provider.
func to(target int64, provider string) queue.Delivery {
	return queue.Delivery{Target: target, Provider: provider}
}

func every(d queue.Delivery) queue.Delivery { d.EveryUpdate = true; return d }

// lease makes a batch of incident 1.
func (r *rig) lease(sequence int, ds ...queue.Delivery) *hold {
	r.batch++
	for i := range ds {
		if ds[i].Since.IsZero() {
			ds[i].Since = r.now
		}
	}
	return &hold{lease: &queue.Lease{
		Batch: &queue.Batch{
			ID: r.batch, Incident: 1, Sequence: sequence, Group: "webhook", Urgent: r.urgent,
			AcceptedAt: r.now, ExpiresAt: r.now.Add(r.expires), Deliveries: ds,
		},
		Takes: 1, ReceivedAt: r.now,
	}}
}

func (r *rig) admit(sequence int, ds ...queue.Delivery) {
	r.t.Helper()
	r.step(inputs{holds: []*hold{r.lease(sequence, ds...)}})
}

// answer ends the flight of a target's delivery.
func (r *rig) answer(target int64, res channels.Result) {
	r.t.Helper()
	for i, d := range r.flying {
		if d.d.Target == target {
			r.flying = slices.Delete(r.flying, i, i+1)
			r.step(inputs{results: []attempt{{held: d, result: res, sentAt: r.now, doneAt: r.now}}})
			return
		}
	}
	r.t.Fatalf("nothing in flight for target %d", target)
}

func (r *rig) wantFlying(want ...int64) {
	r.t.Helper()
	var got []int64
	for _, d := range r.flying {
		got = append(got, d.d.Target)
	}
	if !slices.Equal(got, want) {
		r.t.Fatalf("in flight: targets %v, want %v", got, want)
	}
}

// wantSettled checks and forgets the settlements so far.
func (r *rig) wantSettled(want ...Settlement) {
	r.t.Helper()
	if len(r.settled) != len(want) {
		r.t.Fatalf("settled: %+v\nwant %d settlements", r.settled, len(want))
	}
	for i, w := range want {
		g := r.settled[i]
		if g.Target != w.Target || g.Sequence != w.Sequence || g.Outcome != w.Outcome || g.Attempt != w.Attempt {
			r.t.Fatalf("settlement %d is target %d seq %d %s attempt %d, want target %d seq %d %s attempt %d", i,
				g.Target, g.Sequence, g.Outcome, g.Attempt, w.Target, w.Sequence, w.Outcome, w.Attempt)
		}
		if (g.Outcome == Open) == g.DueAt.IsZero() {
			r.t.Fatalf("settlement %d: outcome %s with due %v", i, g.Outcome, g.DueAt)
		}
	}
	r.settled = nil
}

func was(target int64, sequence int, o Outcome, attempt int) Settlement {
	return Settlement{Row: Row{Target: target, Sequence: sequence}, Outcome: o, Attempt: attempt}
}

var (
	ok        = channels.Result{Class: channels.Delivered}
	temporary = channels.Result{Class: channels.Temporary, Detail: "http 500"}
	throttled = channels.Result{Class: channels.Throttled, RetryAfter: 5 * time.Second}
	refused   = channels.Result{Class: channels.Temporary, NoConnection: true}
)

func TestSchedulerDeliversABatch(t *testing.T) {
	r := newRig(t)
	r.admit(1, to(1, "a"), to(2, "a"), to(3, "b"))
	r.wantFlying(1, 3, 2) // lanes take turns
	r.answer(1, ok)
	r.answer(2, channels.Result{Class: channels.Permanent})
	if len(r.finished) != 0 {
		t.Fatal("the batch finished with a delivery in flight")
	}
	r.answer(3, channels.Result{Class: channels.Gone})
	r.wantSettled(was(1, 1, Delivered, 1), was(2, 1, Dead, 1), was(3, 1, Dead, 1))
	if !slices.Equal(r.finished, []int64{1}) || r.s.holding != 0 || len(r.s.slots) != 0 {
		t.Fatalf("finished %v, holding %d, slots %d", r.finished, r.s.holding, len(r.s.slots))
	}
	r.wait(time.Minute)
	if len(r.s.lanes) != 0 {
		t.Fatalf("%d idle lanes are still kept", len(r.s.lanes))
	}
}

func TestSchedulerWindowAndTurns(t *testing.T) {
	r := newRig(t)
	r.policies["a"] = ProviderPolicy{Limit: wide.Limit, Window: 2}
	r.admit(1, to(1, "a"), to(2, "a"), to(3, "a"), to(4, "b"))
	r.wantFlying(1, 4, 2)
	r.answer(4, ok)
	r.wantFlying(1, 2)
	r.answer(1, ok)
	r.wantFlying(2, 3)
}

func TestSchedulerBucket(t *testing.T) {
	r := newRig(t)
	r.policies["a"] = ProviderPolicy{Limit: ratelimit.Limit{PerSecond: 10, Burst: 2}, Window: 100}
	r.admit(1, to(1, "a"), to(2, "a"), to(3, "a"), to(4, "a"))
	r.wantFlying(1, 2)
	r.wait(99 * time.Millisecond)
	r.wantFlying(1, 2)
	r.wait(2 * time.Millisecond)
	r.wantFlying(1, 2, 3)
	r.wait(100 * time.Millisecond)
	r.wantFlying(1, 2, 3, 4)
}

func TestSchedulerUrgentFirst(t *testing.T) {
	r := newRig(t)
	r.policies["a"] = ProviderPolicy{Limit: wide.Limit, Window: 1, Named: true}
	r.admit(1, to(1, "a"), to(2, "a"))
	r.urgent = true
	h := r.lease(1, to(3, "a"))
	h.lease.Incident = 2
	r.step(inputs{holds: []*hold{h}})
	r.answer(1, ok)
	r.wantFlying(3)
}

func TestSchedulerNewerTakesTheOldersPlace(t *testing.T) {
	r := newRig(t)
	r.policies["a"] = ProviderPolicy{Limit: wide.Limit, Window: 1, Named: true}
	r.admit(1, to(1, "a"), to(2, "a"))
	r.wait(time.Second)
	r.admit(1, to(3, "a"))
	r.wait(time.Second)
	r.admit(2, to(2, "a"))
	r.wantSettled(was(2, 1, Superseded, 0))
	r.answer(1, ok)
	r.wantFlying(2) // before target 3, which came before the newer update
	if r.flying[0].hold.lease.Sequence != 2 {
		t.Fatal("the older update was started")
	}
}

func TestSchedulerNewerWaitsForTheOneInFlight(t *testing.T) {
	for name, c := range map[string]struct {
		res  channels.Result
		want Outcome
	}{"delivered": {ok, Delivered}, "temporary": {temporary, Superseded}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.admit(1, to(1, "a"))
			r.admit(2, to(1, "a"))
			r.wantFlying(1)
			r.answer(1, c.res)
			r.wantSettled(was(1, 1, c.want, 1))
			r.wantFlying(1)
			if r.flying[0].hold.lease.Sequence != 2 {
				t.Fatal("the newer update was not started")
			}
		})
	}
}

func TestSchedulerOlderAfterNewerIsSuperseded(t *testing.T) {
	r := newRig(t)
	r.admit(2, to(1, "a"))
	r.admit(1, to(1, "a"))
	r.wantSettled(was(1, 1, Superseded, 0))
	r.wantFlying(1)
}

func TestSchedulerEveryUpdateInOrder(t *testing.T) {
	r := newRig(t)
	r.admit(1, every(to(1, "a")))
	r.admit(3, every(to(1, "a")))
	r.admit(2, every(to(1, "a")))
	r.wantFlying(1)
	first := r.flying[0]
	r.answer(1, ok)
	r.wantFlying() // until the first one's outcome is durable
	r.step(inputs{settled: []*held{first}})
	r.wantFlying(1)
	if seq := r.flying[0].hold.lease.Sequence; seq != 2 {
		t.Fatalf("sequence %d started after 1", seq)
	}
	// The second one has to wait in the ledger: the third may not overtake it.
	r.settled = nil
	r.answer(1, channels.Result{Class: channels.Throttled, RetryAfter: time.Hour})
	r.wantSettled(was(1, 2, Open, 1), was(1, 3, Open, 0))
}

func TestSchedulerRetriesInTheLaneThenInTheLedger(t *testing.T) {
	r := newRig(t)
	r.admit(1, to(1, "a"))
	for n := 1; n <= 3; n++ { // ceilings 2, 4, 8 s
		r.answer(1, temporary)
		r.wantFlying()
		r.wait(20 * time.Second)
		r.wantFlying(1)
	}
	r.answer(1, channels.Result{Class: channels.Throttled, RetryAfter: 31 * time.Second})
	r.wantSettled(was(1, 1, Open, 4))
}

func TestSchedulerThrottledLane(t *testing.T) {
	r := newRig(t)
	r.admit(1, to(1, "a"), to(2, "a"), to(3, "a"), to(9, "b"))
	r.answer(1, throttled)
	r.answer(2, throttled)
	r.admit(1, to(4, "a"))
	r.wantFlying(9, 3, 4) // two targets are slow, not the provider
	r.answer(4, ok)
	r.answer(3, throttled)
	r.admit(1, to(5, "a"), to(6, "a"), to(10, "b"))
	r.wantFlying(9, 10) // now it is
	r.wait(6 * time.Second)
	if len(r.flying) != 3 {
		t.Fatalf("after the pause %d are in flight, want one probe", len(r.flying)-2)
	}
	probe := r.flying[2].d.Target
	r.answer(probe, ok)
	if len(r.flying) < 4 {
		t.Fatal("the lane did not go on after the probe was taken")
	}
}

func TestSchedulerNamedProviderPausesAtOnce(t *testing.T) {
	r := newRig(t)
	r.policies["main"] = ProviderPolicy{Limit: wide.Limit, Window: 1, Named: true}
	r.admit(1, to(1, "main"), to(2, "main"))
	r.answer(1, throttled)
	r.wantFlying()
	r.wait(4 * time.Second)
	r.wantFlying()
	r.wait(2 * time.Second)
	if len(r.flying) != 1 {
		t.Fatal("no probe after the pause")
	}
}

func TestSchedulerBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.policies["a"] = ProviderPolicy{Limit: wide.Limit, Window: 6}
		var ds []queue.Delivery
		for i := range int64(10) {
			ds = append(ds, to(i+1, "a"))
		}
		r.admit(1, append(ds, to(50, "b"))...)
		for i := range int64(5) {
			r.answer(i+1, refused)
		}
		// Open: what waited went to the ledger, attempts uncharged.
		for _, st := range r.settled {
			if st.Outcome != Open || st.DueAt.Before(r.now.Add(15*time.Second)) {
				t.Fatalf("settled %+v when the breaker opened", st)
			}
		}
		before := len(r.flying)
		r.admit(1, to(20, "a"))
		if len(r.flying) != before || r.s.lanes[laneKey{"webhook", "a"}].state == laneReady {
			t.Fatal("something started on an open breaker")
		}
		r.answer(50, ok) // others don't notice
		time.Sleep(16 * time.Second)
		r.now = time.Now()
		r.settled = nil
		r.admit(1, to(21, "a"), to(22, "a"))
		probes := 0
		for _, d := range r.flying {
			if d.d.Target >= 21 {
				probes++
			}
		}
		if probes != 1 {
			t.Fatalf("%d sends on a half-open breaker, want one probe", probes)
		}
		r.answer(21, ok)
		r.now = r.now.Add(time.Second)
		r.step(inputs{})
		r.answer(22, ok)
	})
}

func TestSchedulerBreakerCountsDistinctTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(o *schedulerOptions) { o.Backoff = Backoff{Base: time.Millisecond, Cap: time.Millisecond} })
		r.admit(1, to(1, "a"))
		for range 60 {
			r.answer(1, temporary)
			time.Sleep(2 * time.Millisecond)
			r.now = time.Now()
			r.step(inputs{})
			r.wantFlying(1) // one broken target does not open the provider's breaker
		}
	})
}

func TestSchedulerOverflowGoesToTheLedgerPaced(t *testing.T) {
	r := newRig(t)
	r.policies["a"] = ProviderPolicy{Limit: ratelimit.Limit{PerSecond: 10, Burst: 1}, Window: 2}
	var ds []queue.Delivery
	for i := range int64(10) {
		ds = append(ds, to(i+1, "a"))
	}
	r.admit(1, append(ds, to(99, "b"))...)
	r.wantFlying(1, 99)
	if len(r.settled) != 6 { // 2 × window stay
		t.Fatalf("%d went to the ledger, want 6", len(r.settled))
	}
	last := r.now
	for _, st := range r.settled {
		if st.DueAt.Sub(last) < 100*time.Millisecond {
			t.Fatalf("due %v after the one before", st.DueAt.Sub(last))
		}
		last = st.DueAt
	}
}

// What a provider is through with in a second may be held for it: it comes back from
// the ledger in lots, and a fast one's window would stand empty between them. Where half
// of the admission is in use, twice the window has to do.
func TestSchedulerAFastProviderHasMoreRoom(t *testing.T) {
	for _, c := range []struct {
		name      string
		rate      float64
		took      time.Duration
		admission int
		room      int
	}{
		{"fast", 1e6, 20 * time.Millisecond, 1000, 100},
		{"slow", 1e6, 2 * time.Second, 1000, 4},
		{"fast, but limited", 50, 20 * time.Millisecond, 1000, 50},
		{"others need it", 1e6, 20 * time.Millisecond, 40, 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, func(o *schedulerOptions) { o.Admission = c.admission })
			r.policies["a"] = ProviderPolicy{Limit: ratelimit.Limit{PerSecond: c.rate, Burst: 10}, Window: 2}
			r.admit(1, to(1, "a"))
			began := r.now
			r.now = r.now.Add(c.took)
			d := r.flying[0]
			r.flying = r.flying[1:]
			r.step(inputs{results: []attempt{{held: d, result: ok, sentAt: began, doneAt: r.now}}})
			r.settled = nil
			var ds []queue.Delivery
			for i := range int64(200) {
				ds = append(ds, to(i+2, "a"))
			}
			r.admit(1, ds...)
			if held := 200 - len(r.settled); held != c.room {
				t.Errorf("%d are held, want %d", held, c.room)
			}
		})
	}
}

// A provider slower than the updates come must not hear only from those first in the
// plan: who waits longest has the room, and nobody waits for deliveries that newer
// ones replaced.
func TestSchedulerFullLaneGoesToThoseWhoWaitLongest(t *testing.T) {
	r := newRig(t)
	r.policies["a"] = ProviderPolicy{Limit: ratelimit.Limit{PerSecond: 1, Burst: 1}, Window: 1}
	began := r.now
	r.admit(1, to(1, "a"), to(2, "a"), to(3, "a"), to(4, "a"))
	r.wantFlying(1)
	r.answer(1, ok)
	r.settled = nil
	r.now = r.now.Add(100 * time.Millisecond)
	third, fourth := to(3, "a"), to(4, "a")
	third.Since, fourth.Since = began, began
	r.admit(2, to(1, "a"), to(2, "a"), third, fourth)
	for _, st := range r.settled {
		if wait := st.DueAt.Sub(r.now); wait > 4*time.Second {
			t.Errorf("target %d comes back after %v, behind deliveries that don't come any more", st.Target, wait)
		}
	}
	r.wantSettled(was(2, 1, Superseded, 0), was(1, 2, Open, 0), was(4, 2, Open, 0))
	r.wait(time.Second)
	r.wantFlying(2)
	r.answer(2, ok)
	r.wait(time.Second)
	r.wantFlying(3)
}

// A wait that a peer asked for outlasts whatever sends the delivery to the ledger.
func TestSchedulerHandsBackUntilWhenItWasDue(t *testing.T) {
	for name, why := range map[string]func(*rig){
		"drained":  func(r *rig) { r.step(inputs{draining: true}) },
		"recalled": func(r *rig) { r.step(inputs{changed: map[int64]bool{1: true}}) },
		"breaker": func(r *rig) {
			for i := range int64(5) {
				r.admit(1, to(10+i, "a"))
				r.answer(10+i, refused)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			due := r.now.Add(25 * time.Second)
			r.admit(1, to(1, "a"))
			r.answer(1, channels.Result{Class: channels.Throttled, RetryAfter: 25 * time.Second})
			r.wantSettled()
			why(r)
			at := slices.IndexFunc(r.settled, func(st Settlement) bool { return st.Target == 1 })
			if at < 0 {
				t.Fatal("it was not handed back")
			}
			if st := r.settled[at]; st.DueAt.Before(due) {
				t.Errorf("due %v before its peer wants it", due.Sub(st.DueAt))
			}
		})
	}
}

// A batch that is done is forgotten, whatever those taken before it wait for.
func TestSchedulerForgetsBatchesThatAreDone(t *testing.T) {
	r := newRig(t)
	r.admit(1, to(1, "a"))
	r.answer(1, channels.Result{Class: channels.Throttled, RetryAfter: 20 * time.Second})
	for i := range int64(5) {
		r.admit(1, to(10+i, "b"), to(20+i, "b"))
	}
	for i := range int64(5) {
		r.answer(10+i, ok)
		if i != 2 {
			r.answer(20+i, ok)
		}
	}
	var held []int64
	for h := r.s.holds.first; h != nil; h = h.next {
		held = append(held, h.deliveries[0].d.Target)
	}
	if !slices.Equal(held, []int64{1, 12}) {
		t.Errorf("the batches of targets %v are kept, want those of 1 and 12", held)
	}
	r.answer(22, ok)
	if l := &r.s.holds; l.first != l.last || l.first == nil {
		t.Error("one open batch is not all there is")
	}
}

func TestSchedulerRelief(t *testing.T) {
	r := newRig(t, func(o *schedulerOptions) { o.Admission = 40 })
	slow := ProviderPolicy{Limit: wide.Limit, Window: 5}
	r.policies["a"], r.policies["b"] = slow, slow
	ten := func(first int64, provider string) (ds []queue.Delivery) {
		for i := range int64(10) {
			ds = append(ds, to(first+i, provider))
		}
		return ds
	}
	r.admit(1, ten(1, "a")...)
	r.wait(500 * time.Millisecond)
	r.admit(1, ten(100, "b")...)
	r.admit(1, to(300, "c"))
	if len(r.settled) != 0 {
		t.Fatal("relieved at a quarter")
	}
	r.policies["d"] = slow
	r.admit(1, ten(200, "d")...) // 15 of 40 can't start
	r.wait(600 * time.Millisecond)
	for _, st := range r.settled {
		if st.Target > 10 {
			t.Fatalf("target %d was handed back before those of the lane blocked longest", st.Target)
		}
	}
	if len(r.settled) != 5 {
		t.Fatalf("%d handed back, want the 5 of lane a", len(r.settled))
	}
}

func TestSchedulerHandsBackWhatItHeldTooLong(t *testing.T) {
	r := newRig(t)
	r.policies["a"] = ProviderPolicy{Limit: wide.Limit, Window: 1, Named: true}
	r.admit(1, to(1, "a"), to(2, "a"))
	r.wait(99 * time.Second)
	r.wantSettled()
	r.wait(2 * time.Second)
	r.wantSettled(was(2, 1, Open, 0))
	r.answer(1, temporary) // no more time for a retry here
	r.wantSettled(was(1, 1, Open, 1))
}

func TestSchedulerDrain(t *testing.T) {
	r := newRig(t)
	r.policies["a"] = ProviderPolicy{Limit: wide.Limit, Window: 1, Named: true}
	r.admit(1, to(1, "a"), to(2, "a"), every(to(3, "a")))
	r.admit(2, every(to(3, "a")))
	r.step(inputs{draining: true})
	if len(r.settled) != 3 {
		t.Fatalf("handed back %+v", r.settled)
	}
	r.settled = nil
	r.admit(1, to(4, "b"))
	r.wantSettled(was(4, 1, Open, 0))
	r.answer(1, channels.Result{Class: channels.NotSent})
	r.wantSettled(was(1, 1, Open, 0))
	if r.s.holding != 0 {
		t.Fatalf("still holding %d", r.s.holding)
	}
}

func TestSchedulerRecall(t *testing.T) {
	r := newRig(t)
	r.policies["a"] = ProviderPolicy{Limit: wide.Limit, Window: 1, Named: true}
	r.admit(1, to(1, "a"), to(2, "a"), to(3, "a"))
	r.step(inputs{changed: map[int64]bool{1: true, 2: true}})
	r.wantSettled(was(2, 1, Open, 0)) // 1 is in flight
	r.step(inputs{stopped: map[int64]int{1: 1}})
	r.wantSettled(was(3, 1, Suppressed, 0))
}

func TestSchedulerExpiry(t *testing.T) {
	r := newRig(t)
	r.expires = time.Second
	r.policies["a"] = ProviderPolicy{Limit: wide.Limit, Window: 1, Named: true}
	r.admit(1, to(1, "a"), to(2, "a"))
	r.wait(2 * time.Second)
	r.answer(1, ok)
	r.wantSettled(was(1, 1, Delivered, 1), was(2, 1, Expired, 0))
	r.expires = 0
	r.admit(1, to(3, "a"))
	r.wantSettled(was(3, 1, Expired, 0))
}

func TestSchedulerSlowClass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(o *schedulerOptions) {
			o.MaxInFlight = 8
			o.Backoff = Backoff{Base: time.Millisecond, Cap: time.Millisecond}
		})
		r.admit(1, to(1, "a"), to(2, "b"), to(3, "c"), to(4, "d"))
		for i := range int64(4) {
			r.answer(i+1, refused)
		}
		r.wait(10 * time.Millisecond)
		if len(r.flying) != 2 { // a quarter of 8
			t.Fatalf("%d sends to hosts that don't connect, want 2", len(r.flying))
		}
		r.admit(1, to(5, "e"), to(6, "f"), to(7, "g"))
		if len(r.flying) != 5 {
			t.Fatalf("healthy hosts wait behind those that don't connect: %d in flight", len(r.flying))
		}
		for len(r.flying) > 0 {
			r.answer(r.flying[0].d.Target, ok)
		}
		if r.s.holding != 0 {
			t.Fatalf("still holding %d", r.s.holding)
		}
	})
}

func TestSchedulerStartsNoMoreThanItCanWrite(t *testing.T) {
	r := newRig(t, func(o *schedulerOptions) {
		o.MaxStarting = 2
		o.Tells = func(group string) bool { return group == "webhook" }
	})
	r.admit(1, to(1, "a"), to(2, "b"), to(3, "c"), to(4, "d"), to(5, "e"), to(6, "f"))
	r.wantFlying(1, 2)
	if want := r.now.Add(startingFor); !r.out.wake.Equal(want) {
		t.Errorf("comes again at %v, want %v, when they are no longer young", r.out.wake, want)
	}
	r.step(inputs{written: r.flying[:1]})
	r.wantFlying(1, 2, 3)
	r.step(inputs{written: r.flying[:1]}) // again, as when it was written again
	r.wantFlying(1, 2, 3)
	r.answer(2, ok) // refused before it was written, say
	r.wantFlying(1, 3, 4)
	r.wait(startingFor - 1)
	r.wantFlying(1, 3, 4)
	r.wait(1)
	r.wantFlying(1, 3, 4, 5, 6)
	r.step(inputs{written: r.flying})
}

func TestSchedulerCountsOnlyThoseThatTell(t *testing.T) {
	r := newRig(t, func(o *schedulerOptions) {
		o.MaxStarting = 1
		o.Tells = func(group string) bool { return group == "webhook" }
	})
	h := r.lease(1, to(1, "a"), to(2, "b"), to(3, "c"))
	h.lease.Group = "rss"
	r.step(inputs{holds: []*hold{h}})
	r.wantFlying(1, 2, 3)
}

func TestSchedulerStartsNoMoreThanAreAnswered(t *testing.T) {
	r := newRig(t, func(o *schedulerOptions) { o.MaxFresh = 2 })
	r.admit(1, to(1, "a"), to(2, "b"), to(3, "c"), to(4, "d"), to(5, "e"), to(6, "f"))
	r.wantFlying(1, 2)
	if want := r.now.Add(freshFor); !r.out.wake.Equal(want) {
		t.Errorf("comes again at %v, want %v, when they are no longer fresh", r.out.wake, want)
	}
	r.step(inputs{written: r.flying}) // has nothing to do with it
	r.wantFlying(1, 2)
	r.answer(1, ok)
	r.wantFlying(2, 3)
	r.wait(freshFor - 1)
	r.wantFlying(2, 3)
	r.wait(1) // peers that take longer keep nobody waiting
	r.wantFlying(2, 3, 4, 5)
	r.answer(2, ok)
	r.wantFlying(3, 4, 5)
	r.answer(5, ok)
	r.wantFlying(3, 4, 6)
}

func TestSchedulerSameRowTwice(t *testing.T) {
	r := newRig(t)
	r.admit(1, to(1, "a"))
	r.admit(1, to(1, "a")) // its batch was replaced while this worker held on
	r.wantFlying(1)
	r.wantSettled(was(1, 1, Open, 0))
	r.answer(1, ok)
	r.wantSettled(was(1, 1, Delivered, 1))
}

func TestSchedulerExceptions(t *testing.T) {
	r := newRig(t)
	h := r.lease(1, to(1, "a"), to(2, "a"), to(3, "a"), to(4, "a"), to(5, "a"), to(6, "a"))
	h.exceptions = []Exception{{0, WhyClosed, ""}, {1, WhyNewer, ""}, {2, WhyInactive, "target paused"}, {3, WhyBlocked, ""}, {4, WhyChanged, ""}}
	r.step(inputs{holds: []*hold{h}})
	r.wantFlying(6)
	r.wantSettled(was(2, 1, Superseded, 0), was(3, 1, Suppressed, 0), was(4, 1, Open, 0), was(5, 1, Open, 0))
	r.answer(6, ok)
	if len(r.finished) != 1 || r.s.holding != 0 {
		t.Fatalf("finished %v holding %d", r.finished, r.s.holding)
	}
}

func TestSchedulerWallClockStep(t *testing.T) {
	r := newRig(t)
	r.policies["a"] = ProviderPolicy{Limit: ratelimit.Limit{PerSecond: 1, Burst: 1}, Window: 10}
	r.admit(1, to(1, "a"), to(2, "a"), to(3, "a"))
	r.wantFlying(1)
	r.now = set(t, r.now.Add(time.Second), -time.Hour) // no stall
	r.step(inputs{})
	r.wantFlying(1, 2)
	r.now = set(t, r.now.Add(time.Second/2), 2*time.Hour) // no burst
	r.step(inputs{})
	r.wantFlying(1, 2)
}

// set returns what a clock says that was set and goes on as steadily as before: Add
// would move the steady time (the monotonic reading) too. The upper bits of a time's
// first word are its seconds, above 30 bits of nanoseconds.
func set(t *testing.T, now time.Time, by time.Duration) time.Time {
	t.Helper()
	after := now
	*(*uint64)(unsafe.Pointer(&after)) += uint64(by/time.Second) << 30
	if after.Sub(now) != 0 || after.Round(0).Sub(now.Round(0)) != by {
		t.Fatal("times are laid out in another way than this test knows")
	}
	return after
}

func TestSchedulerFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.policies["first"] = ProviderPolicy{Limit: wide.Limit, Window: 5, Named: true, Failover: []string{"second", "third"}}
		r.policies["second"] = ProviderPolicy{Limit: wide.Limit, Window: 5, Named: true}
		r.policies["third"] = r.policies["second"]
		via := func() map[string]int {
			lanes := map[string]int{}
			for _, d := range r.flying {
				lanes[d.lane.provider]++
			}
			return lanes
		}
		var ds []queue.Delivery
		for i := range int64(8) {
			ds = append(ds, to(i+1, "first"))
		}
		r.admit(1, ds...)
		for i := range int64(5) {
			r.answer(i+1, refused)
		}
		// Those that waited went over; those that failed follow after their wait.
		if got := via(); got["second"] != 3-got["first"] || len(r.settled) != 0 {
			t.Fatalf("in flight %v, settled %v", got, r.settled)
		}
		for len(r.flying) > 0 {
			r.answer(r.flying[0].d.Target, ok)
		}
		r.admit(1, to(20, "first"))
		if got := via(); got["second"] != 1 {
			t.Fatalf("a new delivery went to %v while the first is down", got)
		}
		r.answer(20, ok)
		time.Sleep(16 * time.Second)
		r.now = time.Now()
		r.step(inputs{})
		for len(r.flying) > 0 {
			r.answer(r.flying[0].d.Target, ok)
		}
		r.admit(1, to(21, "first"))
		if got := via(); got["first"] != 1 {
			t.Fatalf("the first is not tried again after its pause: %v", got)
		}
		r.answer(21, ok)
		if s := r.s.snapshot(); s.Holding != 0 || s.Failovers == 0 || len(s.TakenOver) != 1 || s.TakenOver["second"] != s.Failovers {
			t.Fatalf("holding %d, counted %d failovers, %v", s.Holding, s.Failovers, s.TakenOver)
		}
	})
}

func TestSchedulerCost(t *testing.T) {
	r := newRig(t)
	r.policies["a"] = ProviderPolicy{Limit: ratelimit.Limit{PerSecond: 10, Burst: 4}, Window: 100}
	h := r.lease(1, to(1, "a"), to(2, "a"), to(3, "a"))
	h.costs = []int{3, 2, 1}
	r.step(inputs{holds: []*hold{h}})
	r.wantFlying(1)
	r.wait(101 * time.Millisecond)
	r.wantFlying(1, 2)
}
