package soak

import (
	"context"
	"os"
	"path/filepath"
	"time"
)

// sampleEvery is between two samples.
const sampleEvery = time.Second

// sample takes samples until ctx ends. It owns them.
func (s *soak) sample(ctx context.Context) error {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	first, ok := s.engine.Look()
	if !ok {
		return s.engine.Died()
	}
	for {
		if now, ok := s.take(ctx); ok {
			now.CPUS = round(now.CPUS - first.CPUS)
			s.samples = append(s.samples, now)
			s.show(&now)
		} else if err := s.engine.Died(); err != nil {
			return unlessOver(ctx, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
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
