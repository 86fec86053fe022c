package public

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/feeds"
	"github.com/tocsin/tocsin/internal/store"
	"github.com/tocsin/tocsin/ratelimit"
)

func TestMain(m *testing.M) {
	// The clock for Date headers runs for ever, the sweeper of idle workers for some
	// seconds after the end of its server.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// subscribers is a store: target 7 is there, and what is said of it is kept.
type subscribers struct {
	mu      sync.Mutex
	ended   map[int64]int // how often
	asked   int
	fault   error
	vanish  bool   // between Describe and Unsubscribe
	mailbox string // of the target
}

func (s *subscribers) describe(_ context.Context, target int64) (Subscription, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.fault != nil {
		return Subscription{}, s.fault
	}
	if target != 7 {
		return Subscription{}, fmt.Errorf("target: %w", store.ErrNotFound)
	}
	state := incident.StateActive
	if s.ended[target] > 0 {
		state = incident.StateUnsubscribed
	}
	return Describe(&incident.Target{ID: target, Page: "default", Channel: incident.ChannelSMTP, Address: s.mailbox, State: state}), nil
}

func (s *subscribers) unsubscribe(ctx context.Context, target int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.vanish {
		return store.ErrNotFound
	}
	s.ended[target]++
	return ctx.Err()
}

// set changes what the store does.
func (s *subscribers) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// looks says how often the store was asked.
func (s *subscribers) looks() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *subscribers) times() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended[7]
}

// house is a listener with what stands behind it.
type house struct {
	*testing.T
	*subscribers
	handler *Handler
	address string
	log     *lines
	client  *http.Client
}

// lines keeps a log.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// open starts a server as operators get it.
func open(t *testing.T, change func(*Options)) *house {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &house{T: t, subscribers: &subscribers{ended: make(map[int64]int), mailbox: "operations@example.com"},
		address: listener.Addr().String(), log: &lines{}}
	log := slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	shelf := feeds.NewShelf()
	shelf.Publish("default", feeds.Content{Bodies: [feeds.Formats][]byte{[]byte("atom"), []byte("rss"), []byte("json")}, Now: noon})
	o := Options{Feeds: shelf.Serve, Describe: h.describe, Unsubscribe: h.unsubscribe, Key: keyA, Old: [][]byte{keyB},
		BaseURL: "http://" + h.address + "/", Clock: func() time.Time { return noon }, Log: log}
	if change != nil {
		change(&o)
	}
	if h.handler, err = New(o); err != nil {
		t.Fatal(err)
	}
	server := NewServer(h.handler, log)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(feeds.Limit(listener)) }()
	h.client = &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}
	t.Cleanup(func() {
		h.client.CloseIdleConnections()
		if err := errors.Join(server.Shutdown(), <-ended); err != nil {
			t.Error(err)
		}
		if said := h.log.String(); strings.Contains(said, "operations") || strings.Contains(said, linkPrefix) {
			t.Errorf("the log has a secret: %s", said)
		}
	})
	return h
}

// reply is an answer as it came.
type reply struct {
	status int
	header http.Header
	body   string
}

func (h *house) send(method, url, contentType, body string) reply {
	h.Helper()
	request, err := http.NewRequestWithContext(h.Context(), method, url, strings.NewReader(body))
	if err != nil {
		h.Fatal(err)
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := h.client.Do(request)
	if err != nil {
		h.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		h.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, string(text)}
}

const urlencoded = "application/x-www-form-urlencoded"

func (h *house) click(url string) reply {
	h.Helper()
	return h.send("POST", url, urlencoded, "List-Unsubscribe=One-Click")
}

func (h *house) want(what string, got reply, status int) {
	h.Helper()
	if got.status != status {
		h.Errorf("%s: %d, want %d: %s", what, got.status, status, got.body)
	}
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex", "X-Content-Type-Options": "nosniff",
		"Content-Type": "text/html; charset=utf-8", "Server": "",
	} {
		if got.header.Get(name) != want {
			h.Errorf("%s: %s is %q", what, name, got.header.Get(name))
		}
	}
}

