package soak

import "time"

// Sample is what the engine holds at one moment.
type Sample struct {
	// AtS is in seconds since the load began.
	AtS float64 `json:"at_s"`
	// Rest says that there was no load and no fault, and that garbage was collected:
	// such samples make the series.
	Rest  bool    `json:"rest,omitempty"`
	RSSMB float64 `json:"rss_mb"`
	// HeapMB is what was reachable after the last garbage collection, as the goal of
	// the next one tells it; what has been allocated since is no part of it.
	HeapMB     float64 `json:"heap_mb"`
	Goroutines float64 `json:"goroutines"`
	// Files counts open descriptors, Connections the outbound connections among them,
	// idle ones too.
	Files       float64 `json:"files"`
	Connections float64 `json:"connections"`
	// WALMB and StoreMB are the sizes of the store's log and of the store.
	WALMB   float64 `json:"wal_mb"`
	StoreMB float64 `json:"store_mb"`
	// Open counts the open deliveries of the ledger, Batches those and the events in
	// the queues, Lanes the deliveries that wait in lanes.
	Open    float64 `json:"open"`
	Batches float64 `json:"batches"`
	Lanes   float64 `json:"lanes"`
	// CPUS is the engine's CPU time since the load began, in seconds.
	CPUS float64 `json:"cpu_s"`
	// Ended counts the deliveries that have an outcome, since the start.
	Ended float64 `json:"ended"`
}

// The verdicts on a series.
const (
	// Flat: with 99 % confidence it grows by less than the limit.
	Flat = "flat"
	// Unclear: it may grow by more than the limit, or not at all: the run was too
	// short, or the figure too unsteady, to tell.
	Unclear = "unclear"
	// Grows: with 99 % confidence it grows by more than the limit.
	Grows = "grows"
	// TooShort: there are too few samples.
	TooShort = "too short"
	// NotJudged: it has to grow.
	NotJudged = "not judged"
)

// Series is one figure over the run.
type Series struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
	// First and Last are those of the rests that count, or of all samples if none
	// does; Peak is the most of all samples.
	First float64 `json:"first"`
	Last  float64 `json:"last"`
	Peak  float64 `json:"peak"`
	// Trend is null if the run was too short.
	Trend *Trend `json:"trend"`
	// Limit is the growth in an hour that is still called flat, or what a run of
	// this length can tell from none, if that is more; 0 without one.
	Limit   float64 `json:"limit_per_hour"`
	Verdict string  `json:"verdict"`
}

// figure is how a series is made.
type figure struct {
	name, unit string
	of         func(*Sample) float64
	// limit is the growth in an hour that is still called flat, 0 if it has to grow.
	limit float64
	// from, if set, says whether a sample counts.
	from func(*Sample) bool
}

// cached is the size from which the store is larger than what SQLite caches of it for
// writing, in MB: until then, memory grows with the store.
const cached = 36

func outgrown(s *Sample) bool { return s.StoreMB >= cached }

// telling is the part of a figure that it has to grow by, between the first and the
// last point, to be told from one that moves a little: memory comes in pieces.
const telling = 0.05

// figures are what is judged. A limit is what an engine could bear for weeks, not
// zero: an allocator and a page cache move by some megabytes within an hour.
func figures() []figure {
	return []figure{
		{"rss", "MB", func(s *Sample) float64 { return s.RSSMB }, 32, outgrown},
		{"heap", "MB", func(s *Sample) float64 { return s.HeapMB }, 12, nil},
		{"goroutines", "", func(s *Sample) float64 { return s.Goroutines }, 120, nil},
		{"files", "", func(s *Sample) float64 { return s.Files }, 120, nil},
		{"wal", "MB", func(s *Sample) float64 { return s.WALMB }, 32, nil},
		{"open", "", func(s *Sample) float64 { return s.Open }, 10_000, nil},
		{"batches", "", func(s *Sample) float64 { return s.Batches }, 600, nil},
		{"store", "MB", func(s *Sample) float64 { return s.StoreMB }, 0, nil},
	}
}

// judge makes the series of a run.
func judge(samples []Sample) (all []Series) {
	var length time.Duration
	if n := len(samples); n > 0 {
		length = time.Duration(samples[n-1].AtS * float64(time.Second))
	}
	for _, f := range figures() {
		s := Series{Name: f.name, Unit: f.unit, Limit: f.limit}
		var points []reading
		warm := warmUp(length)
		for i := range samples {
			now := &samples[i]
			s.Peak = max(s.Peak, f.of(now))
			at := time.Duration(now.AtS * float64(time.Second))
			if now.Rest && at >= warm && (f.from == nil || f.from(now)) {
				points = append(points, reading{at, f.of(now)})
			}
		}
		switch {
		case len(points) == 0 && len(samples) > 0: // nothing counts yet
			s.First, s.Last = f.of(&samples[0]), f.of(&samples[len(samples)-1])
		case len(points) > 0:
			s.First, s.Last = points[0].value, points[len(points)-1].value
		}
		s.Trend = trend(points)
		if s.Trend != nil && f.limit > 0 {
			s.Limit = max(f.limit, telling*s.First/(points[len(points)-1].at-points[0].at).Hours())
		}
		s.Verdict = verdictOn(s.Trend, s.Limit)
		all = append(all, s)
	}
	return all
}

func verdictOn(t *Trend, limit float64) string {
	switch {
	case limit == 0:
		return NotJudged
	case t == nil:
		return TooShort
	case t.Low > limit:
		return Grows
	case t.High > limit:
		return Unclear
	}
	return Flat
}
