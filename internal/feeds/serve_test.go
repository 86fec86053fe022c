package feeds

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// The clock for Date headers runs for ever, the sweeper of idle workers for some
	// seconds after the end of its server.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// serve starts a server as operators get it, but for what change does, and returns
// how to connect.
func serve(t *testing.T, shelf *Shelf, change func(*fasthttp.Server)) func() net.Conn {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(shelf.Serve, slog.New(slog.DiscardHandler))
	if change != nil {
		change(server)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(Direct(Limit(listener), shelf, server)) }()
	t.Cleanup(func() {
		if err := server.Shutdown(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(time.Minute))
		return c
	}
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// TestConnection sends several requests at once and reads their answers to the byte.
func TestConnection(t *testing.T) {
	s := NewShelf()
	c := content("hello", noon)
	s.Publish("default", c)
	conn := serve(t, s, nil)()
	r := bufio.NewReader(conn)
	say(t, conn, "HEAD /feeds/default.rss HTTP/1.1\r\nHost: a\r\n\r\n"+
		"GET /feeds/default.rss HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n"+
		"GET http://a/feeds/default.rss HTTP/1.1\r\nHost: a\r\n\r\n"+
		"GET /feeds/a%00b.rss HTTP/1.1\r\nHost: a\r\n\r\n")
	for _, want := range []struct {
		method string
		status int
		body   string
	}{{"HEAD", 200, ""}, {"GET", 304, ""}, {"GET", 200, string(c.Bodies[RSS])}, {"GET", 404, notFound}} {
		response, err := http.ReadResponse(r, &http.Request{Method: want.method})
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != want.status || string(body) != want.body {
			t.Fatalf("%s: %d, %.100q, %v", want.method, response.StatusCode, body, err)
		}
		if want.status == 200 && response.ContentLength != int64(len(c.Bodies[RSS])) {
			t.Errorf("%s: a length of %d", want.method, response.ContentLength)
		}
		if response.Header.Get("Server") != "" || response.Header.Get("Date") == "" {
			t.Errorf("%s: %v", want.method, response.Header)
		}
	}
}

func TestBounds(t *testing.T) {
	s := NewShelf()
	s.Publish("default", content("hello", noon))
	connect := serve(t, s, nil)
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"headers":      {"GET /feeds/default.rss HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 9<<10) + "\r\n\r\n", 431},
		"request line": {"GET /feeds/" + strings.Repeat("x", 9<<10) + ".rss HTTP/1.1\r\nHost: a\r\n\r\n", 431},
		"body":         {"POST /feeds/default.rss HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n", 400},
		"no HTTP":      {"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400},
	} {
		conn := connect()
		say(t, conn, c.request)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || response.StatusCode != c.status {
			t.Errorf("%s: %v, %v; want %d", name, response, err, c.status)
		}
	}
}

// A client that says half a request, or nothing after one, is not waited for.
func TestSilence(t *testing.T) {
	s := NewShelf()
	s.Publish("default", content("hello", noon))
	connect := serve(t, s, func(server *fasthttp.Server) {
		if server.ReadTimeout == 0 || server.WriteTimeout == 0 || server.IdleTimeout == 0 || server.Concurrency == 0 {
			t.Error("a bound is missing")
		}
		server.ReadTimeout, server.IdleTimeout = 500*time.Millisecond, 500*time.Millisecond
	})
	for _, begun := range []string{"", "GET /feeds/default.rss HTTP/1.1\r\nHo", "GET /feeds/default.rss HTTP/1.1\r\nHost: a\r\n\r\n"} {
		conn := connect()
		say(t, conn, begun)
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Errorf("%.20q: %v", begun, err)
		}
	}
}
