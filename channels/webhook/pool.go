package webhook

import (
	"slices"
	"sync"
	"time"

	"github.com/tocsin/tocsin/internal/egress"
)

// pool keeps idle connections by host. The one used last is taken first, so that
// those beyond the need fall idle and are closed. What is kept for a host is gone
// with its last connection.
type pool struct {
	perHost int
	budget  *egress.Budget

	mu     sync.Mutex
	hosts  map[egress.Endpoint]*host
	closed bool
}

// host is guarded by the pool's lock.
type host struct {
	endpoint egress.Endpoint
	open     int // connections, idle or in an exchange
	idle     []*conn
}

// conn belongs to one exchange, or, while idle, to the budget's Evict.
type conn struct {
	*egress.Conn
	host    *host
	cut     *cut // that aborts it, nil if none does
	cutAt   int  // its place there
	idle    egress.Idle
	evicted bool // guarded by the pool's lock
	// deadline is that of the exchange.
	deadline time.Time
	// reused is true from the second exchange on.
	reused bool
	// early holds the first bytes of an answer, so that no larger buffer is held
	// while there is none. unread is the part of it that Read has not given out.
	early  [512]byte
	unread []byte
}

// Read gives out what await has read, then what comes.
func (c *conn) Read(p []byte) (int, error) {
	if len(c.unread) > 0 {
		n := copy(p, c.unread)
		c.unread = c.unread[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// ask sends a request and waits for the first bytes of the answer; see
// [egress.Conn.Ask].
func (c *conn) ask(q egress.Question) (whole bool, err error) {
	ask := c.Ask
	if c.reused {
		ask = c.AskAgain
	}
	n, whole, err := ask(q, c.early[:])
	c.unread = c.early[:n]
	return whole, err
}

func (c *conn) begin(timeout time.Duration) error {
	c.deadline = time.Now().Add(timeout)
	return c.SetDeadline(c.deadline)
}

func newPool(perHost int, budget *egress.Budget) *pool {
	return &pool{perHost: perHost, budget: budget, hosts: map[egress.Endpoint]*host{}}
}

// adopt makes a dialled connection one of the host's and begins an exchange.
func (p *pool) adopt(e egress.Endpoint, dialled *egress.Conn, timeout time.Duration) *conn {
	c := &conn{Conn: dialled}
	c.idle.Evict = func() { p.evict(c) }
	p.mu.Lock()
	c.host = p.hosts[e]
	if c.host == nil {
		c.host = &host{endpoint: e}
		p.hosts[e] = c.host
	}
	c.host.open++
	p.mu.Unlock()
	_ = c.begin(timeout) // fails only on a closed connection, as the write will
	return c
}

// take returns an idle connection, with which it begins an exchange, or nil.
func (p *pool) take(e egress.Endpoint, timeout time.Duration) *conn {
	for {
		c := p.pop(e)
		if c == nil {
			return nil
		}
		if !p.budget.Unpark(&c.idle) {
			continue // being evicted
		}
		if c.begin(timeout) == nil {
			c.reused = true
			return c
		}
		p.drop(c)
	}
}

func (p *pool) pop(e egress.Endpoint) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.hosts[e]
	if h == nil || len(h.idle) == 0 {
		return nil
	}
	last := len(h.idle) - 1
	c := h.idle[last]
	h.idle[last] = nil
	h.idle = h.idle[:last]
	return c
}

// put keeps a connection after an exchange that left it clean.
func (p *pool) put(c *conn) {
	// Park first: once it is in the stack another exchange may take it, which
	// fails if it is not parked. The other way round, it may be evicted before it
	// is in the stack, which evicted tells.
	p.budget.Park(&c.idle)
	p.mu.Lock()
	if c.evicted {
		p.mu.Unlock()
		return
	}
	if !p.closed && len(c.host.idle) < p.perHost {
		c.host.idle = append(c.host.idle, c)
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	if p.budget.Unpark(&c.idle) {
		p.drop(c)
	}
}

// evict is called by the budget.
func (p *pool) evict(c *conn) {
	p.mu.Lock()
	c.evicted = true
	if i := slices.Index(c.host.idle, c); i >= 0 {
		c.host.idle = slices.Delete(c.host.idle, i, i+1)
	}
	p.mu.Unlock()
	p.drop(c)
}

// drop closes a connection that is not in the stack and forgets its host if that
// was the last.
func (p *pool) drop(c *conn) {
	_ = c.Close() // the peer may have closed it first
	p.mu.Lock()
	defer p.mu.Unlock()
	c.host.open--
	if c.host.open == 0 {
		delete(p.hosts, c.host.endpoint)
	}
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	var all []*conn
	for _, h := range p.hosts {
		all = append(all, h.idle...)
		h.idle = nil
	}
	p.mu.Unlock()
	for _, c := range all {
		if p.budget.Unpark(&c.idle) {
			p.drop(c)
		}
	}
}
