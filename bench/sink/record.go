package sink

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Record is everything that a sink saw: pure data, from which lost deliveries and
// latencies are computed.
type Record struct {
	Counts
	// Answers has, by sequence and then by target, both from 0, when it was
	// answered 2xx: in microseconds since Begun, plus 1; 0 if it was not.
	Answers [][]uint32
}

// Everyone is the choice of all targets.
func Everyone(int) bool { return true }

// at returns when a delivery was answered.
func (r *Record) at(answer uint32) time.Time {
	return r.Begun.Add(time.Duration(answer-1) * time.Microsecond)
}

// Lost counts the targets from 1 to the last, of those chosen, that did not answer
// a sequence with 2xx.
func (r *Record) Lost(sequence, last int, of func(target int) bool) (lost int) {
	for i, answer := range r.Answers[sequence-1][:last] {
		if answer == 0 && of(i+1) {
			lost++
		}
	}
	return lost
}

// Span returns when the first and the last of the chosen targets answered, and
// how many did.
func (r *Record) Span(sequence, last int, of func(target int) bool) (first, end time.Time, n int) {
	var low, high uint32
	for i, answer := range r.Answers[sequence-1][:last] {
		if answer == 0 || !of(i+1) {
			continue
		}
		if n++; n == 1 || answer < low {
			low = answer
		}
		high = max(high, answer)
	}
	if n == 0 {
		return time.Time{}, time.Time{}, 0
	}
	return r.at(low), r.at(high), n
}

// Each calls f with when each of the chosen targets answered.
func (r *Record) Each(sequence, last int, of func(target int) bool, f func(at time.Time)) {
	for i, answer := range r.Answers[sequence-1][:last] {
		if answer != 0 && of(i+1) {
			f(r.at(answer))
		}
	}
}

// Latencies adds to h, in microseconds, how long after a moment each of the chosen
// targets answered. What was answered before counts as 0.
func (r *Record) Latencies(h *hdrhistogram.Histogram, sequence, last int, since time.Time, of func(target int) bool) {
	r.Each(sequence, last, of, func(at time.Time) {
		_ = h.RecordValue(min(max(at.Sub(since).Microseconds(), 0), h.HighestTrackableValue())) // it is within the bounds
	})
}

// NewHistogram returns a histogram of microseconds up to an hour, with three
// significant digits.
func NewHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, time.Hour.Microseconds(), 3)
}
