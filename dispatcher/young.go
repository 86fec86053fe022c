package dispatcher

import "time"

// young bounds the sends that are this machine's work, and counts only those begun a
// moment ago: one that has not come as far after its youth is waiting for somebody
// else, and makes room for the next. Two of them belong to the scheduler.
//
// Starting are those whose request is not written yet. Without it a machine short of
// CPU begins everything that windows allow, thousands of goroutines and connections
// more than it can serve, and each send takes the longer for it.
//
// Fresh are those that have no answer yet. To begin more of them than can be answered
// makes nothing faster: their requests lie in the queues of this machine and of the
// peers, and each has a goroutine's stack, a connection and a place in everybody's
// caches meanwhile. A peer takes its time, though, and 10,000 may: hence the short
// youth, which lets more start each second than a machine can send.
type young struct {
	which int // of a delivery's marks
	limit int // 0 is no limit
	youth time.Duration
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

// Of a delivery's marks, those of the sends that start, and that are fresh.
const (
	markStarting = iota
	markFresh
	marks
)

// How long a send may count.
const (
	startingFor = 100 * time.Millisecond
	freshFor    = 20 * time.Millisecond
)

// full says whether nothing more may start.
func (y *young) full() bool { return y.limit > 0 && y.count >= y.limit }

// add counts a send that starts now.
func (y *young) add(d *held, now time.Time) {
	if y.limit == 0 {
		return
	}
	d.young[y.which] = now
	y.count++
	y.begun = append(y.begun, start{d, now})
}

// remove is told that a send has come so far, or came back.
func (y *young) remove(d *held) {
	if mark := &d.young[y.which]; !mark.IsZero() {
		*mark = time.Time{}
		y.count--
	}
}

// age lets go of those no longer young.
func (y *young) age(now time.Time) {
	for ; y.head < len(y.begun); y.head++ {
		b := &y.begun[y.head]
		if b.d.young[y.which].Equal(b.at) {
			if now.Sub(b.at) < y.youth {
				break
			}
			y.remove(b.d)
		}
		*b = start{}
	}
	switch {
	case y.head == len(y.begun):
		y.begun, y.head = y.begun[:0], 0
	case y.head > 1024 && y.head > len(y.begun)/2:
		n := copy(y.begun, y.begun[y.head:])
		clear(y.begun[n:])
		y.begun, y.head = y.begun[:n], 0
	}
}

// frees is when age will next make room; after a call of it.
func (y *young) frees() time.Time { return y.begun[y.head].at.Add(y.youth) }
