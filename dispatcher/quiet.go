package dispatcher

import "time"

// quiet knows the targets that asked for time: nothing starts for them until then,
// whatever it tells of. It belongs to the scheduler; a restart forgets it, but for
// the deliveries that were answered so, which wait in the ledger.
type quiet map[int64]time.Time // steady, by target

// maxQuiet bounds it. When it is full, some are forgotten.
const maxQuiet = 65_536

func (q quiet) add(target int64, until, now time.Time) {
	if _, known := q[target]; !known && len(q) >= maxQuiet {
		q.forget(now)
	}
	q[target] = later(q[target], until)
}

// forget drops those whose time is over or, if there are none, one of the others.
func (q quiet) forget(now time.Time) {
	for target, until := range q {
		if !until.After(now) {
			delete(q, target)
		}
	}
	if len(q) < maxQuiet {
		return
	}
	for target := range q {
		delete(q, target)
		return
	}
}

// until is when something may start for a target again; zero if it may now.
func (q quiet) until(target int64, now time.Time) time.Time {
	until, asked := q[target]
	if !asked {
		return time.Time{}
	}
	if !until.After(now) {
		delete(q, target)
		return time.Time{}
	}
	return until
}

// silenced takes a delivery whose target asked for time to where it waits, and says
// whether it did. d is in its lane and slot, in no line.
func (s *scheduler) silenced(d *held) bool {
	until := s.quiet.until(d.d.Target, s.now)
	switch {
	case until.IsZero():
		return false
	case d.suspect || s.tooLate(d, until):
		d.state = behind // in no heap
		s.toLedger(d, s.wallOf(until))
	default:
		d.state, d.due = delayed, until
		d.lane.delayed.push(d)
	}
	return true
}

// tooLate says of a steady time that a delivery can't wait here until then.
func (s *scheduler) tooLate(d *held, due time.Time) bool {
	expires := s.now.Add(d.hold.lease.ExpiresAt.Sub(s.wall))
	return !due.Before(expires) || due.Sub(s.now) >= s.opt.LaneWait || due.After(d.hold.deadline)
}
