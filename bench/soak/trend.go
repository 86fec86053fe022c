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
	// mostPoints bounds the work, and leastPoints is what a trend needs.
	mostPoints  = 500
	leastPoints = 8
	// warmUpMost bounds the time before rests count, which is a third of the run:
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
func warmUp(length time.Duration) time.Duration { return min(length/3, warmUpMost) }

// trend returns the growth from point to point, nil if there are too few to tell.
func trend(points []reading) *Trend {
	for len(points) > mostPoints { // an even half of them says the same
		half := make([]reading, 0, len(points)/2)
		for i := 0; i+1 < len(points); i += 2 {
			half = append(half, points[i])
		}
		points = half
	}
	n := len(points)
	if n < leastPoints {
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
