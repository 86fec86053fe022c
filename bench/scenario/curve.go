package scenario

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/tocsin/tocsin/bench/result"
	"github.com/tocsin/tocsin/bench/sink"
)

// percents are the points of a distribution that results keep.
var percents = [...]float64{0, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.99, 100}

func quantiles(h *hdrhistogram.Histogram) []result.Quantile {
	if h.TotalCount() == 0 {
		return nil
	}
	all := make([]result.Quantile, len(percents))
	for i, p := range percents {
		all[i] = result.Quantile{Percent: p, MS: float64(h.ValueAtPercentile(p)) / 1000}
	}
	return all
}

// timeline collects how deliveries came in over the time that is measured: updates
// that follow each other join end to end.
type timeline struct {
	points  []result.Progress
	elapsed float64
	count   int
}

// pointsPerUpdate is how fine the curve is.
const pointsPerUpdate = 50

func (t *timeline) add(r *sink.Record, sequence, targets int, since time.Time, wall time.Duration, of func(int) bool) {
	var slots [pointsPerUpdate]int
	r.Each(sequence, targets, of, func(at time.Time) {
		slot := int(float64(at.Sub(since)) / float64(max(wall, 1)) * pointsPerUpdate)
		slots[min(max(slot, 0), pointsPerUpdate-1)]++
	})
	for i, n := range slots {
		t.count += n
		t.points = append(t.points, result.Progress{
			AtS: result.Round(t.elapsed + wall.Seconds()*float64(i+1)/pointsPerUpdate), Count: t.count})
	}
	t.elapsed += wall.Seconds()
}
