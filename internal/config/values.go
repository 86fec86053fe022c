package config

import (
	"math"
	"strconv"

	"github.com/tocsin/tocsin/ratelimit"
)

// Rate is a number per second, written as [ratelimit.ParseRate] reads it.
type Rate float64

// UnmarshalText reads "100/s", "600/m" or "5000/h".
func (r *Rate) UnmarshalText(text []byte) error {
	perSecond, err := ratelimit.ParseRate(string(text))
	*r = Rate(perSecond)
	return err
}

// MarshalText writes the rate with the largest unit that needs no decimals
// beyond those of the number per second.
func (r Rate) MarshalText() ([]byte, error) {
	for _, unit := range []struct {
		seconds float64
		name    string
	}{{1, "/s"}, {60, "/m"}, {3600, "/h"}} {
		n := float64(r) * unit.seconds
		if whole := math.Round(n); whole > 0 && math.Abs(n-whole) < 1e-9*whole {
			return []byte(strconv.FormatFloat(whole, 'f', -1, 64) + unit.name), nil
		}
	}
	return []byte(strconv.FormatFloat(float64(r), 'f', -1, 64) + "/s"), nil
}

func (r Rate) twoSeconds() int { return max(1, int(2*r)) }
