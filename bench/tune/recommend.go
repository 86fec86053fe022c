package tune

// Noise is by how much two trials differ though nothing was changed, as a part of the
// smaller, even on a quiet machine.
const Noise = 0.05

// enough rounds say something: two that agree are chance.
const enough = 3

// beats reports whether a is better than b beyond the noise: in every round, each time
// by more than Noise. a and b are a second, by round, of the same rounds; 0 is a round
// in which the work failed, which anything that works beats.
func beats(a, b []float64) bool {
	if len(a) < enough || len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] <= b[i]*(1+Noise) {
			return false
		}
	}
	return true
}

// recommend returns the value that the rounds speak for, -1 if no value beats another.
// rounds are by value; given is the default, -1 if that is none of the values.
//
// Whoever is beaten by nobody ties. Among those the default stays, if it is one: a
// change has to earn itself. Otherwise it is the one that is nearest to the default,
// since what lies further off buys nothing beyond the noise; without a default among
// the values, the first.
func recommend(rounds [][]float64, given int) int {
	var best []int
	decided := false
	for i := range rounds {
		beaten := false
		for k := range rounds {
			beaten = beaten || beats(rounds[k], rounds[i])
		}
		if beaten {
			decided = true
		} else {
			best = append(best, i)
		}
	}
	if !decided {
		return -1
	}
	nearest := best[0]
	for _, i := range best[1:] {
		if given >= 0 && distance(i, given) < distance(nearest, given) {
			nearest = i
		}
	}
	return nearest
}

func distance(a, b int) int { return max(a-b, b-a) }
