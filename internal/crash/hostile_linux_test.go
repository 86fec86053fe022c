package crash

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tocsin/tocsin/bench/run"
)

// mostMemory bounds what the engine may hold at once, in MiB, whatever is sent to it
// (docs/operations.md).
const mostMemory = 512

// hostileConfig gives the intake its own routes, and one sender whose bodies are read
// before anybody knows who sent them.
const hostileConfig = `sources:
  - {name: kuma, routes: [mapping], networks: ["127.0.0.0/8"], page: hostile, mapping: {group: '"kuma-" + string(body.monitor.id)',
      firing: body.heartbeat.status == 0, component: body.monitor.name.lowerAscii(), impact: '"critical"', title: body.monitor.name + " is down",
      started_at: timestamp(body.heartbeat.time)}}
  - {name: vendor, routes: [statuspage], networks: ["127.0.0.0/8"], page: hostile}
  - {name: monitor, routes: [alerts], networks: ["127.0.0.1/32"]}
  - {name: forge, routes: [alerts], hmac: {form: github, secrets: ["a-secret-of-the-forge-0123456789"]}}
`

// hostile is what strangers do to an engine that has work to do.
type hostile struct {
	*trial
	client     *http.Client
	goroutines int // before
	files      int
	watch      *run.Watch
	sent       int
	others     int
}

func beginHostile(t *testing.T) *hostile {
	t.Helper()
	tr := beginWith(t, "sqlite", "", time.Hour, 10, func(e *engine) {
		e.configure("probes: {page: hostile}\n")
		e.configure(hostileConfig)
	})
	h := &hostile{trial: tr, client: &http.Client{Timeout: patience, Transport: &http.Transport{}}}
	t.Cleanup(h.client.CloseIdleConnections)
	h.publishNow(10)
	h.goroutines, h.files = h.holds()
	h.watch = run.Observe(tr.engine.process)
	return h
}

// holds counts the engine's goroutines and open files.
func (h *hostile) holds() (goroutines, files int) {
	h.t.Helper()
	goroutines, err := h.api.metric(h.t.Context(), "go_goroutines")
	look, ok := h.engine.process.Look()
	if err != nil || !ok {
		h.t.Fatal("the engine can't be looked at: ", err)
	}
	return goroutines, look.FDs
}

// another caller is told 202 at once, and who looks is answered.
func (h *hostile) another() {
	h.t.Helper()
	response, answer, err := h.offer(h.next())
	if err != nil || response.StatusCode != http.StatusAccepted {
		h.t.Fatalf("another caller is answered %v %s (%v)", response, answer, err)
	}
	h.others++
	if ready, err := h.api.ready(h.t.Context()); !ready {
		h.t.Fatal(err)
	}
}

// end looks at what is left, and at what it took.
func (h *hostile) end() {
	h.t.Helper()
	h.another()
	h.told(10)
	peak := h.watch.End().Processes["engine"].PeakRSSMB
	h.t.Logf("%d hostile requests and connections, %d requests of others in between; at most %.0f MiB", h.sent, h.others, peak)
	if peak > mostMemory {
		h.t.Errorf("the engine held %.0f MiB", peak)
	}
	h.client.CloseIdleConnections()
	eventually(h.t, "goroutines and files are as before", 100*time.Millisecond, func(context.Context) (bool, error) {
		goroutines, files := h.holds()
		return goroutines <= h.goroutines+10 && files <= h.files+10,
			fmt.Errorf("%d goroutines were %d, %d files were %d", goroutines, h.goroutines, files, h.files)
	})
	for line := range strings.Lines(h.engine.logged()) { // what was taken is named
		if strings.Contains(line, hush) && !strings.Contains(line, `"level":"INFO"`) || strings.Contains(line, "panicked") || strings.Contains(line, "a request failed") {
			h.t.Errorf("the log says %s", line)
		}
	}
	h.engine.stop()
}

