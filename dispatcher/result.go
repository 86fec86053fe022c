package dispatcher

import (
	"time"

	"github.com/tocsin/tocsin/channels"
)

// cameBack decides what a send's result means.
func (s *scheduler) cameBack(a *attempt) {
	d, l, r := a.held, a.held.lane, &a.result
	for _, c := range l.accounts {
		c.inFlight--
	}
	l.inFlight--
	s.inFlight--
	l.counts.inFlight--
	if d.slow {
		d.slow = false
		s.slow--
	}
	s.starting.remove(d)
	s.fresh.remove(d)
	d.state = 0
	l.connFailed = r.NoConnection
	s.progressed(l)
	opened := s.judge(l, d, r)

	st := Settlement{Class: r.Class, Detail: r.Detail, SentAt: a.sentAt, DoneAt: a.doneAt, Handle: r.Handle, Provider: l.provider}
	if r.Class != channels.NotSent {
		d.attempt++
		l.answered(a.doneAt.Sub(a.sentAt))
	}
	if r.Class == channels.Throttled && r.RetryAfter > 0 {
		s.quiet.add(d.d.Target, s.now.Add(r.RetryAfter), s.now)
	}
	switch r.Class {
	case channels.Delivered:
		st.Outcome, st.Accounts = Delivered, l.counted
		for _, c := range l.accounts {
			c.took(a.doneAt)
		}
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
	if l := s.serving(d.lane); l != d.lane {
		s.part(d)
		s.join(d, l)
	}
	l := d.lane
	if s.draining || d.recalled || d.noted || st.Class == channels.NotSent || s.tooLate(d, due) || l.isOpen() {
		st.DueAt = s.wall.Add(wait)
		if l.isOpen() {
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
	if d.state == queued || d.state == delayed || d.state == suspected {
		s.unqueue(d)
	}
	st.Noted = d.noted
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
	s.part(d)
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
		s.holds.remove(h)
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

// open empties a lane whose breaker opened: into the lane that takes over, if
// there is one, else into the ledger.
func (s *scheduler) open(l *lane) {
	l.breaker.reopens = s.now.Add(l.breaker.open)
	over := s.serving(l)
	for _, from := range []*heap[held]{&l.waiting, &l.delayed} {
		for from.len() > 0 {
			d := from.min()
			if over == l {
				due := s.reopening(l)
				if d.state == delayed { // its peer may have asked for longer
					due = later(due, s.wallOf(d.due))
				}
				s.toLedger(d, due)
				continue
			}
			from.pop()
			s.part(d)
			s.join(d, over)
			if d.state == queued {
				over.waiting.push(d)
			} else {
				over.delayed.push(d)
			}
		}
	}
	if over != l {
		s.touch(over)
	}
}