func TestLookingChangesNothing(t *testing.T) {
	h := open(t, nil)
	link := h.handler.Link(7)
	for _, method := range []string{"GET", "HEAD", "GET"} {
		h.want(method, h.send(method, link, "", ""), 200)
	}
	h.want("with a query", h.send("GET", link+"?List-Unsubscribe=One-Click", "", ""), 200)
	if h.times() != 0 || h.looks() != 4 {
		t.Errorf("unsubscribed %d times by looking", h.times())
	}
}

func TestOneClick(t *testing.T) {
	multi := "--b\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--b--\r\n"
	for name, c := range map[string]struct{ contentType, body string }{
		"urlencoded":      {urlencoded, "List-Unsubscribe=One-Click"},
		"with a charset":  {urlencoded + "; charset=utf-8", "List-Unsubscribe=One-Click"},
		"with more":       {urlencoded, "a=b&List-Unsubscribe=One-Click&"},
		"encoded":         {urlencoded, "List%2DUnsubscribe=one%2Dclick"},
		"multipart":       {"multipart/form-data; boundary=b", multi},
		"without a type":  {"", "List-Unsubscribe=One-Click"},
		"with a bad type": {"a/b/c;;", "List-Unsubscribe=One-Click"},
	} {
		h := open(t, nil)
		for range 2 { // as often as people like
			got := h.send("POST", h.handler.Link(7), c.contentType, c.body)
			h.want(name, got, 200)
			if !strings.Contains(got.body, "You are unsubscribed") {
				t.Errorf("%s: %s", name, got.body)
			}
		}
		if h.times() != 2 {
			t.Errorf("%s: the store was told %d times", name, h.times())
		}
	}
}

