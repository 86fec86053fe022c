package crash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// crowdSize is how many connections are opened, if there may be as many open files.
const crowdSize = 10_000

// The kinds of clients that keep a server waiting, by what they say.
const (
	postHead = "POST /v1/incidents HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
	getPage  = "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
)

var slowClients = []struct {
	name, says string
	drips      bool // goes on, a byte at a time
}{
	{"silent", "", false},
	{"dripping header", postHead + "X-Long: ", true},
	{"half a body", postHead + "Content-Length: 100000\r\n\r\n{\"incident_id\":\"" + hush, false},
	{"dripping body", postHead + "Content-Length: 100000\r\n\r\n{\"incident_id\":\"", true},
	{"reads nothing", strings.Repeat(getPage, 200), false},
	{"asked once", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", false},
}

// slowClient is a connection of one of the kinds.
type slowClient struct {
	net.Conn
	kind int
}

// slowCrowd opens connections, and has those that drip drip.
type slowCrowd struct {
	address string
	mu      sync.Mutex
	open    []slowClient
	all     sync.WaitGroup
}

// come opens n connections from an address, of each kind in turn. It returns the first
// error.
func (c *slowCrowd) come(ctx context.Context, n int, from string) error {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
	for i := range n {
		conn, err := dialer.DialContext(ctx, "tcp", c.address)
		if err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		kind := i % len(slowClients)
		c.mu.Lock()
		c.open = append(c.open, slowClient{conn, kind})
		c.mu.Unlock()
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = io.WriteString(conn, slowClients[kind].says) // one that was cut can't say it
	}
	return nil
}

// drip has each that drips say another byte, until ctx ends.
func (c *slowCrowd) drip(ctx context.Context) {
	c.all.Go(func() {
		again := time.NewTicker(time.Second)
		defer again.Stop()
		for {
			select {
			case <-again.C:
			case <-ctx.Done():
				return
			}
			c.mu.Lock()
			open := c.open
			c.mu.Unlock()
			for _, s := range open {
				if slowClients[s.kind].drips {
					_, _ = s.Write([]byte("x")) // some are cut
				}
			}
		}
	})
}

// leave closes all.
func (c *slowCrowd) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.open {
		s.Close()
	}
	c.open = nil
}

// ended waits until the engine has ended each connection of some kinds.
func (c *slowCrowd) ended(t Host, kinds ...string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.open {
		name := slowClients[s.kind].name
		for _, wanted := range kinds {
			if name != wanted {
				continue
			}
			_ = s.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.Copy(io.Discard, s); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s is never cut", name)
			}
		}
	}
}

// TestIdleConnections opens as many connections as may be, which say too little, too
// slowly, or nothing, from one address and from that of honest callers. These are
// taken and told as if there were nobody else.
func TestIdleConnections(t *testing.T) {
	t.Parallel()
	h := beginHostile(t)
	size := crowdSize
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if most := int(files.Cur) - 1000; most < size {
		size = most
		t.Logf("only %d idle connections instead of %d: no more than %d files may be open", size, crowdSize, files.Cur)
	}
	crowd := &slowCrowd{address: h.engine.address}
	ctx, cancel := context.WithCancel(t.Context())
	defer crowd.all.Wait()
	defer cancel()
	defer crowd.leave()
	crowd.drip(ctx)
	for _, from := range []string{"127.0.0.2", "127.0.0.1"} {
		come := make(chan error, 1)
		crowd.all.Go(func() { come <- crowd.come(ctx, size, from) })
		var err error
		if from == "127.0.0.1" {
			err = <-come // while its own address is stormed, a caller may have to come again
		} else {
			err = h.anotherUntil(come)
		}
		if err != nil {
			t.Fatalf("from %s: %v", from, err)
		}
		h.sent += size
		for range 5 {
			h.another()
		}
		if _, err := h.api.metric(t.Context(), "go_goroutines"); err != nil {
			t.Error(err)
		}
		h.told(10)
		crowd.leave()
	}

	// Few enough are in nobody's way, and are cut in their time.
	if err := crowd.come(ctx, 2*len(slowClients), "127.0.0.2"); err != nil {
		t.Fatal(err)
	}
	crowd.ended(t, "silent", "dripping header", "half a body", "dripping body")
	crowd.leave()
	h.end()
}

// anotherUntil has another caller ask again and again until there is an error or nil.
func (h *hostile) anotherUntil(done <-chan error) error {
	h.t.Helper()
	for {
		select {
		case err := <-done:
			return err
		default:
			h.another()
		}
	}
}

// TestSlowClientsDontHoldUpAnEnd stops an engine that waits for all kinds of clients.
func TestSlowClientsDontHoldUpAnEnd(t *testing.T) {
	t.Parallel()
	h := beginHostile(t)
	crowd := &slowCrowd{address: h.engine.address}
	defer crowd.leave()
	if err := crowd.come(t.Context(), 50*len(slowClients), "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	h.another()
	h.engine.stop()
	if response, err := http.Get(h.api.base + "/healthz"); err == nil {
		response.Body.Close()
		t.Error("it still answers")
	}
}
