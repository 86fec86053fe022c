package tune

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/bench/result"
)

func TestBeats(t *testing.T) {
	for name, test := range map[string]struct {
		a, b []float64
		want bool
	}{
		"better in every round":        {[]float64{110, 112, 111}, []float64{100, 102, 101}, true},
		"less than rounds drift":       {[]float64{110, 220, 330}, []float64{100, 200, 300}, false},
		"more than rounds drift":       {[]float64{300, 330, 390}, []float64{100, 110, 130}, true},
		"a spread of the worse":        {[]float64{150, 150, 150}, []float64{100, 40, 100}, false},
		"worse":                        {[]float64{100, 200, 300}, []float64{110, 220, 330}, false},
		"equal":                        {[]float64{100, 100, 100}, []float64{100, 100, 100}, false},
		"once within the noise":        {[]float64{110, 110, 104}, []float64{100, 100, 100}, false},
		"just the noise":               {[]float64{105, 105, 105}, []float64{100, 100, 100}, false},
		"just beyond the noise":        {[]float64{105.1, 105.1, 105.1}, []float64{100, 100, 100}, true},
		"two rounds say nothing":       {[]float64{300, 300}, []float64{100, 100}, false},
		"no round says nothing":        {nil, nil, false},
		"one that works, one that not": {[]float64{1, 1, 1}, []float64{0, 0, 0}, true},
		"neither works":                {[]float64{0, 0, 0}, []float64{0, 0, 0}, false},
		"rounds that don't match":      {[]float64{200, 200, 200}, []float64{100, 100, 100, 100}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := beats(test.a, test.b); got != test.want {
				t.Errorf("%v against %v: %v", test.a, test.b, got)
			}
		})
	}
}

func TestRecommend(t *testing.T) {
	steady := func(rate float64) []float64 { return []float64{rate, rate, rate} }
	noisy := []float64{200, 100, 100} // is as good as 100, or as 200
	for name, test := range map[string]struct {
		rounds [][]float64
		given  int
		want   int
	}{
		"all the same":                        {[][]float64{steady(100), steady(101), steady(99)}, 1, -1},
		"one value":                           {[][]float64{steady(100)}, 0, -1},
		"a winner":                            {[][]float64{steady(100), steady(200), steady(150)}, 0, 1},
		"the default wins":                    {[][]float64{steady(100), steady(200), steady(150)}, 1, 1},
		"the default ties with the best":      {[][]float64{steady(50), steady(100), steady(103)}, 1, 1},
		"ties: the nearest above the default": {[][]float64{steady(50), steady(60), steady(100), steady(103)}, 1, 2},
		"ties: the nearest below the default": {[][]float64{steady(103), steady(100), steady(60), steady(50)}, 3, 1},
		"ties: the lower of two neighbours":   {[][]float64{steady(100), steady(50), steady(100)}, 1, 0},
		"noise is no win over the default":    {[][]float64{steady(10), steady(100), noisy}, 1, 1},
		"a tie that beats nobody":             {[][]float64{{90, 150, 150}, steady(100), steady(120)}, 1, 2},
		"no default: the first that does":     {[][]float64{steady(10), steady(100), steady(101)}, -1, 1},
		"what failed is not recommended":      {[][]float64{steady(0), steady(10)}, 0, 1},
		"all failed":                          {[][]float64{steady(0), steady(0)}, 0, -1},
		"too few rounds":                      {[][]float64{{1, 1}, {9, 9}}, 0, -1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := recommend(test.rounds, test.given); got != test.want {
				t.Errorf("value %d, want %d", got, test.want)
			}
		})
	}
}

// chances runs many sweeps of six values whose rounds scatter by 20 %, the last value
// being so much better, and counts those that recommend another value than the default.
func chances(t *testing.T, rounds int, better float64) (changes int) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		measure := func(_ context.Context, trial Trial) (*result.Measurement, error) {
			rate := max(1, 100+20*random.NormFloat64())
			if asked(trial) == "a=6" {
				rate *= better
			}
			return at(rate), nil
		}
		file, _, err := tune(t, rounds, measure, sweepOf("a", "3", "1", "2", "3", "4", "5", "6"))
		if err != nil {
			t.Fatal(err)
		}
		if r := file.Sweeps[0].Recommended; r != "" && r != "3" {
			changes++
		}
	}
	return changes
}

// TestChanceSeldomChangesADefault tries settings that make no difference, and one that
// does.
func TestChanceSeldomChangesADefault(t *testing.T) {
	if n := chances(t, 3, 1); n > 0 {
		t.Errorf("three rounds changed a default %d times of 300", n)
	}
	if n := chances(t, 5, 1); n > 6 {
		t.Errorf("five rounds changed a default without a reason %d times of 300", n)
	}
	if n := chances(t, 5, 3); n < 270 {
		t.Errorf("five rounds found what is three times as good %d times of 300", n)
	}
}

func TestThreeRoundsAskForMore(t *testing.T) {
	measure := func(_ context.Context, trial Trial) (*result.Measurement, error) {
		if asked(trial) == "a=2" {
			return at(200), nil
		}
		return at(100), nil
	}
	for rounds, want := range map[int]string{3: "", 4: "", 5: "2"} {
		file, _, err := tune(t, rounds, measure, sweepOf("a", "1", "1", "2"))
		if err != nil {
			t.Fatal(err)
		}
		a := file.Sweeps[0]
		hint := slices.ContainsFunc(a.Notes, func(note string) bool { return strings.Contains(note, "--sweeps a --rounds 5") })
		if a.Recommended != want || hint != (want == "") {
			t.Errorf("after %d rounds %q, %q", rounds, a.Recommended, a.Notes)
		}
	}
}
