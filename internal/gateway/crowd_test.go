package gateway

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// crowdOf is a crowd of a few places without a listener: the test says who comes, and
// what time it is.
func crowdOf(t *testing.T, most, queue int) *crowdTest {
	c := NewCrowd(nil, slog.New(slog.DiscardHandler))
	c.most, c.queue, c.spared = most, queue, time.Second
	return &crowdTest{T: t, crowd: c, came: make(map[string]*visitor)}
}

type crowdTest struct {
	*testing.T
	crowd *Crowd
	came  map[string]*visitor
}

// visitor is a connection that knows whether it was closed.
type visitor struct {
	net.Conn
	name   string
	from   net.Addr
	closed bool
}

func (v *visitor) RemoteAddr() net.Addr { return v.from }
func (v *visitor) Close() error         { v.closed = true; return nil }

// come has connections come, by names such as a1: the letter is the network.
func (c *crowdTest) come(names ...string) {
	c.Helper()
	for _, name := range names {
		v := &visitor{name: name, from: &net.TCPAddr{IP: net.IPv4(192, 0, 2, name[0]), Port: 1}}
		c.came[name] = v
		c.crowd.come(v)
	}
}

// served lets in all that can be at that time, and names them.
func (c *crowdTest) served(at time.Duration) (names string) {
	for {
		s, _ := c.crowd.next(at)
		if s == nil {
			return strings.TrimSpace(names)
		}
		names += " " + s.Conn.(*visitor).name
	}
}

func (c *crowdTest) wantServed(at time.Duration, names string) {
	c.Helper()
	if got := c.served(at); got != names {
		c.Fatalf("at %v there are served %q, want %q", at, got, names)
	}
}

func (c *crowdTest) wantClosed(names ...string) {
	c.Helper()
	wanted := make(map[string]bool)
	for _, name := range names {
		wanted[name] = true
	}
	for name, v := range c.came {
		if v.closed != wanted[name] {
			c.Errorf("%s is closed: %v, want %v", name, v.closed, wanted[name])
		}
	}
	if c.Failed() {
		c.FailNow()
	}
}

// seat is that of a connection that is served.
func (c *crowdTest) seat(name string) *seat {
	for s := range c.crowd.seats {
		if s.Conn == c.came[name] {
			return s
		}
	}
	c.Fatalf("%s has no place", name)
	return nil
}

func TestWhoKeepsUsWaitingLosesItsPlace(t *testing.T) {
	c := crowdOf(t, 3, 10)
	c.come("a1", "a2", "a3")
	c.wantServed(1, "a1 a2 a3")
	c.seat("a2").wait(2)
	c.seat("a1").wait(3)
	c.seat("a3").work()
	c.come("a4", "a5", "a6")
	c.wantServed(time.Second, "")
	if _, again := c.crowd.next(time.Second); again != 2 {
		t.Errorf("it looks again in %v, want when a2 is spared no more", again)
	}
	c.wantServed(time.Second+2, "a4") // for a2
	c.wantClosed("a2")
	c.wantServed(time.Second+3, "a5") // for a1
	c.wantServed(time.Second+4, "")   // a3 is being worked on, however long
	c.seat("a4").work()
	c.seat("a5").work()
	if s, again := c.crowd.next(time.Hour); s != nil || again != time.Hour {
		t.Errorf("with work for all %v is served, and it looks again in %v", s, again)
	}
	_ = c.seat("a3").Close()
	c.wantServed(time.Hour, "a6")
	c.wantClosed("a1", "a2", "a3")
}

func TestANetworkIsInNobodyElsesWay(t *testing.T) {
	c := crowdOf(t, 4, 10)
	c.come("a1", "a2", "a3", "a4", "a5", "a6")
	c.wantServed(1, "a1 a2 a3 a4")
	c.come("b1")
	c.wantServed(2, "b1") // for one of them, which is not spared
	c.come("c1")
	c.wantServed(2, "c1")
	c.wantServed(time.Second, "")
	c.wantServed(time.Second+1, "a5 a6") // for the other two
	c.come("a7")
	c.wantServed(time.Hour, "a7") // the others say nothing either, but are lighter
	c.seat("b1")
	c.seat("c1")
	c.come("b2")
	c.wantServed(time.Hour+1, "b2")
}

func TestTooManyWaiting(t *testing.T) {
	c := crowdOf(t, 1, 3)
	c.come("a1")
	c.wantServed(1, "a1")
	c.seat("a1").work()
	c.come("b1", "a2", "a3", "a4", "a5")
	c.wantClosed("a2", "a3") // the first to have come of those with the most
	c.come("b2", "b3", "b4")
	c.wantClosed("a2", "a3", "a4", "b1", "b2")
	_ = c.seat("a1").Close()
	c.wantServed(2, "a5") // both networks have none; it came first
	if len(c.crowd.from) != 2 {
		t.Errorf("%d networks are remembered", len(c.crowd.from))
	}
}

