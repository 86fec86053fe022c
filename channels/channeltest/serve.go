package channeltest

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
)

// Listen returns a listener at host, on a free port.
func Listen(t testing.TB, host string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Serve is ServeOn a port of 127.0.0.1.
func Serve(t testing.TB, handle func(net.Conn)) (address string) {
	t.Helper()
	return ServeOn(t, Listen(t, "127.0.0.1"), handle)
}

// ServeOn accepts connections on l until the test ends, closes it then, and returns
// its address. Each connection is handled by its own goroutine, which the end cuts
// and waits for.
func ServeOn(t testing.TB, l net.Listener, handle func(net.Conn)) (address string) {
	t.Helper()
	var all sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			all.Go(func() {
				handle(c)
				_ = c.Close()
				mu.Lock()
				delete(open, c)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return l.Addr().String()
}

// FreeAddress returns an address of this machine where nobody listens.
func FreeAddress(t testing.TB) string {
	t.Helper()
	l := Listen(t, "127.0.0.1")
	defer l.Close()
	return l.Addr().String()
}

// NoNames is an egress.Lookup that finds nothing: tests ask no real name server.
func NoNames(context.Context, string) ([]netip.Addr, error) {
	return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
}
