package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/queue"
	"github.com/tocsin/tocsin/ratelimit"
)

// TestLiveShowsWhatTheEngineDoes reads one event of the real thing; that it is as
// documented is checked by every test of this package.
func TestLiveShowsWhatTheEngineDoes(t *testing.T) {
	f := start(t)
	for i := range 3 {
		f.target(fmt.Sprintf(`{"channel":"webhook","address":"https://h%d.example/"}`, i))
	}
	f.post("/v1/incidents", strings.Replace(minimal, "{", `{"title":"Logins fail","message":"We look into it.",`, 1)).want(202)
	b := f.plan(f.accept(1)[0].Plan, 1)
	if err := f.store.Settle(t.Context(), []dispatcher.Settlement{settlement(b, 0, dispatcher.Delivered, channels.Delivered)}, nil); err != nil {
		t.Fatal(err)
	}
	f.post("/v1/incidents", strings.Replace(minimal, "8892", "8893", 1)).want(202)
	f.engine.snapshot = dispatcher.Snapshot{Holding: 2, InFlight: 1, Groups: map[string]dispatcher.GroupSnapshot{
		"webhook": {Lanes: map[string]int{"ready": 2}, Waiting: 1, InFlight: 1}}}
	f.engine.paused["main"] = true
	f.deps.Ended = func() map[string]map[dispatcher.Outcome]int {
		return map[string]map[dispatcher.Outcome]int{"webhook": {dispatcher.Delivered: 1, dispatcher.Dead: 4}}
	}
	f.serve()

	conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	v := newViewer(t, conn, "")
	if h := v.response.Header; h.Get("Content-Type") != "text/event-stream" || h.Get("Cache-Control") != "no-store" {
		t.Errorf("the header is %v", h)
	}
	s := v.next()
	v.leave()
	if !s.At.Equal(now) || s.Ready == nil || !*s.Ready || s.Parts["store"] != "ok" {
		t.Errorf("ready: %+v", s)
	}
	if len(s.Queues) == 0 || s.Queues[0].Queue != "intake" || s.Queues[0].Ready != 1 {
		t.Errorf("the queues are %+v", s.Queues)
	}
	if p := s.Providers.Items; s.Providers.Holding != 2 || len(p) != 2 || p[0].Lanes["ready"] != 2 || !p[1].Paused {
		t.Errorf("the providers are %+v", s.Providers)
	}
	hooks := s.Channels[0]
	if len(s.Channels) != 2 || hooks.Channel != "webhook" || hooks.InFlight != 1 || hooks.DeliveredPerSecond != nil ||
		hooks.Ended["delivered"] != 1 || hooks.Ended["dead"] != 4 {
		t.Errorf("the channels are %+v", s.Channels)
	}
	if s.Connections != (connectionsJSON{3, 100}) {
		t.Errorf("the connections are %+v", s.Connections)
	}
	if len(s.Incidents) != 1 || s.Incidents[0].Incident.IncidentID != "INC-8892" || s.Incidents[0].CountedAt == nil {
		t.Fatalf("the incidents are %+v", s.Incidents)
	}
	u := s.Incidents[0].Incident.Updates
	if len(u) != 1 || u[0].Title != "Logins fail" || fmt.Sprint(u[0].Progress) != "map[webhook:map[delivered:1 open:2]]" {
		t.Errorf("the updates are %+v", u)
	}
}

// stage is a gateway of which only the live page is played on, in a bubble with a
// clock of its own: every connection is a net.Pipe, which holds nothing back.
type stage struct {
	*testing.T
	history *history
	engine  *engine
	asked   [questions]atomic.Int32
	ended   func() map[string]map[dispatcher.Outcome]int
	depths  func(context.Context) ([]queue.Depth, error)
	tokens  []string

	server  *http.Server
	conns   chan net.Conn
	stop    context.CancelFunc // of Run
	stopped chan struct{}
}

