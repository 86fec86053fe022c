package gateway

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/queue"
)

func TestTokens(t *testing.T) {
	const one, two = "first-token-0123456789", "second-token-0123456789"
	f := start(t, func(f *fixture) { f.opt.Tokens = []string{one, two} })
	for _, header := range []string{"", "Bearer", "Bearer ", "Bearer wrong", "Basic " + one, one, "Bearer " + one + "x", "Bearer " + one[1:]} {
		f.header.Set("Authorization", header)
		for _, path := range []string{"/v1/targets", "/metrics", "/nothing", "/v1/targets/1"} {
			a := f.get(path)
			a.wantProblem(401, "")
			if a.header.Get("WWW-Authenticate") == "" {
				t.Error("no WWW-Authenticate")
			}
		}
		f.post("/v1/incidents", minimal).wantProblem(401, "")
		f.get("/healthz").want(200)
		f.get("/readyz").want(200)
	}
	for _, header := range []string{"Bearer " + one, "bearer " + two} {
		f.header.Set("Authorization", header)
		f.get("/v1/targets").want(200)
		f.get("/nothing").wantProblem(404, "")
		f.post("/v1/incidents", minimal).want(202)
	}
	// With tokens the name is not the lock.
	f.header.Set("Host", "status.example.com")
	f.get("/v1/targets").want(200)
	if strings.Contains(f.log.String(), one) {
		t.Error("the log has a token")
	}
}

func TestForeignHostsAreRefusedWithoutTokens(t *testing.T) {
	f := start(t, func(f *fixture) { f.opt.Listen = "tocsin.internal:8080" })
	for _, host := range []string{"localhost", "LOCALHOST:8080", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:8080", "tocsin.internal:8080"} {
		f.header.Set("Host", host)
		f.get("/v1/targets").want(200)
	}
	for _, host := range []string{"evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "notlocalhost"} {
		f.header.Set("Host", host)
		for _, path := range []string{"/v1/targets", "/healthz", "/nothing"} {
			f.get(path).wantProblem(403, "")
		}
		f.post("/v1/incidents", minimal).wantProblem(403, "")
	}
}

func TestRequestsOfOtherSitesAreRefused(t *testing.T) {
	f := start(t)
	for name, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"} {
		f.header = http.Header{}
		f.header.Set(name, value)
		f.post("/v1/incidents", minimal).wantProblem(403, "")
		f.post("/v1/incidents/x/stop", "").wantProblem(403, "")
		f.send("DELETE", "/v1/targets/1", "", nil).wantProblem(403, "")
	}
	f.header = http.Header{"Sec-Fetch-Site": {"same-origin"}}
	f.post("/v1/incidents", minimal).want(202)
	f.header = http.Header{"Origin": {f.url}}
	f.post("/v1/incidents", minimal).want(202)
}

func TestProbes(t *testing.T) {
	parts := map[string]string{"store": "ok", "broker": "ok"}
	f := start(t, func(f *fixture) {
		f.deps.Ready = func(ctx context.Context) map[string]string {
			if _, ok := ctx.Deadline(); !ok {
				t.Error("the question has no end")
			}
			return parts
		}
	})
	f.get("/healthz").want(200)
	if v := f.get("/readyz").want(200); v["ready"] != true || keys(v["parts"].(map[string]any)) != "broker store" {
		t.Errorf("ready: %v", v)
	}
	parts["broker"] = "connecting"
	a := f.get("/readyz")
	if v := a.want(503); v["ready"] != false || v["parts"].(map[string]any)["broker"] != "connecting" || a.header.Get("Retry-After") == "" {
		t.Errorf("not ready: %s", a.body)
	}
	f.get("/healthz").want(200)
	if a := f.get("/metrics"); a.status != 200 || string(a.body) != "tocsin_x 1\n" {
		t.Errorf("metrics: %d %s", a.status, a.body)
	}
}

