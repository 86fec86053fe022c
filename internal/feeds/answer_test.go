package feeds

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// content is what the tests publish: about as long as a feed.
func content(word string, at time.Time) Content {
	var bodies [Formats][]byte
	for f := range Formats {
		bodies[f] = []byte(strings.Repeat(word+f.Extension()+" ", 1000))
	}
	return Content{Bodies: bodies, Now: at}
}

// reply is an answer as a client has it.
type reply struct {
	status int
	header http.Header
	body   string
}

// listeners are the ways in; every test goes all.
var listeners = map[string]func(s *Shelf, method, path string, header http.Header) reply{
	"fasthttp": func(s *Shelf, method, path string, header http.Header) reply {
		var ctx fasthttp.RequestCtx
		ctx.Request.Header.SetMethod(method)
		ctx.Request.Header.SetRequestURI(path)
		for name, values := range header {
			ctx.Request.Header.Set(name, values[0])
		}
		s.Serve(&ctx)
		r := reply{status: ctx.Response.StatusCode(), header: http.Header{}, body: string(ctx.Response.Body())}
		for name, value := range ctx.Response.Header.All() {
			r.header.Set(string(name), string(value))
		}
		return r
	},
	"net/http": func(s *Shelf, method, path string, header http.Header) reply {
		request := httptest.NewRequest(method, path, nil)
		request.Header = header
		recorder := httptest.NewRecorder()
		s.ServeHTTP(recorder, request)
		return reply{recorder.Code, recorder.Header(), recorder.Body.String()}
	},
	"direct": func(s *Shelf, method, path string, header http.Header) reply {
		var text strings.Builder
		fmt.Fprintf(&text, "%s %s HTTP/1.1\r\nHost: a\r\n", method, path)
		for name, values := range header {
			fmt.Fprintf(&text, "%s: %s\r\n", name, values[0])
		}
		text.WriteString("\r\n")
		whole := s.direct([]byte(text.String()))
		if whole == nil {
			whole = served(s, text.String())
		}
		r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(whole)), &http.Request{Method: method})
		if err != nil {
			panic(err)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(err)
		}
		r.Header.Del("Date")
		return reply{r.StatusCode, r.Header, string(body)}
	},
}

// served returns what the server alone says to a client that says all at once.
func served(s *Shelf, text string) []byte {
	c := &said{Reader: strings.NewReader(text)}
	server := NewServer(s.Serve, slog.New(slog.DiscardHandler))
	_ = server.ServeConn(c) // it says what it has to say to the client
	return c.heard.Bytes()
}

// said is the connection of such a client.
type said struct {
	io.Reader
	net.Conn
	heard bytes.Buffer
}

func (c *said) Read(p []byte) (int, error)       { return c.Reader.Read(p) }
func (c *said) Write(p []byte) (int, error)      { return c.heard.Write(p) }
func (c *said) Close() error                     { return nil }
func (c *said) SetReadDeadline(time.Time) error  { return nil }
func (c *said) SetWriteDeadline(time.Time) error { return nil }
func (c *said) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *said) LocalAddr() net.Addr              { return &net.TCPAddr{} }

func both(t *testing.T, test func(t *testing.T, get func(method, path string, header ...string) reply), s *Shelf) {
	for name, ask := range listeners {
		t.Run(name, func(t *testing.T) {
			test(t, func(method, path string, header ...string) reply {
				h := http.Header{}
				for i := 0; i < len(header); i += 2 {
					h.Set(header[i], header[i+1])
				}
				return ask(s, method, path, h)
			})
		})
	}
}