func TestNobodyIsForgotten(t *testing.T) {
	c := crowdOf(t, 1, 3)
	c.come("a1")
	c.wantServed(1, "a1")
	s := c.seat("a1")
	_, _ = s.Close(), s.Close() // counts once
	if len(c.crowd.from) != 0 || len(c.crowd.seats) != 0 {
		t.Errorf("of nobody there is left %v", c.crowd.from)
	}
}

func TestNetworkOf(t *testing.T) {
	at := func(s string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(s), Port: 1} }
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true}, {"192.0.2.1", "192.0.2.2", false}, {"::ffff:192.0.2.1", "192.0.2.1", true},
		{"2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true}, {"2001:db8:1:2::1", "2001:db8:1:3::1", false},
	} {
		if got := networkOf(at(c.a)) == networkOf(at(c.b)); got != c.same {
			t.Errorf("%s and %s count together: %v", c.a, c.b, got)
		}
	}
	networkOf(&net.UnixAddr{}) // no IP address, no trouble
}

// crowded has a few places, which are lost soon.
func crowded(most int) func(*fixture) {
	return func(f *fixture) {
		f.crowd = func(c *Crowd) { c.most, c.spared = most, time.Millisecond }
	}
}

// TestACrowdLocksNobodyOut fills all places with clients that say nothing, too little
// or nothing more, from the same address as who has something to say.
func TestACrowdLocksNobodyOut(t *testing.T) {
	f := start(t, crowded(8))
	f.header.Set("Connection", "close")
	const head = "POST /v1/alerts HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"
	// A handler that begins to wait for a body, or for another request, does so when it
	// gets a processor: only those who never reach one wait in the order they came in.
	var slow []*bufio.Reader
	for _, said := range slices.Concat(slices.Repeat([]string{"", "P"}, 4),
		slices.Repeat([]string{head, head + "\r\n{", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"}, 4)) {
		slow = append(slow, f.dial(said))
	}
	for n := range 5 {
		f.post("/v1/incidents", strings.Replace(minimal, "INC-8892", fmt.Sprintf("INC-%d", n), 1)).want(202)
		f.get("/readyz").want(200)
	}
	cut := 0
	for _, r := range slow[:8] { // those who came first, and never reach a handler
		if _, err := io.Copy(io.Discard, r); err == nil || strings.Contains(err.Error(), "reset") {
			cut++
		}
	}
	if cut != 8 {
		t.Errorf("of the first 8, none of whom has an answer, %d were cut", cut)
	}
	if n := strings.Count(f.log.String(), "the control listener is crowded"); n != 1 {
		t.Errorf("the log says %d times that it is crowded", n)
	}
}

// TestWorkIsNotCut holds a request in the handler while others come.
func TestWorkIsNotCut(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	var crowd *Crowd
	f := start(t, func(f *fixture) {
		// Who takes its answer is spared for longer than that takes anywhere.
		f.crowd = func(c *Crowd) { c.most, c.spared, crowd = 1, time.Minute, c }
		f.deps.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			close(begun)
			<-end
			_, _ = io.WriteString(w, "done")
		})
	})
	f.header.Set("Connection", "close")
	var asked sync.WaitGroup
	asked.Go(func() {
		if a := f.get("/metrics"); string(a.body) != "done" {
			t.Errorf("it is answered %s", a.body)
		}
	})
	<-begun
	asked.Go(func() { f.get("/healthz").want(200) })
	for !crowd.pressed.Load() {
		time.Sleep(time.Millisecond)
	}
	if s, _ := crowd.next(time.Hour); s != nil {
		t.Error("a request under work loses its place")
	}
	close(end)
	asked.Wait()
}

func TestSeatUnderTLS(t *testing.T) {
	s := &seat{}
	if seatOf(tls.Server(s, &tls.Config{})) != s || seatOf(s) != s || seatOf(&net.TCPConn{}) != nil {
		t.Error("the seat of a connection is not found")
	}
}

// A server may be closed before its first Accept, or beside it.
func TestACrowdMayEndAsItBegins(t *testing.T) {
	for range 300 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		c := NewCrowd(l, slog.New(slog.DiscardHandler))
		accepted := make(chan error, 1)
		go func() {
			_, err := c.Accept()
			accepted <- err
		}()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := <-accepted; !errors.Is(err, net.ErrClosed) {
			t.Errorf("accepted with %v, want the end", err)
		}
	}
}
