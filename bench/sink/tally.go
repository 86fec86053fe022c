package sink

import (
	"sync/atomic"
	"time"
)

// tally counts what came, for a fixed number of targets and sequences. It takes
// no locks: requests are counted from as many goroutines as there are
// connections.
type tally struct {
	begun   time.Time
	targets int
	// answers has, by sequence and then by target, when a delivery was answered
	// 2xx: in microseconds since begun, plus 1; 0 if it was not. 2^32 of them
	// are 71 minutes.
	answers [][]atomic.Uint32
	// highest is the highest sequence that was received, by target.
	highest []atomic.Uint32

	delivered       []atomic.Int64 // by sequence: deliveries answered 2xx, each once
	requests        atomic.Int64
	bytes           atomic.Int64
	duplicates      atomic.Int64
	orderViolations atomic.Int64
}

func newTally(targets, sequences int) *tally {
	t := &tally{begun: time.Now(), targets: targets, highest: make([]atomic.Uint32, targets),
		answers: make([][]atomic.Uint32, sequences), delivered: make([]atomic.Int64, sequences)}
	for s := range t.answers {
		t.answers[s] = make([]atomic.Uint32, targets)
	}
	return t
}

// knows reports whether the delivery is one of those that are counted.
func (t *tally) knows(target, sequence int) bool {
	return target >= 1 && target <= t.targets && sequence >= 1 && sequence <= len(t.answers)
}

// receive counts a request, before it is answered, of a delivery that t knows.
func (t *tally) receive(target, sequence, size int) {
	t.requests.Add(1)
	t.bytes.Add(int64(size))
	if t.answers[sequence-1][target-1].Load() != 0 {
		t.duplicates.Add(1)
	}
	highest := &t.highest[target-1]
	for {
		was := highest.Load()
		if was > uint32(sequence) {
			t.orderViolations.Add(1)
			return
		}
		if was == uint32(sequence) || highest.CompareAndSwap(was, uint32(sequence)) {
			return
		}
	}
}

// answer notes that a delivery is answered 2xx now. It returns what undoes that,
// should the answer not get out, and is called before the write: whoever has the
// answer can send no duplicate that is not seen.
func (t *tally) answer(target, sequence int) (first bool) {
	at := uint32(time.Since(t.begun).Microseconds()) + 1
	if !t.answers[sequence-1][target-1].CompareAndSwap(0, at) {
		return false
	}
	t.delivered[sequence-1].Add(1)
	return true
}

// unanswer takes an answer back that was the first and could not be written.
func (t *tally) unanswer(target, sequence int) {
	t.answers[sequence-1][target-1].Store(0)
	t.delivered[sequence-1].Add(-1)
}
