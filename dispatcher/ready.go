package dispatcher

import (
	"time"

	"github.com/tocsin/tocsin/ratelimit"
)

// line is a first-in first-out line of lanes.
type line struct {
	lanes []*lane
	head  int
}

func (q *line) push(l *lane) { q.lanes = append(q.lanes, l) }

func (q *line) pop() *lane {
	if q.head == len(q.lanes) {
		return nil
	}
	l := q.lanes[q.head]
	q.lanes[q.head] = nil
	q.head++
	if q.head == len(q.lanes) {
		q.lanes, q.head = q.lanes[:0], 0
	} else if q.head > 1024 && q.head > len(q.lanes)/2 {
		q.lanes, q.head = append(q.lanes[:0], q.lanes[q.head:]...), 0
	}
	return l
}

func (q *line) len() int { return len(q.lanes) - q.head }

// lane returns a provider's lane, making it if need be.
func (s *scheduler) lane(group, provider string) *lane {
	key := laneKey{group, provider}
	l := s.lanes[key]
	if l == nil {
		l = newLane(group, provider, s.opt.Policy(group, provider))
		if s.opt.Empty {
			l.bucket = ratelimit.NewEmpty(s.base.Round(0))
		}
		l.tells = s.opt.Tells != nil && s.opt.Tells(group)
		l.counts = s.pool(group)
		l.accounts, l.counted = s.accountsOf(l)
		s.lanes[key] = l
		if l.policy.Named {
			s.named[key] = l
		}
		l.counts.lanes[laneIdle]++
	}
	return l
}

func (s *scheduler) pool(group string) *poolCounts {
	c := s.counts[group]
	if c == nil {
		c = new(poolCounts)
		s.counts[group] = c
	}
	return c
}

// touch brings a lane to where it belongs after anything about it changed: the
// ready line, the timer heap, both, or neither.
func (s *scheduler) touch(l *lane) {
	for l.delayed.len() > 0 && !l.delayed.min().due.After(s.now) {
		d := l.delayed.pop()
		d.state = queued
		l.waiting.push(d)
	}
	state, wake := s.stateOf(l)
	if l.delayed.len() > 0 {
		if due := l.delayed.min().due; wake.IsZero() || due.Before(wake) {
			wake = due
		}
	}
	s.setTimer(l, wake)
	s.setState(l, state)
	if state == laneReady && !l.parked {
		class := 1
		if l.waiting.min().hold.lease.Urgent {
			class = 0
		}
		if !l.inReady[class] {
			l.inReady[class] = true
			s.ready[class].push(l)
		}
	}
}

// stateOf says what keeps a lane from starting, and when that ends by itself
// (zero: by a result).
func (s *scheduler) stateOf(l *lane) (laneState, time.Time) {
	window := l.policy.Window
	if l.probing {
		window = 1
	}
	switch {
	case l.waiting.len() == 0 && l.delayed.len() > 0:
		return laneDelayed, time.Time{}
	case l.waiting.len() == 0 && l.held > 0:
		return laneWindow, time.Time{} // in flight, or behind one in flight
	case l.waiting.len() == 0:
		return laneIdle, s.idleUntil(l)
	case s.isPaused(l):
		return lanePaused, time.Time{}
	case l.pausedUntil.After(s.now):
		return lanePaused, l.pausedUntil
	case l.inFlight >= window:
		return laneWindow, time.Time{}
	case l.limitedUntil.After(s.now):
		return laneLimited, l.limitedUntil
	case l.isOpen():
		// The breaker reads a clock of its own: look again, but don't spin.
		return laneOpen, later(l.breaker.reopens, s.now.Add(10*time.Millisecond))
	case l.breaker != nil && l.breaker.probes > 0:
		return laneOpen, time.Time{} // until the probe is back
	}
	return laneReady, time.Time{}
}

