package simulate

import (
	"os"
	"strconv"
	"testing"
	"time"
)

func TestSimulate(t *testing.T) {
	m := newMachine(t)
	from, n := 1, 100
	if s, err := strconv.Atoi(os.Getenv("TOCSIN_SIM_SEED")); err == nil {
		from, n = s, 1
	}
	if s, err := strconv.Atoi(os.Getenv("TOCSIN_SIM_SEEDS")); err == nil {
		n = s
	}
	began := time.Now()
	bad := 0
	for seed := from; seed < from+n; seed++ {
		one := time.Now()
		w := m.run(t, generate(uint64(seed)), nil)
		if d := time.Since(one); d > 300*time.Millisecond {
			t.Logf("seed %d took %v, broker %v calm %v", seed, d, w.sc.broker, w.sc.calm)
		}
		if len(w.faults) > 0 {
			bad++
			t.Errorf("seed %d: %d faults: %s", seed, len(w.faults), w.faults[0])
			if bad > 20 {
				break
			}
		}
	}
	t.Logf("%v a seed", time.Since(began)/time.Duration(n))
}
