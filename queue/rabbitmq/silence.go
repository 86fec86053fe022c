package rabbitmq

import (
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// watchedConn gives each write its own deadline, because the client writes without
// one and a broker under an alarm stops reading; and it notes when the broker was
// last heard of.
type watchedConn struct {
	net.Conn
	timeout time.Duration // of a write
	since   time.Time
	heard   atomic.Int64 // nanoseconds after since
	// patience is how long a silence may last, 0 for any: set once the heartbeat
	// is agreed.
	patience atomic.Int64
	// silent is told of a longer one.
	silent func(error)
}

func newWatchedConn(c net.Conn, writeTimeout time.Duration, silent func(error)) *watchedConn {
	return &watchedConn{Conn: c, timeout: writeTimeout, since: time.Now(), silent: silent}
}

func (c *watchedConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// Read judges the silence that it ends before anybody sees what was read: a
// process that was frozen finds old heartbeats in its socket, from before the
// broker gave it up.
func (c *watchedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		_ = c.left()
		c.heard.Store(int64(time.Since(c.since)))
	}
	return n, err
}

// left is how much longer the silence may last; if none of it is left, the epoch
// ends.
func (c *watchedConn) left() time.Duration {
	patience, lasts := time.Duration(c.patience.Load()), time.Since(c.since)-time.Duration(c.heard.Load())
	if patience > 0 && lasts > patience {
		c.silent(fmt.Errorf("nothing was heard of the broker for %s, longer than the heartbeat: the connection is given up", lasts.Round(time.Millisecond)))
		return 0
	}
	return patience - lasts
}

// watchSilence ends the epoch after one silent heartbeat. The broker sends two in
// that time. The client itself waits for three, and this process would meanwhile
// take itself for the owner of what the broker is giving to another.
func (e *epoch) watchSilence() {
	heartbeat := e.conn.Config.Heartbeat
	if heartbeat <= 0 {
		return // the broker wants none
	}
	e.raw.heard.Store(int64(time.Since(e.raw.since)))
	e.raw.patience.Store(int64(heartbeat))
	e.work.Go(func() {
		timer := time.NewTimer(heartbeat)
		defer timer.Stop()
		for {
			select {
			case <-e.over:
				return
			case <-timer.C:
				timer.Reset(max(e.raw.left(), time.Millisecond))
			}
		}
	})
}
