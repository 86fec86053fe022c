package sink

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tocsin/tocsin/internal/peer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, o Options) *Sink {
	t.Helper()
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// record asks for everything as the harness does, over HTTP.
func record(t *testing.T, s *Sink) *Record {
	t.Helper()
	control := httptest.NewServer(s.Control())
	defer control.Close()
	r, err := (&Remote{Control: control.URL, Client: control.Client()}).Record(t.Context())
	control.Client().CloseIdleConnections()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// client is one connection to a target's host.
type client struct {
	t *testing.T
	net.Conn
	answers *bufio.Reader
}

func (a Addresses) endpoint(host, port int) string {
	return netip.AddrPortFrom(a.address(host), uint16(port)).String()
}

func dial(t *testing.T, s *Sink, target int) *client {
	t.Helper()
	at := s.options.Addresses
	c, err := net.Dial("tcp", at.endpoint(at.host(target), s.Port()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &client{t, c, bufio.NewReader(c)}
}

func requestTo(target, sequence int) string {
	body := fmt.Sprintf(`{"data":{"sequence":%d,"updates":[{"sequence":99}]}}`, sequence)
	return fmt.Sprintf("POST /t/%d HTTP/1.1\r\nHost: x\r\ncontent-length: %d\r\nWebhook-Id: msg_1\r\n\r\n%s", target, len(body), body)
}

// send returns the status of the answer, 0 if there is none.
func (c *client) send(target, sequence int) int {
	c.t.Helper()
	if _, err := io.WriteString(c, requestTo(target, sequence)); err != nil {
		c.t.Fatal(err)
	}
	return c.status()
}

func (c *client) status() int {
	response, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return 0
	}
	io.Copy(io.Discard, response.Body)
	response.Body.Close()
	return response.StatusCode
}

func TestWhatASinkCounts(t *testing.T) {
	for name, test := range map[string]struct {
		sent                   [][2]int // target, sequence, over one connection to each
		lost                   [2]int   // by sequence, of three targets
		duplicates, violations int
		requests               int
	}{
		"all is well":       {sent: [][2]int{{1, 1}, {2, 1}, {3, 1}, {1, 2}, {2, 2}, {3, 2}}, requests: 6},
		"one is lost":       {sent: [][2]int{{1, 1}, {3, 1}, {1, 2}, {2, 2}, {3, 2}}, lost: [2]int{1, 0}, requests: 5},
		"one came twice":    {sent: [][2]int{{1, 1}, {2, 1}, {3, 1}, {1, 2}, {2, 2}, {2, 2}, {3, 2}}, duplicates: 1, requests: 7},
		"one came late":     {sent: [][2]int{{1, 2}, {1, 1}, {2, 1}, {3, 1}, {2, 2}, {3, 2}}, violations: 1, requests: 6},
		"late and again":    {sent: [][2]int{{1, 1}, {1, 2}, {1, 1}, {2, 1}, {3, 1}, {2, 2}, {3, 2}}, duplicates: 1, violations: 1, requests: 7},
		"nothing came":      {lost: [2]int{3, 3}},
		"others are others": {sent: [][2]int{{4, 1}, {4, 2}}, lost: [2]int{3, 3}, requests: 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, Options{Targets: 4, Sequences: 2, Addresses: Addresses{Hosts: 4}})
			clients := make(map[int]*client)
			for _, d := range test.sent {
				if clients[d[0]] == nil {
					clients[d[0]] = dial(t, s, d[0])
				}
				if status := clients[d[0]].send(d[0], d[1]); status != 200 {
					t.Fatalf("target %d answered %d", d[0], status)
				}
			}
			r := record(t, s)
			for i, want := range test.lost {
				if got := r.Lost(i+1, 3, Everyone); got != want {
					t.Errorf("%d lost of sequence %d, want %d", got, i+1, want)
				}
			}
			if r.Duplicates != test.duplicates || r.OrderViolations != test.violations || r.Requests != test.requests || len(r.Invalid) > 0 {
				t.Errorf("%d requests, %d duplicates, %d order violations, %v; want %d, %d, %d", r.Requests, r.Duplicates, r.OrderViolations, r.Invalid,
					test.requests, test.duplicates, test.violations)
			}
		})
	}
}

func TestTimesAreThoseOfTheAnswers(t *testing.T) {
	const hold = 150 * time.Millisecond
	s := start(t, Options{Targets: 2, Sequences: 1, Addresses: Addresses{Hosts: 2}, Mix: peer.Mix{Hold: hold}, Mixed: 1})
	before := time.Now()
	if dial(t, s, 2).send(2, 1) != 200 || dial(t, s, 1).send(1, 1) != 200 {
		t.Fatal("no answer")
	}
	after := time.Now()
	r := record(t, s)
	first, last, n := r.Span(1, 2, Everyone)
	if n != 2 || first.Before(before.Add(-time.Millisecond)) || last.Sub(first) < hold-time.Millisecond || last.After(after.Add(time.Millisecond)) {
		t.Errorf("%d answers from %v to %v, between %v and %v", n, first, last, before, after)
	}
	latencies := NewHistogram()
	r.Latencies(latencies, 1, 2, before, func(target int) bool { return target == 1 })
	if latencies.TotalCount() != 1 || latencies.Max() < hold.Microseconds() {
		t.Errorf("%d latencies up to %d µs, want one of at least %v", latencies.TotalCount(), latencies.Max(), hold)
	}
}

func TestAnswersThatDontGetOutDontCount(t *testing.T) {
	s := start(t, Options{Targets: 1, Sequences: 1, Addresses: Addresses{Hosts: 1}, Mix: peer.Mix{Hold: time.Minute}, Mixed: 1})
	c := dial(t, s, 1)
	if _, err := io.WriteString(c, requestTo(1, 1)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return s.Counts().Requests == 1 })
	c.Close() // while the answer is held back
	waitFor(t, func() bool { return s.Counts().Connections == 0 })
	if n := s.Counts().Delivered[0]; n != 0 {
		t.Errorf("%d deliveries count that nobody was told of", n)
	}
	if status := dialAnd(t, s, 1); status != 0 {
		t.Errorf("a sink that closed while it held the answer said %d", status)
	}
}

