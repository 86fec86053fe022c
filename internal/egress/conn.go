package egress

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
)

// Conn is a connection that holds one descriptor of the budget until it is closed.
// Close and Abort may be called more than once and from any goroutine.
type Conn struct {
	net.Conn // secure, if there is one, else raw
	raw      net.Conn
	secure   *tls.Conn // on below; nil without TLS
	below    *holdable
	budget   *Budget
	// closing runs once; who closes too waits for it, so that the descriptor is
	// back in the budget when Close or Abort returns.
	closing sync.Once

	// For Quiet and AskAgain, made once so that they don't allocate.
	sys    syscall.RawConn
	probe  func(fd uintptr) bool
	first  [1]byte
	quiet  bool
	step   func(fd uintptr) bool
	asking asking
}

func newConn(raw net.Conn, budget *Budget) *Conn {
	c := &Conn{Conn: raw, raw: raw, budget: budget}
	if s, ok := raw.(syscall.Conn); ok {
		c.sys, _ = s.SyscallConn() // nil on error: never quiet, so never used again
	}
	c.probe = func(fd uintptr) bool {
		_, err := syscall.Read(int(fd), c.first[:])
		c.quiet = err == syscall.EAGAIN
		return true // never wait
	}
	c.step = func(fd uintptr) bool { return c.asking.goOn(int(fd)) }
	return c
}

// Close ends an idle connection properly: a TLS peer is told.
func (c *Conn) Close() (err error) {
	c.closing.Do(func() {
		err = c.Conn.Close()
		c.budget.Release()
	})
	return err
}

// Abort cuts the connection without waiting for anything. Reads and writes that
// wait return an error.
func (c *Conn) Abort() {
	c.closing.Do(func() {
		if tcp, ok := c.raw.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a failure leaves an ordinary close
		}
		_ = c.raw.Close() // nothing is left to be told
		c.budget.Release()
	})
}

// Quiet reports whether an idle connection can be used again: the peer has neither
// closed it nor sent anything unasked, which could be taken for the answer to the
// next request. It needs a deadline that has not passed; the owner calls it when it
// alone uses the connection. If it returns false, the connection must be closed.
func (c *Conn) Quiet() bool {
	c.quiet = false
	if c.sys == nil || c.readAhead() || c.sys.Read(c.probe) != nil {
		return false
	}
	return c.quiet
}

// readAhead reports whether TLS has something for the reader, or its end, that it
// took from the socket together with an earlier record.
func (c *Conn) readAhead() bool {
	if c.secure == nil {
		return false
	}
	c.below.held = true
	_, err := c.secure.Read(c.first[:])
	c.below.held = false
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// holdable is a connection that seems silent while it is held. TLS takes the error
// for one that passes.
type holdable struct {
	net.Conn
	held bool
}

func (h *holdable) Read(p []byte) (int, error) {
	if h.held {
		return 0, os.ErrDeadlineExceeded
	}
	return h.Conn.Read(p)
}