// perform runs a test on a stage that the change may alter.
func perform(t *testing.T, change func(*stage), test func(*stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &stage{T: t, history: &history{}, engine: &engine{paused: map[string]bool{}}, conns: make(chan net.Conn), stopped: make(chan struct{})}
		s.ended = func() map[string]map[dispatcher.Outcome]int { return nil }
		s.depths = func(context.Context) ([]queue.Depth, error) { return []queue.Depth{{Queue: "intake"}}, nil }
		change(s)
		log := slog.New(slog.DiscardHandler)
		handler := New(Deps{
			History: s.history, Engine: s.engine, Log: log, Ended: s.ended, Connections: func() (used, budget int) { return 0, 1 },
			Groups: []dispatcher.Group{{Name: "webhook"}},
			Policy: func(string, string) dispatcher.ProviderPolicy {
				return dispatcher.ProviderPolicy{Limit: ratelimit.Limit{PerSecond: 100, Burst: 200}, Window: 64}
			},
			Depths: func(ctx context.Context) ([]queue.Depth, error) {
				s.asked[aboutDepths].Add(1)
				return s.depths(ctx)
			},
			Ready: func(context.Context) map[string]string {
				s.asked[aboutParts].Add(1)
				return map[string]string{"store": "ok"}
			},
		}, Options{Tokens: s.tokens})
		ctx, stop := context.WithCancel(context.Background())
		s.stop = stop
		go func() {
			defer close(s.stopped)
			_ = handler.Run(ctx) // nil
		}()
		s.server = NewServer((&fixture{T: t}).judged(handler), log)
		go s.server.Serve(s)
		test(s)
		stop()
		<-s.stopped
		s.server.Close()
		synctest.Wait()
	})
}

// Accept, Close and Addr make it the server's listener.
func (s *stage) Accept() (net.Conn, error) {
	c, ok := <-s.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (s *stage) Close() error {
	defer func() { _ = recover() }() // Shutdown and Close both close
	close(s.conns)
	return nil
}

func (s *stage) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080} }

func (s *stage) view() *viewer { return s.viewWith("") }

func (s *stage) viewWith(header string) *viewer {
	s.Helper()
	ours, theirs := net.Pipe()
	s.conns <- theirs
	return newViewer(s.T, ours, header)
}

// viewer follows the stream over a connection.
type viewer struct {
	*testing.T
	conn     net.Conn
	response *http.Response
	lines    *bufio.Reader
}