func TestDocument(t *testing.T) {
	s := NewShelf()
	c := content("hello", noon)
	s.Publish("default", c)
	both(t, func(t *testing.T, get func(string, string, ...string) reply) {
		for f := range Formats {
			r := get("GET", "/feeds/default"+f.Extension())
			if r.status != 200 || r.body != string(c.Bodies[f]) {
				t.Fatalf("%s: %d, %d bytes", f.Extension(), r.status, len(r.body))
			}
			for name, want := range map[string]string{
				"Content-Type": f.ContentType(), "Cache-Control": "public, max-age=60", "Vary": "Accept-Encoding",
				"Last-Modified": "Sat, 21 Nov 2026 12:00:00 GMT", "X-Content-Type-Options": "nosniff",
				"Access-Control-Allow-Origin": "*", "Content-Encoding": "", "X-Robots-Tag": "",
			} {
				if got := r.header.Get(name); got != want {
					t.Errorf("%s: %s is %q, want %q", f.Extension(), name, got, want)
				}
			}
			zipped := get("GET", "/feeds/default"+f.Extension()+"?cache=buster", "Accept-Encoding", "br, gzip")
			if zipped.header.Get("Content-Encoding") != "gzip" || unzip(t, zipped.body) != r.body || len(zipped.body) >= len(r.body) {
				t.Errorf("%s: compressed as %q, %d bytes", f.Extension(), zipped.header.Get("Content-Encoding"), len(zipped.body))
			}
			if a, b := r.header.Get("Etag"), zipped.header.Get("Etag"); a == b || a[0] != '"' || b[0] != '"' {
				t.Errorf("%s: etags %s and %s: want two strong ones", f.Extension(), a, b)
			}
		}
	}, s)
}

func unzip(t *testing.T, body string) string {
	t.Helper()
	r, err := gzip.NewReader(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(plain)
}

func TestPrivateDocument(t *testing.T) {
	s := NewShelf()
	c := content("secret", noon)
	c.Private = true
	s.Publish("default/0123456789", c)
	both(t, func(t *testing.T, get func(string, string, ...string) reply) {
		r := get("GET", "/feeds/default/0123456789.atom")
		if r.status != 200 || r.header.Get("Cache-Control") != "private, max-age=60" || r.header.Get("X-Robots-Tag") != "noindex" ||
			r.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%d %v", r.status, r.header)
		}
	}, s)
}

func TestMethods(t *testing.T) {
	s := NewShelf()
	s.Publish("default", content("hello", noon))
	both(t, func(t *testing.T, get func(string, string, ...string) reply) {
		for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PATCH"} {
			if r := get(method, "/feeds/default.rss"); r.status != 405 || r.header.Get("Allow") != "GET, HEAD" || len(r.body) > 100 {
				t.Errorf("%s: %d, Allow %q", method, r.status, r.header.Get("Allow"))
			}
			if r := get(method, "/feeds/other.rss"); r.status != 404 || len(r.body) > 100 {
				t.Errorf("%s of nothing: %d", method, r.status)
			}
		}
		g, h := get("GET", "/feeds/default.rss"), get("HEAD", "/feeds/default.rss")
		for _, name := range []string{"Etag", "Last-Modified", "Content-Type", "Cache-Control", "Vary"} {
			if g.header.Get(name) != h.header.Get(name) || g.header.Get(name) == "" {
				t.Errorf("%s of GET %q, of HEAD %q", name, g.header.Get(name), h.header.Get(name))
			}
		}
		if h.status != 200 {
			t.Errorf("HEAD: %d", h.status)
		}
	}, s)
}

