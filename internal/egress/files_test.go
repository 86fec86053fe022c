package egress

import (
	"os"
	"syscall"
	"testing"
	"time"
)

// When others took the descriptors that were left for them and more, a dial waits
// for one of the idle connections instead of failing.
func TestOutOfFilesIsAWait(t *testing.T) {
	at := peer(t, "127.0.0.1:0", untilClosed)
	d := newDialer(t, loopback, nil)
	to := Endpoint{Host: "127.0.0.1", Port: at.Port()}
	warm, err := d.Dial(t.Context(), to, time.Second) // whatever Go opens once is open now
	must(t, err)
	must(t, warm.Close())

	spare, err := os.Open(os.DevNull)
	must(t, err)
	must(t, d.Budget.Acquire(t.Context()))
	d.Budget.Park(&Idle{Evict: func() {
		must(t, spare.Close())
		d.Budget.Release()
	}})
	var limit syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	tight := limit
	tight.Cur = uint64(spare.Fd()) + 1
	hold := fill(t, tight.Cur)
	must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &tight))
	c, err := d.Dial(t.Context(), to, 5*time.Second)
	must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
	hold()
	must(t, err)
	must(t, c.Close())
}

// fill takes every descriptor below limit that is free.
func fill(t *testing.T, limit uint64) (release func()) {
	var taken []int
	for {
		fd, err := syscall.Open(os.DevNull, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		must(t, err)
		if uint64(fd) >= limit {
			must(t, syscall.Close(fd))
			break
		}
		taken = append(taken, fd)
	}
	return func() {
		for _, fd := range taken {
			must(t, syscall.Close(fd))
		}
	}
}
