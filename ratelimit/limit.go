// Package ratelimit keeps a provider's rate and burst: within any stretch of t
// seconds a [Bucket] lets at most burst + rate × t through.
//
// The algorithm is the generic cell rate algorithm of ITU-T I.371 in its
// leaky-bucket form: a level and the time it was true, nothing that ticks. It is
// pure: `now` is passed in, so virtual time drives it as well as a clock does, and
// one goroutine owns each bucket (in the dispatcher, the scheduler owns those of
// all lanes). A process that may share a provider with its own dead predecessor
// starts from [NewEmpty], since nobody knows what that one has just sent.
package ratelimit

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// Limit is what a provider allows: PerSecond tokens a second on the average and up
// to Burst at once.
type Limit struct {
	PerSecond float64
	Burst     int
}

const (
	maxPerSecond = 1e6
	maxBurst     = 1e6

	// longest bounds every wait, and the time an empty bucket may take to fill.
	longest = 365 * 24 * time.Hour
)

// Valid reports whether a bucket can keep l: at most 1,000,000 tokens per second,
// a burst of 1 to 1,000,000, and an empty bucket full again within a year.
func (l Limit) Valid() bool {
	return l.PerSecond > 0 && l.PerSecond <= maxPerSecond && l.Burst >= 1 && l.Burst <= maxBurst &&
		float64(l.Burst)/l.PerSecond <= longest.Seconds()
}

var errRate = errors.New(`a rate is a decimal number above 0, a slash and s, m or h, such as "100/s", "600/m" or "5000/h", ` +
	`of at most 1,000,000 per second`)

// ParseRate reads a rate per second ("100/s"), minute ("600/m") or hour
// ("5000/h") and returns it per second. The number may have decimals ("0.5/s"), but
// no sign and no exponent.
func ParseRate(s string) (perSecond float64, err error) {
	number, unit, _ := strings.Cut(strings.TrimSpace(s), "/")
	seconds, ok := map[string]float64{"s": 1, "m": 60, "h": 3600}[unit]
	if !ok || strings.Trim(number, "0123456789.") != "" {
		return 0, errRate
	}
	n, err := strconv.ParseFloat(number, 64)
	perSecond = n / seconds
	if err != nil || !(perSecond > 0 && perSecond <= maxPerSecond) {
		return 0, errRate
	}
	return perSecond, nil
}

// wait returns the time, rounded up, in which l brings so many tokens, once the
// clock has caught up with the ns it is behind.
func (l Limit) wait(tokens float64, behind int64) time.Duration {
	ns := math.Ceil(tokens/l.PerSecond*1e9) + float64(behind)
	return time.Duration(min(ns, float64(longest)))
}