// TestNotModified is the matrix of RFC 9110, section 13.
func TestNotModified(t *testing.T) {
	s := NewShelf()
	s.Publish("default", content("hello", noon))
	const path = "/feeds/default.atom"
	both(t, func(t *testing.T, get func(string, string, ...string) reply) {
		plain, zipped := get("GET", path).header.Get("Etag"), get("GET", path, "Accept-Encoding", "gzip").header.Get("Etag")
		const same, before, after = "Sat, 21 Nov 2026 12:00:00 GMT", "Sat, 21 Nov 2026 11:59:59 GMT", "Sat, 21 Nov 2026 12:00:01 GMT"
		for _, c := range []struct {
			name   string
			status int
			header []string
		}{
			{"nothing known", 200, nil},
			{"the tag", 304, []string{"If-None-Match", plain}},
			{"the tag, weak", 304, []string{"If-None-Match", "W/" + plain}},
			{"any tag", 304, []string{"If-None-Match", "*"}},
			{"in a list", 304, []string{"If-None-Match", `"a,b" , W/"c",` + plain + `,"d"`}},
			{"not in a list", 200, []string{"If-None-Match", `"a", "b"`}},
			{"inside another tag", 200, []string{"If-None-Match", `"x` + plain[1:]}},
			{"without quotes", 200, []string{"If-None-Match", strings.Trim(plain, `"`)}},
			{"an open quote", 200, []string{"If-None-Match", strings.TrimRight(plain, `"`)}},
			{"compressed, the tag of the plain one", 200, []string{"If-None-Match", plain, "Accept-Encoding", "gzip"}},
			{"compressed, its tag", 304, []string{"If-None-Match", zipped, "Accept-Encoding", "gzip"}},
			{"plain, the tag of the compressed one", 200, []string{"If-None-Match", zipped}},
			{"the date", 304, []string{"If-Modified-Since", same}},
			{"a later date", 304, []string{"If-Modified-Since", after}},
			{"an earlier date", 200, []string{"If-Modified-Since", before}},
			{"the date in the form of RFC 850", 304, []string{"If-Modified-Since", "Saturday, 21-Nov-26 12:00:00 GMT"}},
			{"the date in the form of asctime", 304, []string{"If-Modified-Since", "Sat Nov 21 12:00:00 2026"}},
			{"no date", 200, []string{"If-Modified-Since", "yesterday"}},
			{"another tag counts, not the date", 200, []string{"If-None-Match", `"a"`, "If-Modified-Since", same}},
			{"the tag counts, not the date", 304, []string{"If-None-Match", plain, "If-Modified-Since", before}},
		} {
			for _, method := range []string{"GET", "HEAD"} {
				r := get(method, path, c.header...)
				if r.status != c.status {
					t.Errorf("%s %s: %d, want %d", method, c.name, r.status, c.status)
				}
				if r.status == 304 && (r.body != "" || r.header.Get("Etag") == "" || r.header.Get("Cache-Control") == "" || r.header.Get("Vary") == "") {
					t.Errorf("%s %s: %d bytes with %v", method, c.name, len(r.body), r.header)
				}
			}
		}
	}, s)
}

func TestAcceptEncoding(t *testing.T) {
	for header, want := range map[string]bool{
		"": false, "gzip": true, "GZIP": true, "x-gzip": true, "br": false, "br;q=1, gzip;q=0.8": true, "gzip;q=0": false,
		"gzip; q=0.0": false, "gzip ; Q = 0.001": true, "*": true, "*;q=0": false, "gzip;q=0, *": false, "*;q=0, gzip": true,
		"identity": false, "gzipped": false, ",,gzip": true, "gzip;": true, ";q=1": false,
	} {
		if got := acceptsGzip([]byte(header)); got != want {
			t.Errorf("%q: %v", header, got)
		}
	}
}

