package gateway

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/caller"
	"github.com/tocsin/tocsin/queue"
)

const (
	hmacKey     = "hush-key-0123456789"
	sourceToken = "hush-source-0123456789"
	notice      = `{"version":"4","groupKey":"{}:{}","status":"firing","alerts":[{"status":"firing","startsAt":"2026-11-21T04:50:00Z",` +
		`"labels":{"alertname":"ApiDown","component":"auth-api","severity":"critical"}}]}`
)

// withSources has Alertmanager send with a token, and Grafana with a signature.
func withSources(f *fixture) {
	guard, err := caller.New(caller.Options{Log: f.deps.Log, Clock: func() time.Time { return f.opt.Clock() },
		Refused: func(source string) { f.meter.EventRefused("caller", source) },
		Sources: []caller.Source{
			{Name: "alertmanager", Routes: []string{caller.Alerts}, Bearer: []string{sourceToken}},
			{Name: "grafana", Routes: []string{caller.Alerts, caller.Events}, Signature: caller.Signature{Form: caller.Grafana,
				Secrets: []string{hmacKey}, TimestampHeader: "X-Time"}},
		}})
	if err != nil {
		f.Fatal(err)
	}
	f.deps.Callers = guard
}

func withTokens(f *fixture) { f.opt.Tokens = []string{"control-token-0123456789"} }

// sign has the next requests signed as that body, at that time.
func (f *fixture) sign(body string, at time.Time) {
	timestamp := strconv.FormatInt(at.Unix(), 10)
	h := hmac.New(sha256.New, []byte(hmacKey))
	h.Write([]byte(timestamp + ":" + body))
	f.header.Set("X-Grafana-Alerting-Signature", hex.EncodeToString(h.Sum(nil)))
	f.header.Set("X-Time", timestamp)
}

func TestSourcesNeedNoToken(t *testing.T) {
	f := start(t, withTokens, withSources)
	f.header.Set("Authorization", "Bearer "+sourceToken)
	f.post("/v1/alerts", notice).want(202)
	f.post("/v1/update", notice).want(202)
	// Nothing else is theirs.
	f.post("/v1/incidents", minimal).wantProblem(401, "")
	f.get("/v1/alerts").wantProblem(401, "")
	f.get("/v1/incidents").wantProblem(401, "")
	f.post("/v1/targets", "{}").wantProblem(401, "")
	f.get("/metrics").wantProblem(401, "")
	f.get("/nothing").wantProblem(401, "")
	// What a token opens stays open.
	f.header.Set("Authorization", "Bearer control-token-0123456789")
	f.post("/v1/alerts", notice).want(202)
	f.post("/v1/incidents", minimal).want(202)
	f.get("/v1/incidents").want(200)
	f.header.Del("Authorization")
	f.sign(minimal, now)
	f.post("/v1/incidents", minimal).want(202)
	if log := f.log.String(); strings.Contains(log, "hush") || strings.Contains(log, f.header.Get("X-Grafana-Alerting-Signature")) {
		t.Errorf("the log has a secret: %s", log)
	}
}

// TestSourcesWithoutTokens: on a loopback listener without tokens the other routes
// stay as open as they are.
func TestSourcesWithoutTokens(t *testing.T) {
	f := start(t, withSources)
	f.post("/v1/alerts", notice).wantProblem(401, "")
	f.post("/v1/incidents", minimal).wantProblem(401, "")
	f.get("/v1/incidents").want(200)
	f.get("/v1/alerts").wantProblem(405, "")
	f.header.Set("Authorization", "Bearer "+sourceToken)
	f.post("/v1/alerts", notice).want(202)
}

// TestNoHint: whatever is wrong, the answer is the same.
func TestNoHint(t *testing.T) {
	f := start(t, withTokens, withSources)
	var answers []string
	try := func(change func()) {
		f.header = http.Header{}
		change()
		a := f.post("/v1/alerts", notice)
		a.wantProblem(401, "")
		delete(a.header, "Date")
		var head strings.Builder
		if err := a.header.Write(&head); err != nil {
			t.Fatal(err)
		}
		answers = append(answers, head.String()+string(a.body))
	}
	try(func() {})
	try(func() { f.header.Set("Authorization", "Bearer wrong") })
	try(func() { f.header.Set("Authorization", "Bearer control-token-0123456789x") })
	try(func() { f.sign(notice+" ", now) })
	try(func() { f.sign(notice, now.Add(-time.Hour)) })
	try(func() { f.sign(notice, now); f.header.Set("X-Time", "soon") })
	try(func() { f.sign(notice, now); f.header.Set("X-Grafana-Alerting-Signature", "ab") })
	f.header = http.Header{}
	f.sign(notice, now)
	f.post("/v1/alerts", notice).want(202)
	try(func() { f.sign(notice, now) }) // a replay
	for i, answer := range answers {
		if answer != answers[0] {
			t.Errorf("answer %d is\n%s\nand not\n%s", i, answer, answers[0])
		}
	}
	if want := "caller several caller alertmanager caller alertmanager caller grafana caller grafana caller grafana caller grafana caller grafana"; strings.Join(f.meter.refused, " ") != want {
		t.Errorf("counted: %q", f.meter.refused)
	}
}

