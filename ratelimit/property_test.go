package ratelimit

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// taken is one Take that succeeded.
type taken struct {
	at time.Time
	n  int
}

// checkWindows checks every window that begins and ends with a Take, the fullest of
// their length: no more than burst + rate × t passed. Takes have to be in the order
// of time.
func checkWindows(t *rapid.T, log []taken, perSecond, burst float64) {
	t.Helper()
	for i := range log {
		checkWindowsTo(t, log[:i+1], perSecond, burst)
	}
}

// checkWindowsTo checks the windows that end with the last Take.
func checkWindowsTo(t *rapid.T, log []taken, perSecond, burst float64) {
	t.Helper()
	last, sum := log[len(log)-1], 0
	for _, first := range slices.Backward(log) {
		sum += first.n
		window := last.at.Sub(first.at)
		allowed := burst + perSecond*window.Seconds()
		if float64(sum) > allowed*(1+1e-12)+1e-6 {
			t.Fatalf("%d passed in %v, allowed are %v", sum, window, allowed)
		}
	}
}

func limits() *rapid.Generator[Limit] {
	return rapid.Custom(func(t *rapid.T) Limit {
		l := Limit{PerSecond: math.Pow(10, rapid.Float64Range(-3, 6).Draw(t, "log10 rate")), Burst: rapid.IntRange(1, 500).Draw(t, "burst")}
		if !l.Valid() {
			t.Fatalf("%v is not valid", l)
		}
		return l
	})
}

// steps are durations around those in which l brings a token or fills a bucket.
func steps(l Limit) *rapid.Generator[time.Duration] {
	token := time.Duration(1e9 / l.PerSecond)
	return rapid.OneOf(
		rapid.Just(time.Duration(0)),
		rapid.Map(rapid.Int64Range(0, 3*int64(token)+3), func(ns int64) time.Duration { return time.Duration(ns) }),
		rapid.Map(rapid.Int64Range(0, 2*int64(l.Burst)*int64(token)+3), func(ns int64) time.Duration { return time.Duration(ns) }),
	)
}

func start(t *rapid.T) Bucket {
	if rapid.Bool().Draw(t, "empty") {
		return NewEmpty(noon)
	}
	return Bucket{}
}

// Promise: within any window t never more than burst + rate × t are taken, and what
// was given back doesn't count. The rest counts from when it was taken, however long
// the taker held on to it.
func TestPropertyRateHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, b, now := limits().Draw(t, "limit"), start(t), noon
		var log []taken
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(steps(l).Draw(t, "step"))
			n := rapid.IntRange(1, l.Burst).Draw(t, "n")
			if ok, _ := b.Take(now, l, n); !ok {
				continue
			}
			unused, when := 0, now
			if rapid.IntRange(0, 4).Draw(t, "give back") == 0 {
				unused = rapid.IntRange(0, n).Draw(t, "unused")
				now = now.Add(steps(l).Draw(t, "held"))
				b.GiveBack(unused)
			}
			log = append(log, taken{when, n - unused})
		}
		checkWindows(t, log, l.PerSecond, float64(l.Burst))
	})
}

// Promise: who waits as told succeeds, and could not have much earlier.
func TestPropertyWaitIsEnoughAndNoMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, b, now := limits().Draw(t, "limit"), start(t), noon
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(steps(l).Draw(t, "step"))
			n := rapid.IntRange(1, 2*l.Burst).Draw(t, "n") // more than the burst, too
			before := b
			ok, wait := b.Take(now, l, n)
			if ok {
				continue
			}
			if b != before {
				t.Fatal("a Take that failed changed the bucket")
			}
			if wait <= 0 || wait > longest {
				t.Fatalf("wait %v", wait)
			}
			early := b
			if less := wait - wait/1000 - l.wait(slack, 0) - 1; less > 0 {
				if ok, _ := early.Take(now.Add(less), l, n); ok {
					t.Fatalf("%v were enough, told was %v", less, wait)
				}
			}
			now = now.Add(wait)
			if ok, again := b.Take(now, l, n); !ok {
				t.Fatalf("waited %v, told to wait %v more", wait, again)
			}
		}
	})
}

// Promise: a Take of more than the burst borrows from what follows. In any window,
// what passed before the last Take and what that one had to find there (the burst,
// if it asks for more) stay within burst + rate × t.
func TestPropertyDebtIsPaid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, b, now := limits().Draw(t, "limit"), start(t), noon
		var log []taken
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(steps(l).Draw(t, "step"))
			n := rapid.IntRange(1, 3*l.Burst).Draw(t, "n")
			if ok, _ := b.Take(now, l, n); ok {
				found := append(log[:len(log):len(log)], taken{now, min(n, l.Burst)})
				checkWindowsTo(t, found, l.PerSecond, float64(l.Burst))
				log = append(log, taken{now, n})
			}
		}
	})
}

// Promise: a change of the limit is safe at any moment: the new one holds from then
// on, and over all the largest rate and burst do.
func TestPropertyChangeOfLimitIsSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, now := start(t), noon
		var all []taken
		var rate, burst float64
		for range rapid.IntRange(1, 6).Draw(t, "limits") {
			l := limits().Draw(t, "limit")
			rate, burst = max(rate, l.PerSecond), max(burst, float64(l.Burst))
			var log []taken
			for range rapid.IntRange(0, 15).Draw(t, "steps") {
				now = now.Add(steps(l).Draw(t, "step"))
				n := rapid.IntRange(1, l.Burst).Draw(t, "n")
				if ok, _ := b.Take(now, l, n); ok {
					log = append(log, taken{now, n})
				}
			}
			checkWindows(t, log, l.PerSecond, float64(l.Burst))
			all = append(all, log...)
		}
		checkWindows(t, all, rate, burst)
	})
}

// Promise: a clock that goes back brings nothing. Over any walk of the clock no more
// passes than a burst and what its moves forward bring; and as long as it strays no
// more than 10 s, not even those of its moves that only caught up.
func TestPropertyClockGoingBackBringsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, b, now := limits().Draw(t, "limit"), start(t), noon
		stray := rapid.SampledFrom([]time.Duration{time.Millisecond, 10 * time.Second, time.Hour}).Draw(t, "stray")
		total, forward, latest := 0.0, time.Duration(0), now
		if ok, _ := b.Take(now, l, 1); ok { // from here on the bucket knows the time
			total = 1
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			step := time.Duration(rapid.Int64Range(-int64(stray), int64(stray)).Draw(t, "step"))
			if stray <= time.Duration(regress) {
				step = max(step, latest.Add(-stray).Sub(now)) // no further back than that in all
			}
			forward += max(step, 0)
			now = now.Add(step)
			if now.After(latest) {
				latest = now
			}
			before := b
			n := rapid.IntRange(1, l.Burst).Draw(t, "n")
			if ok, _ := b.Take(now, l, n); ok {
				total += float64(n)
			} else if step < 0 && b.tokens > before.tokens {
				t.Fatalf("%v back brought tokens", step)
			}
		}
		allowed := float64(l.Burst) + l.PerSecond*forward.Seconds()
		if stray <= time.Duration(regress) {
			allowed = float64(l.Burst) + l.PerSecond*latest.Sub(noon).Seconds()
		}
		if total > allowed*(1+1e-12)+1e-6 {
			t.Fatalf("%v passed, allowed are %v", total, allowed)
		}
	})
}
