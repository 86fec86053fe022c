package feeds

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// perAddress leaves room for others when one client opens what it can; a CDN or a
// proxy is one client too.
const perAddress = 1024

// Limit makes the listener take no more than 1,024 connections at once from one
// address (of IPv6: from one /64); others are closed at once. Where the process or the
// system has no file left for one more, they wait in the backlog: to the server that
// would be the end.
func Limit(l net.Listener) net.Listener {
	return &limited{Listener: l, open: make(map[netip.Prefix]int), most: perAddress}
}

type limited struct {
	net.Listener
	most int

	mu   sync.Mutex
	open map[netip.Prefix]int
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if short(err) {
			time.Sleep(acceptPause)
			continue
		}
		if err != nil {
			return nil, err
		}
		from := network(c.RemoteAddr())
		l.mu.Lock()
		full := l.open[from] >= l.most
		if !full {
			l.open[from]++
		}
		l.mu.Unlock()
		if !full {
			return &counted{Conn: c, leave: sync.OnceFunc(func() { l.leave(from) })}, nil
		}
		c.Close() // the client sees an end; there is nobody to tell about an error
	}
}

// acceptPause is how long to wait for files or memory before the next try.
const acceptPause = 50 * time.Millisecond

// short says that an accept failed for want of what others give back, or with a
// client that left before it was taken (accept(2)).
func short(err error) bool {
	for _, passing := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

func (l *limited) leave(from netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[from]--; l.open[from] == 0 {
		delete(l.open, from)
	}
}

// network returns whose connections count together; those of no IP address do too.
func network(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// counted is a connection that counts until it is closed.
type counted struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.leave()
	return c.Conn.Close()
}
