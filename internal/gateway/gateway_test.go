package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/cases"
	"github.com/tocsin/tocsin/internal/egress"
	"github.com/tocsin/tocsin/internal/lifecycle"
	"github.com/tocsin/tocsin/internal/probe"
	"github.com/tocsin/tocsin/internal/probing"
	"github.com/tocsin/tocsin/internal/senders"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	sqlitestore "github.com/tocsin/tocsin/internal/store/sqlite"
	"github.com/tocsin/tocsin/queue"
	sqlitequeue "github.com/tocsin/tocsin/queue/sqlite"
	"github.com/tocsin/tocsin/ratelimit"
)

var now = time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)

const minimal = `{"incident_id":"INC-8892","status":"investigating","affected_components":["auth-api","payment-gateway"],` +
	`"impact":"critical","started_at":"2023-11-20T14:30:00Z"}`

// callbackURL is the one that may be called.
const callbackURL = "https://producer.example/done?token=t"

// fixture is a gateway over the embedded store and queue, behind a real server.
// Only the engine is played: the test accepts and plans by hand.
type fixture struct {
	*testing.T
	db     *sqlitedb.DB
	store  *sqlitestore.Store
	queue  *sqlitequeue.Queue
	url    string
	deps   Deps
	opt    Options
	engine *engine
	watch  *probing.Watch
	meter  *meter
	log    *lockedBuffer
	header http.Header // of every request
	// crowd changes the listener before it accepts; nil leaves it.
	crowd   func(*Crowd)
	handler *Handler
	close   func()       // ends all requests
	later   atomic.Int64 // nanoseconds that the lifecycle's clock is past now
}

func (f *fixture) clock() time.Time { return now.Add(time.Duration(f.later.Load())) }

func alertsReader(t *testing.T) func([]byte) ([]*lifecycle.Report, error) {
	t.Helper()
	reader, err := senders.NewAlertmanager(senders.DefaultAlertMapping())
	if err != nil {
		t.Fatal(err)
	}
	return reader.Reports
}

// lockedBuffer takes the log, which the server writes to at any time.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// engine records what it is told.
type engine struct {
	mu       sync.Mutex
	changed  []int64
	stopped  []int64
	paused   map[string]bool
	snapshot dispatcher.Snapshot
	ledger   dispatcher.Ledger
}

func (e *engine) Pause(ctx context.Context, provider string, asked ...dispatcher.Asked) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.paused[provider] = true
	return e.ledger.SetPaused(ctx, provider, true, asked...)
}

func (e *engine) Resume(ctx context.Context, provider string, asked ...dispatcher.Asked) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.paused, provider)
	return e.ledger.SetPaused(ctx, provider, false, asked...)
}

func (e *engine) Paused() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Sorted(maps.Keys(e.paused))
}

func (e *engine) Snapshot() *dispatcher.Snapshot { return &e.snapshot }

func (e *engine) TargetsChanged(ids []int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.changed = append(e.changed, ids...)
}

func (e *engine) Stop(ctx context.Context, incident int64, asked ...dispatcher.Asked) error {
	e.stopped = append(e.stopped, incident)
	_, _, err := e.ledger.Stop(ctx, incident, now, asked...)
	return err
}

func (e *engine) Resend(ctx context.Context, r dispatcher.Resend) (*dispatcher.Resent, error) {
	r.At = now
	resent, err := e.ledger.BeginResend(ctx, r)
	if err != nil || r.DryRun || resent.Repeated {
		return resent, err
	}
	return e.ledger.ContinueResend(ctx, resent.Key, now)
}

// take returns what changed since the last call.
func (e *engine) take() []int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	changed := e.changed
	e.changed = nil
	return changed
}

type meter struct {
	mu      sync.Mutex
	refused []string
	probed  []string
}

func (m *meter) EventRefused(source, reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refused = append(m.refused, source+" "+reason)
}

func (m *meter) ProbeResults(result string, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range n {
		m.probed = append(m.probed, result)
	}
}

