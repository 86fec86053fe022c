package crash

import (
	"strings"
	"testing"
	"time"
)

func TestLossesAreShownBesideTheirBound(t *testing.T) {
	var all Losses
	for n := range 10 {
		all = append(all, Loss{Cut: 10 * n, Forgotten: n, Oldest: time.Duration(n) * time.Millisecond, Duplicates: 2 * n})
	}
	const want = `by kill, of 10                  p50    p90    max
sent again                        8     16     18
bound                            44     88     99
  in flight at the kill          40     80     90
  accepted, not committed         4      8      9
  the oldest of these, ms         4      8      9
sent again  kills
         0      1  ████
       1–3      1  ████
      4–15      6  ████████████████████████
     16–63      2  ████████`
	if got := all.String(); got != want {
		t.Errorf("shown as\n%s\nwant\n%s", got, want)
	}
	if got := (Losses{}).String(); !strings.Contains(got, "of 0") {
		t.Errorf("nothing is shown as %q", got)
	}
}
