package dispatcher

import (
	"time"

	"github.com/tocsin/tocsin/ratelimit"
)

// retryBudget keeps the retries of a provider to a share of its rate, so that a storm
// of failures isn't answered with one of retries: a breaker opens at half of the sends
// failing, and a provider in trouble should not get twice its load before that. What is
// over it doesn't wait in the lane, where it would hold up first attempts.
type retryBudget struct {
	bucket ratelimit.Bucket
	tail   time.Time // when the last one sent away comes back
}

// take says whether a retry may start now, of a provider with that limit; if not, when
// it should come back: one after the other, or they would be sent away together again.
func (b *retryBudget) take(now time.Time, share float64, limit ratelimit.Limit) (later time.Time, ok bool) {
	limit.PerSecond *= share
	limit.Burst = max(int(float64(limit.Burst)*share), 1)
	ok, wait := b.bucket.Take(now, limit, 1)
	if ok {
		return time.Time{}, true
	}
	if soonest := now.Add(wait); b.tail.Before(soonest) {
		b.tail = soonest
	}
	b.tail = b.tail.Add(time.Duration(float64(time.Second) / limit.PerSecond))
	return b.tail, false
}
