package feeds

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestLimit(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := Limit(inner).(*limited)
	l.most = 2
	accepted := make(chan net.Conn)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	defer func() { inner.Close(); <-ended }()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(time.Minute))
		return c
	}
	dial()
	first := <-accepted
	dial()
	second := <-accepted
	if n, err := dial().Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a third connection of one address: read %d, %v; want its end", n, err)
	}
	first.Close()
	first.Close() // counts once
	dial()
	third := <-accepted
	if _, err := dial().Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a third connection again: %v", err)
	}
	second.Close()
	third.Close()
	if len(l.open) != 0 {
		t.Errorf("%d addresses are remembered without a connection", len(l.open))
	}
}

// poor is a listener that can't accept at first, for the given reasons, and then is
// closed.
type poor struct {
	net.Listener
	reasons []error
}

func (p *poor) Accept() (net.Conn, error) {
	if len(p.reasons) == 0 {
		return nil, net.ErrClosed
	}
	err := p.reasons[0]
	p.reasons = p.reasons[1:]
	return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", err)}
}

// TestLimitWaitsForFiles wants nothing of a want of files to reach the server, which
// gives its listener up at any error, and the engine ends with it.
func TestLimitWaitsForFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &poor{reasons: []error{syscall.EMFILE, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED}}
		if _, err := Limit(p).Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("it ended with %v, %d tries before the listener was closed", err, len(p.reasons))
		}
	})
	if _, err := Limit(&poor{reasons: []error{syscall.EBADF}}).Accept(); !errors.Is(err, syscall.EBADF) {
		t.Errorf("what doesn't pass: %v", err)
	}
}

func TestNetwork(t *testing.T) {
	at := func(s string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(s), Port: 1} }
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true}, {"192.0.2.1", "192.0.2.2", false}, {"::ffff:192.0.2.1", "192.0.2.1", true},
		{"2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true}, {"2001:db8:1:2::1", "2001:db8:1:3::1", false},
	} {
		if got := network(at(c.a)) == network(at(c.b)); got != c.same {
			t.Errorf("%s and %s count together: %v", c.a, c.b, got)
		}
	}
	network(&net.UnixAddr{}) // no IP address, no trouble
}