// start serves a gateway whose dependencies and options the changes alter.
func start(t *testing.T, changes ...func(*fixture)) *fixture {
	t.Helper()
	log := new(lockedBuffer)
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	db, err := sqlitedb.Open(t.Context(), sqlitedb.Options{Dir: t.TempDir(), Log: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	q, err := sqlitequeue.New(t.Context(), db, sqlitequeue.Options{Now: func() time.Time { return now }, Log: logger})
	if err != nil {
		t.Fatal(err)
	}
	policy, err := egress.NewPolicy(egress.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	store := sqlitestore.New(db, routeTarget)
	f := &fixture{T: t, db: db, store: store, queue: q, engine: &engine{ledger: store, paused: map[string]bool{}}, meter: &meter{}, log: log, header: http.Header{}}
	f.deps = Deps{Intake: q, Alerts: alertsReader(t), Targets: store, History: store, Audit: store, Engine: f.engine, Meter: f.meter,
		CheckTarget: func(t *incident.Target) error {
			if t.Channel != incident.ChannelWebhook {
				return nil
			}
			_, err := policy.CheckURL(t.Address)
			return err
		},
		CheckCallback: func(url incident.CallbackURL) error {
			if url != callbackURL {
				return &incident.Invalid{Field: "callback_url", Reason: "can't be called"}
			}
			return nil
		},
		Groups: []dispatcher.Group{{Name: "webhook"}, {Name: "smtp:main", Provider: "main"}},
		Policy: func(_, provider string) dispatcher.ProviderPolicy {
			return dispatcher.ProviderPolicy{Limit: ratelimit.Limit{PerSecond: 100, Burst: 200}, Window: 64, Named: provider != ""}
		},
		WebhookProvider: func(hostport string) string { return egress.ProviderKey("https://" + hostport + "/") },
		Depths:          q.Depths,
		Ready:           func(context.Context) map[string]string { return map[string]string{"store": "ok"} },
		Ended:           func() map[string]map[dispatcher.Outcome]int { return nil },
		Connections:     func() (used, budget int) { return 3, 100 },
		Metrics:         http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "tocsin_x 1\n") }),
		Log:             logger}
	f.deps.Own = map[string]senders.Own{"monitor": mappedSource(t)}
	f.opt = Options{Listen: "127.0.0.1:8080", Clock: func() time.Time { return now }}
	for _, change := range changes {
		change(f)
	}
	if f.deps.Lifecycle == nil {
		f.keep()
	}
	f.watch, err = probing.New(t.Context(), f.store, f.deps.Lifecycle, probing.Options{
		Page: "default", Rules: probe.DefaultRules(), Meter: f.meter, Clock: f.clock, Log: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	f.deps.Probes = f.watch
	f.serve()
	return f
}

// keep runs the lifecycle beside the gateway.
func (f *fixture) keep() {
	keeper := cases.New(f.store, f.queue, cases.Options{Rules: lifecycle.DefaultRules(), Clock: f.clock, Log: f.deps.Log})
	f.deps.Lifecycle = keeper
	ctx, cancel := context.WithCancel(context.WithoutCancel(f.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = keeper.Run(ctx) // nil
	}()
	f.Cleanup(func() {
		cancel()
		<-ended
	})
}

// serve begins with a new gateway, as the next process would.
func (f *fixture) serve() {
	f.handler = New(f.deps, f.opt)
	handler := f.handler
	ctx, cancel := context.WithCancel(context.WithoutCancel(f.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = handler.Run(ctx) // nil
	}()
	server := httptest.NewUnstartedServer(nil)
	server.Config = NewServer(f.judged(handler), f.deps.Log)
	crowd := NewCrowd(server.Listener, f.deps.Log)
	if f.crowd != nil {
		f.crowd(crowd)
	}
	server.Listener = crowd
	server.Start()
	f.Cleanup(func() {
		cancel()
		<-ended
		server.Close()
	})
	f.url, f.close = server.URL, server.Close
}

func routeTarget(t *incident.Target) (group, provider string, err error) {
	if strings.Contains(t.Address, "unrouted") {
		return "", "", &incident.Invalid{Field: "address", Reason: "has no route"}
	}
	if t.Channel != incident.ChannelWebhook {
		return t.Channel + ":main", "main", nil
	}
	return "webhook", egress.ProviderKey(t.Address), nil
}

// answer is what a client got.
type answer struct {
	*testing.T
	status int
	header http.Header
	body   []byte
}

func (f *fixture) send(method, path, contentType string, body io.Reader) answer {
	f.Helper()
	req, err := http.NewRequestWithContext(f.Context(), method, f.url+path, body)
	if err != nil {
		f.Fatal(err)
	}
	for name, values := range f.header {
		req.Header[name] = values
	}
	if host := f.header.Get("Host"); host != "" {
		req.Host = host
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		f.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		f.Fatal(err)
	}
	return answer{f.T, res.StatusCode, res.Header, data}
}

func (f *fixture) get(path string) answer { f.Helper(); return f.send("GET", path, "", nil) }

func (f *fixture) post(path, body string) answer {
	f.Helper()
	return f.send("POST", path, "application/json", strings.NewReader(body))
}

// want checks the status and returns the JSON.
func (a answer) want(status int) map[string]any {
	a.Helper()
	if a.status != status {
		a.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	if len(a.body) == 0 {
		return nil
	}
	var v map[string]any
	if err := json.Unmarshal(a.body, &v); err != nil {
		a.Fatalf("%v in %s", err, a.body)
	}
	return v
}

// wantProblem checks an answer of RFC 9457 and returns its detail.
func (a answer) wantProblem(status int, field string) string {
	a.Helper()
	v := a.want(status)
	if a.header.Get("Content-Type") != "application/problem+json" || v["status"] != float64(status) ||
		v["title"] != http.StatusText(status) || v["type"] != "about:blank" {
		a.Errorf("not a problem: %s %s", a.header.Get("Content-Type"), a.body)
	}
	if got, _ := v["field"].(string); got != field {
		a.Errorf("field %q, want %q: %s", got, field, a.body)
	}
	detail, _ := v["detail"].(string)
	if detail == "" {
		a.Errorf("no detail: %s", a.body)
	}
	if (a.header.Get("Retry-After") != "") != (status == http.StatusServiceUnavailable || status == http.StatusInsufficientStorage) {
		a.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
	}
	return detail
}

// taken empties the intake queue as the acceptor does, without concluding.
func (f *fixture) taken(n int) []*queue.Event {
	f.Helper()
	events, err := f.queue.Take(f.Context(), n+1)
	if err != nil {
		f.Fatal(err)
	}
	if len(events) != n {
		f.Fatalf("%d events in the intake, want %d", len(events), n)
	}
	return events
}

// accept does the acceptor's work for n events.
func (f *fixture) accept(n int) []dispatcher.Acceptance {
	f.Helper()
	events := f.taken(n)
	arrivals := make([]*dispatcher.Arrival, n)
	for i, e := range events {
		decoded, err := incident.Decode(e.Body)
		if err != nil {
			f.Fatal(err)
		}
		arrivals[i] = &dispatcher.Arrival{Event: decoded, Sender: e.Sender, UpdateID: e.UpdateID, ReceivedAt: e.ReceivedAt, Hash: decoded.ContentHash()}
	}
	done, err := f.store.Accept(f.Context(), arrivals, dispatcher.Decide(now, time.Hour))
	if err != nil {
		f.Fatal(err)
	}
	if err := f.queue.Conclude(f.Context(), events, make([]queue.Verdict, n)); err != nil {
		f.Fatal(err)
	}
	return done
}

// plan does the planner's work for one update: all its audience in one batch.
func (f *fixture) plan(p *dispatcher.Plan, batch int64) *queue.Batch {
	f.Helper()
	page, err := f.store.Audience(f.Context(), p, 100)
	if err != nil || !page.Last {
		f.Fatal(page, err)
	}
	b := &queue.Batch{ID: batch, Incident: p.Incident, Sequence: p.Sequence, Group: "webhook", AcceptedAt: p.AcceptedAt,
		ExpiresAt: p.ExpiresAt, Revision: page.Revision}
	for _, a := range page.Targets {
		b.Deliveries = append(b.Deliveries, queue.Delivery{Target: a.Target, Provider: a.Provider, Address: a.Address, Since: now})
	}
	err = f.store.CommitPage(f.Context(), p, &dispatcher.PlannedPage{Batches: []*queue.Batch{b}, Cursor: page.Cursor, Last: true, At: now})
	if err != nil {
		f.Fatal(err)
	}
	return b
}

func keys(v map[string]any) string {
	return strings.Join(slices.Sorted(maps.Keys(v)), " ")
}
