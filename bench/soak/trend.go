package soak

import (
	"math"
	"slices"
	"time"
)

// Trend is how a figure grows, by Theil and Sen: the median of the slopes between all
// pairs of points, which some wild ones don't move. Low and High bound it with 99 %
// confidence (Sen 1968).
type Trend struct {
	PerHour float64 `json:"per_hour"`
	Low     float64 `json:"low"`
	High    float64 `json:"high"`
}

const (
	// binWidth is the least time that one point stands for, which has the least of
	// its samples: what a fault does for seconds is not growth, and what is lost for
	// good is there at the quietest moment too.
	binWidth = 10 * time.Second
	// mostBins bounds the work, and leastBins is what a trend needs.
	mostBins  = 60
	leastBins = 8
	// warmUpMost bounds the time before samples count, which is half of the run:
	// pools, caches and idle connections fill first.
	warmUpMost = 10 * time.Minute
	// confidence is that of Low and High, in standard deviations.
	confidence = 2.576
)

// reading is a figure at a time.
type reading struct {
	at    time.Duration // since the run began
	value float64
}

// warmUp is how much of the beginning of a run does not count.
func warmUp(length time.Duration) time.Duration { return min(length/2, warmUpMost) }

// binned returns the least of each stretch of time, from when the engine was warm. A
// last stretch that is less than half there is left out.
func binned(all []reading) (points []reading) {
	if len(all) == 0 {
		return nil
	}
	end := all[len(all)-1].at
	from := max(warmUp(end), all[0].at)
	width := max(binWidth, (end-from)/mostBins)
	var values []float64
	flush := func() {
		if len(values) > 0 {
			points = append(points, reading{from + width/2, slices.Min(values)})
		}
		values = values[:0]
	}
	for _, r := range all {
		if r.at < from {
			continue
		}
		for r.at >= from+width {
			flush()
			from += width
		}
		values = append(values, r.value)
	}
	if end >= from+width/2 {
		flush()
	}
	return points
}

// trend returns the growth from point to point, nil if there are too few to tell.
func trend(points []reading) *Trend {
	n := len(points)
	if n < leastBins {
		return nil
	}
	slopes := make([]float64, 0, n*(n-1)/2)
	for i, a := range points {
		for _, b := range points[i+1:] {
			slopes = append(slopes, (b.value-a.value)/(b.at-a.at).Hours())
		}
	}
	slices.Sort(slopes)
	spread := confidence * math.Sqrt(float64(n*(n-1)*(2*n+5))/18)
	at := func(place float64) float64 {
		return slopes[min(max(int(math.Round(place)), 0), len(slopes)-1)]
	}
	pairs := float64(len(slopes))
	return &Trend{PerHour: median(slopes), Low: at((pairs-spread)/2 - 1), High: at((pairs + spread) / 2)}
}

// median sorts the values.
func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	if n%2 == 1 {
		return values[n/2]
	}
	return (values[n/2-1] + values[n/2]) / 2
}
