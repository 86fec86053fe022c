package simulate

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// clock is a machine's clock: its wall time is set now and then, its monotonic
// time goes on.
type clock struct {
	mu     sync.Mutex
	began  time.Time // when the machine did, in virtual time
	offset time.Duration
	// furthest is the latest wall time that was ever shown.
	furthest time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	virtual := time.Now()
	wall := virtual.Add(c.offset)
	if wall.After(c.furthest) {
		c.furthest = wall
	}
	return withMonotonic(wall, virtual.Sub(c.began)+time.Hour)
}

// jump sets the clock.
func (c *clock) jump(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += by
}

// latest returns the latest wall time there was.
func (c *clock) latest() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.furthest
}

// withMonotonic gives a time the monotonic reading that time.Now leaves out in
// virtual time, so that a wall clock can be set while time goes on, as on a
// machine. There is no other way than to know how package time keeps it;
// TestClock says whether that is still so.
func withMonotonic(wall time.Time, monotonic time.Duration) time.Time {
	const (
		hasMonotonic = 1 << 63
		secondShift  = 30
	)
	t := wall.Round(0).UTC()
	kept := (*struct {
		wall uint64
		ext  int64
		loc  *time.Location
	})(unsafe.Pointer(&t))
	since1885 := t.Unix() - time.Date(1885, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	kept.wall = hasMonotonic | uint64(since1885)<<secondShift | uint64(t.Nanosecond())
	kept.ext = int64(monotonic)
	return t
}

func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		c := clock{began: began}
		before := c.now()
		time.Sleep(time.Minute)
		c.jump(-time.Hour)
		after := c.now()
		if elapsed := after.Sub(before); elapsed != time.Minute {
			t.Errorf("%v went by, want a minute: package time keeps monotonic readings in another way now", elapsed)
		}
		if wall := after.Round(0).Sub(before.Round(0)); wall != time.Minute-time.Hour {
			t.Errorf("the wall clock went on by %v", wall)
		}
		if !before.Round(0).Equal(began) {
			t.Errorf("the clock shows %v, want %v", before, began)
		}
	})
}
