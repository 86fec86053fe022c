package ratelimit

import "time"

// Bucket holds the tokens of one provider. Its zero value is full. It is a value
// of 16 bytes without pointers; copying it copies the state. It is not safe for
// concurrent use: one goroutine owns it.
//
// The limit is passed with every call, so a new one holds from the next call on,
// and for the time since tokens were last taken: a smaller burst cuts the tokens
// down to it, a debt stays. Over a stretch of time that saw several limits, no more
// passes than the largest rate and the largest burst of them allow.
type Bucket struct {
	tokens float64 // as of `at`; below 0 in debt; above the burst only until looked at
	at     int64   // Unix time in ns; 0 = never used, so full whatever the burst
}

const (
	// regress is how far back `now` may go for time to be taken to stand still. Calls
	// that arrive out of order stay within it. Beyond it the clock was set back, and
	// the bucket follows rather than stall until the old time comes again.
	regress = int64(10 * time.Second)

	// slack forgives the rounding of floating point, so that a caller who waited as
	// told succeeds. What it lends stays owed: it does not add up.
	slack = 1e-9
)

// NewEmpty returns a bucket that has no tokens at now.
func NewEmpty(now time.Time) Bucket { return Bucket{at: stamp(now)} }

// Take takes n tokens, or none: then wait says how long from now until n can be
// had if nobody else takes any; it is above 0 and at most a year. If n is more than
// the burst, a full bucket gives them and goes into debt, which later callers wait
// off; so any n passes eventually, and the average rate still holds. With n below 1
// it takes nothing and succeeds. A limit that is not Valid lets nothing through and
// says to wait for a year.
//
// A now before that of an earlier call brings no tokens. Up to 10 s back, time
// stands still for the bucket; further back, the bucket counts from the new now. A
// jump forward fills the bucket, and no more.
func (b *Bucket) Take(now time.Time, l Limit, n int) (ok bool, wait time.Duration) {
	if n < 1 {
		return true, 0
	}
	if !l.Valid() {
		return false, longest
	}
	b.turnBack(now)
	have := b.Tokens(now, l)
	need := min(float64(n), float64(l.Burst))
	if have < need-slack {
		return false, l.wait(need-have, max(b.at-stamp(now), 0))
	}
	b.tokens = have - float64(n)
	b.at = max(b.at, stamp(now))
	return true, 0
}

// turnBack follows a clock that was set back.
func (b *Bucket) turnBack(now time.Time) {
	if ns := stamp(now); b.at != 0 && b.at-ns > regress {
		b.at = ns
	}
}

// Tokens returns how many tokens there are at now, from -∞ (debt) to the burst. It
// changes nothing.
func (b *Bucket) Tokens(now time.Time, l Limit) float64 {
	burst := float64(max(l.Burst, 0))
	if b.at == 0 {
		return burst
	}
	elapsed := max(stamp(now)-b.at, 0)
	return min(burst, b.tokens+float64(elapsed)/1e9*l.PerSecond)
}

// GiveBack returns n tokens that were taken and not used. The burst still holds.
func (b *Bucket) GiveBack(n int) {
	if n > 0 {
		b.tokens += float64(n)
	}
}

// stamp is the Unix time in ns, from 1678 to 2262, and never 0, which means unused.
func stamp(now time.Time) int64 {
	if ns := now.UnixNano(); ns != 0 {
		return ns
	}
	return 1
}
