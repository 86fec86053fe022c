package report

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/tocsin/tocsin/bench/result"
	"github.com/tocsin/tocsin/bench/run"
)

const curveHeight = 210

// nines is where a percentile lies: 0 at none, 1 at 90 %, 2 at 99 %. The worst of n
// is where one of n is beyond.
func nines(percent float64, n int) float64 {
	last := math.Log10(float64(max(n, 10)))
	if percent >= 100 {
		return last
	}
	return min(-math.Log10(1-percent/100), last)
}

// distribution is a round's, cleaned: rising percentiles that so many deliveries can
// tell apart.
func distribution(m *result.Measurement) (all []result.Quantile) {
	sorted := slices.SortedStableFunc(slices.Values(m.Latency), func(a, b result.Quantile) int { return cmp.Compare(a.Percent, b.Percent) })
	for _, q := range sorted {
		beyond := float64(m.Deliveries) * (1 - q.Percent/100)
		if q.Percent >= 0 && q.Percent <= 100 && usable(q.MS) > 0 && (q.Percent == 100 || m.Deliveries <= 0 || beyond >= 1) {
			all = append(all, q)
		}
	}
	return all
}

// latencyChart shows the distributions of all rounds, the one in the middle strong,
// and what is known of the floors; nil if the engine has none.
func latencyChart(s *result.Scenario) *chart {
	most, far := 0.0, 1.0
	for _, side := range sides(s) {
		most = max(most, figure(&side.Figures, result.P99MS), figure(&side.Figures, result.P50MS))
		for _, m := range present(side.Rounds) {
			for _, q := range distribution(m) {
				most, far = max(most, q.MS), max(far, nines(q.Percent, m.Deliveries))
			}
		}
	}
	if most == 0 || s.Engine == nil || !timed(s.Engine) {
		return nil
	}
	if s.Floor != nil || figure(&s.Engine.Figures, result.P99MS) > 0 {
		far = max(far, 2)
	}
	c, a := frame("Latency by percentile", "ms", curveHeight, most)
	a.x = scale{far * 1.03, a.left, a.right}
	for _, mark := range []struct {
		percent float64
		text    string
	}{{0, "0"}, {50, "50"}, {90, "90"}, {99, "99"}, {99.9, "99.9"}, {99.99, "99.99"}, {99.999, "99.999"}} {
		if x := nines(mark.percent, math.MaxInt); x <= far {
			c.line("grid", a.x.at(x), a.top, a.x.at(x), a.bottom)
			c.text("tick", "middle", a.x.at(x), a.bottom+14, mark.text)
		}
	}
	c.text("axis", "end", a.right, a.bottom+28, "percent of deliveries that took at most so long")
	for _, side := range append(present(append([]*result.Side{s.Floor}, s.Others...)), s.Engine) {
		class := "engine"
		if side != s.Engine {
			class = "floor"
		}
		if !c.distributions(&a, side, class, s.RatioOf) {
			c.quantileDots(&a, side, class)
		}
	}
	return c
}

// timed reports whether anything is known of how long deliveries took.
func timed(side *result.Side) bool {
	return figure(&side.Figures, result.P50MS) > 0 || figure(&side.Figures, result.P99MS) > 0 ||
		slices.ContainsFunc(present(side.Rounds), func(m *result.Measurement) bool { return len(distribution(m)) > 0 })
}

func (c *chart) distributions(a *area, side *result.Side, class, of string) (any bool) {
	middle := typical(side, of)
	draw := func(m *result.Measurement, class string) bool {
		var points []point
		for _, q := range distribution(m) {
			points = append(points, point{a.x.at(nines(q.Percent, m.Deliveries)), a.y.at(q.MS)})
		}
		c.path(class, points, side.Name)
		return len(points) > 0
	}
	for _, m := range present(side.Rounds) {
		if m != middle && draw(m, "curve faint "+class) {
			c.key("curve faint "+class, clip(side.Name, 24)+", other rounds")
		}
	}
	if middle != nil && draw(middle, "curve "+class) {
		c.key("curve "+class, clip(side.Name, 24))
		return true
	}
	return false
}

// quantileDots is for sides whose distribution was not kept.
func (c *chart) quantileDots(a *area, side *result.Side, class string) {
	for _, q := range []struct {
		percent, ms float64
		name        string
	}{{50, figure(&side.Figures, result.P50MS), "p50"}, {99, figure(&side.Figures, result.P99MS), "p99"}} {
		if q.ms > 0 {
			c.dot(class, a.x.at(nines(q.percent, math.MaxInt)), a.y.at(q.ms), fmt.Sprintf("%s, %s: %s ms", side.Name, q.name, number(q.ms)))
			c.key("dot "+class, clip(side.Name, 24)+": p50 and p99")
		}
	}
}

func memoryChart(s *result.Scenario) *chart {
	return overTime(s, "Memory over time", "resident MB", func(sample run.Sample) float64 { return sample.RSSMB })
}

func filesChart(s *result.Scenario) *chart {
	return overTime(s, "Descriptors over time", "open descriptors", func(sample run.Sample) float64 { return float64(sample.FDs) })
}

// curve is one process over the time of a round.
type curve struct {
	name, class string
	samples     []run.Sample
}

// overTime shows each process in the round in the middle: those of the engine's
// round, and of the floor's the floor. nil if there are no samples.
func overTime(s *result.Scenario, label, yName string, of func(run.Sample) float64) *chart {
	var curves []curve
	for _, side := range []*result.Side{s.Floor, s.Engine} {
		if side == nil {
			continue
		}
		m := typical(side, s.RatioOf)
		if m == nil {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(m.Processes)) {
			known := curve{processName(name), class(name), m.Processes[name].Series}
			if side != s.Engine {
				if processName(name) == peers {
					continue // much as in the engine's round
				}
				known.name, known.class = side.Name+" (floor)", "floor"
			}
			curves = append(curves, known)
		}
	}
	most, end := 0.0, 0.0
	for _, k := range curves {
		for _, sample := range k.samples {
			most, end = max(most, usable(of(sample))), max(end, usable(sample.AtS))
		}
	}
	if most == 0 {
		return nil
	}
	c, a := frame(label, yName, curveHeight, most)
	c.xAxis(&a, "seconds", max(end, 1e-3))
	for _, k := range curves {
		var points []point
		for _, sample := range thinned(k.samples, of) {
			if v := usable(of(sample)); v > 0 {
				points = append(points, point{a.x.at(sample.AtS), a.y.at(v)})
			}
		}
		if len(points) > 0 {
			c.path("curve "+k.class, points, k.name)
			c.key("curve "+k.class, clip(k.name, 24))
		}
	}
	return c
}

// mostPoints is how many points a curve has: more can't be seen.
const mostPoints = 150

// thinned keeps the highest of each stretch: peaks are what matters.
func thinned(samples []run.Sample, of func(run.Sample) float64) []run.Sample {
	sorted := slices.SortedStableFunc(slices.Values(samples), func(a, b run.Sample) int { return cmp.Compare(a.AtS, b.AtS) })
	if len(sorted) <= mostPoints {
		return sorted
	}
	var kept []run.Sample
	for i := range mostPoints {
		stretch := sorted[i*len(sorted)/mostPoints : (i+1)*len(sorted)/mostPoints]
		kept = append(kept, slices.MaxFunc(stretch, func(a, b run.Sample) int { return cmp.Compare(of(a), of(b)) }))
	}
	return kept
}
