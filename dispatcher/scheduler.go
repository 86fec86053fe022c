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
	timers  heap[lane]
	holds   []*hold // in the order of their deadlines; those ended are skipped

	admitted uint64
	holding  int // deliveries not settled
	inFlight int
	slow     int // of those, to providers whose last connect failed
	blocked  int // held, not in flight, and their lane can't start them now
	jammed   jam // the lanes of those, the one without progress for longest first
	draining bool

	counts map[string]*poolCounts
}

// schedulerOptions are a scheduler's fixed settings.
type schedulerOptions struct {
	Policy      func(group, provider string) ProviderPolicy
	Admission   int           // deliveries held at most
	MaxInFlight int           // sends at once: the FD budget
	LaneWait    time.Duration // longer waits go to the ledger
	HoldFor     time.Duration // a batch is settled by then, but for sends in flight
	Backoff     Backoff
	Breaker     BreakerPolicy
	Rand        *rand.Rand
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
	settled  []*held // of every_update targets: their outcome is durable
	holds    []*hold
	changed  map[int64]bool // targets whose row changed
	stopped  map[int64]int  // incidents whose fan-out was stopped, up to a sequence
	draining bool           // stop starting, hand everything back
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
		timers: heap[lane]{
			at:   func(l *lane) *int32 { return &l.timer },
			less: func(a, b *lane) bool { return a.wake.Before(b.wake) },
		},
	}
	s.jammed.prev, s.jammed.next = &s.jammed, &s.jammed
	return s
}

// step takes what happened, and says what has to be done and when to come
// again at the latest.
func (s *scheduler) step(now time.Time, in *inputs, out *outputs) {
	s.wall = now
	s.now = s.base.Round(0).Add(now.Sub(s.base))
	s.out = out

	for i := range in.results {
		s.cameBack(&in.results[i])
	}
	for _, h := range in.settled {
		s.leave(h)
	}
	for _, h := range in.holds {
		s.admit(h)
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
		*d = held{d: carried, hold: h, attempt: carried.Attempt, since: carried.Since, order: s.admitted, index: -1}
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
	case WhyInactive:
		s.settle(d, Settlement{Outcome: Suppressed, Detail: ex.Detail})
	case WhyBlocked:
		s.toLedger(d, s.wall.Add(blockedPause))
	case WhyChanged:
		s.toLedger(d, s.wall)
	}
}

// blockedPause is when an every_update delivery looks again whether those
// before it are done.
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
	l := s.lane(d.hold.lease.Group, d.d.Provider)
	switch {
	case !l.policy.Named && l.held >= 2*l.policy.Window:
		s.toLedger(d, s.wallOf(l.pace(s.now)))
		return
	case l.breaker != nil && l.breaker.isOpen():
		s.toLedger(d, s.reopening(l))
		return
	}
	d.lane = l
	l.held++
	s.pool(l.group).held++
	s.chain(key, d)
	if s.slots[key] == d {
		d.state = queued
		l.waiting.push(d)
	} else {
		d.state = behind
	}
	s.touch(l)
}

// chain links d into its slot, by sequence.
func (s *scheduler) chain(key slot, d *held) {
	head := s.slots[key]
	if head == nil || d.hold.lease.Sequence < head.hold.lease.Sequence && head.state != inFlight && head.state != settling {
		d.next = head
		s.slots[key] = d
		if head != nil && (head.state == queued || head.state == delayed) {
			s.unqueue(head)
			head.state = behind
		}
		return
	}
	p := head
	for p.next != nil && p.next.hold.lease.Sequence < d.hold.lease.Sequence {
		p = p.next
	}
	d.next, p.next = p.next, d
}

// unchain takes d out of its slot and lets the next one go.
func (s *scheduler) unchain(d *held) {
	key := d.key()
	if p := s.slots[key]; p != d {
		for p != nil && p.next != d {
			p = p.next
		}
		if p != nil {
			p.next = d.next
		}
		d.next = nil
		return
	}
	next := d.next
	d.next = nil
	if next == nil {
		delete(s.slots, key)
		return
	}
	s.slots[key] = next
	if next.state == behind {
		next.state = queued
		next.lane.waiting.push(next)
		s.touch(next.lane)
	}
}

// unqueue takes d out of its lane's heaps.
func (s *scheduler) unqueue(d *held) {
	switch d.state {
	case queued:
		d.lane.waiting.remove(d)
	case delayed:
		d.lane.delayed.remove(d)
	}
}

