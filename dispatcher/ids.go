package dispatcher

import (
	"sync"
	"time"
)

// batchIDs makes batch ids that grow with time and are unique over the
// deployment: milliseconds since 2024 (41 bits), the worker's epoch modulo 1024
// (10 bits), a counter (12 bits). A counter that overflows, or a clock that
// steps back, borrows from the milliseconds to come.
type batchIDs struct {
	mu    sync.Mutex
	now   func() time.Time
	epoch int64
	last  int64 // milliseconds<<12 | counter
}

// idsSince is the zero of the ids' clock.
var idsSince = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

func (g *batchIDs) next() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = max(g.last+1, g.now().Sub(idsSince).Milliseconds()<<12)
	return g.last>>12<<22 | (g.epoch&1023)<<12 | g.last&4095
}
