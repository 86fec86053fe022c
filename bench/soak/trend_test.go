package soak

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// restsAt is between two rests of samplesOf, in seconds.
const restsAt = 25

// samplesOf makes a run of so many seconds of which one figure is known.
func samplesOf(seconds int, set func(s *Sample, at float64, rng *rand.Rand)) []Sample {
	rng := rand.New(rand.NewPCG(1, 2))
	all := make([]Sample, seconds)
	for i := range all {
		all[i].AtS = float64(i) + rng.Float64()/10
		all[i].Rest = i%restsAt == restsAt-1
		all[i].StoreMB = cached
		set(&all[i], all[i].AtS, rng)
	}
	return all
}

func seriesNamed(t *testing.T, all []Series, name string) Series {
	t.Helper()
	for _, s := range all {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("there is no series %s", name)
	return Series{}
}

func TestWhatIsFlat(t *testing.T) {
	noise := func(rng *rand.Rand, by float64) float64 { return by * rng.NormFloat64() }
	for _, test := range []struct {
		name    string
		series  string
		seconds int
		set     func(s *Sample, at float64, rng *rand.Rand)
		want    string
	}{
		{"a steady engine", "goroutines", 600, func(s *Sample, _ float64, rng *rand.Rand) { s.Goroutines = 80 + noise(rng, 1) }, Flat},
		{"one that never moves", "wal", 600, func(s *Sample, _ float64, _ *rand.Rand) { s.WALMB = 4 }, Flat},
		{"a goroutine lost in every fault", "goroutines", 600, func(s *Sample, at float64, rng *rand.Rand) {
			s.Goroutines = 80 + math.Floor(at/5) + noise(rng, 2)
		}, Grows},
		{"a kilobyte lost for each of 100 deliveries a second", "rss", 600, func(s *Sample, at float64, rng *rand.Rand) {
			s.RSSMB = 60 + at*100/1024 + noise(rng, 2)
		}, Grows},
		{"a file lost in ten seconds", "files", 600, func(s *Sample, at float64, rng *rand.Rand) {
			s.Files = 300 + math.Floor(at/10) + noise(rng, 3)
		}, Grows},
		{"a log that no checkpoint ends", "wal", 600, func(s *Sample, at float64, rng *rand.Rand) { s.WALMB = at / 5 }, Grows},
		{"an engine that falls behind", "open", 600, func(s *Sample, at float64, rng *rand.Rand) { s.Open = 10*at + noise(rng, 300) }, Grows},
		{"a leak that hides among faults", "rss", 600, func(s *Sample, at float64, rng *rand.Rand) {
			s.RSSMB = 60 + at/30 + noise(rng, 1)
			if !s.Rest && int(at)%30 < 5 {
				s.RSSMB += 25
			}
		}, Grows},
		{"faults that come and go", "files", 600, func(s *Sample, at float64, rng *rand.Rand) {
			s.Files = 300 + noise(rng, 2)
			if !s.Rest && int(at)%30 < 10 {
				s.Files += 400
			}
		}, Flat},
		{"a garbage collector", "rss", 600, func(s *Sample, at float64, rng *rand.Rand) {
			s.RSSMB = 60
			if !s.Rest {
				s.RSSMB += math.Mod(at, 7)
			}
		}, Flat},
		{"a cache that fills with the store", "rss", 600, func(s *Sample, at float64, rng *rand.Rand) {
			s.StoreMB = at / 10
			s.RSSMB = 60 + min(s.StoreMB, 32) + noise(rng, 0.3)
		}, Flat},
		{"a store that is all in the cache", "rss", 600, func(s *Sample, at float64, rng *rand.Rand) {
			s.StoreMB = at / 100
			s.RSSMB = 60 + s.StoreMB
		}, TooShort},
		{"pools that fill at first", "rss", 600, func(s *Sample, at float64, rng *rand.Rand) {
			s.RSSMB = 90 - 40*math.Exp(-at/40) + noise(rng, 0.3)
		}, Flat},
		{"growth that weeks can bear", "rss", 3600, func(s *Sample, at float64, rng *rand.Rand) {
			s.RSSMB = 60 + 5*at/3600 + noise(rng, 1)
		}, Flat},
		{"what only a longer run could tell", "goroutines", 600, func(s *Sample, _ float64, rng *rand.Rand) {
			s.Goroutines = 300 + noise(rng, 60)
		}, Unclear},
		{"a run of two minutes", "goroutines", 120, func(s *Sample, at float64, rng *rand.Rand) { s.Goroutines = 10 * at }, TooShort},
		{"a store that keeps its rows", "store", 600, func(s *Sample, at float64, rng *rand.Rand) { s.StoreMB = at }, NotJudged},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := seriesNamed(t, judge(samplesOf(test.seconds, test.set)), test.series)
			if s.Verdict != test.want {
				t.Errorf("%s: it is %q, want %q (%+v)", test.series, s.Verdict, test.want, s.Trend)
			}
			r := &Result{Promises: newPromises(), Series: []Series{s}}
			if failed := r.Verdict() != nil; failed != (test.want == Grows) {
				t.Errorf("the verdict is %v", r.Verdict())
			}
			sure := test.want == Flat || test.want == NotJudged
			if praise := r.Praise(); test.want != Grows && strings.Contains(praise, test.series) == sure {
				t.Errorf("it is praised: %s", praise)
			}
		})
	}
}

func TestTrendIsTheSlope(t *testing.T) {
	var all []reading
	for i := range 3 * mostPoints {
		at := time.Duration(i) * 20 * time.Second
		all = append(all, reading{at, 3 * at.Hours()})
	}
	for _, n := range []int{leastPoints, 24, len(all)} {
		got := trend(all[:n])
		if got == nil || math.Abs(got.PerHour-3) > 1e-6 || got.Low > 3+1e-6 || got.High < 3-1e-6 {
			t.Errorf("a growth of 3 in an hour is taken for %+v", got)
		}
	}
	if trend(nil) != nil || trend(all[:leastPoints-1]) != nil {
		t.Error("nothing has a trend")
	}
}
