package floor

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/alecthomas/kong"
	"go.uber.org/goleak"

	"github.com/tocsin/tocsin/internal/peer"
)

// fasthttp leaves a goroutine for each host that sleeps until a connection may be idle
// for too long.
func TestMain(m *testing.M) {
	const client = "github.com/valyala/fasthttp."
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(client+"(*HostClient).connsCleaner"), goleak.IgnoreAnyFunction(client+"(*Client).mCleaner"))
}

// runFloor runs a floor as its process would, told to go at once. The result is nil if
// none was printed.
func runFloor(t *testing.T, args ...string) (*Result, error) {
	t.Helper()
	var out strings.Builder
	// One that hangs is to fail the test, and soon. A flag that comes again counts.
	args = append([]string{args[0], "--limit", "20s"}, args[1:]...)
	err := command(t, strings.NewReader("go\n"), &out, args...)
	ready, line, _ := strings.Cut(out.String(), "\n")
	if out.Len() == 0 {
		return nil, err
	}
	if ready != "ready" {
		t.Fatalf("it printed %q first", ready)
	}
	if line == "" {
		return nil, err
	}
	r := new(Result)
	if err := json.Unmarshal([]byte(line), r); err != nil || !strings.HasSuffix(line, "}\n") {
		t.Fatalf("%q: %v", line, err)
	}
	return r, err
}

func command(t *testing.T, in io.Reader, out io.Writer, args ...string) error {
	t.Helper()
	var commands Commands
	parser, err := kong.New(&commands, kong.BindTo(t.Context(), (*context.Context)(nil)),
		kong.BindTo(in, (*io.Reader)(nil)), kong.BindTo(out, (*io.Writer)(nil)))
	if err != nil {
		t.Fatal(err)
	}
	chosen, err := parser.Parse(args)
	if err != nil {
		t.Fatal(err)
	}
	return chosen.Run()
}

// webhooks starts a peer, and returns its port and a function that ends it and says
// what came.
func webhooks(t *testing.T, mix peer.Mix) (port int, report func() *peer.Report) {
	t.Helper()
	w, err := peer.StartWebhook(peer.Options{Script: mix.Behaviour})
	if err != nil {
		t.Fatal(err)
	}
	end := sync.OnceFunc(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	return w.Port(), func() *peer.Report {
		end()
		return w.Report()
	}
}

// sound fails the test if the peers saw anything wrong.
func sound(t *testing.T, r *peer.Report, delivered int) {
	t.Helper()
	if !r.Sound() || len(r.Invalid) != 0 || r.Delivered != delivered || r.Requests != delivered {
		t.Errorf("the peers saw %+v, %+v; want %d deliveries and nothing else", r, r.Verdict, delivered)
	}
}

// serve handles each connection to a loopback port in a goroutine of its own until
// the test ends, and returns the address.
func serve(t *testing.T, handle func(net.Conn)) net.Addr {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, l, handle)
	return l.Addr()
}

func serveOn(t *testing.T, l net.Listener, handle func(net.Conn)) {
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
}

// refused is an address that nobody listens on.
func refused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