func TestPanics(t *testing.T) {
	f := start(t, func(f *fixture) {
		f.deps.Metrics = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.RawQuery == "begun" {
				w.Header().Set("Content-Length", "10")
				io.WriteString(w, "half")
			}
			if r.URL.RawQuery == "index" {
				_ = strings.Fields(r.Method)[len(r.Method)]
			}
			panic("hush")
		})
	})
	if detail := f.get("/metrics").wantProblem(500, ""); strings.Contains(detail, "hush") {
		t.Errorf("the answer is %s", detail)
	}
	f.get("/metrics?index").wantProblem(500, "")
	if log := f.log.String(); strings.Contains(log, "hush") || !strings.Contains(log, "guard_test.go") || !strings.Contains(log, "index out of range") {
		t.Errorf("the log is %s", log)
	}
	res, err := http.Get(f.url + "/metrics?begun")
	if err == nil {
		_, err = io.ReadAll(res.Body)
		res.Body.Close()
	}
	if err == nil {
		t.Error("half an answer looks whole")
	}
	f.get("/healthz").want(200)
}

// dial sends raw bytes.
func (f *fixture) dial(request string) *bufio.Reader {
	f.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { conn.Close() })
	// Nothing takes that long unless it hangs.
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		f.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		f.Fatal(err)
	}
	return bufio.NewReader(conn)
}

// TestSlowBodies sends bodies that never end; what is too slow is cut, whatever
// the route.
func TestSlowBodies(t *testing.T) {
	f := start(t, func(f *fixture) { f.opt.BodyTimeout = 20 * time.Millisecond })
	for path, contentType := range map[string]string{"/v1/incidents": "application/json", "/v1/alerts": "application/json",
		"/v1/targets": "application/json", "/v1/targets/import": "application/x-ndjson"} {
		r := f.dial("POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + contentType + "\r\nContent-Length: 100\r\n\r\n{")
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusRequestTimeout {
			t.Errorf("%s is answered with %d", path, res.StatusCode)
		}
		res.Body.Close()
	}
}

// TestBrokenBodiesAreTheirClients: neither is a defect, and the log has nothing of them.
func TestBrokenBodiesAreTheirClients(t *testing.T) {
	f := start(t)
	for path, media := range map[string]string{"/v1/alerts": "application/json", "/v1/targets/import": "application/x-ndjson"} {
		head := "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + media + "\r\n"
		res, err := http.ReadResponse(f.dial(head+"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\nno length\r\n"), nil)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: chunks that are none are answered %s", path, res.Status)
		}
		conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, head+"Content-Length: 100\r\n\r\n{"); err != nil {
			t.Fatal(err)
		}
		_ = conn.(*net.TCPConn).SetLinger(0) // a reset
		conn.Close()
	}
	f.post("/v1/incidents", minimal).want(202)
	f.close()
	if log := f.log.String(); strings.Contains(log, "level=ERROR") {
		t.Errorf("the log says %s", log)
	}
}

type intakeFunc func(ctx context.Context) error

func (i intakeFunc) Offer(ctx context.Context, _ *queue.Event) error { return i(ctx) }

// TestUnreadBodiesAreCut: the server drains what a handler did not read, and must
// not wait for it for ever.
func TestUnreadBodiesAreCut(t *testing.T) {
	f := start(t, func(f *fixture) { f.opt.BodyTimeout = 20 * time.Millisecond })
	for path, status := range map[string]int{"/v1/incidents/none/stop": 404, "/v1/incidents": 415, "/nothing": 404} {
		r := f.dial("POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		io.Copy(io.Discard, res.Body)
		if _, err := r.ReadByte(); err != io.EOF || res.StatusCode != status {
			t.Errorf("%s: status %d, then %v instead of the end", path, res.StatusCode, err)
		}
	}
}

func TestSlowIntakeIsNotTakenForASlowBody(t *testing.T) {
	f := start(t, func(f *fixture) {
		f.opt.BodyTimeout = 20 * time.Millisecond
		f.deps.Intake = intakeFunc(func(ctx context.Context) error {
			select {
			case <-time.After(5 * f.opt.BodyTimeout):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	f.post("/v1/incidents", minimal).want(202)
}

func TestLargeHeadersAreRefused(t *testing.T) {
	f := start(t)
	r := f.dial("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n")
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", res.StatusCode)
	}
}

func TestServerIsBounded(t *testing.T) {
	s := NewServer(nil, start(t).deps.Log)
	if s.ReadHeaderTimeout <= 0 || s.IdleTimeout <= 0 || s.MaxHeaderBytes <= 0 {
		t.Errorf("the server is %+v", s)
	}
}
