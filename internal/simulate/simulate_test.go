package simulate

import (
	"cmp"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// seedsOfCI is how many seeds every change has to pass, and the most that a mutation
// may go unnoticed for.
const seedsOfCI = 5000

// TestSimulate runs seeds; see the package's comment for which.
func TestSimulate(t *testing.T) {
	m := newMachine(t)
	if one := number(t, "TOCSIN_SIM_SEED"); one != 0 {
		if w := m.run(t, generate(one), nil); !m.holds(t, one, w) {
			t.Logf("the whole of it:\n%v\n%s", w.sc, w.tale())
		}
		return
	}
	var next, left atomic.Uint64
	left.Store(cmp.Or(number(t, "TOCSIN_SIM_SEEDS"), seedsByDefault))
	began, until := time.Now(), time.Time{}
	if d, err := time.ParseDuration(cmp.Or(os.Getenv("TOCSIN_SIM_DURATION"), "0s")); err != nil {
		t.Fatalf("TOCSIN_SIM_DURATION: %v", err)
	} else if d > 0 {
		until = began.Add(d)
		next.Store(uint64(began.Unix()) << 20) // seeds of their own for every night
		left.Store(1 << 62)
	}
	first := next.Load()
	t.Run("seeds", func(t *testing.T) {
		for range runtime.GOMAXPROCS(0) {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for left.Add(^uint64(0)) < 1<<63 && (until.IsZero() || time.Now().Before(until)) {
					seed := next.Add(1)
					if !m.holds(t, seed, m.run(t, generate(seed), nil)) {
						return
					}
				}
			})
		}
	})
	ran := next.Load() - first
	t.Logf("%d seeds, %.1f/s", ran, float64(ran)/time.Since(began).Seconds())
}

// number reads a number from the environment, 0 if there is none.
func number(t *testing.T, name string) uint64 {
	text := os.Getenv(name)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// holds says whether a seed's world was in order; if not, it shrinks the scenario
// and fails.
func (m *machine) holds(t *testing.T, seed uint64, w *world) bool {
	t.Helper()
	if len(w.faults) == 0 {
		return true
	}
	small, n := m.shrink(t, w, time.Now().Add(shrinkFor))
	t.Errorf("seed %d broke a promise: %v (and %d more)\nagain with: make sim SEED=%d\nshrunk in %d runs to %v:\n%v\n%s",
		seed, w.faults[0], len(w.faults)-1, seed, n, small.faults[0], small.sc, small.tale())
	return false
}

// TestASeedIsTheSameAgain runs seeds twice and compares what peers received when.
func TestASeedIsTheSameAgain(t *testing.T) {
	m := newMachine(t)
	differ := 0
	const seeds = seedsTwice
	for seed := uint64(1); seed <= seeds; seed++ {
		one, two := m.run(t, generate(seed), nil), m.run(t, generate(seed), nil)
		if one.tale() != two.tale() {
			differ++
			t.Logf("seed %d came out in another way", seed)
		}
	}
	// Go's scheduler has the last word on what happens at the very same moment.
	if differ > max(seeds/10, 2) {
		t.Errorf("%d of %d seeds came out in another way the second time: failures can't be replayed", differ, seeds)
	}
}

// TestFailuresShrink wants of a failure no more than what makes it fail.
func TestFailuresShrink(t *testing.T) {
	m := newMachine(t)
	mutations := mutations()
	mu := &mutations[slices.IndexFunc(mutations, func(m mutation) bool { return m.name == "retries are never due" })]
	w := m.run(t, generate(mu.seed), mu)
	small, _ := m.shrink(t, w, time.Time{}) // on a slow machine as well
	if len(small.faults) == 0 || small.faults[0].promise != w.faults[0].promise {
		t.Fatalf("%v became %v", w.faults, small.faults)
	}
	there := 0
	for _, target := range small.sc.targets {
		if !target.absent {
			there++
		}
	}
	if there > 3 || len(small.sc.steps) > 2 {
		t.Errorf("a delivery that is never sent again needs few targets and one update, not this:\n%v", small.sc)
	}
}