// dialAnd sends a request that is held back, closes the sink's side of it and
// returns the answer.
func dialAnd(t *testing.T, s *Sink, target int) int {
	c := dial(t, s, target)
	if _, err := io.WriteString(c, requestTo(target, 1)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return s.Counts().Requests == 2 })
	s.HangUp()
	return c.status()
}

func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not come to that")
		}
	}
}

func TestBehaviours(t *testing.T) {
	mix, err := peer.ParseMix("429=50:1s-1s:x1,500=50:x1")
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, Options{Targets: 20, Sequences: 1, Addresses: Addresses{Hosts: 20}, Mix: mix, Mixed: 18})
	seen := map[int]int{}
	for n := 1; n <= 20; n++ {
		c := dial(t, s, n)
		first := c.send(n, 1)
		seen[first]++
		if want := mix.Behaviour(n).Status(1); n <= 18 && first != want || n > 18 && first != 200 {
			t.Errorf("target %d answers %d at first", n, first)
		}
		if n <= 18 {
			if again := c.send(n, 1); again != 200 {
				t.Errorf("target %d answers %d when it is asked again", n, again)
			}
		}
	}
	r := record(t, s)
	if seen[429] == 0 || seen[500] == 0 || r.Lost(1, 20, Everyone) != 0 || r.Duplicates != 0 {
		t.Errorf("first answers %v, %d lost, %d duplicates", seen, r.Lost(1, 20, Everyone), r.Duplicates)
	}
}

func TestWhatIsForNobody(t *testing.T) {
	for want, request := range map[error]string{
		errMethod:   "GET / HTTP/1.1\r\n\r\n",
		errLength:   "POST /t/1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
		errSequence: "POST /t/1 HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
		errUnknown:  requestTo(1, 3),
		errHost:     requestTo(2, 1),
		errHead:     "POST /t/1 HTTP/1.1\r\nX: " + strings.Repeat("x", maxHead),
	} {
		t.Run(want.Error(), func(t *testing.T) {
			s := start(t, Options{Targets: 2, Sequences: 2, Addresses: Addresses{Hosts: 2}})
			c := dial(t, s, 1)
			if _, err := io.WriteString(c, request); err != nil {
				t.Fatal(err)
			}
			if status := c.status(); status != 400 {
				t.Errorf("answered %d", status)
			}
			if counts := s.Counts(); counts.Invalid[want.Error()] != 1 || counts.Requests != 0 {
				t.Errorf("counts %+v", counts)
			}
		})
	}
}

