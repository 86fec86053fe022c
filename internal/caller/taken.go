package caller

import (
	"sync"
	"time"
)

// maxTaken is how many signed requests of a source are remembered: 1,700 a second
// over the [MaxSkew] that most are remembered for. In memory that is some 25 MiB, of
// requests that were signed with its secrets and answered with success.
const maxTaken = 1 << 19

// backwards is how far our clock may be set back without a replay being taken.
const backwards = time.Minute

// fingerprint is the beginning of a SHA-256 over what was signed.
type fingerprint [16]byte

// taken remembers the signed requests of a source for as long as their times would be
// let in: by the minute of that time, so that what is too old goes a minute at a
// time. It is safe for concurrent use.
type taken struct {
	mu      sync.Mutex
	minutes map[int64]map[fingerprint]bool // true: answered; false: under way
	count   int
	most    int
}

func newTaken(most int) *taken {
	return &taken{minutes: make(map[int64]map[fingerprint]bool), most: most}
}

// What begin says of a request, as the log has it.
const (
	first    = "" // to be taken, and then answered
	busy     = "one like it is under way"
	replayed = "it was taken before"
	full     = "no more can be remembered"
)

func minuteOf(at time.Time) int64 { return at.Unix() / 60 }

// begin remembers a request signed at that time, which is fresh, as under way.
func (t *taken) begin(f fingerprint, at, now time.Time) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(now)
	minute := minuteOf(at)
	switch answered, known := t.minutes[minute][f]; {
	case answered:
		return replayed
	case known:
		return busy
	case t.count >= t.most:
		return full
	}
	if t.minutes[minute] == nil {
		t.minutes[minute] = make(map[fingerprint]bool)
	}
	t.minutes[minute][f] = false
	t.count++
	return first
}

// recall remembers a request that was taken before a restart.
func (t *taken) recall(f fingerprint, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	minute := minuteOf(at)
	if t.minutes[minute] == nil {
		t.minutes[minute] = make(map[fingerprint]bool)
	}
	if !t.minutes[minute][f] {
		t.minutes[minute][f] = true
		t.count++
	}
}

// end says what became of a request: one that was not answered with success may come
// again as it is.
func (t *taken) end(f fingerprint, at time.Time, success bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	requests := t.minutes[minuteOf(at)]
	if _, known := requests[f]; !known {
		return // it took longer than its time is remembered
	}
	if success {
		requests[f] = true
		return
	}
	delete(requests, f)
	t.count--
}

// forget drops the minutes that are over whichever way the clock is a little wrong.
// There are a dozen of them.
func (t *taken) forget(now time.Time) {
	for minute, requests := range t.minutes {
		over := time.Unix((minute+1)*60, 0)
		if now.Sub(over) > MaxSkew+backwards {
			t.count -= len(requests)
			delete(t.minutes, minute)
		}
	}
}
