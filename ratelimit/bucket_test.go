package ratelimit

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"
)

var (
	noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	ten  = Limit{PerSecond: 10, Burst: 5}
)

func at(s float64) time.Time { return noon.Add(time.Duration(s * float64(time.Second))) }

func wantTake(t *testing.T, b *Bucket, now time.Time, l Limit, n int, ok bool, wait time.Duration) {
	t.Helper()
	gotOK, gotWait := b.Take(now, l, n)
	if gotOK != ok || (gotWait-wait).Abs() > time.Microsecond {
		t.Fatalf("Take(%v, %d) = %v, %v; want %v, %v", now.Sub(noon), n, gotOK, gotWait, ok, wait)
	}
}

func TestStartsFullOrEmpty(t *testing.T) {
	var full Bucket
	wantTake(t, &full, noon, ten, 5, true, 0)
	wantTake(t, &full, noon, ten, 1, false, 100*time.Millisecond)

	empty := NewEmpty(noon)
	wantTake(t, &empty, noon, ten, 2, false, 200*time.Millisecond)
	wantTake(t, &empty, at(0.199999), ten, 2, false, time.Microsecond)
	wantTake(t, &empty, at(0.2), ten, 2, true, 0)
	wantTake(t, &empty, at(0.2), ten, 1, false, 100*time.Millisecond)
}

// The zero of the Unix time is an ordinary moment, not the mark of a new bucket.
func TestStartsAtUnixZero(t *testing.T) {
	var b Bucket
	wantTake(t, &b, time.Unix(0, 0), ten, 5, true, 0)
	wantTake(t, &b, time.Unix(0, 0), ten, 1, false, 100*time.Millisecond)
}

func TestTakesAllOrNothing(t *testing.T) {
	var b Bucket
	wantTake(t, &b, noon, ten, 3, true, 0)
	wantTake(t, &b, noon, ten, 3, false, 100*time.Millisecond)
	wantTake(t, &b, noon, ten, 2, true, 0)
	wantTake(t, &b, noon, ten, 0, true, 0)
	wantTake(t, &b, noon, ten, -1, true, 0)
	if got := b.Tokens(noon, ten); got != 0 {
		t.Errorf("%v tokens", got)
	}
}

func TestFillsToTheBurstAlone(t *testing.T) {
	var b Bucket
	b.Take(noon, ten, 5)
	if got := b.Tokens(at(0.25), ten); math.Abs(got-2.5) > slack {
		t.Errorf("%v tokens after 250 ms", got)
	}
	for _, later := range []time.Time{at(3600), noon.AddDate(200, 0, 0)} {
		if got := b.Tokens(later, ten); got != 5 {
			t.Errorf("%v tokens in %v", got, later)
		}
	}
	wantTake(t, &b, at(3600), ten, 5, true, 0)
	wantTake(t, &b, at(3600), ten, 1, false, 100*time.Millisecond)
}

func TestMoreThanTheBurst(t *testing.T) {
	var b Bucket
	wantTake(t, &b, noon, ten, 1, true, 0)
	wantTake(t, &b, noon, ten, 25, false, 100*time.Millisecond) // until full
	wantTake(t, &b, at(0.1), ten, 25, true, 0)                  // 20 in debt
	if got := b.Tokens(at(0.1), ten); math.Abs(got+20) > slack {
		t.Errorf("%v tokens", got)
	}
	wantTake(t, &b, at(0.1), ten, 1, false, 2100*time.Millisecond)
	wantTake(t, &b, at(2.2), ten, 1, true, 0)
}

// Rounding doesn't send anybody who waited as told back to wait for a nanosecond more.
// It would once in some 3,000 rounds, hence the number of them.
func TestWaitIsEnoughDespiteRounding(t *testing.T) {
	draw := rand.New(rand.NewPCG(1, 2))
	for range 50_000 {
		l := Limit{PerSecond: float64(1 + draw.IntN(1000)), Burst: 1 + draw.IntN(500)}
		b, now := Bucket{}, noon
		for range 3 {
			n := 1 + draw.IntN(l.Burst)
			ok, wait := b.Take(now, l, n)
			if now = now.Add(wait); !ok {
				ok, wait = b.Take(now, l, n)
			}
			if !ok {
				t.Fatalf("%v: %d after the wait have to wait %v more", l, n, wait)
			}
		}
	}
}

func TestClockSetBack(t *testing.T) {
	var b Bucket
	b.Take(noon, ten, 5)

	// A little: time stands still until it has caught up.
	wantTake(t, &b, at(-3), ten, 1, false, 3100*time.Millisecond)
	wantTake(t, &b, at(-0.001), ten, 1, false, 101*time.Millisecond)
	wantTake(t, &b, noon, ten, 1, false, 100*time.Millisecond)

	// An hour: nothing is gained, and nothing waits for an hour.
	wantTake(t, &b, at(-3600), ten, 1, false, 100*time.Millisecond)
	wantTake(t, &b, at(-3599.9), ten, 1, true, 0)

	// And forward again: full, no more.
	wantTake(t, &b, noon, ten, 5, true, 0)
	wantTake(t, &b, noon, ten, 1, false, 100*time.Millisecond)
}

func TestGiveBack(t *testing.T) {
	var b Bucket
	b.GiveBack(3) // never taken: still just full
	wantTake(t, &b, noon, ten, 5, true, 0)
	b.GiveBack(2)
	b.GiveBack(-7)
	wantTake(t, &b, noon, ten, 2, true, 0)
	wantTake(t, &b, noon, ten, 1, false, 100*time.Millisecond)
	b.GiveBack(1000)
	wantTake(t, &b, noon, ten, 5, true, 0)
	wantTake(t, &b, noon, ten, 1, false, 100*time.Millisecond)
}

func TestInvalidLimitLetsNothingThrough(t *testing.T) {
	var b Bucket
	for _, l := range []Limit{{}, {10, 0}, {-1, 5}, {math.NaN(), 5}, {math.Inf(1), 5}} {
		wantTake(t, &b, noon, l, 1, false, longest)
	}
	wantTake(t, &b, noon, ten, 5, true, 0)
}

func TestWaitsAreBounded(t *testing.T) {
	slow := Limit{PerSecond: 1.0 / 3600, Burst: 1}
	var b Bucket
	wantTake(t, &b, noon, slow, math.MaxInt, true, 0)
	wantTake(t, &b, noon, slow, 1, false, longest)
	wantTake(t, &b, at(-5), slow, 1, false, longest)
}

func TestBucketIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(Bucket{}); size > 16 {
		t.Errorf("%d bytes", size)
	}
	var b Bucket
	now := noon
	if n := testing.AllocsPerRun(1000, func() {
		now = now.Add(time.Millisecond)
		b.Take(now, ten, 1)
		b.Tokens(now, ten)
		b.GiveBack(1)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTake(b *testing.B) {
	var bucket Bucket
	now := noon
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Millisecond)
		bucket.Take(now, ten, 1)
	}
}