func TestOtherPostsChangeNothing(t *testing.T) {
	h := open(t, nil)
	for name, c := range map[string]struct {
		contentType, body string
		status            int
	}{
		"empty":              {urlencoded, "", 400},
		"another value":      {urlencoded, "List-Unsubscribe=No", 400},
		"another form":       {urlencoded, "One-Click=List-Unsubscribe", 400},
		"broken encoding":    {urlencoded, "List-Unsubscribe=One-Click%", 400},
		"semicolons":         {urlencoded, "a;List-Unsubscribe=One-Click", 400},
		"JSON":               {"application/json", `{"List-Unsubscribe":"One-Click"}`, 400},
		"no boundary":        {"multipart/form-data", "List-Unsubscribe=One-Click", 400},
		"endless multipart":  {"multipart/form-data; boundary=b", strings.Repeat("--b\r\n\r\n", 400), 400},
		"as a file":          {"multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"; filename=f\r\n\r\nOne-Click\r\n--b--\r\n", 400},
		"too big":            {urlencoded, "List-Unsubscribe=One-Click&" + strings.Repeat("a", maxBody), 413},
		"too big, multipart": {"multipart/form-data; boundary=b", strings.Repeat("--b\r\n\r\n", 800), 413},
	} {
		h.want(name, h.send("POST", h.handler.Link(7), c.contentType, c.body), c.status)
	}
	if h.times() != 0 {
		t.Errorf("unsubscribed %d times", h.times())
	}
	h.want("just small enough", h.send("POST", h.handler.Link(7), urlencoded,
		"List-Unsubscribe=One-Click&"+strings.Repeat("a", maxBody-27)), 200)
}

// Whatever is wrong with a link, the answer is the same to the byte.
func TestBadLinks(t *testing.T) {
	h := open(t, nil)
	good := h.handler.signer.sign(7)
	later := []byte{tokenVersion + 1, 0, 0, 0, 0, 0, 0, 0, 7}
	base := h.handler.base
	stranger := signer{key: keyC}
	bad := map[string]string{
		"unknown target":  h.handler.Link(8),
		"target 0":        h.handler.Link(0),
		"other key":       base + linkPrefix + stranger.sign(7),
		"later version":   base + linkPrefix + encoding.EncodeToString(append(later, tag(keyA, later)...)),
		"cut off":         base + linkPrefix + good[:20],
		"nothing":         base + linkPrefix,
		"more":            base + linkPrefix + good + "/",
		"encoded":         base + linkPrefix + "%41" + good[1:],
		"encoded break":   base + linkPrefix + good + "%0d%0aX:1",
		"percent":         base + linkPrefix + "%25%32",
		"dots":            base + "/x/../u/" + good,
		"slashes":         base + "//u/" + good,
		"capital":         base + "/U/" + good,
		"no such path":    base + "/",
		"feeds without s": base + "/feed",
		"markup":          base + linkPrefix + "<script>alert(1)</script>",
		"very long":       base + linkPrefix + strings.Repeat("A", 4000),
	}
	first := h.send("GET", bad["unknown target"], "", "")
	first.header.Del("Date")
	for name, link := range bad {
		for _, got := range []reply{h.send("GET", link, "", ""), h.click(link)} {
			h.want(name, got, 404)
			got.header.Del("Date")
			if got.body != first.body || fmt.Sprint(got.header) != fmt.Sprint(first.header) {
				t.Errorf("%s: another 404: %v %s", name, got.header, got.body)
			}
		}
	}
	asked := h.looks()
	h.send("GET", bad["other key"], "", "")
	h.click(bad["later version"])
	if h.looks() != asked {
		t.Error("the store is asked for what is not ours")
	}
	h.set(func() {
		if len(h.ended) != 0 {
			t.Errorf("unsubscribed: %v", h.ended)
		}
	})
	retired := signer{key: keyB}
	h.want("signed with a retired key", h.click(base+linkPrefix+retired.sign(7)), 200)
	h.want("a whole URI", h.raw("GET "+h.handler.Link(7)+" HTTP/1.1\r\nHost: x\r\n\r\n"), 200)
	h.want("another host's URI", h.raw("GET http://x//u/"+good+" HTTP/1.1\r\nHost: x\r\n\r\n"), 404)
}

// raw sends bytes and reads one answer.
func (h *house) raw(request string) reply {
	h.Helper()
	c, err := net.Dial("tcp", h.address)
	if err != nil {
		h.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, request); err != nil {
		h.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		h.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		h.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, string(body)}
}

func TestOtherMethods(t *testing.T) {
	h := open(t, nil)
	for _, method := range []string{"PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"} {
		for _, link := range []string{h.handler.Link(7), h.handler.Link(8), h.handler.base + linkPrefix} {
			got := h.send(method, link, urlencoded, "List-Unsubscribe=One-Click")
			h.want(method, got, 405)
			if got.header.Get("Allow") != "GET, HEAD, POST" {
				t.Errorf("%s: Allow is %q", method, got.header.Get("Allow"))
			}
		}
	}
	if h.times() != 0 {
		t.Error("unsubscribed")
	}
}

func TestVanishedMeanwhile(t *testing.T) {
	h := open(t, nil)
	h.set(func() { h.vanish = true })
	h.want("a target deleted between two questions", h.click(h.handler.Link(7)), 404)
}

func TestStoreFails(t *testing.T) {
	h := open(t, nil)
	h.set(func() { h.fault = errors.New("the disk is gone") })
	for _, got := range []reply{h.send("GET", h.handler.Link(7), "", ""), h.click(h.handler.Link(7))} {
		h.want("without a store", got, 503)
		if got.header.Get("Retry-After") != "30" || strings.Contains(got.body, "disk") {
			t.Errorf("%v %s", got.header, got.body)
		}
	}
	if !strings.Contains(h.log.String(), "the disk is gone") {
		t.Error("nothing in the log")
	}
}

func TestFlood(t *testing.T) {
	h := open(t, func(o *Options) { o.Limit = ratelimit.Limit{PerSecond: 0.5, Burst: 3} })
	var got []int
	for range 5 {
		got = append(got, h.send("GET", h.handler.base+linkPrefix+"forged", "", "").status)
	}
	if !slices.Equal(got, []int{404, 404, 404, 429, 429}) {
		t.Errorf("answers: %v", got)
	}
	refused := h.click(h.handler.Link(7))
	h.want("one too many", refused, 429)
	if refused.header.Get("Retry-After") != "2" || h.times() != 0 {
		t.Errorf("%v, unsubscribed %d times", refused.header, h.times())
	}
	if feed := h.send("GET", h.handler.base+"/feeds/default.rss", "", ""); feed.status != 200 {
		t.Errorf("feeds beside a flood: %d", feed.status)
	}
}

func TestFeeds(t *testing.T) {
	h := open(t, nil)
	if got := h.send("GET", h.handler.base+"/feeds/default.atom?x", "", ""); got.status != 200 || got.body != "atom" {
		t.Errorf("%+v", got)
	}
	if got := h.raw("GET http://x/feeds/default.json HTTP/1.1\r\nHost: x\r\n\r\n"); got.body != "json" {
		t.Errorf("%+v", got)
	}
	if got := h.click(h.handler.base + "/feeds/default.atom"); got.status != 405 {
		t.Errorf("%+v", got)
	}
	none := open(t, func(o *Options) { o.Feeds = nil })
	none.want("without feeds", none.send("GET", none.handler.base+"/feeds/default.atom", "", ""), 404)
}

func TestPanicsAreContained(t *testing.T) {
	h := open(t, func(o *Options) {
		o.Feeds = func(ctx *fasthttp.RequestCtx) {
			ctx.Response.Header.Set("Etag", `"half an answer"`)
			panic("operations@example.com")
		}
	})
	got := h.send("GET", h.handler.base+"/feeds/default.atom", "", "")
	h.want("a defect", got, 500)
	if got.header.Get("Etag") != "" {
		t.Error("half of the answer is left")
	}
	h.want("after a defect", h.send("GET", h.handler.Link(7), "", ""), 200)
	if !strings.Contains(h.log.String(), "defect") {
		t.Error("nothing in the log")
	}
}

func TestHeadersAndBodiesAreBounded(t *testing.T) {
	h := open(t, nil)
	path := strings.TrimPrefix(h.handler.Link(7), h.handler.base)
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"headers":      {"GET " + path + " HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 9<<10) + "\r\n\r\n", 431},
		"body":         {"POST " + path + " HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n", 400},
		"two lengths":  {"POST " + path + " HTTP/1.1\r\nHost: a\r\nContent-Length: 26\r\nContent-Length: 0\r\n\r\nList-Unsubscribe=One-Click", 400},
		"no HTTP":      {"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400},
		"gzipped form": {"POST " + path + " HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00", 400},
	} {
		if got := h.raw(c.request); got.status != c.status || got.header.Get("Server") != "" {
			t.Errorf("%s: %d, want %d", name, got.status, c.status)
		}
	}
	if h.times() != 0 {
		t.Error("unsubscribed")
	}
}

func TestLinks(t *testing.T) {
	o := Options{Describe: (&subscribers{}).describe, Unsubscribe: (&subscribers{}).unsubscribe, Key: keyA,
		Clock: time.Now, Log: slog.New(slog.DiscardHandler)}
	for base, want := range map[string]string{
		"https://status.example.com":      "https://status.example.com/u/",
		"https://status.example.com/":     "https://status.example.com/u/",
		"http://[::1]:8081/tell/us//":     "http://[::1]:8081/tell/us/u/",
		"https://status.example.com:8443": "https://status.example.com:8443/u/",
	} {
		o.BaseURL = base
		h, err := New(o)
		if err != nil || h.Link(7) != want+(&signer{key: keyA}).sign(7) {
			t.Errorf("%s: %v, %v", base, h, err)
		}
	}
	for _, base := range []string{"", "status.example.com", "//status.example.com", "ftp://a.example", "https://", "https://:80",
		"https://u:p@a.example", "https://a.example?x", "https://a.example?", "https://a.example#x", "https://a.example#",
		"https://a.example/<>", "https://a.example/\r\nX: 1", "mailto:a@b.example"} {
		o.BaseURL = base
		if _, err := New(o); err == nil || strings.Contains(err.Error(), "u:p") {
			t.Errorf("%q: %v", base, err)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	s := &subscribers{}
	good := Options{Describe: s.describe, Unsubscribe: s.unsubscribe, Key: keyA, BaseURL: "https://a.example",
		Clock: time.Now, Log: slog.New(slog.DiscardHandler)}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Options){
		"no key":         func(o *Options) { o.Key = nil },
		"short key":      func(o *Options) { o.Key = keyA[:31] },
		"short old key":  func(o *Options) { o.Old = [][]byte{keyB, {}} },
		"no Describe":    func(o *Options) { o.Describe = nil },
		"no Unsubscribe": func(o *Options) { o.Unsubscribe = nil },
		"no clock":       func(o *Options) { o.Clock = nil },
		"no log":         func(o *Options) { o.Log = nil },
		"no requests":    func(o *Options) { o.Limit.Burst = 1 },
	} {
		o := good
		spoil(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
