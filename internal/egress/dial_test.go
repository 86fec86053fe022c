package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peer accepts until the test ends and gives each connection to handle.
func peer(t testing.TB, address string, handle func(net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", address)
	must(t, err)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		must(t, l.Close())
		all.Wait()
	})
	return netip.MustParseAddrPort(l.Addr().String())
}

// untilClosed reads until the other side closes.
func untilClosed(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

func newDialer(t testing.TB, rules Rules, change func(*Config)) *Dialer {
	t.Helper()
	c := Config{Policy: newPolicy(t, rules), Gate: NewGate(8, 4), Budget: NewBudget(20, time.Minute),
		Lookup: func(context.Context, string) ([]netip.Addr, error) { return nil, &net.DNSError{IsNotFound: true} }}
	if change != nil {
		change(&c)
	}
	d := NewDialer(c)
	t.Cleanup(func() {
		d.Budget.Close()
		if n := d.Budget.Used(); n != 0 {
			t.Errorf("%d descriptors are still taken", n)
		}
		if d.Gate.fast.used != 0 || d.Gate.slow.used != 0 {
			t.Error("somebody is still in the gate")
		}
	})
	return d
}

func resolveTo(texts ...string) Lookup {
	return func(context.Context, string) ([]netip.Addr, error) { return addrs(texts...), nil }
}

var loopback = Rules{Allow: []string{"127.0.0.0/8", "::1"}}

func TestDialByNameAndByAddress(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	at := peer(t, "127.0.0.1:0", untilClosed)
	d := newDialer(t, loopback, func(c *Config) { c.Lookup = resolveTo("127.0.0.1") })
	for _, host := range []string{"127.0.0.1", "h.example.com"} {
		c, err := d.Dial(t.Context(), Endpoint{Host: host, Port: at.Port()}, time.Second)
		must(t, err)
		if got := c.RemoteAddr().String(); got != at.String() {
			t.Errorf("connected to %s; want %s", got, at)
		}
		if d.Budget.Used() != 1 {
			t.Errorf("%d descriptors used", d.Budget.Used())
		}
		must(t, c.Close())
		c.Abort()
		if d.Budget.Used() != 0 {
			t.Errorf("%d descriptors used after Close", d.Budget.Used())
		}
	}
}

func TestSourceAddressesTakeTurns(t *testing.T) {
	from := make(chan string, 4)
	at := peer(t, "127.0.0.1:0", func(c net.Conn) {
		from <- c.RemoteAddr().(*net.TCPAddr).IP.String()
	})
	d := newDialer(t, loopback, func(c *Config) { c.Source = addrs("127.0.0.21", "::1", "127.0.0.22") })
	seen := map[string]int{}
	for range 4 {
		c, err := d.Dial(t.Context(), Endpoint{Host: "127.0.0.1", Port: at.Port()}, time.Second)
		must(t, err)
		seen[<-from]++
		must(t, c.Close())
	}
	if len(seen) != 2 || seen["127.0.0.21"] == 0 || seen["127.0.0.22"] == 0 {
		t.Errorf("connections came from %v", seen)
	}
}

func TestWhatTheNameLeadsToDecides(t *testing.T) {
	dialled := make(chan struct{}, 10)
	at := peer(t, "127.0.0.1:0", func(net.Conn) { dialled <- struct{}{} })
	for name, lookup := range map[string]Lookup{
		"internal":           resolveTo("127.0.0.1"),
		"mapped":             resolveTo("::ffff:127.0.0.1"),
		"public and private": resolveTo("8.8.8.8", "127.0.0.1"),
		"private and public": resolveTo("127.0.0.1", "8.8.8.8"),
		"link-local":         resolveTo("169.254.169.254"),
	} {
		d := newDialer(t, Rules{}, func(c *Config) { c.Lookup = lookup })
		_, err := d.Dial(t.Context(), Endpoint{Host: "h.example.com", Port: at.Port()}, time.Second)
		if err != ErrBlocked || err.Error() != "ssrf_blocked" {
			t.Errorf("%s: %v; want ErrBlocked", name, err)
		}
	}
	d := newDialer(t, Rules{}, nil)
	for _, host := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.1"} {
		if _, err := d.Dial(t.Context(), Endpoint{Host: host, Port: at.Port()}, time.Second); err != ErrBlocked {
			t.Errorf("%s: %v; want ErrBlocked", host, err)
		}
	}
	if len(dialled) != 0 {
		t.Errorf("%d connections were made", len(dialled))
	}
}

