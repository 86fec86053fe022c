package crash

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Loss is what one kill cost.
type Loss struct {
	// Cut counts requests in flight, Recent those accepted within a tenth of a
	// second before the kill, Forgotten those accepted before it and not
	// committed.
	Cut, Recent, Forgotten int
	// Oldest is for how long the first of those forgotten had been accepted.
	Oldest time.Duration
	// Duplicates counts what was accepted and sent again because of the kill.
	Duplicates int
}

// Bound is how many duplicates the kill explains.
func (l Loss) Bound() int { return l.Cut + l.Forgotten }

// Losses is what kills cost.
type Losses []Loss

// String shows the duplicates of each kill as a distribution, beside what bounds
// them.
func (all Losses) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-28s %6s %6s %6s\n", fmt.Sprintf("by kill, of %d", len(all)), "p50", "p90", "max")
	for _, line := range []struct {
		name string
		of   func(Loss) int
	}{
		{"sent again", func(l Loss) int { return l.Duplicates }},
		{"bound", Loss.Bound},
		{"  in flight at the kill", func(l Loss) int { return l.Cut }},
		{"  accepted, not committed", func(l Loss) int { return l.Forgotten }},
		{"  the oldest of these, ms", func(l Loss) int { return int(l.Oldest.Milliseconds()) }},
	} {
		figures := make([]int, len(all))
		for i, l := range all {
			figures[i] = line.of(l)
		}
		slices.Sort(figures)
		fmt.Fprintf(&b, "%-28s %6d %6d %6d\n", line.name, quantile(figures, 0.5), quantile(figures, 0.9), quantile(figures, 1))
	}
	b.WriteString("sent again  kills\n")
	b.WriteString(all.bars())
	return strings.TrimSuffix(b.String(), "\n")
}

// quantile is the smallest figure that so many are not above; 0 of nothing.
func quantile(sorted []int, q float64) int {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(int(math.Ceil(q*float64(len(sorted))))-1, 0)]
}

// bars has one for none, and one for each range of duplicates that ends at a power
// of four.
func (all Losses) bars() string {
	const width, base = 40, 4
	var counts []int
	for _, l := range all {
		at := 0
		for end := 1; l.Duplicates >= end; end *= base {
			at++
		}
		counts = append(counts, make([]int, max(0, at+1-len(counts)))...)
		counts[at]++
	}
	var b strings.Builder
	from, end := 0, 1
	for _, n := range counts {
		span := strconv.Itoa(from)
		if end-1 > from {
			span = fmt.Sprintf("%d–%d", from, end-1)
		}
		bar := strings.Repeat("█", (n*width+len(all)-1)/len(all))
		b.WriteString(strings.TrimRight(fmt.Sprintf("%10s  %5d  %s", span, n, bar), " ") + "\n")
		from, end = end, end*base
	}
	return b.String()
}
