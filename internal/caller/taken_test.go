package caller

import (
	"encoding/binary"
	"sync"
	"testing"
	"time"
)

var start = time.Date(2026, 11, 21, 5, 0, 30, 0, time.UTC)

func print(n int) fingerprint {
	var f fingerprint
	binary.BigEndian.PutUint64(f[:], uint64(n))
	return f
}

func TestTakenOnce(t *testing.T) {
	taken := newTaken(10)
	one, two := print(1), print(2)
	for i, step := range []struct {
		of   fingerprint
		end  string
		want string
	}{
		{one, "", first}, {one, "", busy}, {two, "ok", first}, {two, "", replayed},
		{one, "fail", busy}, {one, "ok", first}, {one, "", replayed}, {one, "fail", replayed},
	} {
		if got := taken.begin(step.of, start, start); got != step.want {
			t.Errorf("step %d: %q, want %q", i, got, step.want)
		}
		if step.end != "" && step.want != replayed {
			taken.end(step.of, start, step.end == "ok")
		}
	}
}

// TestNothingIsForgottenWithinTheWindow signs at each second that is let in at some
// time, and looks again at each second that still lets it in.
func TestNothingIsForgottenWithinTheWindow(t *testing.T) {
	for ahead := -MaxSkew; ahead <= MaxSkew; ahead += 7 * time.Second {
		taken, at := newTaken(1000), start.Add(ahead)
		if v := taken.begin(print(1), at, start); v != first {
			t.Fatal(v)
		}
		taken.end(print(1), at, true)
		n := 2
		for now := start; fresh(at, now); now = now.Add(7 * time.Second) {
			if v := taken.begin(print(1), at, now); v != replayed {
				t.Fatalf("signed %v ahead, it is %q again after %v", ahead, v, now.Sub(start))
			}
			if v := taken.begin(print(n), now, now); v != first { // others come and go
				t.Fatal(v)
			}
			taken.end(print(n), now, true)
			n++
		}
	}
}

func TestMemoryIsGivenBack(t *testing.T) {
	taken := newTaken(3)
	for i := range 3 {
		if v := taken.begin(print(i), start, start); v != first {
			t.Fatal(v)
		}
	}
	if v := taken.begin(print(3), start, start); v != full {
		t.Errorf("a fourth is %q", v)
	}
	if v := taken.begin(print(2), start, start); v != busy {
		t.Errorf("a known one is %q", v)
	}
	taken.end(print(0), start, false) // gives its place to another
	taken.end(print(1), start, true)
	if v := taken.begin(print(3), start, start); v != first {
		t.Errorf("a fourth is %q", v)
	}
	later := start.Add(MaxSkew + backwards + 2*time.Minute)
	for i := range 3 {
		if v := taken.begin(print(10+i), later, later); v != first {
			t.Errorf("later, %q", v)
		}
	}
	if len(taken.minutes) != 1 || taken.count != 3 {
		t.Errorf("%d minutes and %d requests are remembered", len(taken.minutes), taken.count)
	}
	taken.end(print(3), start, true) // is forgotten already
	if taken.count != 3 {
		t.Errorf("%d requests", taken.count)
	}
}

func TestClockSetBack(t *testing.T) {
	taken := newTaken(10)
	taken.begin(print(1), start, start)
	taken.end(print(1), start, true)
	later := start.Add(MaxSkew + backwards)
	taken.begin(print(2), later, later)
	back := later.Add(-backwards)
	if v := taken.begin(print(1), start, back); !fresh(start, back) || v != replayed {
		t.Errorf("after the clock was set back it is %q", v)
	}
}

// TestOneOfManyIsFirst has the same request come many times at once.
func TestOneOfManyIsFirst(t *testing.T) {
	taken := newTaken(1000)
	var wg sync.WaitGroup
	var mu sync.Mutex
	firsts := 0
	for range 50 {
		wg.Go(func() {
			for i := range 20 {
				if taken.begin(print(i), start, start) == first {
					mu.Lock()
					firsts++
					mu.Unlock()
					taken.end(print(i), start, true)
				}
			}
		})
	}
	wg.Wait()
	if firsts != 20 || taken.count != 20 {
		t.Errorf("%d were the first, %d are remembered", firsts, taken.count)
	}
}