// A name that leads elsewhere the second time is checked again, and the answer that
// was checked is the one that is dialled.
func TestRebindingIsBlocked(t *testing.T) {
	at := peer(t, "127.0.0.1:0", untilClosed)
	answers := make(chan []netip.Addr, 2)
	answers <- addrs("127.0.0.1")
	answers <- addrs("127.0.0.2")
	d := newDialer(t, Rules{Allow: []string{"127.0.0.1"}}, func(c *Config) {
		c.Lookup = func(context.Context, string) ([]netip.Addr, error) { return <-answers, nil }
	})
	to := Endpoint{Host: "h.example.com", Port: at.Port()}
	for range 3 {
		c, err := d.Dial(t.Context(), to, time.Second)
		must(t, err)
		must(t, c.Close())
	}
	d.names.names[to.Host].until = time.Time{}
	if _, err := d.Dial(t.Context(), to, time.Second); err != ErrBlocked {
		t.Errorf("%v; want ErrBlocked", err)
	}
	// The last look is at the socket's own address, whatever came before it.
	if err := d.checkSocket("tcp4", "127.0.0.2:80", nil); err != ErrBlocked {
		t.Errorf("at the socket: %v; want ErrBlocked", err)
	}
}

func TestOurOwnListenersAreBlocked(t *testing.T) {
	at := peer(t, "127.0.0.1:0", untilClosed)
	d := newDialer(t, Rules{Allow: []string{"127.0.0.0/8"}, Own: []netip.AddrPort{at}}, nil)
	if _, err := d.Dial(t.Context(), Endpoint{Host: "127.0.0.1", Port: at.Port()}, time.Second); err != ErrBlocked {
		t.Errorf("%v; want ErrBlocked", err)
	}
}

func TestAnotherAddressIsTriedAndRemembered(t *testing.T) {
	at := peer(t, "127.0.0.7:0", untilClosed)
	d := newDialer(t, loopback, func(c *Config) { c.Lookup = resolveTo("::1", "127.0.0.6", "127.0.0.7") })
	c, err := d.Dial(t.Context(), Endpoint{Host: "h.example.com", Port: at.Port()}, time.Second)
	must(t, err)
	must(t, c.Close())
	n, err := d.names.resolve(t.Context(), "h.example.com")
	must(t, err)
	if got := n.addrs[n.first.Load()]; got != at.Addr() {
		t.Errorf("%s is tried first next time; want %s", got, at.Addr())
	}
}

// bound returns a socket that has a port, which nobody else gets meanwhile, and doesn't
// listen: who dials it is refused.
func bound(t *testing.T) (fd int, at netip.AddrPort) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { must(t, syscall.Close(fd)) })
	must(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	sa, err := syscall.Getsockname(fd)
	must(t, err)
	return fd, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(sa.(*syscall.SockaddrInet4).Port))
}

// fullBacklog returns a listener that takes no more connections.
func fullBacklog(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, at := bound(t)
	must(t, syscall.Listen(fd, 0))
	for range 2 { // the backlog holds one more than its number
		c, err := net.DialTimeout("tcp", at.String(), 100*time.Millisecond)
		if err == nil {
			t.Cleanup(func() { must(t, c.Close()) })
		}
	}
	return at
}

