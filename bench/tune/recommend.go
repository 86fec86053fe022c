package tune

import (
	"slices"

	"github.com/tocsin/tocsin/bench/result"
)

// Noise is by how much two trials differ though nothing was changed, as a part of the
// smaller, even on a quiet machine.
const Noise = 0.05

const (
	// enough rounds say something: two that agree are chance.
	enough = 3
	// sure are as many rounds as it takes to speak against a default. A sweep has many
	// pairs of values, and where rounds scatter by 20 % one in ten sweeps of equals
	// has one that seems to beat the default in three rounds; in five, one in a
	// hundred.
	sure = 5
)

// beats reports whether a is better than b beyond the noise: in every round by more than
// Noise, and in the median by more than the spread of either. a and b are a second, by
// round, of the same rounds; 0 is a round in which the work failed, which anything that
// works beats.
func beats(a, b []float64) bool {
	if len(a) < enough || len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] <= b[i]*(1+Noise) {
			return false
		}
	}
	better, spreadA := result.Sum(a)
	worse, spreadB := result.Sum(b)
	return better > worse*(1+max(Noise, spreadA, spreadB))
}

// recommend returns the value that the rounds speak for, -1 if no value beats another.
// rounds are by value; given is the default, -1 if that is none of the values.
//
// Whoever is beaten by nobody ties. Among those the default stays, if it is one: a
// change has to earn itself. Otherwise it is the one that beats the default and is
// nearest to it, since what lies further off buys nothing beyond the noise; without a
// default among the values, the first.
func recommend(rounds [][]float64, given int) int {
	var best []int
	decided := false
	for i := range rounds {
		if slices.ContainsFunc(rounds, func(other []float64) bool { return beats(other, rounds[i]) }) {
			decided = true
		} else {
			best = append(best, i)
		}
	}
	switch {
	case !decided:
		return -1
	case given < 0:
		return best[0]
	case slices.Contains(best, given):
		return given
	}
	// Beating is transitive: somebody whom nobody beats beats the default.
	best = slices.DeleteFunc(best, func(i int) bool { return !beats(rounds[i], rounds[given]) })
	return slices.MinFunc(best, func(a, b int) int { return distance(a, given) - distance(b, given) })
}

func distance(a, b int) int { return max(a-b, b-a) }
