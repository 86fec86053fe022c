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

	lanes    map[laneKey]*lane
	named    map[laneKey]*lane // of lanes, those of named providers
	slots    map[slot]*held    // oldest delivery held of each (incident, target)
	ready    [2]line           // urgent, normal
	slowers  line              // lanes that wait for the slow class
	suspects suspects
	quiet    quiet
	accounts map[string]*account // by name; as many as are configured
	// sends that are this machine's work
	starting, fresh young

	timers heap[lane]
	holds  holds

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
	Tells func(group string) bool
	// MaxFresh bounds the sends begun a moment ago that have no answer yet; 0 is
	// no limit.
	MaxFresh int
	LaneWait time.Duration // longer waits go to the ledger
	HoldFor  time.Duration // a batch is settled by then, but for sends in flight
	Backoff  Backoff
	Breaker  BreakerPolicy
	// RetryShare is the share of a provider's rate that retries may take; 0 is no
	// limit.
	RetryShare float64
	Poison     PoisonPolicy
	// Budgets by group, and what was counted on their accounts before.
	Budgets map[string]*Budget
	Counted []HourCount
	// Empty: buckets have had no tokens when the scheduler was made.
	Empty bool
	Rand  *rand.Rand
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
	noted    []note
	written  []*held // in flight, and waiting for the peer alone
	settled  []*held // of suspects, and of every_update targets: their outcome is durable
	holds    []*hold
	changed  map[int64]bool  // targets whose row changed
	stopped  map[int64]int   // incidents whose fan-out was stopped, up to a sequence
	paused   map[string]bool // what operators paused, if that changed
	draining bool            // stop starting, hand everything back
}

// note is a suspect that was written down, or not.
type note struct {
	held   *held
	failed bool
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
	note     []*held // suspects to write down
	start    []*held
	settle   []settlement
	finished []*hold        // every delivery's settlement was handed out, here or before
	dropped  map[string]int // by group: deliveries whose rows moved on; nothing to settle
	wake     time.Time
}

// reset empties o for the next step, keeping its room.
func (o *outputs) reset() {
	clear(o.note)
	clear(o.start)
	clear(o.settle)
	clear(o.finished)
	clear(o.dropped)
	*o = outputs{note: o.note[:0], start: o.start[:0], settle: o.settle[:0], finished: o.finished[:0], dropped: o.dropped}
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
		takenOver: make(map[string]int), suspects: newSuspects(), quiet: make(quiet), accounts: make(map[string]*account),
		timers: heap[lane]{
			at:   func(l *lane) *int32 { return &l.timer },
			less: func(a, b *lane) bool { return a.wake.Before(b.wake) },
		},
	}
	s.jammed.prev, s.jammed.next = &s.jammed, &s.jammed
	s.starting = young{which: markStarting, limit: opt.MaxStarting, youth: startingFor}
	s.fresh = young{which: markFresh, limit: opt.MaxFresh, youth: freshFor}
	return s
}

// step takes what happened, and says what has to be done and when to come
// again at the latest.
func (s *scheduler) step(now time.Time, in *inputs, out *outputs) {
	s.wall = now
	s.now = s.base.Round(0).Add(now.Sub(s.base))
	s.out = out

	for _, d := range in.written {
		s.starting.remove(d)
	}
	for _, n := range in.noted {
		s.noticed(n)
	}
	for i := range in.results {
		s.cameBack(&in.results[i])
	}
	s.starting.age(s.now)
	s.fresh.age(s.now)
	for _, d := range in.settled {
		if d.state == settling {
			s.leave(d)
		}
		s.cleared(d)
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
	s.letGo()
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
	if h.open > 0 {
		s.holds.push(h)
	}
	ex := h.exceptions
	for i := range h.deliveries {
		d, carried := &h.deliveries[i], &h.lease.Deliveries[i]
		s.admitted++
		*d = held{d: carried, hold: h, attempt: carried.Attempt, since: carried.Since, order: s.admitted, index: -1, cost: 1}
		if h.costs != nil {
			d.cost = h.costs[i]
		}
		if h.starts != nil {
			d.starts = h.starts[i]
		}
		if h.heard != nil {
			d.heard = h.heard[i]
		}
		d.suspect = s.opt.Poison.Takes > 0 && (h.takes >= s.opt.Poison.Takes || d.starts > 0)
		if len(ex) > 0 && ex[0].Index == i {
			s.except(d, ex[0])
			ex = ex[1:]
			continue
		}
		if why := s.guilty(d); why != "" {
			s.park(d, why)
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
		case d.d.EveryUpdate || older.state == inFlight || older.state == settling || older.state == noting:
		default:
			if older.since.Before(d.since) {
				d.since, d.order = older.since, older.order
			}
			s.settle(older, Settlement{Outcome: Superseded})
		}
	}
	l := s.serving(s.lane(d.hold.lease.Group, d.d.Provider))
	over, _ := l.affords(s.wall)
	// A batch that came back keeps together what it had: else what kills would be in
	// another one each time.
	switch {
	case over != "" && d.heard != SurelyHeard:
		s.overdrawn(d, over)
		s.touch(l)
		return
	case !l.policy.Named && l.held >= s.roomOf(l) && d.hold.takes < 2 && !s.makeRoom(l, d):
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
		s.enlist(d)
	} else {
		d.state = behind
	}
	s.touch(l)
}

// roomOf is how many deliveries a lane may hold now. What a fast one may hold above
// twice its window comes out of the half of the admission that nobody uses.
func (s *scheduler) roomOf(l *lane) int {
	if s.holding > s.opt.Admission/2 {
		return 2 * l.policy.Window
	}
	return l.room()
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
