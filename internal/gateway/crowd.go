package gateway

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// MaxConnections is how many connections of a listener are served at once.
const MaxConnections = 256

const (
	// maxWaiting is how many more may wait to be served; each costs a descriptor and
	// next to no memory.
	maxWaiting = 1024
	// spared is how long a client may keep the engine waiting while others wait to be
	// served: many times what a request takes to follow its connection.
	spared = 500 * time.Millisecond
	// crowdSays is how often the log is told of a crowd.
	crowdSays = time.Minute
)

// Crowd is a listener that serves [MaxConnections] at once, and gives their places to
// those who have something to say: when all are taken, whoever has kept the engine
// waiting the longest, for a request, the rest of one, the next one or for its answer
// to be taken, loses its place. It is chosen among those of the network with the most
// places, and who waits is served by turns of their networks: one network can't lock
// others out, and a crowd of idle clients not even callers from among them. A request
// that is being worked on is never cut.
type Crowd struct {
	inner   net.Listener
	log     *slog.Logger
	most    int // places
	queue   int // those who wait for one
	spared  time.Duration
	begun   time.Time
	pressed atomic.Bool   // somebody waits
	changed chan struct{} // has a token if a place may be free or somebody came
	failed  chan error    // of the inner listener
	closing chan struct{}
	start   sync.Once
	stop    sync.Once
	taking  sync.WaitGroup

	mu      sync.Mutex
	seats   map[*seat]struct{}
	waiting []*seat // in the order in which they came
	from    map[netip.Prefix]tally
	cut     int       // since the log was told
	said    time.Time // when it was
}

// tally counts the connections of a network.
type tally struct{ seated, waiting int }

// NewCrowd makes a crowd of a listener, which it closes. It accepts from the first
// Accept on, for a server of [NewServer].
func NewCrowd(l net.Listener, log *slog.Logger) *Crowd {
	return &Crowd{
		inner: l, log: log, most: MaxConnections, queue: maxWaiting, spared: spared, begun: time.Now(),
		changed: make(chan struct{}, 1), failed: make(chan error), closing: make(chan struct{}),
		seats: make(map[*seat]struct{}), from: make(map[netip.Prefix]tally),
	}
}

// Addr implements net.Listener.
func (c *Crowd) Addr() net.Addr { return c.inner.Addr() }

// Accept implements net.Listener: it returns the next to be served.
func (c *Crowd) Accept() (net.Conn, error) {
	c.start.Do(func() { c.taking.Go(c.take) })
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	for {
		s, in := c.next(c.now())
		if s != nil {
			return s, nil
		}
		again.Reset(in)
		select {
		case <-c.changed:
		case <-again.C:
		case err := <-c.failed:
			return nil, err
		case <-c.closing:
			return nil, net.ErrClosed
		}
	}
}

// Close implements net.Listener. Who waits is not served any more.
func (c *Crowd) Close() error {
	err := net.ErrClosed
	c.stop.Do(func() {
		err = c.inner.Close()
		close(c.closing)
		c.start.Do(func() {}) // a first Accept that is just coming takes nobody any more
		c.taking.Wait()
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, s := range c.waiting {
			_ = s.Conn.Close() // its client sees the end
		}
		c.waiting = nil
	})
	return err
}

// take takes whoever comes, at once: in the system's backlog the first would stand in
// the way of all. It ends with the listener.
func (c *Crowd) take() {
	for {
		conn, err := c.inner.Accept()
		if err == nil {
			c.come(conn)
			continue
		}
		select {
		case c.failed <- err: // the server knows what can be tried again, and when
		case <-c.closing:
			return
		}
	}
}

// come has a connection wait to be served. If too many do, the first one to have come
// of the network with the most connections goes.
func (c *Crowd) come(conn net.Conn) {
	s := &seat{Conn: conn, of: c, network: networkOf(conn.RemoteAddr())}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, s)
	c.count(s.network, 0, 1)
	if len(c.waiting) > c.queue {
		out := 0
		for i, w := range c.waiting {
			if c.all(w.network) > c.all(c.waiting[out].network) {
				out = i
			}
		}
		_ = c.unqueue(out).Conn.Close() // its client sees the end
		c.say()
	}
	c.nudge()
}