// TestRetryAfterTrouble: a sender whose request came to nothing sends it again, as it
// is, and is not taken for a replay.
func TestRetryAfterTrouble(t *testing.T) {
	var mu sync.Mutex
	var trouble error
	var bodies []string
	f := start(t, withSources, func(f *fixture) {
		f.deps.Intake = offered(func(e *queue.Event) error {
			mu.Lock()
			defer mu.Unlock()
			bodies = append(bodies, string(e.Body))
			return trouble
		})
	})
	set := func(err error) { mu.Lock(); trouble = err; mu.Unlock() }
	f.sign(minimal, now)
	for err, status := range map[error]int{queue.ErrUnavailable: 503, errors.New("some trouble"): 500} {
		set(err)
		f.post("/v1/incidents", minimal).wantProblem(status, "")
	}
	set(nil)
	f.post("/v1/incidents", minimal).want(202)
	f.post("/v1/incidents", minimal).wantProblem(401, "")
	if len(bodies) != 3 || bodies[2] != minimal {
		t.Errorf("the intake was offered %q", bodies)
	}
	// What was refused for what it says may come again, too.
	f.sign("{", now)
	f.post("/v1/incidents", "{").wantProblem(400, "event")
	f.post("/v1/incidents", "{").wantProblem(400, "event")
}

// TestWhatWasTakenOutlivesARestart: the store has a signed request before its sender has
// the answer, and another process refuses it.
func TestWhatWasTakenOutlivesARestart(t *testing.T) {
	var guards []*caller.Guard
	f := start(t, func(f *fixture) {
		for range 2 {
			guard, err := caller.New(caller.Options{
				Memory: f.store, Clock: func() time.Time { return now }, Log: f.deps.Log,
				Sources: []caller.Source{{Name: "grafana", Routes: []string{caller.Alerts}, Signature: caller.Signature{
					Form: caller.Grafana, Secrets: []string{hmacKey}, TimestampHeader: "X-Time"}}},
			})
			if err != nil {
				t.Fatal(err)
			}
			guards = append(guards, guard)
		}
		f.deps.Callers = guards[0]
	})
	f.sign(notice, now)
	f.post("/v1/alerts", notice).want(202)
	if err := guards[1].Recall(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.deps.Callers = guards[1]
	after := New(f.deps, f.opt)
	for _, tc := range []struct {
		at   time.Time
		want int
	}{{now, 401}, {now.Add(time.Second), 202}} {
		f.sign(notice, tc.at)
		r := httptest.NewRequest(http.MethodPost, "http://localhost/v1/alerts", strings.NewReader(notice))
		r.Header = f.header.Clone()
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		after.ServeHTTP(w, r)
		if w.Code != tc.want {
			t.Errorf("signed at %s it is answered %d %s, want %d", tc.at, w.Code, w.Body, tc.want)
		}
	}
}

type offered func(e *queue.Event) error

func (o offered) Offer(_ context.Context, e *queue.Event) error { return o(e) }

func TestSignedBodiesAreBounded(t *testing.T) {
	f := start(t, withSources)
	large := strings.Repeat(" ", incident.MaxEventBytes+1)
	f.sign(large, now)
	f.post("/v1/incidents", large).wantProblem(413, "")
	// Without a length said before.
	f.send("POST", "/v1/incidents", "application/json", struct{ *strings.Reader }{strings.NewReader(large)}).wantProblem(413, "")
	fits := minimal + strings.Repeat(" ", incident.MaxEventBytes-len(minimal))
	f.sign(fits, now)
	f.post("/v1/incidents", fits).want(202)
	f.sign(minimal, now)
	f.send("POST", "/v1/incidents", "text/plain", strings.NewReader(minimal)).wantProblem(415, "")
}

// TestGuessing: who guesses is told to come later, never that it is too much (429),
// and others are not in its way.
func TestGuessing(t *testing.T) {
	f := start(t, withSources)
	f.sign(notice, now)
	f.header.Set("X-Time", strconv.FormatInt(now.Unix()-1, 10))
	for range 20 {
		f.post("/v1/alerts", notice).wantProblem(401, "")
	}
	for range 5 {
		f.post("/v1/alerts", notice).wantProblem(503, "")
	}
	f.header.Set("Authorization", "Bearer "+sourceToken) // from the same address
	f.post("/v1/alerts", notice).want(202)
	if lines := strings.Count(f.log.String(), "a caller was refused"); lines != 10 {
		t.Errorf("%d lines in the log", lines)
	}
}

func TestCallerIsNamed(t *testing.T) {
	f := start(t, withTokens, withSources)
	g := New(f.deps, f.opt).gateway
	var name string
	h := g.authorised(newAuth(f.opt.Tokens), intake{name: caller.Alerts, limit: maxAlertsBytes}, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { name = callerOf(r) }))
	for header, want := range map[string]string{sourceToken: "source alertmanager", f.opt.Tokens[0]: "token 1"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/alerts", strings.NewReader(notice))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+header)
		h.ServeHTTP(nil, r)
		if name != want {
			t.Errorf("the caller is %q, want %q", name, want)
		}
	}
}
