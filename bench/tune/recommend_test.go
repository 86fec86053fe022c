package tune

import "testing"

func TestBeats(t *testing.T) {
	for name, test := range map[string]struct {
		a, b []float64
		want bool
	}{
		"better in every round":        {[]float64{110, 220, 330}, []float64{100, 200, 300}, true},
		"though rounds drift apart":    {[]float64{110, 55, 30}, []float64{100, 50, 28}, true},
		"worse":                        {[]float64{100, 200, 300}, []float64{110, 220, 330}, false},
		"equal":                        {[]float64{100, 100, 100}, []float64{100, 100, 100}, false},
		"once within the noise":        {[]float64{200, 200, 104}, []float64{100, 100, 100}, false},
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
