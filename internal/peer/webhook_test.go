package peer

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, o Options) *Webhook {
	t.Helper()
	w, err := StartWebhook(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// scripted gives each named target its behaviour; the others are OK.
func scripted(targets map[int]Behaviour) Script { return func(n int) Behaviour { return targets[n] } }

// client is one connection to a target's own address.
type client struct {
	t *testing.T
	net.Conn
	answers *bufio.Reader
}

func address(w *Webhook, n int) string { return netip.AddrPortFrom(Host(n), uint16(w.Port())).String() }

func dial(t *testing.T, w *Webhook, n int) *client {
	t.Helper()
	c, err := net.Dial("tcp", address(w, n))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &client{t, c, bufio.NewReader(c)}
}

func (c *client) send(n, sequence int) {
	c.t.Helper()
	b := body("INC-1", sequence)
	_, err := fmt.Fprintf(c, "POST /t/%d HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nwebhook-id: %s\r\nwebhook-timestamp: %d\r\n\r\n%s",
		n, len(b), testID(n, sequence), time.Now().Unix(), b)
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) status() (int, http.Header) {
	c.t.Helper()
	r, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	io.Copy(io.Discard, r.Body)
	return r.StatusCode, r.Header
}

func TestWebhookBehaviours(t *testing.T) {
	file := filepath.Join(t.TempDir(), "receipts")
	w := start(t, Options{Receipts: file, Script: scripted(map[int]Behaviour{
		2: {Kind: Throttled, Times: 2, RetryAfter: 1500 * time.Millisecond},
		3: {Kind: Faulty, Times: 1},
		4: {Kind: Dead},
		5: {Kind: Gone},
		6: {Kind: Slow, After: 20 * time.Millisecond},
	})})
	for n, want := range map[int][]int{1: {200, 200}, 2: {429, 429, 200}, 3: {500, 200}, 4: {500, 500}, 5: {410}, 6: {200, 200}} {
		c := dial(t, w, n)
		for i, status := range want {
			c.send(n, i+1)
			got, header := c.status()
			if got != status {
				t.Errorf("request %d to target %d is answered %d, want %d", i+1, n, got, status)
			}
			if got == 429 && header.Get("Retry-After") != "2" {
				t.Errorf("Retry-After is %q, want whole seconds rounded up", header.Get("Retry-After"))
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	report := w.Report()
	if report.Requests != 12 || report.Delivered != 6 || report.Pending != 0 || !report.Sound() || len(report.Invalid) != 0 {
		t.Errorf("report %+v, verdict %+v", report, report.Verdict)
	}
	for _, r := range w.Receipts() {
		if r.ID != testID(r.Target, r.Sequence) || r.Incident != "INC-1" || r.AnsweredAt.Before(r.ReceivedAt) {
			t.Errorf("receipt %+v", r)
		}
		if r.Target == 6 && r.AnsweredAt.Sub(r.ReceivedAt) < 20*time.Millisecond {
			t.Errorf("the slow target answered early: %+v", r)
		}
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var written []Receipt
	if err := ReadReceipts(f, func(r Receipt) { written = append(written, r) }); err != nil || !slices.Equal(written, w.Receipts()) {
		t.Errorf("the file has %d receipts, %v", len(written), err)
	}
}

// Receipts that somebody takes are not kept, and a script may change its mind.
func TestWebhookReceiptsAreTaken(t *testing.T) {
	taken := make(chan Receipt, 2)
	var kind atomic.Uint32
	w := start(t, Options{Take: func(r Receipt) { taken <- r }, Script: func(int) Behaviour { return Behaviour{Kind: Kind(kind.Load())} }})
	c := dial(t, w, 1)
	for i, status := range []int{200, 500} {
		c.send(1, i+1)
		c.status()
		if r := <-taken; r.Target != 1 || r.Sequence != i+1 || r.Status != status {
			t.Errorf("taken: %+v", r)
		}
		kind.Store(uint32(Dead))
	}
	if n := len(w.Receipts()); n != 0 {
		t.Errorf("%d receipts are kept", n)
	}
}

// A silent target's request gets its receipt when the client gives up, and one
// that the client left before a slow answer is not counted as answered.
func TestWebhookUnanswered(t *testing.T) {
	w := start(t, Options{Script: scripted(map[int]Behaviour{1: {Kind: Silent}, 2: {Kind: Slow, After: time.Hour}, 3: {Kind: Silent}})})
	var wg sync.WaitGroup
	for n := 1; n <= 2; n++ {
		c := dial(t, w, n)
		c.send(n, 1)
		// Half-closed: the peer sees the end and ends the connection in turn,
		// which this side waits for.
		c.Conn.(*net.TCPConn).CloseWrite()
		wg.Go(func() {
			if _, err := c.answers.ReadByte(); err != io.EOF {
				t.Errorf("target %d answered: %v", n, err)
			}
		})
	}
	wg.Wait()
	dial(t, w, 3).send(3, 1) // left to Close to end
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, r := range w.Receipts() {
		if r.Status != 0 || r.AnsweredAt.IsZero() {
			t.Errorf("receipt %+v", r)
		}
	}
	if v := w.Report(); v.Delivered != 0 || v.Unanswered < 2 || v.Pending != 0 {
		t.Errorf("report %+v", v.Verdict)
	}
}

func TestWebhookResets(t *testing.T) {
	w := start(t, Options{Script: scripted(map[int]Behaviour{1: {Kind: Refusing}})})
	c, err := net.Dial("tcp", address(w, 1))
	if err == nil { // the reset may already be the answer to connect
		_, err = c.Read(make([]byte, 1))
		c.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
	w.Close()
	if r := w.Report(); r.Refused != 1 || r.Requests != 0 {
		t.Errorf("report %+v", r)
	}
}

func TestWebhookRefusesWhatNoReceiverWouldTake(t *testing.T) {
	w := start(t, Options{})
	good := fmt.Sprintf("Content-Length: %d\r\nwebhook-id: %s\r\nwebhook-timestamp: %d\r\n\r\n%s",
		len(body("INC-1", 1)), testID(1, 1), time.Now().Unix(), body("INC-1", 1))
	for _, text := range []string{
		"POST /t/2 HTTP/1.1\r\n" + good, // another target's address
		"POST /x HTTP/1.1\r\n" + good,
		"POST /t/1 HTTP/1.1\r\n" + strings.Replace(good, "msg_", "", 1),
		"POST /t/1 HTTP/1.1\r\n" + strings.Replace(good, "created", "deleted", 1),
		"GET /t/1 HTTP/1.1\r\n\r\n",
	} {
		c := dial(t, w, 1)
		io.WriteString(c, text)
		if got, _ := c.status(); got != 400 {
			t.Errorf("%.30q is answered %d", text, got)
		}
	}
	w.Close()
	invalid := 0
	for _, n := range w.Report().Invalid {
		invalid += n
	}
	if r := w.Report(); invalid != 5 || r.Requests != 0 {
		t.Errorf("report %+v %v", r.Verdict, r.Invalid)
	}
}

// Requests may come in any pieces, larger than a buffer, and more than one in a
// piece.
func TestWebhookReadsPieces(t *testing.T) {
	w := start(t, Options{})
	c := dial(t, w, 1)
	var text strings.Builder
	for s := 1; s <= 3; s++ {
		b := body("INC-1", s)
		b += strings.Repeat(" ", 10_000*(s-1))
		fmt.Fprintf(&text, "POST /t/1 HTTP/1.1\r\nContent-Length: %d\r\nwebhook-id: %s\r\nwebhook-timestamp: %d\r\n\r\n%s",
			len(b), testID(1, s), time.Now().Unix(), b)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for piece := range slices.Chunk([]byte(text.String()), 701) {
			c.Write(piece)
		}
	})
	for range 3 {
		if got, _ := c.status(); got != 200 {
			t.Fatalf("answered %d", got)
		}
	}
	wg.Wait()
	w.Close()
	if r := w.Report(); r.Delivered != 3 || !r.Sound() {
		t.Errorf("report %+v %v", r.Verdict, r.Invalid)
	}
}

func TestWebhookIsLoopbackOnly(t *testing.T) {
	w := start(t, Options{})
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		ip := a.(*net.IPNet).IP
		if ip.IsLoopback() || ip.To4() == nil {
			continue
		}
		c, err := net.DialTimeout("tcp", net.JoinHostPort(ip.String(), strconv.Itoa(w.Port())), 10*time.Second)
		if err != nil {
			return // not even reachable
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a connection to a public address is kept: %v", err)
		}
		return
	}
	t.Skip("this machine has no address but loopback")
}

func TestControl(t *testing.T) {
	w := start(t, Options{})
	control := httptest.NewServer(w.Control())
	defer control.Close()
	get := func(path string) (*http.Response, string) {
		t.Helper()
		r, err := control.Client().Get(control.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r, string(b)
	}
	c := dial(t, w, 1)
	from := "0"
	for s := 1; s <= 2; s++ {
		c.send(1, s)
		c.status()
		r, lines := get("/receipts?from=" + from)
		from = r.Header.Get(NextHeader)
		var got Receipt
		if err := got.UnmarshalText([]byte(lines)); err != nil || got.Sequence != s || got.Status != 200 {
			t.Errorf("part %d of the receipts is %q, %v", s, lines, err)
		}
	}
	if r, _ := get("/receipts?from=999999"); r.StatusCode != 400 {
		t.Errorf("an offset after the end is answered %d", r.StatusCode)
	}
	var report Report
	if _, text := get("/report"); json.Unmarshal([]byte(text), &report) != nil || report.Delivered != 2 || report.Latencies.Count != 2 {
		t.Errorf("report %s", text)
	}
}
