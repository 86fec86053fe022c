package dispatcher

import (
	"math/rand/v2"
	"time"
)

// Backoff is exponential with full jitter: before attempt n+1 (n attempts
// made) the wait is uniform in (0, min(Cap, Base·2ⁿ⁻¹)], so that targets that
// failed together don't come back together.
type Backoff struct {
	Base, Cap time.Duration
}

// Ceiling returns the longest wait after n failed attempts, n ≥ 1.
func (b Backoff) Ceiling(n int) time.Duration {
	d := b.Base
	for i := 1; i < n; i++ {
		if d >= b.Cap/2 {
			return b.Cap
		}
		d *= 2
	}
	return min(d, b.Cap)
}

// Wait draws the wait after n failed attempts.
func (b Backoff) Wait(n int, r *rand.Rand) time.Duration {
	return 1 + time.Duration(r.Int64N(int64(max(b.Ceiling(n), 1))))
}
