package soak

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/tocsin/tocsin/bench/run"
)

const (
	// sampleEvery is between two samples.
	sampleEvery = time.Second
	// restLeast is how long nothing was open before a rest is sampled: what is kept
	// for the next piece of work is let go by then. restMost bounds the wait, and is
	// longer than breakers stay open.
	restLeast = 7 * time.Second
	restMost  = 45 * time.Second
)

// sample takes samples until ctx ends. It owns them.
func (s *soak) sample(ctx context.Context) error {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	first, ok := s.engine.Look()
	if !ok {
		return s.engine.Died()
	}
	var rest chan struct{} // one that is on
	var idle, patience time.Time
	for {
		now, ok := s.take(ctx)
		if !ok {
			if err := s.engine.Died(); err != nil {
				return unlessOver(ctx, err)
			}
		} else if !now.idle() {
			idle = time.Now()
		}
		if at := time.Now(); ok && rest != nil && (at.Sub(idle) >= s.options.restLeast || at.After(patience)) {
			if now, ok = s.collected(ctx); ok {
				close(rest)
				rest = nil
			}
		}
		if ok {
			now.CPUS = round(now.CPUS - first.CPUS)
			s.samples = append(s.samples, now)
			s.show(&now)
		}
		select {
		case <-tick.C:
		case rest = <-s.rests:
			idle = time.Now()
			patience = idle.Add(restMost)
		case <-ctx.Done():
			return nil
		}
	}
}

// rest has faults and events pause every so often once the engine is warm, until a
// sample was taken of it at rest: what faults and load make of a figure is far more than
// a leak does within minutes.
func (s *soak) rest(ctx context.Context) error {
	for next := warmUp(s.options.Length); run.Sleep(ctx, next) == nil; next = s.options.RestEvery {
		s.pause(ctx)
	}
	return nil
}

// pause has one rest.
func (s *soak) pause(ctx context.Context) {
	s.calm.Lock() // the fault that is on ends in its time, while the load goes on
	defer s.calm.Unlock()
	s.quiet.Lock()
	defer s.quiet.Unlock()
	seen := make(chan struct{})
	select {
	case s.rests <- seen:
	case <-ctx.Done():
		return
	}
	select {
	case <-seen:
	case <-ctx.Done():
	}
}

// idle says whether nothing is left to do.
func (s *Sample) idle() bool { return s.Open == 0 && s.Batches == 0 && s.Lanes == 0 }

// collected has the engine collect its garbage and takes a sample of it at rest: the
// least of a few, since it may just be doing something small.
func (s *soak) collected(ctx context.Context) (least Sample, ok bool) {
	for n := range 4 { // what is pooled outlives one collection
		if err := s.engine.call(ctx, http.MethodGet, "/debug/pprof/heap?gc=1", nil, nil); err != nil {
			return least, false
		}
		now, ok := s.take(ctx)
		if !ok || run.Sleep(ctx, 100*time.Millisecond) != nil {
			return least, false
		}
		if n > 0 {
			now.HeapMB, now.RSSMB = min(now.HeapMB, least.HeapMB), min(now.RSSMB, least.RSSMB)
			now.Goroutines, now.Files = min(now.Goroutines, least.Goroutines), min(now.Files, least.Files)
		}
		least = now
	}
	least.Rest = true
	return least, true
}

// take takes one. An engine that doesn't answer in time leaves a gap.
func (s *soak) take(ctx context.Context) (now Sample, ok bool) {
	const mega = 1 << 20
	m, err := s.engine.metrics(ctx)
	if err != nil {
		return now, false
	}
	process, ok := s.engine.Look()
	rows, _ := s.desk.open()
	return Sample{
		AtS: round(time.Since(s.begun).Seconds()), RSSMB: process.RSSMB, Files: float64(process.FDs), CPUS: process.CPUS,
		HeapMB: round(liveHeap(m) / mega), Goroutines: m["go_goroutines"], Connections: m["tocsin_fd_used"],
		WALMB: s.size("tocsin.db-wal"), StoreMB: s.size("tocsin.db"),
		Open: float64(rows), Batches: m["tocsin_queue_depth"], Lanes: m["tocsin_lane_waiting"], Ended: m["tocsin_deliveries_total"],
	}, ok
}

// liveHeap is what the last garbage collection left, in bytes: the next one begins at
// that and so many percent more. It is steady where what is allocated goes up and down.
func liveHeap(m map[string]float64) float64 {
	percent := m["go_gc_gogc_percent"]
	if percent <= 0 {
		percent = 100
	}
	return m["go_memstats_next_gc_bytes"] / (1 + percent/100)
}

// size is that of a file of the engine's data, in MB; 0 if it isn't there.
func (s *soak) size(name string) float64 {
	info, err := os.Stat(filepath.Join(s.engine.data, name))
	if err != nil {
		return 0
	}
	return round(float64(info.Size()) / (1 << 20))
}