func newViewer(t *testing.T, conn net.Conn, header string) *viewer {
	t.Helper()
	if _, err := io.WriteString(conn, "GET /v1/live HTTP/1.1\r\nHost: localhost\r\n"+header+"\r\n"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return &viewer{t, conn, response, bufio.NewReader(response.Body)}
}

// line returns the next line that says something; io.EOF where the stream ends as
// it should.
func (v *viewer) line() (string, error) {
	for {
		line, err := v.lines.ReadString('\n')
		if err != nil || line != "\n" {
			return strings.TrimSuffix(line, "\n"), err
		}
	}
}

// next returns the next event, and fails if there is none.
func (v *viewer) next() (s liveJSON) {
	v.Helper()
	for {
		line, err := v.line()
		if err != nil {
			v.Fatalf("the stream ended: %v", err)
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			if err := json.Unmarshal([]byte(data), &s); err != nil {
				v.Fatalf("%v in %s", err, data)
			}
			return s
		}
	}
}

func (v *viewer) leave() { v.conn.Close() }

func TestOneEventASecondIsSharedByAll(t *testing.T) {
	perform(t, func(*stage) {}, func(s *stage) {
		first := s.view()
		begun := time.Now()
		if line, _ := first.line(); line != "retry: 2000" {
			t.Errorf("the stream begins with %s", line)
		}
		for n := range 5 {
			got := first.next()
			if passed := time.Since(begun); passed != time.Duration(n)*time.Second {
				t.Errorf("event %d came after %v", n, passed)
			}
			if got.Ready == nil || got.Queues == nil || got.Incidents == nil {
				t.Errorf("event %d lacks something: %+v", n, got)
			}
		}
		time.Sleep(liveEvery / 2)
		second := s.view()
		late := second.next()
		if time.Since(begun) != 4500*time.Millisecond || !late.At.Equal(begun.Add(4*time.Second)) {
			t.Errorf("after %v the second viewer saw what was at %v", time.Since(begun), late.At)
		}
		if a, b := first.next(), second.next(); !a.At.Equal(b.At) {
			t.Errorf("one sees what was at %v, the other %v", a.At, b.At)
		}
		synctest.Wait()
		if n := s.asked[aboutDepths].Load(); n != 7 { // before the first event, and after each
			t.Errorf("the queues were measured %d times", n)
		}
		if n := s.asked[aboutParts].Load(); n != 2 { // at 0 and 5 s
			t.Errorf("the parts were asked %d times", n)
		}
	})
}

func TestNothingIsComputedForNobody(t *testing.T) {
	perform(t, func(*stage) {}, func(s *stage) {
		all := func() int32 {
			return s.asked[aboutDepths].Load() + s.asked[aboutParts].Load() + s.history.asked.Load()
		}
		time.Sleep(time.Hour)
		if n := all(); n != 0 {
			t.Errorf("%d questions before anybody came", n)
		}
		v := s.view()
		v.next()
		v.leave()
		time.Sleep(2 * liveEvery)
		before := all()
		time.Sleep(time.Hour)
		if n := all(); before == 0 || n != before {
			t.Errorf("%d questions while one was there, %d an hour after", before, n)
		}
		v = s.view()
		if got := v.next(); time.Since(got.At) != 0 {
			t.Errorf("who comes later sees what was %v before", time.Since(got.At))
		}
		v.leave()
	})
}

func TestDeliveredPerSecondIsThatSinceTheEventBefore(t *testing.T) {
	delivered := 100
	perform(t, func(s *stage) {
		s.ended = func() map[string]map[dispatcher.Outcome]int {
			delivered += 30
			return map[string]map[dispatcher.Outcome]int{"webhook": {dispatcher.Delivered: delivered}, "smtp": {dispatcher.Delivered: 5}}
		}
	}, func(s *stage) {
		v := s.view()
		if rate := v.next().Channels[0].DeliveredPerSecond; rate != nil {
			t.Errorf("at first %v", *rate)
		}
		for range 2 {
			if rate := v.next().Channels[0].DeliveredPerSecond; rate == nil || *rate != 30 {
				t.Errorf("then %v", rate)
			}
		}
		v.leave()
	})
}

func TestASlowViewerGetsTheNewestAndHoldsUpNobody(t *testing.T) {
	perform(t, func(*stage) {}, func(s *stage) {
		slow, quick := s.view(), s.view()
		first := slow.next().At
		var seen atomic.Int32
		var all sync.WaitGroup
		all.Go(func() {
			for range 4 {
				quick.next()
				seen.Add(1)
			}
		})
		time.Sleep(3500 * time.Millisecond) // the slow one reads nothing for less than is allowed
		synctest.Wait()
		if n := seen.Load(); n != 4 { // of 0, 1, 2 and 3 s
			t.Errorf("the quick one saw %d events", n)
		}
		var passed []time.Duration
		for range 3 {
			passed = append(passed, slow.next().At.Sub(first))
		}
		if want := "[1s 3s 4s]"; fmt.Sprint(passed) != want {
			t.Errorf("the slow one saw what was after %v, want %s", passed, want)
		}
		all.Wait()
	})
}

func TestAViewerWhoReadsNothingIsLeft(t *testing.T) {
	perform(t, func(*stage) {}, func(s *stage) {
		v := s.view()
		first := v.next().At
		time.Sleep(10 * time.Second)
		synctest.Wait()
		// Before the first event, and after those at 0 to 3 s; the one at 4 s meets
		// the end of patience.
		if n := s.history.asked.Load(); n != 5 && n != 6 {
			t.Errorf("asked %d times: nobody was left, or somebody too early", n)
		}
		_, err := io.Copy(io.Discard, v.lines)
		if err == nil {
			t.Error("a cut stream looks whole")
		}
		if got := s.view().next().At.Sub(first); got != 10*time.Second {
			t.Errorf("the next one saw what was after %v", got)
		}
	})
}

// TestSilenceIsBroken holds up all that could be shown.
func TestSilenceIsBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{viewers: newViewers()}
		ours, theirs := net.Pipe()
		out := bufio.NewWriter(theirs)
		ctx, leave := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, "GET", "/v1/live", nil)
		if err != nil {
			t.Fatal(err)
		}
		var ended sync.WaitGroup
		ended.Go(func() {
			if err := g.getLive(flushing{out}, r); err != nil {
				t.Error(err)
			}
		})
		in := bufio.NewReader(ours)
		begun := time.Now()
		var said []string
		for len(said) < 3 {
			line, err := in.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if line != "\n" {
				said = append(said, fmt.Sprint(time.Since(begun), " ", strings.TrimSpace(line)))
			}
		}
		if got := strings.Join(said, ", "); got != "0s retry: 2000, 5s : alive, 10s : alive" {
			t.Errorf("said is %s", got)
		}
		leave()
		go io.Copy(io.Discard, in)
		ended.Wait()
		ours.Close()
	})
}

