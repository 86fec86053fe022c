package peer

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Report is what a peer has to say of itself.
type Report struct {
	*Verdict
	// Pending counts requests without a receipt yet: held, or silent.
	Pending int `json:"pending"`
	// Refused counts connections that were reset on behalf of Refusing targets.
	Refused int `json:"refused"`
	// Invalid counts, by reason, what no receiver could have understood.
	Invalid map[string]int `json:"invalid"`
	// Latencies from request to answer, of those answered.
	Latencies Latencies `json:"latencies"`
}

// Latencies sums up a distribution, in milliseconds.
type Latencies struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`
}

// Distribution collects durations from 1 µs to 10 min with three significant
// digits; what is beyond counts as the bound. It is for one goroutine.
type Distribution struct{ h *hdrhistogram.Histogram }

const longest = 10 * time.Minute

// NewDistribution returns an empty distribution.
func NewDistribution() *Distribution {
	return &Distribution{hdrhistogram.New(1, longest.Microseconds(), 3)}
}

// Add takes a duration.
func (d *Distribution) Add(took time.Duration) {
	us := min(max(took.Microseconds(), 1), longest.Microseconds())
	if err := d.h.RecordValue(us); err != nil {
		panic("peer: a bounded duration is out of bounds: " + err.Error())
	}
}

// Merge takes everything that other holds.
func (d *Distribution) Merge(other *Distribution) { d.h.Merge(other.h) }

// Latencies sums up what was added so far.
func (d *Distribution) Latencies() Latencies {
	ms := func(us int64) float64 { return float64(us) / 1000 }
	return Latencies{Count: d.h.TotalCount(), P50: ms(d.h.ValueAtPercentile(50)),
		P99: ms(d.h.ValueAtPercentile(99)), Max: ms(d.h.Max())}
}
