package result

import (
	"slices"
)

// The figures that goals, spreads and comparisons name.
const (
	PerS      = "per_s"
	WallS     = "wall_s"
	CPUS      = "cpu_s"
	PeakRSSMB = "peak_rss_mb"
	P50MS     = "p50_ms"
	P99MS     = "p99_ms"
)

// figures are all of them, in the order of tables.
var figures = [...]string{PerS, WallS, CPUS, PeakRSSMB, P50MS, P99MS}

// Figure returns a figure by its name in the file.
func (f *Figures) Figure(name string) float64 { return *f.figure(name) }

func (f *Figures) figure(name string) *float64 {
	switch name {
	case PerS:
		return &f.PerS
	case WallS:
		return &f.WallS
	case CPUS:
		return &f.CPUS
	case PeakRSSMB:
		return &f.PeakRSSMB
	case P50MS:
		return &f.P50MS
	case P99MS:
		return &f.P99MS
	}
	panic("result: there is no figure " + name)
}

// cpuMicros is the CPU time a delivery, in microseconds; 0 if it is not known.
func (s *Side) cpuMicros() float64 {
	if len(s.Rounds) == 0 {
		return 0
	}
	if n := s.Rounds[0].Deliveries; n > 0 {
		return s.CPUS / float64(n) * 1e6
	}
	return 0
}

// NewSide sums up rounds, of which there is at least one.
func NewSide(name string, rounds []*Measurement) *Side {
	s := &Side{Name: name, Spreads: make(map[string]float64), Rounds: rounds}
	for _, f := range figures {
		values := make([]float64, len(rounds))
		for i, m := range rounds {
			values[i] = *m.figure(f)
		}
		median, spread := Sum(values)
		*s.figure(f), s.Spreads[f] = Round(median), Round(spread)
	}
	return s
}

// Sum returns the median and the spread, (largest − smallest) / median, of one
// value or more.
func Sum(values []float64) (median, spread float64) {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	median = (sorted[(n-1)/2] + sorted[n/2]) / 2
	if median == 0 {
		return 0, 0
	}
	return median, (sorted[n-1] - sorted[0]) / median
}

// Round keeps three decimals: what is beyond is noise.
func Round(f float64) float64 {
	if f < 0 {
		return -Round(-f)
	}
	return float64(int64(f*1000+0.5)) / 1000
}
