package dispatcher

import (
	"math/rand/v2"
	"time"

	"github.com/tocsin/tocsin/channels"
)

// scheduler decides what starts, when, and what becomes of what came back. It
// is a step function: one goroutine calls step with the time and what happened
// since; it does no I/O, takes no locks, and reads no clock but through its
// breakers. It never looks at all lanes: those that can start are in a ready
// line, the others in one timer heap.
//
// Two clocks: lanes reckon in steady time, which a step of the wall clock
// doesn't move; what goes to the ledger (due times, expiry) is wall time.
type scheduler struct {
	opt  schedulerOptions
	wall time.Time // of this step
	now  time.Time // steady, of this step
	base time.Time // steady = base + (wall − base), monotonic
	out  *outputs

	lanes   map[laneKey]*lane
	named   map[laneKey]*lane // of lanes, those of named providers
	slots   map[slot]*held    // oldest delivery held of each (incident, target)
	ready   [2]line           // urgent, normal
	slowers line              // lanes that wait for the slow class
	young   starting
	timers  heap[lane]
	holds   []*hold // in the order of their deadlines; those ended are skipped

	admitted uint64
	holding  int // deliveries not settled
	inFlight int
	slow     int // of those, to providers whose last connect failed
	blocked  int // held, not in flight, and their lane can't start them now
	jammed   jam // the lanes of those, the one without progress for longest first
	draining bool
	// takenOver counts deliveries by the provider that took them over.
	takenOver map[string]int

	paused map[string]bool // by operators; "" is all
	counts map[string]*poolCounts
}

// schedulerOptions are a scheduler's fixed settings.
type schedulerOptions struct {
	Policy      func(group, provider string) ProviderPolicy
	Admission   int // deliveries held at most
	MaxInFlight int // sends at once: the FD budget
	MaxStarting int // of those, whose request is not written yet; 0 is no limit
	// Tells says of a group whether its sends say when their request is written;
	// MaxStarting is for those.
	Tells    func(group string) bool
	LaneWait time.Duration // longer waits go to the ledger
	HoldFor  time.Duration // a batch is settled by then, but for sends in flight
	Backoff  Backoff
	Breaker  BreakerPolicy
	// RetryShare is the share of a provider's rate that retries may take; 0 is no
	// limit.
	RetryShare float64
	Rand       *rand.Rand
}

type laneKey struct{ group, provider string }

// poolCounts are the figures of one group, kept as lanes change.
type poolCounts struct {
	lanes    [laneStates]int
	held     int
	inFlight int
}

// inputs is what happened since the last step.
type inputs struct {
	results  []attempt
	written  []*held // in flight, and waiting for the peer alone
	settled  []*held // of every_update targets: their outcome is durable
	holds    []*hold
	changed  map[int64]bool  // targets whose row changed
	stopped  map[int64]int   // incidents whose fan-out was stopped, up to a sequence
	paused   map[string]bool // what operators paused, if that changed
	draining bool            // stop starting, hand everything back
}

// attempt is what came back from one send.
type attempt struct {
	held   *held
	result channels.Result
	sentAt time.Time
	doneAt time.Time
}

// outputs is what has to happen after a step, in this order of the slices.
type outputs struct {
	start    []*held
	settle   []settlement
	finished []*hold        // every delivery's settlement was handed out, here or before
	dropped  map[string]int // by group: deliveries whose rows moved on; nothing to settle
	wake     time.Time
}

// reset empties o for the next step, keeping its room.
func (o *outputs) reset() {
	clear(o.start)
	clear(o.settle)
	clear(o.finished)
	clear(o.dropped)
	*o = outputs{start: o.start[:0], settle: o.settle[:0], finished: o.finished[:0], dropped: o.dropped}
}

// settlement is a Settlement on its way to the ledger.
type settlement struct {
	Settlement
	held *held
}

// startsPerStep bounds a step, so that results don't wait behind starts.
const startsPerStep = 256

func newScheduler(now time.Time, opt schedulerOptions) *scheduler {
	s := &scheduler{
		opt: opt, base: now,
		lanes: make(map[laneKey]*lane), named: make(map[laneKey]*lane), slots: make(map[slot]*held), counts: make(map[string]*poolCounts),
		takenOver: make(map[string]int),
		timers: heap[lane]{
			at:   func(l *lane) *int32 { return &l.timer },
			less: func(a, b *lane) bool { return a.wake.Before(b.wake) },
		},
	}
	s.jammed.prev, s.jammed.next = &s.jammed, &s.jammed
	s.young.limit = opt.MaxStarting
	return s
}