// cameBack decides what a send's result means.
func (s *scheduler) cameBack(a *attempt) {
	d, l, r := a.held, a.held.lane, &a.result
	l.inFlight--
	s.inFlight--
	s.pool(l.group).inFlight--
	if d.slow {
		d.slow = false
		s.slow--
	}
	d.state = 0
	l.connFailed = r.NoConnection
	s.progressed(l)
	opened := s.judge(l, d, r)

	st := Settlement{Class: r.Class, Detail: r.Detail, SentAt: a.sentAt, DoneAt: a.doneAt, Handle: r.Handle}
	if r.Class != channels.NotSent {
		d.attempt++
	}
	switch r.Class {
	case channels.Delivered:
		st.Outcome = Delivered
		if d.d.Failing {
			st.Streak = StreakReset
		}
		if d.d.EveryUpdate {
			// The next one must not start before this one's outcome is
			// durable: a crash between would send them again, out of order.
			d.state = settling
		}
		s.settle(d, st)
	case channels.Gone:
		st.Outcome, st.Streak = Dead, StreakGone
		s.settle(d, st)
	case channels.Permanent:
		st.Outcome, st.Streak = Dead, StreakFailed
		s.settle(d, st)
	default:
		s.again(d, st, r.RetryAfter)
	}
	if opened {
		s.open(l)
	}
	if r.Class == channels.Throttled && l.throttled(d.d.Target, s.now) {
		l.pausedUntil = s.now.Add(min(max(r.RetryAfter, time.Second), maxLanePause))
		l.probing = true
	} else if r.Class == channels.Delivered {
		l.probing = false
	}
	s.touch(l)
	s.unpark()
}

// maxLanePause is the longest a lane pauses before it probes the provider.
const maxLanePause = time.Minute

// judge tells the lane's breaker and says whether it has just opened.
func (s *scheduler) judge(l *lane, d *held, r *channels.Result) (opened bool) {
	failed := r.Class == channels.Temporary
	if verdict := d.verdict; verdict != nil { // a probe: must be called, once
		d.verdict = nil
		l.breaker.probes--
		verdict(failure(failed || r.Class == channels.NotSent))
		return l.breaker.isOpen()
	}
	if r.Class == channels.Throttled || r.Class == channels.NotSent {
		return false
	}
	if l.breaker == nil {
		if !failed {
			return false
		}
		l.breaker = newBreaker(s.opt.Breaker)
		d.epoch = l.breaker.epoch
	}
	return l.breaker.record(d.d.Target, d.epoch, failed, r.NoConnection, s.wall)
}

// again decides when and where a delivery waits for its next attempt.
func (s *scheduler) again(d *held, st Settlement, retryAfter time.Duration) {
	switch {
	case d.hold.stopped:
		st.Outcome, st.Detail = stoppedHere.Outcome, stoppedHere.Detail
		s.settle(d, st)
		return
	case d.next != nil && !d.d.EveryUpdate:
		st.Outcome = Superseded
		s.settle(d, st)
		return
	}
	var wait time.Duration
	if st.Class != channels.NotSent {
		wait = max(s.opt.Backoff.Wait(d.attempt, s.opt.Rand), retryAfter)
	}
	due := s.now.Add(wait)
	l := d.lane
	expires := s.now.Add(d.hold.lease.ExpiresAt.Sub(s.wall))
	if s.draining || d.recalled || !due.Before(expires) || st.Class == channels.NotSent || wait >= s.opt.LaneWait || due.After(d.hold.deadline) ||
		l.breaker != nil && l.breaker.isOpen() {
		st.DueAt = s.wall.Add(wait)
		if l.breaker != nil && l.breaker.isOpen() {
			if reopening := s.reopening(l); st.DueAt.Before(reopening) {
				st.DueAt = reopening
			}
		}
		s.settle(d, st)
		return
	}
	d.state, d.due = delayed, due
	d.last.class, d.last.detail, d.last.sentAt = st.Class, st.Detail, st.SentAt
	l.delayed.push(d)
}

// settle hands a delivery's settlement out; the delivery leaves its lane and
// slot. Those of every_update targets that waited behind one that goes to the
// ledger go there too, since they may not overtake it.
func (s *scheduler) settle(d *held, st Settlement) {
	st.Row = d.row()
	st.Batch = d.hold.lease.ID
	st.Attempt = d.attempt
	if st.DoneAt.IsZero() {
		st.DoneAt = s.wall
	}
	if st.Class == 0 {
		st.Class, st.SentAt = d.last.class, d.last.sentAt
		if st.Detail == "" {
			st.Detail = d.last.detail
		}
	}
	wasSettling := d.state == settling
	if d.state == queued || d.state == delayed {
		s.unqueue(d)
	}
	s.out.settle = append(s.out.settle, settlement{st, d})
	if st.Outcome == Open {
		for n := d.next; n != nil; n = d.next {
			s.settle(n, Settlement{DueAt: st.DueAt.Add(time.Millisecond)})
		}
	}
	if !wasSettling {
		s.leave(d)
	}
	s.close(d.hold)
}

