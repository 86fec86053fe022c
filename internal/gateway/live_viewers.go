package gateway

import (
	"net/http"
	"sync"
)

// maxViewers bounds the streams of the live page: each holds one of the listener's
// [MaxConnections].
const maxViewers = 100

// viewers are those who follow the live page's stream. All of them share one
// sequence of frames; each goes from the frame it has shown to the newest one,
// however many there were between: a slow one misses some and holds up nobody.
type viewers struct {
	// came has a token if somebody joined since it was last read.
	came chan struct{}
	// ended is closed when the stream is over for all.
	ended chan struct{}

	mu     sync.Mutex
	count  int
	newest *frame // never nil
}

// frame is one event of the stream, and the way to the next.
type frame struct {
	event []byte        // empty if there is none yet
	next  chan struct{} // closed once there is a newer frame
}

func newViewers() *viewers {
	return &viewers{came: make(chan struct{}, 1), ended: make(chan struct{}), newest: &frame{next: make(chan struct{})}}
}

// join adds a viewer and returns what to show first; its error is a *problem.
// Whoever joined has to leave.
func (v *viewers) join() (*frame, error) {
	select {
	case <-v.ended:
		return nil, refuse(http.StatusServiceUnavailable, "the engine is stopping")
	default:
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.count == maxViewers {
		return nil, refuse(http.StatusServiceUnavailable, "as many as can be are watching already; try again when someone has left")
	}
	v.count++
	select {
	case v.came <- struct{}{}:
	default: // not read yet
	}
	return v.newest, nil
}

func (v *viewers) leave() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.count--
}

func (v *viewers) latest() *frame {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.newest
}

// show makes event the newest; it waits for nobody.
func (v *viewers) show(event []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	old := v.newest
	v.newest = &frame{event: event, next: make(chan struct{})}
	close(old.next)
}

// rest says that nobody is there. What was shown last is forgotten then: it would
// be old news to the next one who comes.
func (v *viewers) rest() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.count > 0 {
		return false
	}
	if len(v.newest.event) > 0 {
		v.newest = &frame{next: make(chan struct{})}
	}
	return true
}

// end ends all streams. It is called once.
func (v *viewers) end() { close(v.ended) }
