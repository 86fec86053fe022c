package feeds

import (
	"io"
	"net"
	"testing"
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