// idleUntil is when an idle lane may be forgotten: its bucket full again, its
// pause over, its breaker no more than a window old.
func (s *scheduler) idleUntil(l *lane) time.Time {
	keep := time.Duration(float64(l.policy.Limit.Burst) / l.policy.Limit.PerSecond * float64(time.Second))
	if l.breaker != nil {
		keep = max(keep, s.opt.Breaker.Window+s.opt.Breaker.Open)
	}
	return later(s.now.Add(max(keep, time.Second)), later(l.pausedUntil, l.overflow))
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func (s *scheduler) setTimer(l *lane, wake time.Time) {
	switch {
	case l.timer < 0 && wake.IsZero():
	case wake.IsZero():
		s.timers.remove(l)
	case l.timer < 0:
		l.wake = wake
		s.timers.push(l)
	case !wake.Equal(l.wake):
		l.wake = wake
		s.timers.fix(l)
	}
}

// setState keeps the counts by state, and of what can't start.
func (s *scheduler) setState(l *lane, state laneState) {
	c := l.counts
	if state != l.state {
		c.lanes[l.state]--
		c.lanes[state]++
		l.state = state
	}
	blocked := 0
	if state != laneReady || l.parked {
		blocked = l.waiting.len() + l.delayed.len()
	}
	if blocked == l.blocked {
		return
	}
	s.blocked += blocked - l.blocked
	switch {
	case l.blocked == 0:
		l.jam.since = s.now
		l.jam.insertBefore(&s.jammed)
	case blocked == 0:
		l.jam.remove()
	}
	l.blocked = blocked
}

// progressed notes that a send of the lane came back.
func (s *scheduler) progressed(l *lane) {
	if l.blocked > 0 {
		l.jam.remove()
		l.jam.since = s.now
		l.jam.insertBefore(&s.jammed)
	}
}

// ring touches the lanes whose time has come, and forgets those long idle.
func (s *scheduler) ring() {
	for l := s.timers.min(); l != nil && !l.wake.After(s.now); l = s.timers.min() {
		s.timers.remove(l)
		if l.held == 0 && !l.inReady[0] && !l.inReady[1] && !l.parked { // in no line, by nobody known
			s.setState(l, laneIdle)
			l.counts.lanes[laneIdle]--
			delete(s.lanes, laneKey{l.group, l.provider})
			delete(s.named, laneKey{l.group, l.provider})
			continue
		}
		s.touch(l)
	}
}

// jamGrace is how long a lane may hold on to what it can't start.
const jamGrace = time.Second

// relieve keeps those that can't start from filling the worker: while they are
// more than a quarter of the admission, the lanes without progress for longest
// give what they hold to the ledger.
func (s *scheduler) relieve() {
	for s.blocked > s.opt.Admission/4 {
		j := s.jammed.next
		if s.now.Sub(j.since) < jamGrace {
			return
		}
		l := j.lane
		for l.delayed.len() > 0 {
			d := l.delayed.min()
			s.toLedger(d, s.wallOf(d.due))
		}
		resume := later(l.pausedUntil, s.now)
		if s.isPaused(l) {
			resume = later(resume, s.now.Add(pausedWait))
		}
		for l.waiting.len() > 0 {
			s.toLedger(l.waiting.min(), s.wallOf(l.pace(resume)))
		}
	}
}

// start lets deliveries go: urgent lanes first, one delivery a turn, while
// there are sends to be had.
func (s *scheduler) start() {
	for len(s.out.start) < startsPerStep && s.hasRoom() && !s.draining {
		class := 0
		l := s.ready[0].pop()
		if l == nil {
			class, l = 1, s.ready[1].pop()
		}
		if l == nil {
			return
		}
		l.inReady[class] = false
		switch state, _ := s.stateOf(l); {
		case state != laneReady || l.parked:
		case l.connFailed && s.slow >= s.slowClass():
			l.parked = true
			s.slowers.push(l)
		default:
			s.startNext(l)
		}
		s.touch(l)
	}
}

// hasRoom says whether this machine can take on one more send.
func (s *scheduler) hasRoom() bool {
	return s.inFlight < s.opt.MaxInFlight && !s.starting.full() && !s.fresh.full()
}

// startNext starts the first delivery of a ready lane, if the bucket and the
// breaker let it.
func (s *scheduler) startNext(l *lane) {
	d := l.waiting.min()
	if !s.wall.Before(d.hold.lease.ExpiresAt) {
		s.settle(d, Settlement{Outcome: Expired, Streak: StreakFailed})
		return
	}
	if !s.quiet.until(d.d.Target, s.now).IsZero() {
		l.waiting.pop()
		s.silenced(d)
		return
	}
	if !s.inBudget(d, l) {
		return
	}
	if ok, wait := l.bucket.Take(s.now, l.policy.Limit, d.cost); !ok {
		l.limitedUntil = s.now.Add(max(wait, time.Microsecond))
		return
	}
	if d.attempt > 0 && s.opt.RetryShare > 0 {
		if later, ok := l.budget.take(s.now, s.opt.RetryShare, l.policy.Limit); !ok {
			l.bucket.GiveBack(d.cost)
			s.toLedger(d, s.wallOf(later))
			return
		}
	}
	if l.breaker != nil {
		ok, verdict := l.breaker.allows()
		if !ok {
			l.bucket.GiveBack(d.cost)
			l.breaker.reopens = s.now.Add(probePause)
			l.limitedUntil = l.breaker.reopens
			return
		}
		if verdict != nil {
			l.breaker.probes++
		}
		d.verdict, d.epoch = verdict, l.breaker.epoch
	}
	l.waiting.pop()
	d.state = inFlight
	d.slow = l.connFailed
	if d.slow {
		s.slow++
	}
	if l.tells {
		s.starting.add(d, s.now)
	}
	s.fresh.add(d, s.now)
	for _, a := range l.accounts {
		a.inFlight++
	}
	l.inFlight++
	s.inFlight++
	l.counts.inFlight++
	s.out.start = append(s.out.start, d)
}

// probePause is how long a lane waits that may not probe now.
const probePause = 250 * time.Millisecond

// slowClass is how many sends may be in flight to providers whose last connect
// failed.
func (s *scheduler) slowClass() int { return max(s.opt.MaxInFlight/4, 1) }

// unpark lets as many lanes go on as the slow class has room for again.
func (s *scheduler) unpark() {
	for room := s.slowClass() - s.slow; room > 0 && s.slowers.len() > 0; room-- {
		l := s.slowers.pop()
		l.parked = false
		s.touch(l)
	}
}

// nextWake is when the scheduler has to be called again at the latest; zero if
// only something new can change anything.
func (s *scheduler) nextWake() time.Time {
	var wake time.Time
	if !s.draining && s.inFlight < s.opt.MaxInFlight && s.ready[0].len()+s.ready[1].len() > 0 {
		if s.hasRoom() {
			return s.wall
		}
		for _, y := range [...]*young{&s.starting, &s.fresh} {
			if y.full() {
				wake = later(wake, s.wallOf(y.frees()))
			}
		}
	}
	if l := s.timers.min(); l != nil && (wake.IsZero() || s.wallOf(l.wake).Before(wake)) {
		wake = s.wallOf(l.wake)
	}
	if s.blocked > s.opt.Admission/4 {
		if relief := s.wallOf(s.jammed.next.since.Add(jamGrace)); wake.IsZero() || relief.Before(wake) {
			wake = relief
		}
	}
	if first := s.holds.first; first != nil {
		if deadline := s.wallOf(first.deadline); wake.IsZero() || deadline.Before(wake) {
			wake = deadline
		}
	}
	return wake
}
