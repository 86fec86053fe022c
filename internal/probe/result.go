package probe

import (
	"math"
	"time"

	"github.com/tocsin/tocsin/incident"
)

// Result is what one probe saw.
type Result struct {
	// Service is what was probed; it becomes the component of an incident.
	Service string
	// Location is where the probe stands.
	Location string
	OK       bool
	// Latency counts for successes alone; 0 if it wasn't measured.
	Latency time.Duration
	// At is when the probe looked.
	At time.Time
	// Weight is how much the location's vote counts, in thousandths.
	Weight int64
}

// Weights are kept in thousandths, so that half of a sum is exact.
const (
	WeightOne = 1000
	MaxWeight = 1000 * WeightOne
)

// Limits of a result.
const (
	// MaxAhead is how far a result's time may be ahead of ours.
	MaxAhead = time.Minute
	// MaxName is the length of a service's or location's name in bytes.
	MaxName = 128
)

// WeightOf turns a weight as people write it, such as 1 or 0.5, into thousandths. Its
// error is an [*incident.Invalid].
func WeightOf(weight float64) (int64, error) {
	thousandths := math.Round(weight * WeightOne)
	if !(thousandths >= 1 && thousandths <= MaxWeight) { // NaN is neither
		return 0, &incident.Invalid{Field: "weight", Reason: "must be from 0.001 to 1000"}
	}
	return int64(thousandths), nil
}