// post sends a body, and judges the answer: a refusal names field and reason, and
// repeats nothing; anything else is a success, unless it must be refused.
func (h *hostile) post(route intakeRoute, name string, body io.Reader, must bool, header ...string) {
	h.t.Helper()
	request, err := http.NewRequestWithContext(h.t.Context(), http.MethodPost, h.api.base+route.path, body)
	if err != nil {
		h.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := h.client.Do(request)
	if err != nil {
		h.t.Fatalf("%s: %s: %v", route.path, name, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		h.t.Fatalf("%s: %s: %v", route.path, name, err)
	}
	h.sent++
	if reason := route.judge(response, answer, must); reason != "" {
		h.t.Errorf("%s: %s: %s: %s %.300s", route.path, name, reason, response.Status, answer)
	}
}

// judge says what is wrong with an answer, "" if nothing is.
func (r intakeRoute) judge(response *http.Response, answer []byte, must bool) string {
	switch response.StatusCode {
	case http.StatusAccepted, http.StatusMultiStatus:
		if must {
			return "it is taken"
		}
		return ""
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
	default:
		return "it is neither taken nor refused"
	}
	var problem struct {
		Detail, Field string
		Status        any
		Errors        []string // of PagerDuty
	}
	switch err := json.Unmarshal(answer, &problem); {
	case err != nil:
		return err.Error()
	case bytes.Contains(answer, []byte(hush)) || len(answer) > 1<<10:
		return "it repeats what was sent"
	case r.path == "/v2/enqueue" && response.StatusCode == http.StatusBadRequest:
		if len(problem.Errors) == 0 || !strings.HasPrefix(problem.Errors[0], "'") {
			return "it names no field"
		}
		return ""
	case response.Header.Get("Content-Type") != "application/problem+json" || problem.Status != float64(response.StatusCode) || problem.Detail == "":
		return "it is no problem, or says nothing"
	case response.StatusCode == http.StatusBadRequest && (problem.Field == "" || !strings.HasPrefix(problem.Detail, problem.Field)):
		return "it names no field"
	}
	return ""
}

// TestHostileBodies sends every hostile body to every route of the intake.
func TestHostileBodies(t *testing.T) {
	t.Parallel()
	h := beginHostile(t)
	bomb, alerts := zipped(t), manyAlerts(100_000)
	for _, route := range intakeRoutes {
		route.body = strings.ReplaceAll(route.body, "https://hooks.example.com/1", h.peers.address(1))
		h.post(route, "the body as it should be", strings.NewReader(route.body), false)
		for _, b := range malformed(route.body) {
			h.post(route, b.name, strings.NewReader(b.body), !route.takes(b.name))
		}
		h.another()
		for n, b := range mistaken(t, route.body) {
			h.post(route, b.name, strings.NewReader(b.body), false)
			if n%100 == 0 {
				h.another()
			}
		}
		h.huge(route, bomb, alerts)
		h.another()
	}
	h.end()
}

// zipped is a body of 50 MiB that is sent as 50 kB.
func zipped(t *testing.T) []byte {
	t.Helper()
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range 50 {
		if _, err := z.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return bomb.Bytes()
}

// huge sends bodies that are too large in one way or another.
func (h *hostile) huge(route intakeRoute, bomb []byte, alerts string) {
	h.t.Helper()
	for _, size := range []int{route.limit, route.limit + 1, 10 << 20, 11 << 20} {
		body := route.body + strings.Repeat(" ", size-len(route.body))
		h.post(route, fmt.Sprintf("%d bytes", size), strings.NewReader(body), size > route.limit)
	}
	for _, size := range []int{route.limit, route.limit + 1, 11 << 20} {
		body := route.body + strings.Repeat(" ", size-len(route.body))
		h.post(route, fmt.Sprintf("%d bytes, chunked", size), chunked(body), size > route.limit)
	}
	h.post(route, "a gzip bomb", bytes.NewReader(bomb), true, "Content-Encoding", "gzip")
	h.post(route, "another encoding", strings.NewReader(route.body), true, "Content-Encoding", "br")
	for _, media := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=" + hush, hush} {
		h.post(route, "sent as "+media, strings.NewReader(route.body), true, "Content-Type", media)
	}
	h.post(route, "many alerts", strings.NewReader(alerts), false)
	h.post(route, "many results", strings.NewReader("["+strings.Repeat(`{"service":"s","location":"l","ok":true},`, 20_000)+`{}]`), true)
	h.post(route, "many names", strings.NewReader(manyNames(100_000)), false)
	h.post(route, "many lists", strings.NewReader(`{"`+hush+`":[`+strings.Repeat("[],", 150_000)+`[]]}`), true)
	h.post(route, "a large batch", strings.NewReader("["+strings.Repeat(`{"specversion":"1.0"},`, 20_000)+`{}]`), false, "Content-Type", "application/cloudevents-batch+json")
}

// TestHostileCrowd has many send the worst bodies at once, some of them unknown: the
// memory that this takes doesn't grow with their number.
func TestHostileCrowd(t *testing.T) {
	t.Parallel()
	h := beginHostile(t)
	worst := []string{manyAlerts(100_000), manyNames(400_000), `{"a":[` + strings.Repeat("[],", 3_000_000) + `[]]}`, strings.Repeat(" ", 10<<20)}
	event := intakeRoutes[0].body
	details := strings.Replace(event, `{"host":"db-7"}`, "["+strings.Repeat("0,", 500_000)+"0]", 1)
	var senders sync.WaitGroup
	send := func(from, path, body string, header ...string) {
		senders.Go(func() {
			dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
			client := http.Client{Timeout: patience, Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.api.base+path, strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			request.Header.Set("Content-Type", "application/json")
			for i := 0; i < len(header); i += 2 {
				request.Header.Set(header[i], header[i+1])
			}
			response, err := client.Do(request)
			if err != nil {
				return // it lost its place to others
			}
			defer response.Body.Close()
			if response.StatusCode >= 500 && response.Header.Get("Retry-After") == "" {
				t.Errorf("%s: %s", path, response.Status)
			}
		})
	}
	for n := range 60 {
		send("127.0.0.1", "/v1/alerts", worst[n%len(worst)])
		send("127.0.0.2", "/v1/incidents", details)
		send("127.0.0.3", "/v1/alerts", worst[3], "X-Hub-Signature-256", "sha256="+strings.Repeat("0", 64))
		h.sent += 3
	}
	for range 5 {
		h.another()
	}
	senders.Wait()
	h.end()
}
