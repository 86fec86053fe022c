package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/internal/egress"
)

// serveTLS answers 200 over TLS of one version and counts connections.
func serveTLS(t *testing.T, version uint16) (*httptest.Server, *atomic.Int32) {
	var conns atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	s.TLS = &tls.Config{MinVersion: version, MaxVersion: version}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s, &conns
}

func TestTLSConnectionsAreUsedAgain(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		s, conns := serveTLS(t, version)
		c := newChannel(t, func(_ *Config, e *egress.Config) {
			e.Roots = x509.NewCertPool()
			e.Roots.AddCert(s.Certificate())
		})
		for range 3 {
			if r := c.Send(t.Context(), message(t, c, s.URL)); r.Class != channels.Delivered {
				t.Fatalf("%s: %+v", tls.VersionName(version), r)
			}
		}
		if conns.Load() != 1 {
			t.Errorf("%s: %d connections for 3 messages", tls.VersionName(version), conns.Load())
		}
	}
}

func TestBadTLSIsNoConnection(t *testing.T) {
	selfSigned, _ := serveTLS(t, tls.VersionTLS13)
	old, _ := serveTLS(t, tls.VersionTLS11)
	for url, detail := range map[string]string{
		selfSigned.URL: "tls_error: certificate of an unknown authority",
		old.URL:        "tls_error: protocol version not supported",
	} {
		c := newChannel(t, func(_ *Config, e *egress.Config) { e.Roots = x509.NewCertPool() })
		got := c.Send(t.Context(), message(t, c, url))
		if want := (channels.Result{Class: channels.Temporary, Detail: detail, NoConnection: true}); got != want {
			t.Errorf("%+v; want %+v", got, want)
		}
	}
}

// The timeout begins when the connection is there, and what waits for the gate has
// no part in it.
func TestTimeoutsBeginAfterTheGate(t *testing.T) {
	var k counted
	c := newChannel(t, func(c *Config, e *egress.Config) {
		c.ConnectTimeout, c.Timeout = time.Second, time.Second
		e.Gate = egress.NewGate(1, 1)
	})
	address := serve(t, k.answers(answerOK))
	// The first moves to the slow class and fills it; the second then keeps the gate
	// shut for longer than both timeouts together.
	first, err := c.dialer.Gate.Enter(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.dialer.Gate.Enter(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(2500*time.Millisecond, second.Leave)
	defer first.Leave()
	if r := c.Send(t.Context(), message(t, c, address)); r.Class != channels.Delivered {
		t.Errorf("%+v", r)
	}
}

// A provider with timeouts of its own has them, however generous the channel's are.
func TestTimeoutsOfOneProvider(t *testing.T) {
	c := newChannel(t, func(c *Config, _ *egress.Config) {
		c.Timeout = time.Hour
		c.Hosts = func(provider string) (connect, timeout time.Duration) {
			if provider == "" {
				t.Error("asked for no provider")
			}
			return time.Second, 50 * time.Millisecond
		}
	})
	address := serve(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }) // takes all, says nothing
	if r := c.Send(t.Context(), message(t, c, address)); r.Class != channels.Temporary {
		t.Errorf("%+v", r)
	}
}
