package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Config is what a [Dialer] is made of.
type Config struct {
	// Policy, Gate and Budget are required; they may be shared with other dialers.
	Policy *Policy
	Gate   *Gate
	Budget *Budget
	// Lookup resolves names; the system's resolvers if nil.
	Lookup Lookup
	// Source are local addresses to connect from, in turn; the system chooses if
	// there is none of the peer's family. Several are a way out when one has no
	// port left for a destination.
	Source []netip.Addr
	// Roots verify certificates; the system's if nil.
	Roots *x509.CertPool
	// Sessions is how many TLS sessions are kept to be resumed, by host name;
	// [DefaultSessions] if zero. Each holds some KB with the peer's certificates.
	Sessions int
	// Log is told when no local port is left; slog.Default if nil.
	Log *slog.Logger
}

// DefaultSessions are more than the requests that are open at once: an update goes to
// its hosts in turn, and of those a smaller cache has always just forgotten the next.
const DefaultSessions = 16384

// Dialer opens connections. It is safe for concurrent use and has nothing to
// close: what it dialled belongs to the caller.
type Dialer struct {
	Config
	names    *resolver
	sessions tls.ClientSessionCache
	failing  hosts
	ports    ports
	net      net.Dialer
	turn     atomic.Uint32 // of Source
}

// NewDialer returns a dialer.
func NewDialer(c Config) *Dialer {
	if c.Lookup == nil {
		c.Lookup = systemLookup
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Sessions == 0 {
		c.Sessions = DefaultSessions
	}
	d := &Dialer{
		Config: c,
		// Two descriptors a lookup, out of what BudgetOf leaves.
		names:    newResolver(c.Lookup, min(max(c.Budget.Limit()/48, 4), 64)),
		sessions: tls.NewLRUClientSessionCache(c.Sessions),
		failing:  hosts{set: map[Endpoint]struct{}{}},
	}
	// Deadlines bound every exchange and idle connections are closed soon: TCP
	// keep-alive would only cost system calls. TCP_NODELAY is Go's default.
	d.net = net.Dialer{KeepAlive: -1, Control: d.checkSocket}
	return d
}

// checkSocket is the last look at an address, when nothing can change it any more.
func (d *Dialer) checkSocket(_, address string, socket syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return ErrBlocked
	}
	if err := d.Policy.CheckAddr(to); err != nil {
		return err
	}
	if len(d.Source) == 0 || runtime.GOOS != "linux" {
		return nil
	}
	// Choose the local port when connecting, not when binding: a port is then taken
	// for one destination only, and finding a free one stays fast.
	const bindAddressNoPort = 24 // IP_BIND_ADDRESS_NO_PORT, of both families
	return socket.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, bindAddressNoPort, 1) // it works without, too
	})
}

// dialer returns a net.Dialer bound to the next of Source that can reach to.
func (d *Dialer) dialer(to netip.Addr) net.Dialer {
	bound := d.net
	first := d.turn.Add(1)
	for i := range uint32(len(d.Source)) {
		from := d.Source[(first+i)%uint32(len(d.Source))].Unmap()
		if from.Is4() == to.Is4() {
			bound.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
			break
		}
	}
	return bound
}

