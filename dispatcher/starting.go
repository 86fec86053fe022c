package dispatcher

import "time"

// starting bounds the sends that are still this machine's work: begun, and their
// request not yet written. Without it a machine short of CPU begins everything
// that windows allow, thousands of goroutines and connections more than it can
// serve, and each send takes the longer for it.
//
// Like the dial gate it counts only the young: a send that has not come as far
// after youth is waiting for somebody else, and makes room for the next. It
// belongs to the scheduler.
type starting struct {
	limit int // 0 is no limit
	count int
	// begun holds the sends that were counted, in the order of their start;
	// those no longer counted are skipped.
	begun []start
	head  int
}

// start is one send; at tells it from a later one of the same delivery.
type start struct {
	d  *held
	at time.Time
}

// youth is how long a send may count.
const youth = 100 * time.Millisecond

// full says whether nothing more may start.
func (s *starting) full() bool { return s.limit > 0 && s.count >= s.limit }

// add counts a send that starts now.
func (s *starting) add(d *held, now time.Time) {
	if s.limit == 0 {
		return
	}
	d.startedAt = now
	s.count++
	s.begun = append(s.begun, start{d, now})
}

// remove is told that a send waits for its peer alone, or came back.
func (s *starting) remove(d *held) {
	if !d.startedAt.IsZero() {
		d.startedAt = time.Time{}
		s.count--
	}
}

// age lets go of those no longer young.
func (s *starting) age(now time.Time) {
	for ; s.head < len(s.begun); s.head++ {
		b := &s.begun[s.head]
		if b.d.startedAt.Equal(b.at) {
			if now.Sub(b.at) < youth {
				break
			}
			s.remove(b.d)
		}
		*b = start{}
	}
	switch {
	case s.head == len(s.begun):
		s.begun, s.head = s.begun[:0], 0
	case s.head > 1024 && s.head > len(s.begun)/2:
		n := copy(s.begun, s.begun[s.head:])
		clear(s.begun[n:])
		s.begun, s.head = s.begun[:n], 0
	}
}

// frees is when age will next make room; after a call of it.
func (s *starting) frees() time.Time { return s.begun[s.head].at.Add(youth) }
