package probe

import "time"

// Rules say when the health of a service changes.
type Rules struct {
	// Fail and Recover are results in a row after which a location votes the other
	// way.
	Fail, Recover int
	// StaleAfter is how long a location's vote counts after its last result.
	StaleAfter time.Duration
	// Slow is the latency that the 99th percentile may have in a cycle; 0 ends the
	// rule.
	Slow time.Duration
	// Cycle is how long results are counted together, SlowCycles how many slow ones in
	// a row degrade a service, and how many others in a row end that.
	Cycle      time.Duration
	SlowCycles int
	// FlapChanges within FlapWindow make a service flap; Settle is how long it has to
	// stay the same to end that.
	FlapChanges int
	FlapWindow  time.Duration
	Settle      time.Duration
}

// DefaultRules are three failures, five successes, five minutes, a 99th percentile of
// 500 ms in three cycles of a minute, and four changes in ten minutes.
func DefaultRules() Rules {
	return Rules{
		Fail: 3, Recover: 5, StaleAfter: 5 * time.Minute,
		Slow: 500 * time.Millisecond, Cycle: time.Minute, SlowCycles: 3,
		FlapChanges: 4, FlapWindow: 10 * time.Minute, Settle: 5 * time.Minute,
	}
}