func TestSharedHosts(t *testing.T) {
	s := start(t, Options{Targets: 10, Sequences: 1, Addresses: Addresses{Hosts: 3, Shared: true}})
	c := dial(t, s, 2)
	for _, n := range []int{2, 5, 8} { // all at host 2, over one connection, in one write
		io.WriteString(c, requestTo(n, 1))
	}
	for range 3 {
		if status := c.status(); status != 200 {
			t.Fatalf("answered %d", status)
		}
	}
	if got, want := s.options.Addresses.URL("http", 8, 80), "http://127.0.1.2:80/t/8"; got != want {
		t.Errorf("target 8 is at %s, want %s", got, want)
	}
	if r := record(t, s); r.Lost(1, 10, Everyone) != 7 {
		t.Errorf("%d lost, want 7", r.Lost(1, 10, Everyone))
	}
}

func TestAHotHost(t *testing.T) {
	at := Addresses{Hosts: 3, Hot: 4}
	for target, want := range []int{0, 1, 1, 1, 1, 2, 3, 2} {
		if got := at.host(target); target > 0 && got != want {
			t.Errorf("target %d is at host %d, want %d", target, got, want)
		}
	}
	if (Addresses{Hosts: 1, Hot: 1}).valid() {
		t.Error("there is no host for those who don't share one")
	}
	s := start(t, Options{Targets: 7, Sequences: 1, Addresses: at})
	c := dial(t, s, 4)
	for _, n := range []int{1, 4} {
		if status := c.send(n, 1); status != 200 {
			t.Errorf("target %d answered %d at the hot host", n, status)
		}
	}
	if status := c.send(5, 1); status != 400 {
		t.Errorf("a target that is not there answered %d", status)
	}
}

func TestTLSIsVerifiedAndResumed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.pem")
	at := Addresses{Hosts: 2}
	config, err := NewTLS(at, file)
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, Options{Targets: 2, Sequences: 2, Addresses: at, TLS: config})
	pem, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate")
	}
	sessions := tls.NewLRUClientSessionCache(10)
	for i := range 2 {
		name := at.address(2).String()
		c, err := tls.Dial("tcp", at.endpoint(2, s.Port()), &tls.Config{RootCAs: roots, ServerName: name, ClientSessionCache: sessions})
		if err != nil {
			t.Fatal(err)
		}
		secured := &client{t, c, bufio.NewReader(c)}
		if status := secured.send(2, i+1); status != 200 {
			t.Errorf("answered %d", status)
		}
		if c.ConnectionState().DidResume != (i == 1) || c.ConnectionState().Version != tls.VersionTLS13 {
			t.Errorf("connection %d: %+v", i, c.ConnectionState())
		}
		s.HangUp()
		c.Close()
		waitFor(t, func() bool { return s.Counts().Connections == 0 })
	}
	if counts := s.Counts(); counts.Handshakes != 2 || counts.Resumed != 1 {
		t.Errorf("%d handshakes, %d resumed", counts.Handshakes, counts.Resumed)
	}
	// A host's certificate is for no other.
	if c, err := tls.Dial("tcp", at.endpoint(1, s.Port()), &tls.Config{RootCAs: roots, ServerName: at.address(2).String()}); err == nil {
		c.Close()
		t.Error("the certificate of one host passes for another")
	}
}

func TestCommand(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- (&Command{Targets: 1, Sequences: 1, Hosts: 1}).Run(ctx, write) }()
	line, err := bufio.NewReader(read).ReadString('\n')
	if err != nil || !strings.Contains(line, `"control":"http://127.0.0.1:`) {
		t.Errorf("it said %q, %v", line, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := (&Command{Targets: 1, Sequences: 1, Hosts: 1, Mix: "nonsense"}).Run(t.Context(), io.Discard); err == nil {
		t.Error("it took a mix that is none")
	}
	if err := (&Command{}).Run(t.Context(), io.Discard); err == nil {
		t.Error("it started without targets")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(requestTo(1, 1)))
	f.Add([]byte("POST /t/1 HTTP/1.1\r\nConnection: close\r\nContent-Length: 14\r\n\r\n{\"sequence\": 1}"))
	f.Add([]byte("POST /t/999999999 HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parse(b)
		if err != nil {
			return
		}
		if r.size > len(b) || r.size > 0 && (r.target < 1 || r.sequence < 1) {
			t.Errorf("%+v of %d bytes", r, len(b))
		}
		// What comes after a request is not its matter.
		if again, err := parse(append(b[:len(b):len(b)], "more"...)); r.size > 0 && (err != nil || again != r) {
			t.Errorf("with more after it: %+v, %v; without: %+v", again, err, r)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	request := []byte(requestTo(123456, 1))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parse(request); err != nil {
			b.Fatal(err)
		}
	}
}
