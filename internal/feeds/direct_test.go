package feeds

import (
	"bufio"
	"bytes"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const plainRequest = "GET /feeds/default.rss HTTP/1.1\r\nHost: a\r\n\r\n"

func TestWhatIsPlain(t *testing.T) {
	s := NewShelf()
	s.Publish("default", content("hello", noon))
	with := func(fields string) string {
		return "GET /feeds/default.rss HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n"
	}
	for _, text := range []string{
		plainRequest, with("Connection: Keep-Alive\r\n"), with("X-B3-TraceId: 1\r\n"),
		with("User-Agent: r\xc3\xa9ader\r\nAccept: */*\r\nAccept-Encoding: gzip, br\r\nIf-None-Match: \"a\"\r\n"),
		"GET /feeds/default.rss HTTP/1.1\r\nhost:a\r\n\r\n",
	} {
		if s.direct([]byte(text)) == nil {
			t.Errorf("%q is left to the server", text)
		}
	}
	for _, text := range []string{
		"", "GET", "\r\n" + plainRequest, plainRequest + "G", plainRequest + plainRequest, plainRequest[:len(plainRequest)-1],
		"GET /feeds/default.rss HTTP/1.0\r\nHost: a\r\n\r\n", "GET  /feeds/default.rss HTTP/1.1\r\nHost: a\r\n\r\n",
		"HEAD /feeds/default.rss HTTP/1.1\r\nHost: a\r\n\r\n", "GET /feeds/default.rss HTTP/1.1\nHost: a\r\n\r\n",
		"GET /feeds/none.rss HTTP/1.1\r\nHost: a\r\n\r\n", "GET /feeds/default.rss?a HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /u/a HTTP/1.1\r\nHost: a\r\n\r\n", "GET /feeds/default.rss HTTP/1.1\r\n\r\n", "GET /feeds/default.rss HTTP/1.1\r\nHost:\r\n\r\n",
		"GET /feeds/default.rss HTTP/1.1\r\nHost: a b\r\n\r\n", "GET /feeds/default.rss HTTP/1.1\r\nHost: a/b\r\n\r\n", "GET /feeds/default.rss HTTP/1.1\r\nHost: a:b\r\n\r\n",
		with("Host: b\r\n"), with("Connection: close\r\n"), with("Connection: keep-alive, upgrade\r\n"), with("Upgrade: h2c\r\n"), with("Expect: 100-continue\r\n"),
		with("Content-Length: 0\r\n"), with("content-length: 5\r\n"), with("Transfer-Encoding: chunked\r\n"), with("Trailer: a\r\n"),
		with("Content-Length : 5\r\n"), with("Content-Length\x0b: 5\r\n"), with("Content_Length: 5\r\n"), with(" folded: a\r\n"), with("A: b\r\n c\r\n"),
		with("A: b\rContent-Length: 5\r\n"), with("A: b\nContent-Length: 5\r\n"), with("A: b\x00\r\n"), with("A\r\n"), with(": a\r\n"),
		with("If-None-Match: \"a\"\r\nIf-None-Match: \"b\"\r\n"), with("Accept-Encoding: gzip\r\nAccept-Encoding: br\r\n"),
	} {
		if s.direct([]byte(text)) != nil {
			t.Errorf("%q is answered", text)
		}
	}
}

// FuzzDirect has the server answer alone what is answered beneath it: it must see one
// request there as well, and say the same.
func FuzzDirect(f *testing.F) {
	s := NewShelf()
	s.Publish("default", content("hello", noon))
	hidden := content("secret", noon)
	hidden.Private = true
	s.Publish("default/hidden", hidden)
	for _, text := range []string{
		plainRequest, strings.Replace(plainRequest, "default", "default/hidden", 1),
		"GET /feeds/default.atom HTTP/1.1\r\nHOST: a\r\nAccept-Encoding: x-gzip;q=1\r\nIf-Modified-Since: Sat, 21 Nov 2026 12:00:00 GMT\r\n\r\n",
		"GET /feeds/default.json HTTP/1.1\r\nHost: a:1\r\nIf-None-Match: *\r\nConnection: keep-alive\r\n\r\n",
		"GET /feeds/default.rss HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n\r\n\r\n",
	} {
		f.Add([]byte(text))
	}
	read := func(t *testing.T, whole []byte) (*http.Response, []byte) {
		r := bufio.NewReader(bytes.NewReader(whole))
		response, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("%.300q: %v", whole, err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil || r.Buffered() > 0 {
			t.Fatalf("%.300q: %d bytes beyond the answer, %v", whole, r.Buffered(), err)
		}
		if response.Header.Get("Date") == "" {
			t.Fatalf("%.300q has no Date", whole)
		}
		response.Header.Del("Date")
		return response, body
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		whole := s.direct(text)
		if whole == nil {
			return
		}
		got, gotBody := read(t, whole)
		want, wantBody := read(t, served(s, string(text)))
		if got.StatusCode != want.StatusCode || !bytes.Equal(gotBody, wantBody) || !maps.EqualFunc(got.Header, want.Header, slices.Equal) || got.Close != want.Close {
			t.Fatalf("%q:\n%d %v\nthe server says\n%d %v", text, got.StatusCode, got.Header, want.StatusCode, want.Header)
		}
	})
}

// expect reads an answer and its body.
func expect(t *testing.T, r *bufio.Reader, status int) {
	t.Helper()
	response, err := http.ReadResponse(r, nil)
	if err == nil {
		_, err = io.Copy(io.Discard, response.Body)
	}
	if err != nil || response.StatusCode != status {
		t.Fatalf("%v, %v; want %d", response, err, status)
	}
}

// One connection goes from direct answers to the server's, in the middle of a request.
func TestDirectThenServed(t *testing.T) {
	s := NewShelf()
	s.Publish("default", content("hello", noon))
	conn := serve(t, s, nil)()
	r := bufio.NewReader(conn)
	for range 3 {
		say(t, conn, plainRequest)
		expect(t, r, 200)
	}
	say(t, conn, plainRequest[:20])
	say(t, conn, plainRequest[20:]+plainRequest)
	expect(t, r, 200)
	expect(t, r, 200)
	say(t, conn, plainRequest+"POST /feeds/default.rss HTTP/1.1\r\nHost: a\r\nContent-Length: 44\r\n\r\n"+plainRequest+plainRequest)
	expect(t, r, 200)
	expect(t, r, 405)
	expect(t, r, 200)
	say(t, conn, "GET /feeds/none.rss HTTP/1.1\r\nHost: a\r\n\r\n")
	expect(t, r, 404)
}

// bounded runs a server on one connection of a pipe, in a bubble, and returns the
// client's end.
func bounded(t *testing.T, s *Shelf) (client net.Conn, stop func()) {
	t.Helper()
	server := NewServer(s.Serve, slog.New(slog.DiscardHandler))
	client, end := net.Pipe()
	d := Direct(&single{conn: end}, s, server)
	conn, err := d.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.ServeConn(conn) // its errors are the client's
		_ = conn.Close()
	}()
	return client, func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		_ = client.Close()
		<-ended
	}
}