func TestDialFailures(t *testing.T) {
	_, refused := bound(t)

	authority := newAuthority(t)
	serveTLS := func(change func(*x509.Certificate), config func(*tls.Config)) netip.AddrPort {
		cfg := &tls.Config{Certificates: []tls.Certificate{authority.issue(t, change)}}
		if config != nil {
			config(cfg)
		}
		return peer(t, "127.0.0.1:0", func(c net.Conn) {
			_ = tls.Server(c, cfg).Handshake()
		})
	}
	other := newAuthority(t)
	selfSigned := peer(t, "127.0.0.1:0", func(c net.Conn) {
		_ = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{other.issue(t, nil)}}).Handshake()
	})
	expired := serveTLS(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }, nil)
	wrongName := serveTLS(func(c *x509.Certificate) { c.DNSNames = []string{"other.example.com"} }, nil)
	old := serveTLS(nil, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 })
	oldStubborn := peer(t, "127.0.0.1:0", func(c net.Conn) {
		// A ServerHello that chose TLS 1.1 whatever was offered.
		hello := append([]byte{22, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2}, make([]byte, 32)...)
		_, _ = c.Write(append(hello, 0, 0xc0, 0x2f, 0))
		untilClosed(c)
	})
	plain := peer(t, "127.0.0.1:0", func(c net.Conn) {
		_, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.9\r\n")
		untilClosed(c)
	})
	stalled := peer(t, "127.0.0.1:0", untilClosed)
	hangsUp := peer(t, "127.0.0.1:0", func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
	})
	full := fullBacklog(t)

	const quick = 500 * time.Millisecond
	for name, tc := range map[string]struct {
		to      netip.AddrPort
		tls     bool
		timeout time.Duration
		kind    Kind
		detail  string
	}{
		"refused":          {refused, false, 5 * time.Second, Connect, "connect: refused"},
		"full backlog":     {full, false, quick, Timeout, "connect: timeout"},
		"self-signed":      {selfSigned, true, 5 * time.Second, TLS, "tls_error: certificate of an unknown authority"},
		"expired":          {expired, true, 5 * time.Second, TLS, "tls_error: certificate expired or not yet valid"},
		"wrong name":       {wrongName, true, 5 * time.Second, TLS, "tls_error: certificate for another name"},
		"TLS 1.1":          {old, true, 5 * time.Second, TLS, "tls_error: protocol version not supported"},
		"TLS 1.1, no less": {oldStubborn, true, 5 * time.Second, TLS, "tls_error: protocol version not supported"},
		"no TLS":           {plain, true, 5 * time.Second, TLS, "tls_error: the peer does not speak TLS"},
		"handshake stall":  {stalled, true, quick, TLS, "tls_error: timeout"},
		"hangs up":         {hangsUp, true, 5 * time.Second, TLS, "tls_error: closed by the peer"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDialer(t, loopback, func(c *Config) {
				c.Lookup, c.Roots = resolveTo("127.0.0.1"), authority.pool
			})
			to := Endpoint{Host: "h.example.com", Port: tc.to.Port(), TLS: tc.tls}
			_, err := d.Dial(t.Context(), to, tc.timeout)
			failed, ok := errors.AsType[*Error](err)
			if !ok || failed.Kind != tc.kind || err.Error() != tc.detail {
				t.Errorf("%v; want %q", err, tc.detail)
			}
			if err != nil && strings.ContainsAny(err.Error(), "[]") || strings.Contains(fmt.Sprintf("%+v", err), "127.") {
				t.Errorf("%v shows an address", err)
			}
			if !d.failing.has(to) {
				t.Error("the next dial would not begin in the slow class")
			}
		})
	}
}

// Others may have taken all files: a dial waits for one no longer than it may take.
func TestADialWithoutFilesEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialer(t, loopback, nil)
		tries := 0
		d.net.Control = func(string, string, syscall.RawConn) error {
			tries++
			return syscall.EMFILE
		}
		began := time.Now()
		_, err := d.Dial(t.Context(), Endpoint{Host: "127.0.0.1", Port: 9}, 120*time.Millisecond)
		if took := time.Since(began); err != errTimeout || took != 120*time.Millisecond || tries != 3 {
			t.Errorf("%v after %v and %d tries", err, took, tries)
		}
	})
}