// flushing is a ResponseWriter whose header nobody reads.
type flushing struct{ *bufio.Writer }

func (flushing) Header() http.Header { return http.Header{} }
func (flushing) WriteHeader(int)     {}
func (f flushing) FlushError() error { return f.Writer.Flush() }

func TestTheQueueMayBeSilent(t *testing.T) {
	perform(t, func(s *stage) {
		s.depths = func(ctx context.Context) ([]queue.Depth, error) {
			if s.asked[aboutDepths].Load() == 1 {
				return []queue.Depth{{Queue: "intake", Ready: 3}}, nil
			}
			time.Sleep(time.Minute) // longer than it was asked to
			return nil, errors.New("hush")
		}
	}, func(s *stage) {
		v := s.view()
		begun := v.next().At
		for range 8 {
			got := v.next()
			passed := got.At.Sub(begun)
			if known := got.Queues != nil; known != (passed < depthsStale) {
				t.Errorf("after %v the queues are %v", passed, got.Queues)
			}
			if time.Since(got.At) != 0 {
				t.Errorf("the event came %v late", time.Since(got.At))
			}
		}
		v.leave()
	})
}

func TestViewersAreBounded(t *testing.T) {
	perform(t, func(*stage) {}, func(s *stage) {
		var all []*viewer
		for range maxViewers {
			all = append(all, s.view())
		}
		refused := s.view()
		body, _ := io.ReadAll(refused.response.Body)
		if refused.response.StatusCode != 503 || refused.response.Header.Get("Retry-After") == "" || !bytes.Contains(body, []byte("watching already")) {
			t.Errorf("one more is answered with %s %s", refused.response.Status, body)
		}
		for _, v := range all[1:] {
			go io.Copy(io.Discard, v.lines)
		}
		all[0].leave()
		synctest.Wait()
		if v := s.view(); v.response.StatusCode != 200 {
			t.Errorf("after one left: %s", v.response.Status)
		}
	})
}

func TestStreamsEndWithTheEngine(t *testing.T) {
	perform(t, func(*stage) {}, func(s *stage) {
		reading, asleep := s.view(), s.view()
		reading.next()
		asleep.next()
		time.Sleep(1500 * time.Millisecond) // an event is being written to the one who sleeps
		begun := time.Now()
		s.stop()
		var ended sync.WaitGroup
		ended.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			if err := s.server.Shutdown(ctx); err != nil {
				t.Errorf("the server did not end: %v", err)
			}
		})
		for {
			if _, err := reading.line(); err != nil {
				if err != io.EOF || time.Since(begun) != 0 {
					t.Errorf("the stream ended with %v after %v", err, time.Since(begun))
				}
				break
			}
		}
		<-s.stopped
		if time.Since(begun) != 0 {
			t.Errorf("Run returned after %v", time.Since(begun))
		}
		ended.Wait()
		if passed := time.Since(begun); passed > viewerPatience {
			t.Errorf("the server ended after %v", passed)
		}
	})
	v := newViewers()
	v.end()
	if _, err := v.join(); err == nil || problemOf(err).Status != 503 {
		t.Errorf("who comes then is told %v", err)
	}
}

func TestTheStreamWantsTheToken(t *testing.T) {
	const token = "a-token-0123456789"
	perform(t, func(s *stage) { s.tokens = []string{token} }, func(s *stage) {
		for header, status := range map[string]int{
			"": 401, "Authorization: Bearer wrong\r\n": 401, "Authorization: Bearer " + token + "\r\n": 200,
		} {
			v := s.viewWith(header)
			if v.response.StatusCode != status {
				t.Errorf("%q is answered with %s", header, v.response.Status)
			}
			v.leave()
		}
	})
}

func TestOtherSitesHoldNoStream(t *testing.T) {
	perform(t, func(*stage) {}, func(s *stage) {
		for site, status := range map[string]int{"same-origin": 200, "none": 200, "same-site": 403, "cross-site": 403} {
			v := s.viewWith("Sec-Fetch-Site: " + site + "\r\n")
			if v.response.StatusCode != status {
				t.Errorf("%s is answered with %s", site, v.response.Status)
			}
			v.leave()
		}
	})
}

func TestHeadOfTheStream(t *testing.T) {
	f := start(t)
	if a := f.send("HEAD", "/v1/live", "", nil); a.status != 200 || a.header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("HEAD is answered with %d %v", a.status, a.header)
	}
}