// leave takes a delivery out of its lane's count and its slot.
func (s *scheduler) leave(d *held) {
	d.state = done
	if d.lane == nil {
		return // it never got that far
	}
	s.unchain(d)
	d.lane.held--
	s.pool(d.lane.group).held--
	s.touch(d.lane)
}

// drop forgets a delivery whose row is not this batch's any more.
func (s *scheduler) drop(d *held) {
	d.state = done
	if s.out.dropped == nil {
		s.out.dropped = make(map[string]int)
	}
	s.out.dropped[d.hold.lease.Group]++
	s.close(d.hold)
}

func (s *scheduler) close(h *hold) {
	s.holding--
	if h.open--; h.open == 0 {
		s.out.finished = append(s.out.finished, h)
	}
}

// toLedger settles a delivery as waiting, its attempts unchanged.
func (s *scheduler) toLedger(d *held, due time.Time) { s.settle(d, Settlement{DueAt: due}) }

// wallOf turns a steady time into a wall time.
func (s *scheduler) wallOf(steady time.Time) time.Time { return s.wall.Add(steady.Sub(s.now)) }

// reopening draws when a delivery of an open lane comes back: when the breaker
// probes, spread over half as long again.
func (s *scheduler) reopening(l *lane) time.Time {
	return s.wall.Add(l.breaker.open + time.Duration(s.opt.Rand.Int64N(int64(l.breaker.open/2)+1)))
}

// open empties a lane whose breaker opened.
func (s *scheduler) open(l *lane) {
	l.breaker.reopens = s.now.Add(l.breaker.open)
	for l.waiting.len() > 0 {
		s.toLedger(l.waiting.min(), s.reopening(l))
	}
	for l.delayed.len() > 0 {
		s.toLedger(l.delayed.min(), s.reopening(l))
	}
}

// recall takes deliveries back whose target changed (to be batched anew, or
// suppressed, by what the ledger then says) or whose incident was stopped.
// Rare, and bounded by the admission.
func (s *scheduler) recall(targets map[int64]bool, stopped map[int64]int) {
	var back []*held
	for key, head := range s.slots {
		if !targets[key.target] && stopped[key.incident] == 0 {
			continue
		}
		for d := head; d != nil; d = d.next {
			switch d.state {
			case queued, delayed, behind:
				back = append(back, d)
			case inFlight: // no further attempt from here
				d.recalled = targets[key.target]
				d.hold.stopped = d.hold.stopped || d.hold.lease.Sequence <= stopped[key.incident]
			}
		}
	}
	for _, d := range back {
		switch {
		case d.state == done: // went with one before it
		case d.hold.lease.Sequence <= stopped[d.hold.lease.Incident]:
			s.settle(d, stoppedHere)
		case targets[d.d.Target]:
			s.toLedger(d, s.wall)
		}
	}
}

// stoppedHere is what becomes of a delivery whose fan-out an operator stopped.
var stoppedHere = Settlement{Outcome: Suppressed, Detail: "fan-out stopped"}

// drain hands back everything that is not in flight.
func (s *scheduler) drain() {
	var back []*held
	for _, head := range s.slots {
		for d := head; d != nil; d = d.next {
			if d.state == queued || d.state == delayed || d.state == behind {
				back = append(back, d)
			}
		}
	}
	for _, d := range back {
		if d.state != done {
			s.toLedger(d, s.wall)
		}
	}
}

// overdue hands back what is left, and not in flight, of batches held too long.
func (s *scheduler) overdue() {
	n := 0
	for _, h := range s.holds {
		if h.open > 0 {
			if s.now.Before(h.deadline) {
				break
			}
			for i := range h.deliveries {
				switch d := &h.deliveries[i]; d.state {
				case delayed:
					s.toLedger(d, s.wallOf(d.due))
				case queued, behind:
					s.toLedger(d, s.wall)
				}
			}
		}
		n++
	}
	if n > 0 {
		s.holds = append(s.holds[:0], s.holds[n:]...)
	}
}
