package dispatcher

import (
	"fmt"
	"time"

	"github.com/tocsin/tocsin/channels"
)

// PoisonPolicy says what happens to a delivery whose sending ends the process, again
// and again: it alone is given up, and what shared its batch is delivered.
//
// A batch that came back from processes that died makes suspects of its deliveries.
// A suspect is noted in the ledger before it may start, and the note ends with its
// result: what was noted when a process died may be what killed it. Those
// without a note go first, some at a time; those with one go last, each alone, so
// that the next death names one, and not before the process has lived for a while: one
// that dies all the time for reasons of its own dies before it could name anybody.
type PoisonPolicy struct {
	// Takes is from which take on a batch's deliveries are suspects; 0 is never. A
	// process may die for many reasons: the first times it is nobody's fault, and
	// whoever answers slowly is under way each time.
	Takes int
	// AtOnce is how many suspects that no death named are under way at once.
	AtOnce int
	// Starts is how many starts may be without an end. A delivery with so many is
	// parked.
	Starts int
	// Calm is how long a process has lived before a delivery that a death named starts.
	// It waits for that in the ledger.
	Calm time.Duration
	// GiveUp is the take of a batch in which those of it that never started are
	// parked: what kills there has come to no start.
	GiveUp int
}

// DefaultPoison is the policy where nothing is configured. A broker gives a batch out
// 21 times.
func DefaultPoison() PoisonPolicy {
	return PoisonPolicy{Takes: 8, AtOnce: 64, Starts: 4, Calm: 3 * time.Second, GiveUp: 20}
}

// suspects are the deliveries whose start has to be noted. It belongs to the scheduler.
type suspects struct {
	line heap[held] // those whose turn has not come, in its order
	// free and alone count those noted and not yet cleared: that no death named, and
	// that one did.
	free, alone int
}

func newSuspects() suspects {
	return suspects{line: heap[held]{
		at: func(h *held) *int32 { return &h.index },
		less: func(a, b *held) bool {
			if a.starts != b.starts {
				return a.starts < b.starts
			}
			return before(a, b)
		},
	}}
}

// guilty says why a delivery is given up, "" if it isn't.
func (s *scheduler) guilty(d *held) string {
	p := &s.opt.Poison
	switch {
	case p.Takes == 0:
		return ""
	case d.starts >= p.Starts:
		return fmt.Sprintf("parked: the process died %d times while it was sent", d.starts)
	case d.starts == 0 && d.hold.takes >= p.GiveUp:
		return fmt.Sprintf("parked: %d processes died that had its batch", d.hold.takes-1)
	}
	return ""
}

// park gives a delivery up, for an operator to look at.
func (s *scheduler) park(d *held, why string) {
	s.settle(d, Settlement{Outcome: Dead, Detail: why, Streak: StreakFailed, Parked: true})
}

// enlist puts a delivery that may be sent into its lane or, if it is a suspect, into
// the line of those; if its target asked for time, where it waits for that. What a
// death named waits in the ledger for this process to have lived for a while: a batch
// that waited with it would be given out once more with each process that dies.
func (s *scheduler) enlist(d *held) {
	if s.silenced(d) {
		return
	}
	switch {
	case !d.suspect || d.noted:
		d.state = queued
		d.lane.waiting.push(d)
	case d.starts > 0 && s.now.Before(s.calm()):
		d.state = behind // in no heap
		s.toLedger(d, s.wallOf(s.calm()))
	default:
		d.state = suspected
		s.suspects.line.push(d)
	}
}

// calm is from when on those may start that a death named.
func (s *scheduler) calm() time.Time { return s.base.Round(0).Add(s.opt.Poison.Calm) }

// letGo has suspects noted whose turn it is. They take no token before that: the store
// may be slow, and then several would start at once.
func (s *scheduler) letGo() {
	q := &s.suspects
	for q.line.len() > 0 && !s.draining {
		d := q.line.min()
		switch {
		case d.starts > 0 && q.free+q.alone > 0, d.starts == 0 && (q.free >= s.opt.Poison.AtOnce || q.alone > 0):
			return
		case d.lane.isOpen():
			s.toLedger(d, s.reopening(d.lane))
			continue
		case s.isPaused(d.lane):
			s.toLedger(d, s.wall.Add(pausedWait))
			continue
		}
		q.line.pop()
		if d.starts > 0 {
			q.alone++
		} else {
			q.free++
		}
		d.state = noting
		d.noted = true
		d.starts++
		s.out.note = append(s.out.note, d)
	}
}

// noticed takes a suspect that is noted, or could not be, into its lane, if it may
// still go.
func (s *scheduler) noticed(n note) {
	d := n.held
	d.state = 0
	if n.failed || s.draining || d.recalled || d.hold.stopped || d.next != nil && !d.d.EveryUpdate {
		s.again(d, Settlement{Class: channels.NotSent}, 0)
	} else {
		s.enlist(d)
	}
	s.touch(d.lane)
}

// cleared lets the next suspects go: the end of one's note is in the ledger. Were it
// only on its way there, the death of the next would be laid to both.
func (s *scheduler) cleared(d *held) {
	switch {
	case !d.noted:
		return
	case d.starts > 1:
		s.suspects.alone--
	default:
		s.suspects.free--
	}
	d.noted = false
}