// single is a listener with one connection.
type single struct {
	net.Listener
	conn net.Conn
}

func (l *single) Accept() (net.Conn, error) { return l.conn, nil }
func (l *single) Close() error              { return nil }

// lasts returns how long the server keeps a connection on which nothing more is said,
// and what it says at the end.
func lasts(c net.Conn) (time.Duration, string) {
	began := time.Now()
	rest, _ := io.ReadAll(c) // an error is an end as well
	return time.Since(began), string(rest)
}

func TestDirectIsBounded(t *testing.T) {
	s := NewShelf()
	s.Publish("default", content("hello", noon))
	for name, c := range map[string]struct {
		first, then string
		atLeast     time.Duration
		atMost      time.Duration
	}{
		"nothing":                    {"", "", 10 * time.Second, 10 * time.Second},
		"half a request":             {"", "GET /feeds/default.rss HTTP/1.1\r\nHo", 10 * time.Second, 10 * time.Second},
		"nothing after an answer":    {plainRequest, "", 65 * time.Second, 75 * time.Second},
		"half a request after one":   {plainRequest, "GET /feeds/default.rss HTTP/1.1\r\nHo", 10 * time.Second, 10 * time.Second},
		"nothing after the server's": {"GET /feeds/default.rss?a HTTP/1.1\r\nHost: a\r\n\r\n", "", 75 * time.Second, 75 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, stop := bounded(t, s)
				defer stop()
				if c.first != "" {
					r := bufio.NewReader(conn)
					for range 3 {
						say(t, conn, c.first)
						expect(t, r, 200)
						time.Sleep(9 * time.Second)
					}
					say(t, conn, c.first)
					expect(t, r, 200)
				}
				if c.then != "" {
					say(t, conn, c.then)
				}
				took, rest := lasts(conn)
				if took < c.atLeast || took > c.atMost {
					t.Errorf("closed after %v, want %v to %v", took, c.atLeast, c.atMost)
				}
				if c.first != "" && c.then == "" && rest != "" {
					t.Errorf("an idle client is told %q", rest)
				}
			})
		})
	}
}

func TestWhoTakesNoDirectAnswerIsCut(t *testing.T) {
	s := NewShelf()
	s.Publish("default", content("hello", noon))
	synctest.Test(t, func(t *testing.T) {
		conn, stop := bounded(t, s)
		defer stop()
		r := bufio.NewReaderSize(conn, 16)
		for range 2 {
			say(t, conn, plainRequest)
			expect(t, r, 200)
			time.Sleep(20 * time.Second)
		}
		say(t, conn, plainRequest)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if rest, err := io.ReadAll(conn); len(rest) > 0 {
			t.Errorf("after 30 s there are %d bytes more, %v", len(rest), err)
		}
	})
}

// A server that stops closes a connection that waits for another request at once,
// though it counts as new there, and finishes an answer under way.
func TestDirectEndsWithItsServer(t *testing.T) {
	s := NewShelf()
	s.Publish("default", content("hello", noon))
	synctest.Test(t, func(t *testing.T) {
		conn, stop := bounded(t, s)
		say(t, conn, plainRequest)
		expect(t, bufio.NewReader(conn), 200)
		began := time.Now()
		go stop()
		if took, rest := lasts(conn); took > 0 || rest != "" {
			t.Errorf("%q after %v", rest, time.Since(began))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		server := NewServer(s.Serve, slog.New(slog.DiscardHandler))
		client, end := net.Pipe()
		d := Direct(&single{conn: end}, s, server)
		conn, err := d.Accept()
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = server.ServeConn(conn)
			_ = conn.Close()
		}()
		say(t, client, plainRequest)
		synctest.Wait() // the answer waits to be read
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		r := bufio.NewReader(client)
		expect(t, r, 200)
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("after it: %v", err)
		}
		<-ended
	})
}

// BenchmarkDirect answers a plain request, and one for what the client has.
func BenchmarkDirect(b *testing.B) {
	s := NewShelf()
	s.Publish("default", content("hello", noon))
	for name, fields := range map[string]string{"200": "", "304": "If-None-Match: *\r\n"} {
		text := []byte("GET /feeds/default.rss HTTP/1.1\r\nHost: status.example.com\r\nUser-Agent: reader\r\nAccept: */*\r\n" + fields + "\r\n")
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if s.direct(text) == nil {
					b.Fatal("left to the server")
				}
			}
		})
	}
}