// TestHostilePaths asks for what isn't there in every way that might be taken for
// what is.
func TestHostilePaths(t *testing.T) {
	s := NewShelf()
	s.Publish("default", content("hello", noon))
	s.Publish("default/eu", content("hello", noon))
	both(t, func(t *testing.T, get func(string, string, ...string) reply) {
		for _, path := range []string{"/feeds/default.atom", "/feeds/default/eu.json", "/feeds/default.rss?a=../..", "http://a.example/feeds/default.atom"} {
			if r := get("GET", path); r.status != 200 {
				t.Errorf("%s: %d", path, r.status)
			}
		}
		for _, path := range []string{
			"/", "/feeds", "/feeds/", "/feeds/.atom", "/feeds/default", "/feeds/default.", "/feeds/default.xml", "/feeds/default.ATOM",
			"/feeds/default.atom/", "/feeds//default.atom", "//feeds/default.atom", "/feeds/./default.atom", "/feeds/eu/../default.atom",
			"/feeds/../feeds/default.atom", "/feeds/..%2fdefault.atom", "/feeds/%2e%2e/feeds/default.atom", "/feeds%2Fdefault.atom",
			"/feeds/default%2Feu.json", "/feeds/def%61ult.atom", "/feeds/default.atom%00", "/feeds/default%00.atom", "/feeds/DEFAULT.atom",
			"/feeds/default.atom.gz", "/feeds/../../etc/passwd", `/feeds/..\default.atom`, "/feeds/default/", "/feeds/eu.json",
			"/feeds/" + strings.Repeat("a", 7000) + ".atom", "/feeds/" + strings.Repeat("../", 2000) + "default.atom",
		} {
			if r := get("GET", path); r.status != 404 || len(r.body) > 100 {
				t.Errorf("%.60s: %d", path, r.status)
			}
		}
	}, s)
}

func FuzzAnswer(f *testing.F) {
	s := NewShelf()
	s.Publish("default", content("hello", noon))
	plain := string((*s.feeds.Load())["default"].edition.Load().documents[Atom].plain.etag)
	f.Add("/feeds/default.atom", "gzip;q=0, *", `W/"a", `+plain, "Sat, 21 Nov 2026 12:00:00 GMT")
	f.Add("/feeds/default.atom", "gzip", "*", "")
	f.Add("/feeds/", ";;,", `"`, "Sat")
	f.Fuzz(func(t *testing.T, path, encoding, match, since string) {
		a := s.answer(&request{method: []byte("GET"), path: []byte(path), acceptEncoding: []byte(encoding),
			ifNoneMatch: []byte(match), ifModifiedSince: []byte(since)})
		there := path == "/feeds/default.atom" || path == "/feeds/default.rss" || path == "/feeds/default.json"
		switch {
		case there != (a.status != 404):
			t.Fatalf("%q: %d", path, a.status)
		case a.status == 304 && match != "" && !strings.Contains(match, string(a.of.etag)) && !strings.Contains(match, "*"):
			t.Fatalf("%q counts as %s", match, a.of.etag)
		case a.compressed && !strings.Contains(strings.ToLower(encoding), "gzip") && !strings.Contains(encoding, "*"):
			t.Fatalf("%q counts as gzip", encoding)
		}
	})
}

func TestServeDoesNotAllocate(t *testing.T) {
	s := NewShelf()
	s.Publish("default", content("hello", noon))
	for name, header := range map[string]string{"200": "", "304": `"a", *`} {
		ctx := hotRequest(header)
		s.Serve(ctx)
		if n := testing.AllocsPerRun(100, func() { ctx.Response.Reset(); s.Serve(ctx) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func hotRequest(ifNoneMatch string) *fasthttp.RequestCtx {
	ctx := new(fasthttp.RequestCtx)
	ctx.Request.Header.SetRequestURI("/feeds/default.atom")
	ctx.Request.Header.Set("Accept-Encoding", "gzip, deflate, br")
	if ifNoneMatch != "" {
		ctx.Request.Header.Set("If-None-Match", ifNoneMatch)
	}
	return ctx
}

func BenchmarkServe(b *testing.B) {
	s := NewShelf()
	for n := range 1000 {
		s.Publish(fmt.Sprint("feed-", n), content("hello", noon))
	}
	s.Publish("default", content("hello", noon))
	for name, header := range map[string]string{"200": "", "304": "*"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			ctx := hotRequest(header)
			var out bytes.Buffer
			for b.Loop() {
				ctx.Response.Reset()
				s.Serve(ctx)
				out.Reset()
				if _, err := ctx.Response.WriteTo(&out); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
