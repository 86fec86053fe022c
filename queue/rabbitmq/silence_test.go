package rabbitmq

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// A process that slept through several heartbeats finds those in its socket which
// came before the broker gave it up. They are no sign of life.
func TestOldHeartbeatsAreNoSignOfLife(t *testing.T) {
	for slept, over := range map[time.Duration]bool{9 * time.Second: false, 40 * time.Second: true} {
		synctest.Test(t, func(t *testing.T) {
			here, there := net.Pipe()
			defer here.Close()
			defer there.Close()
			var ended error
			c := newWatchedConn(here, time.Second, func(err error) { ended = err })
			c.patience.Store(int64(10 * time.Second))
			time.Sleep(slept)
			go there.Write([]byte("heartbeat"))
			if _, err := c.Read(make([]byte, 9)); err != nil {
				t.Fatal(err)
			}
			if (ended != nil) != over {
				t.Errorf("after %v of silence: %v", slept, ended)
			}
			if c.left() <= 0 {
				t.Error("what was just read counts for nothing")
			}
		})
	}
}

// Before the heartbeat is agreed there is none to miss.
func TestSilenceBeforeTheHeartbeatIsAgreed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer here.Close()
		defer there.Close()
		c := newWatchedConn(here, time.Second, func(err error) { t.Error(err) })
		time.Sleep(time.Hour)
		_ = c.left()
		if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a write that nobody reads: %v", err)
		}
	})
}