// Dial returns a connection that is ready for use, TLS handshake included, without
// a deadline. First it waits, as long as ctx lets it, for a place in the gate and
// a descriptor; only then timeout begins, for all of name lookup, connect and
// handshake.
//
// It returns an [*Error], [ErrBlocked] or [ErrNoPort], or the error of ctx if that
// ended.
func (d *Dialer) Dial(ctx context.Context, to Endpoint, timeout time.Duration) (*Conn, error) {
	pass, err := d.Gate.Enter(ctx, d.failing.has(to))
	if err != nil {
		return nil, err
	}
	defer pass.Leave()
	if err := d.Budget.Acquire(ctx); err != nil {
		return nil, err
	}
	conn, err := d.open(ctx, to, time.Now().Add(timeout))
	if err == nil {
		d.failing.remove(to)
		return conn, nil
	}
	if conn != nil {
		conn.Abort()
	} else {
		d.Budget.Release()
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if errors.Is(err, ErrNoPort) {
		d.ports.short(d.Log)
		return nil, err
	}
	d.failing.add(to)
	return nil, err
}

// open connects and shakes hands. A connection that comes with an error is open
// all the same, and has taken over the descriptor.
func (d *Dialer) open(ctx context.Context, to Endpoint, deadline time.Time) (*Conn, error) {
	raw, err := d.connect(ctx, to, deadline)
	if err != nil {
		return nil, err
	}
	conn := newConn(raw, d.Budget)
	if !to.TLS {
		return conn, nil
	}
	return conn, d.Handshake(ctx, conn, to.Host, deadline)
}

// Handshake makes a TLS connection of one that began without (STARTTLS). host is the
// name that the certificate has to be for. It leaves the connection without a
// deadline. On an error, an [*Error] or that of ctx, the connection must be aborted.
func (d *Dialer) Handshake(ctx context.Context, conn *Conn, host string, deadline time.Time) error {
	if err := conn.raw.SetDeadline(deadline); err != nil {
		return handshakeError(err)
	}
	below := &holdable{Conn: conn.raw}
	t := tls.Client(below, &tls.Config{
		ServerName:         host,
		RootCAs:            d.Roots,
		MinVersion:         tls.VersionTLS12,
		ClientSessionCache: d.sessions,
	})
	// Handshake with a deadline, rather than HandshakeContext: that keeps a
	// goroutine for each handshake.
	stop := context.AfterFunc(ctx, conn.Abort)
	err := t.Handshake()
	if !stop() {
		return ctx.Err()
	}
	if err != nil {
		return handshakeError(err)
	}
	conn.Conn, conn.secure, conn.below = t, t, below
	if err := t.SetDeadline(time.Time{}); err != nil {
		return handshakeError(err)
	}
	return nil
}

// connect resolves the host and tries its addresses one after the other. None gets
// more than its share of the time, nor more than a second while there is another.
func (d *Dialer) connect(ctx context.Context, to Endpoint, deadline time.Time) (net.Conn, error) {
	if addr, ok := to.literal(); ok {
		return d.connectTo(within{ctx, deadline}, netip.AddrPortFrom(addr, to.Port))
	}
	name, err := d.resolve(ctx, to.Host, deadline)
	if err != nil {
		return nil, err
	}
	for _, addr := range name.addrs {
		// One refused address is enough: a name that leads inside and outside
		// is a trick or a mistake, and which one is dialled is chance.
		if err := d.Policy.CheckAddr(netip.AddrPortFrom(addr, to.Port)); err != nil {
			return nil, err
		}
	}
	first, tries, short := int(name.first.Load()), min(len(name.addrs), maxTries), false
	for i := range tries {
		at := (first + i) % len(name.addrs)
		attempt := within{ctx, time.Now().Add(share(deadline, tries-i))}
		var conn net.Conn
		conn, err = d.connectTo(attempt, netip.AddrPortFrom(name.addrs[at], to.Port))
		if err == nil {
			name.first.Store(int32(at))
			return conn, nil
		}
		if short = short || errors.Is(err, ErrNoPort); ctx.Err() != nil || time.Until(deadline) <= 0 {
			break
		}
	}
	if short { // with a port it might have gone well
		err = ErrNoPort
	}
	return nil, err
}

func (d *Dialer) resolve(ctx context.Context, host string, deadline time.Time) (*name, error) {
	ctx, cancel := context.WithDeadlineCause(ctx, deadline, errConnectTimeout)
	defer cancel()
	return d.names.resolve(ctx, host)
}

// within gives a context an earlier deadline for connecting. The socket sees to that:
// unlike one of package context it is not done then, and has no timer and no place
// among the children of its parent.
type within struct {
	context.Context
	deadline time.Time
}

func (w within) Deadline() (time.Time, bool) {
	if d, ok := w.Context.Deadline(); ok && d.Before(w.deadline) {
		return d, true
	}
	return w.deadline, true
}

// maxTries is how many addresses of a name one dial tries.
const maxTries = 4

// share returns how long one of the attempts that are left may take.
func share(deadline time.Time, left int) time.Duration {
	rest := time.Until(deadline)
	if left == 1 {
		return rest
	}
	return min(rest/time.Duration(left), time.Second)
}

func (d *Dialer) connectTo(ctx within, to netip.AddrPort) (net.Conn, error) {
	network := "tcp6"
	if to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port()); to.Addr().Is4() {
		network = "tcp4"
	}
	from := d.dialer(to.Addr())
	for short := 0; ; {
		conn, err := from.DialContext(ctx, network, to.String())
		switch {
		case err == nil:
			return conn, nil
		case noPort(err, to):
			if short++; short >= len(d.Source) {
				return nil, ErrNoPort
			}
			from = d.dialer(to.Addr()) // the next one may have some
			continue
		case !outOfFiles(err):
			return nil, connectError(err)
		}
		// Somebody outside of the budget took more than was left for it. Make room
		// and try again.
		d.Budget.EvictOldest()
		select {
		case <-time.After(min(50*time.Millisecond, time.Until(ctx.deadline))):
		case <-ctx.Done():
			return nil, errTimeout
		}
		if time.Until(ctx.deadline) <= 0 {
			return nil, errTimeout
		}
	}
}

// hosts is a bounded set of endpoints. When it is full, some are forgotten.
type hosts struct {
	mu  sync.Mutex
	set map[Endpoint]struct{}
}

const maxHosts = 16384

func (h *hosts) has(e Endpoint) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.set[e]
	return ok
}

func (h *hosts) add(e Endpoint) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.set) >= maxHosts {
		for forgotten := range h.set {
			delete(h.set, forgotten)
			break
		}
	}
	h.set[e] = struct{}{}
}

func (h *hosts) remove(e Endpoint) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.set, e)
}
