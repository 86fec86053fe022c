package dispatcher

import (
	"errors"
	"time"

	"github.com/sony/gobreaker/v2"
)

// BreakerPolicy says when a provider's breaker opens and how it closes.
type BreakerPolicy struct {
	// Requests and Ratio: opens at Ratio failures among at least Requests
	// within Window.
	Requests uint32
	Ratio    float64
	Window   time.Duration
	// Connects opens it after so many failures to connect in a row.
	Connects int
	// Open is how long it stays open before it probes; Probes how many
	// successes in a row close it again.
	Open   time.Duration
	Probes uint32
}

// DefaultBreaker is the policy where nothing is configured.
func DefaultBreaker() BreakerPolicy {
	return BreakerPolicy{Requests: 20, Ratio: 0.5, Window: 10 * time.Second, Connects: 5, Open: 15 * time.Second, Probes: 3}
}

// errFailed is what the breaker is told of a failure; its text is never seen.
var errFailed = errors.New("failed")

// breaker is a provider's circuit breaker. Failures count by distinct target:
// one broken target that fails again and again says nothing of its provider.
// It reads the process's clock (time.Now), as the library under it does.
type breaker struct {
	cb       *gobreaker.TwoStepCircuitBreaker[struct{}]
	connects int // failures to connect in a row
	failing  map[int64]time.Time
	window   time.Duration
	epoch    uint32 // of the state: results of sends begun in another don't count
	probes   int    // in flight
	open     time.Duration
	reopens  time.Time
}

func newBreaker(p BreakerPolicy) *breaker {
	b := &breaker{window: p.Window, failing: make(map[int64]time.Time), open: p.Open}
	b.cb = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests:  p.Probes,
		Interval:     p.Window,
		BucketPeriod: p.Window / 10,
		Timeout:      p.Open,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			return b.connects >= p.Connects ||
				c.Requests >= p.Requests && float64(c.TotalFailures) >= p.Ratio*float64(c.Requests)
		},
		// Runs under the library's lock, on the scheduler's goroutine.
		OnStateChange: func(_ string, _, _ gobreaker.State) { b.epoch++ },
	})
	return b
}

// allows asks whether a send may start. While closed it costs nothing and the
// result is reported by record; while probing the caller gets the function
// that must be called exactly once with the probe's result.
func (b *breaker) allows() (ok bool, verdict func(error)) {
	if b.cb.State() == gobreaker.StateClosed {
		return true, nil
	}
	verdict, err := b.cb.Allow()
	return err == nil, verdict
}

// isOpen says whether nothing may start now, not even a probe.
func (b *breaker) isOpen() bool { return b.cb.State() == gobreaker.StateOpen }

// isClosed says whether sends may start freely.
func (b *breaker) isClosed() bool { return b.cb.State() == gobreaker.StateClosed }

// record reports a send begun while the breaker was closed, in the given
// epoch, and says whether it has just opened.
func (b *breaker) record(target int64, epoch uint32, failed, noConnection bool, now time.Time) (opened bool) {
	if epoch != b.epoch || !b.isClosed() {
		return false
	}
	switch {
	case !failed:
		b.connects = 0
		delete(b.failing, target)
	case noConnection:
		b.connects++
	default:
		b.connects = 0
	}
	if failed {
		if at, known := b.failing[target]; known && now.Sub(at) < b.window && b.connects == 0 {
			return false
		}
		if len(b.failing) > 1000 {
			clear(b.failing)
		}
		b.failing[target] = now
	}
	verdict, err := b.cb.Allow()
	if err != nil {
		return false
	}
	verdict(failure(failed))
	return b.isOpen()
}

func failure(failed bool) error {
	if failed {
		return errFailed
	}
	return nil
}
