package smpp

import (
	"net"
	"runtime"
	"sync"
	"time"
)

// maxReplies is how many bytes may wait to be written before the reader stops to
// take more that it would have to answer. Submits don't count against it: the
// window bounds them.
const maxReplies = 64 << 10

// outbox gathers PDUs while a write is under way, so that the next write takes all
// of them: one system call for whatever came together.
type outbox struct {
	mu      sync.Mutex
	waiting []byte
	closed  bool
	moved   sync.Cond     // waiting was taken, or closed was set
	ready   chan struct{} // capacity 1: there is something, or it is closed
}

func newOutbox() *outbox {
	o := &outbox{ready: make(chan struct{}, 1)}
	o.moved.L = &o.mu
	return o
}

// put queues whole PDUs. It never waits.
func (o *outbox) put(b []byte) {
	o.mu.Lock()
	o.waiting = append(o.waiting, b...)
	o.mu.Unlock()
	o.wake()
}

// reply is put for the reader: it waits while the peer does not read its replies,
// which the write timeout bounds.
func (o *outbox) reply(b []byte) {
	o.mu.Lock()
	for len(o.waiting) > maxReplies && !o.closed {
		o.moved.Wait()
	}
	o.waiting = append(o.waiting, b...)
	o.mu.Unlock()
	o.wake()
}

func (o *outbox) wake() {
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

// close ends run once what waits is written.
func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.moved.Broadcast()
	o.wake()
}

// run writes until the outbox is closed, which is no error, or a write fails.
func (o *outbox) run(conn net.Conn, timeout time.Duration) error {
	var batch []byte
	for range o.ready {
		// Whoever is about to put something goes first: the system call costs more
		// than all of what it takes along.
		runtime.Gosched()
		o.mu.Lock()
		batch, o.waiting = o.waiting, batch[:0]
		closed := o.closed
		o.mu.Unlock()
		o.moved.Broadcast()
		if len(batch) > 0 {
			if err := conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
				return err
			}
			if _, err := conn.Write(batch); err != nil {
				return err
			}
		}
		if closed {
			return nil
		}
	}
	return nil
}