func TestTLSSessionsAreResumed(t *testing.T) {
	authority := newAuthority(t)
	cfg := &tls.Config{Certificates: []tls.Certificate{authority.issue(t, nil)}}
	names := make(chan string, 4)
	at := peer(t, "127.0.0.1:0", func(c net.Conn) {
		s := tls.Server(c, cfg)
		if _, err := s.Write([]byte{1}); err != nil {
			return
		}
		names <- s.ConnectionState().ServerName
		untilClosed(s)
	})
	d := newDialer(t, loopback, func(c *Config) { c.Lookup, c.Roots = resolveTo("127.0.0.1"), authority.pool })
	to := Endpoint{Host: "h.example.com", Port: at.Port(), TLS: true}
	for i := range 2 {
		c, err := d.Dial(t.Context(), to, 5*time.Second)
		must(t, err)
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil { // the session comes before the first byte
			t.Fatal(err)
		}
		state := c.Conn.(*tls.Conn).ConnectionState()
		if state.DidResume != (i == 1) || state.Version < tls.VersionTLS12 {
			t.Errorf("dial %d: resumed %t, version %x", i, state.DidResume, state.Version)
		}
		if name := <-names; name != to.Host {
			t.Errorf("server name %q", name)
		}
		must(t, c.Close())
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	stalled := peer(t, "127.0.0.1:0", untilClosed)
	inside := make(chan struct{})
	for name, tc := range map[string]struct {
		host   string
		at     netip.AddrPort
		lookup Lookup
	}{
		"in the handshake": {"127.0.0.1", stalled, nil},
		"in the connect":   {"127.0.0.1", fullBacklog(t), nil},
		"in the lookup": {"h.example.com", stalled, func(ctx context.Context, _ string) ([]netip.Addr, error) {
			close(inside)
			<-ctx.Done()
			return nil, ctx.Err()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDialer(t, loopback, func(c *Config) { c.Lookup = tc.lookup })
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tc.lookup != nil {
				go func() { <-inside; cancel() }()
			} else {
				time.AfterFunc(20*time.Millisecond, cancel)
			}
			_, err := d.Dial(ctx, Endpoint{Host: tc.host, Port: tc.at.Port(), TLS: true}, time.Hour)
			if err != context.Canceled {
				t.Errorf("%v; want the context's error", err)
			}
		})
	}
}

func TestQuietSeesWhatAnIdlePeerDid(t *testing.T) {
	do := make(chan func(net.Conn) error)
	did := make(chan error)
	at := peer(t, "127.0.0.1:0", func(c net.Conn) {
		for f := range do {
			did <- f(c)
		}
	})
	defer close(do)
	d := newDialer(t, loopback, nil)
	c, err := d.Dial(t.Context(), Endpoint{Host: "127.0.0.1", Port: at.Port()}, time.Second)
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(time.Minute)))
	for range 2 { // asking changes nothing
		if !c.Quiet() {
			t.Fatal("not quiet although nothing happened")
		}
	}
	do <- func(c net.Conn) error { _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n"); return err }
	must(t, <-did)
	if c.Quiet() {
		t.Error("quiet although the peer spoke unasked")
	}
	if n := testing.AllocsPerRun(100, func() { c.Quiet() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A record that came together with the one before is in memory, where the socket
// doesn't show it.
func TestQuietSeesWhatTLSHasReadAhead(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		authority := newAuthority(t)
		here := func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }
		cfg := &tls.Config{Certificates: []tls.Certificate{authority.issue(t, here)}, MinVersion: version, MaxVersion: version}
		says := make(chan []string)
		at := peer(t, "127.0.0.1:0", func(c net.Conn) {
			wire := &gathering{Conn: c}
			secure := tls.Server(wire, cfg)
			if secure.Handshake() != nil {
				return
			}
			for records := range says {
				wire.gather = true
				for _, record := range records {
					_, _ = io.WriteString(secure, record)
				}
				_, _ = c.Write(wire.gathered)
				wire.gathered = nil
			}
		})
		d := newDialer(t, loopback, func(c *Config) { c.Roots = authority.pool })
		c, err := d.Dial(t.Context(), Endpoint{Host: "127.0.0.1", Port: at.Port(), TLS: true}, 5*time.Second)
		must(t, err)
		must(t, c.SetDeadline(time.Now().Add(time.Minute)))
		answer := make([]byte, 8)
		for _, tc := range []struct {
			records []string
			quiet   bool
		}{{[]string{"answer 1"}, true}, {[]string{"answer 2"}, true}, {[]string{"answer 3", "answer 4"}, false}} {
			says <- tc.records
			_, err := io.ReadFull(c, answer)
			must(t, err)
			if got := c.Quiet(); string(answer) != tc.records[0] || got != tc.quiet {
				t.Errorf("%s: quiet is %t after %q of %q", tls.VersionName(version), got, answer, tc.records)
			}
		}
		c.Abort()
		close(says)
	}
}

// gathering keeps what is written, once it is told to.
type gathering struct {
	net.Conn
	gather   bool
	gathered []byte
}

func (g *gathering) Write(b []byte) (int, error) {
	if !g.gather {
		return g.Conn.Write(b)
	}
	g.gathered = append(g.gathered, b...)
	return len(b), nil
}