// step takes what happened, and says what has to be done and when to come
// again at the latest.
func (s *scheduler) step(now time.Time, in *inputs, out *outputs) {
	s.wall = now
	s.now = s.base.Round(0).Add(now.Sub(s.base))
	s.out = out

	for _, d := range in.written {
		s.young.remove(d)
	}
	for i := range in.results {
		s.cameBack(&in.results[i])
	}
	s.young.age(s.now)
	for _, h := range in.settled {
		s.leave(h)
	}
	for _, h := range in.holds {
		s.admit(h)
	}
	if in.paused != nil {
		s.pause(in.paused)
	}
	if len(in.changed) > 0 || len(in.stopped) > 0 {
		s.recall(in.changed, in.stopped)
	}
	if in.draining && !s.draining {
		s.draining = true
		s.drain()
	}
	s.overdue()
	s.ring()
	s.relieve()
	s.start()
	s.out.wake = s.nextWake()
	s.out = nil
}

// admit takes a claimed batch.
func (s *scheduler) admit(h *hold) {
	h.deadline = s.now.Add(s.opt.HoldFor - s.wall.Sub(h.lease.ReceivedAt))
	h.deliveries = make([]held, len(h.lease.Deliveries))
	h.open = len(h.deliveries)
	s.holding += h.open
	s.holds = append(s.holds, h)
	ex := h.exceptions
	for i := range h.deliveries {
		d, carried := &h.deliveries[i], &h.lease.Deliveries[i]
		s.admitted++
		*d = held{d: carried, hold: h, attempt: carried.Attempt, since: carried.Since, order: s.admitted, index: -1, cost: 1}
		if h.costs != nil {
			d.cost = h.costs[i]
		}
		if len(ex) > 0 && ex[0].Index == i {
			s.except(d, ex[0])
			ex = ex[1:]
			continue
		}
		s.hold(d)
	}
	if h.open == 0 && len(h.deliveries) == 0 {
		s.out.finished = append(s.out.finished, h)
	}
}

// except settles a delivery that the claim ruled out.
func (s *scheduler) except(d *held, ex Exception) {
	switch ex.Why {
	case WhyClosed:
		s.drop(d)
	case WhyNewer:
		s.settle(d, Settlement{Outcome: Superseded})
	case WhyInactive, WhyBudget:
		s.settle(d, Settlement{Outcome: Suppressed, Detail: ex.Detail})
	case WhyBlocked:
		s.toLedger(d, s.wall.Add(blockedPause))
	case WhyChanged:
		s.toLedger(d, s.wall)
	}
}

// blockedPause is when a delivery that waits for those before it looks again
// whether they are done.
const blockedPause = 2 * time.Second

// hold puts a delivery into its place: behind older ones of its (incident,
// target), instead of them, or into its lane.
func (s *scheduler) hold(d *held) {
	switch {
	case !s.wall.Before(d.hold.lease.ExpiresAt):
		s.settle(d, Settlement{Outcome: Expired, Streak: StreakFailed})
		return
	case s.draining:
		s.toLedger(d, s.wall)
		return
	}
	key := d.key()
	for o := s.slots[key]; o != nil; {
		older := o
		o = o.next
		switch {
		case older.hold.lease.Sequence == d.hold.lease.Sequence:
			// The same row, moved to a new batch while this worker still works
			// on it: when it comes back it is seen what came of the first.
			s.toLedger(d, s.wall.Add(s.opt.LaneWait))
			return
		case older.hold.lease.Sequence > d.hold.lease.Sequence:
			if !d.d.EveryUpdate {
				s.settle(d, Settlement{Outcome: Superseded})
				return
			}
		case d.d.EveryUpdate || older.state == inFlight || older.state == settling:
		default:
			if older.since.Before(d.since) {
				d.since, d.order = older.since, older.order
			}
			s.settle(older, Settlement{Outcome: Superseded})
		}
	}
	l := s.serving(s.lane(d.hold.lease.Group, d.d.Provider))
	switch {
	case !l.policy.Named && l.held >= 2*l.policy.Window && !s.makeRoom(l, d):
		s.toLedger(d, s.wallOf(l.pace(s.now)))
		return
	case l.isOpen():
		s.toLedger(d, s.reopening(l))
		return
	case s.isPaused(l):
		s.toLedger(d, s.wall.Add(pausedWait))
		return
	}
	s.join(d, l)
	s.chain(key, d)
	if s.slots[key] == d {
		d.state = queued
		l.waiting.push(d)
	} else {
		d.state = behind
	}
	s.touch(l)
}

// makeRoom sends the last in a full lane's line to the ledger, if d goes before it.
// Else those told first would be told of each newer update before anybody else is
// told of any.
func (s *scheduler) makeRoom(l *lane, d *held) bool {
	if d.since.Before(d.hold.lease.AcceptedAt) {
		l.renew(d.hold.lease.Incident, d.hold.lease.Sequence, s.now)
	}
	last := l.waiting.max()
	if last == nil || !before(d, last) || l.isOpen() || s.isPaused(l) {
		return false
	}
	s.toLedger(last, s.wallOf(l.pace(s.now)))
	return true
}