// next gives a place to the one of those waiting whose network has the fewest, the
// first to have come among equals. Without a place, or without anyone, it says when to
// look again.
func (c *Crowd) next(now time.Duration) (s *seat, again time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pressed.Store(len(c.waiting) > 0)
	if len(c.waiting) == 0 {
		return nil, time.Hour
	}
	first := 0
	for i, w := range c.waiting {
		if c.from[w.network].seated < c.from[c.waiting[first].network].seated {
			first = i
		}
	}
	if len(c.seats) >= c.most {
		out, in := c.loser(c.waiting[first].network, now)
		if out == nil {
			return nil, in
		}
		c.leave(out)
		_ = out.Conn.Close() // what serves it sees the end
		c.say()
	}
	s = c.unqueue(first)
	s.wait(now)
	c.seats[s] = struct{}{}
	c.count(s.network, 1, 0)
	c.pressed.Store(len(c.waiting) > 0)
	return s, 0
}

// loser is who loses its place to one of a network: of the networks that have as many
// places or more, the one with the most, and there the one that has kept us waiting
// the longest. It is spared for a while by its equals. Without any it says when there
// may be one.
func (c *Crowd) loser(to netip.Prefix, now time.Duration) (out *seat, again time.Duration) {
	again = time.Hour
	var worst struct {
		places int
		since  time.Duration
	}
	for s := range c.seats {
		since := time.Duration(s.since.Load())
		places, own := c.from[s.network].seated, c.from[to].seated
		if since == 0 || places < own {
			continue
		}
		if left := since + c.spared - now; left > 0 && places <= own+1 {
			again = min(again, left)
			continue
		}
		if out == nil || places > worst.places || places == worst.places && since < worst.since {
			out, worst.places, worst.since = s, places, since
		}
	}
	return out, again
}

// unqueue takes one out of those waiting.
func (c *Crowd) unqueue(i int) *seat {
	s := c.waiting[i]
	c.waiting = slices.Delete(c.waiting, i, i+1)
	c.count(s.network, 0, -1)
	return s
}

// leave gives a place back, once.
func (c *Crowd) leave(s *seat) {
	if _, seated := c.seats[s]; !seated {
		return
	}
	delete(c.seats, s)
	c.count(s.network, -1, 0)
	c.nudge()
}

func (c *Crowd) count(network netip.Prefix, seated, waiting int) {
	t := c.from[network]
	t.seated += seated
	t.waiting += waiting
	if t == (tally{}) {
		delete(c.from, network)
		return
	}
	c.from[network] = t
}

func (c *Crowd) all(network netip.Prefix) int {
	t := c.from[network]
	return t.seated + t.waiting
}

// say tells the log of those that were cut.
func (c *Crowd) say() {
	c.cut++
	if now := time.Now(); now.Sub(c.said) >= crowdSays {
		c.log.Warn("the control listener is crowded: connections that keep it waiting are closed for others that come",
			"most", c.most, "closed", c.cut)
		c.cut, c.said = 0, now
	}
}

// nudge has Accept look again.
func (c *Crowd) nudge() {
	select {
	case c.changed <- struct{}{}:
	default: // it will
	}
}

// now is steady, and never 0.
func (c *Crowd) now() time.Duration { return time.Since(c.begun) + 1 }

// seat is a connection, and its place among those that are served.
type seat struct {
	net.Conn
	of      *Crowd
	network netip.Prefix
	// since is when the client began to keep us waiting, in the crowd's time; 0 while
	// it is the client that waits.
	since atomic.Int64
	// resting is true between two requests.
	resting atomic.Bool
}

// wait begins to wait for the client.
func (s *seat) wait(since time.Duration) {
	s.since.Store(int64(since))
	if s.of.pressed.Load() {
		s.of.nudge()
	}
}

// work begins to have the client wait.
func (s *seat) work() { s.since.Store(0) }

// rest begins the time between two requests.
func (s *seat) rest() {
	s.wait(s.of.now())
	s.resting.Store(true)
}

// Read implements net.Conn. With the first bytes of another request its time begins.
func (s *seat) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if n > 0 && s.resting.CompareAndSwap(true, false) {
		s.wait(s.of.now())
	}
	return n, err
}

// Write implements net.Conn. A client that doesn't read keeps us waiting.
func (s *seat) Write(p []byte) (int, error) {
	if s.since.Load() != 0 {
		return s.Conn.Write(p)
	}
	s.wait(s.of.now())
	defer s.work()
	return s.Conn.Write(p)
}

// CloseWrite has the server end a connection so that a client that still sends can read
// the answer (see net/http).
func (s *seat) CloseWrite() error {
	if tcp, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return tcp.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close implements net.Conn.
func (s *seat) Close() error {
	s.of.mu.Lock()
	s.of.leave(s)
	s.of.mu.Unlock()
	return s.Conn.Close()
}

// networkOf is whose connections count together: an IPv4 address, or the /64 that a
// single host may have all of; those of no IP address do too.
func networkOf(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits) // the zero address has the zero prefix
	return p
}
