package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestRealAlertmanager follows two alerts of one group from a real Alertmanager, with
// the configuration that deploy/ has and short times, to a subscriber's webhook: they
// fire, are repeated, change, end, fire again within the cool-down and after it. The
// engine is restarted on the way. What the webhook got is the judge.
func TestRealAlertmanager(t *testing.T) {
	program := needs(t, "prometheus-alertmanager", "alertmanager")
	heard := &subscriber{}
	hook := httptest.NewServer(heard)
	defer hook.Close()

	const common = "egress: {allow: [\"127.0.0.0/8\"], http: true}\n"
	data := t.TempDir()
	base, stop := serving(t, data, common+"lifecycle: {cooldown: 1h, window: 100ms}\n")
	post(t, base+"/v1/targets/import", "application/x-ndjson", fmt.Sprintf(`{"channel":"webhook","address":%q,"every_update":true}`, hook.URL), 200)
	way := &countingProxy{}
	way.to.Store(&base)
	between := httptest.NewServer(way)
	defer between.Close()
	manager := startAlertmanager(t, program, between.URL)

	down, slow := `"alertname":"ApiDown","severity":"critical"`, `"alertname":"ApiSlow","severity":"warning"`
	first := time.Now().Add(-time.Minute)
	manager.send(down, first, true, slow, first, true)
	heard.want(t, "1 investigating critical [auth-api]")
	incident := heard.incident(0)

	repeats := way.passed.Load() + 3
	eventually(t, func() bool { return way.passed.Load() >= repeats })
	heard.want(t, "1 investigating critical [auth-api]")

	manager.send(down, first, false)
	heard.want(t, "1 investigating critical [auth-api]", "2 investigating minor [auth-api]")
	manager.send(slow, first, false)
	heard.want(t, "1 investigating critical [auth-api]", "2 investigating minor [auth-api]", "3 resolved minor [auth-api]")
	again := time.Now()
	manager.send(down, again, true)
	told := []string{"1 investigating critical [auth-api]", "2 investigating minor [auth-api]", "3 resolved minor [auth-api]",
		"4 investigating critical [auth-api]"}
	heard.want(t, told...)

	// Alertmanager finds nobody for a while, and says the end again until someone
	// takes it.
	stop()
	refused := way.refused.Load()
	manager.send(down, again, false)
	eventually(t, func() bool { return way.refused.Load() > refused })
	base, _ = serving(t, data, common+"lifecycle: {cooldown: 1s, window: 100ms}\n")
	way.to.Store(&base)
	told = append(told, "5 resolved critical [auth-api]", "6 completed critical [auth-api]")
	heard.want(t, told...)
	manager.send(down, time.Now(), true)
	heard.want(t, append(told, "1 investigating critical [auth-api]")...)
	for i := range told {
		if heard.incident(i) != incident {
			t.Errorf("update %d is of %s, not %s", i+1, heard.incident(i), incident)
		}
	}
	if next := heard.incident(len(told)); next != incident+"-2" || !strings.HasPrefix(incident, "am-") {
		t.Errorf("after %s the next incident is %s", incident, next)
	}
	if token := way.token.Load(); token == nil || *token != "Bearer a-token-of-the-engine" {
		t.Errorf("Alertmanager showed the token %v", token)
	}
}

// subscriber is a webhook.
type subscriber struct {
	mu        sync.Mutex
	updates   []string
	incidents []string
	bodies    []string
}

func (s *subscriber) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	var body struct {
		Data struct {
			IncidentID string   `json:"incident_id"`
			Sequence   int      `json:"sequence"`
			Status     string   `json:"status"`
			Impact     string   `json:"impact"`
			Title      string   `json:"title"`
			Components []string `json:"affected_components"`
		} `json:"data"`
	}
	text, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(text, &body) // one that can't be read is an update of nothing
	s.mu.Lock()
	defer s.mu.Unlock()
	d := body.Data
	s.updates = append(s.updates, fmt.Sprintf("%d %s %s %v", d.Sequence, d.Status, d.Impact, d.Components))
	s.incidents = append(s.incidents, d.IncidentID)
	s.bodies = append(s.bodies, string(text))
}

// want waits for as many updates as these, and holds all that came against them.
func (s *subscriber) want(t *testing.T, updates ...string) {
	t.Helper()
	s.told(t, updates...)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, body := range s.bodies {
		if strings.Contains(body, "10.1.2.3") || !strings.Contains(body, "The API is disturbed") {
			t.Fatalf("the webhook got %s", body)
		}
	}
}

// told waits for updates, which have to be all.
func (s *subscriber) told(t *testing.T, updates ...string) {
	t.Helper()
	eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.updates) >= len(updates)
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.updates, updates) {
		t.Fatalf("the webhook got\n%s\nnot\n%s", strings.Join(s.updates, "\n"), strings.Join(updates, "\n"))
	}
}

func (s *subscriber) incident(i int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.incidents[i]
}

// countingProxy stands before an engine that changes its address.
type countingProxy struct {
	to              atomic.Pointer[string]
	token           atomic.Pointer[string]
	passed, refused atomic.Int64
}

func (p *countingProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	to, err := url.Parse(*p.to.Load())
	if err != nil {
		panic(err)
	}
	token := r.Header.Get("Authorization")
	p.token.Store(&token)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ModifyResponse: func(r *http.Response) error {
			if r.StatusCode == http.StatusAccepted {
				p.passed.Add(1)
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			p.refused.Add(1)
			w.WriteHeader(http.StatusServiceUnavailable)
		},
	}
	proxy.ServeHTTP(w, r)
}

// alertmanager is a real one.
type alertmanager struct {
	*testing.T
	url string
}

// startAlertmanager runs one with the configuration in deploy/, but for its times and
// the address of the engine.
func startAlertmanager(t *testing.T, program, engine string) *alertmanager {
	t.Helper()
	text := sample(t, filepath.Join("alertmanager", "alertmanager.yml"),
		[2]string{"group_wait: 30s", "group_wait: 200ms"}, [2]string{"group_interval: 1m", "group_interval: 500ms"},
		[2]string{"repeat_interval: 1h", "repeat_interval: 500ms"}, [2]string{"http://127.0.0.1:8080/v1/alerts", engine + "/v1/alerts"})
	dir, listen := t.TempDir(), freeAddr(t)
	for name, text := range map[string]string{"alertmanager.yml": text, "tocsin.token": "a-token-of-the-engine\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	begin(t, exec.Command(program, "--config.file="+filepath.Join(dir, "alertmanager.yml"), "--storage.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+listen, "--cluster.listen-address=", "--log.level=error"))
	m := &alertmanager{t, "http://" + listen}
	eventually(t, func() bool { code, _ := get(m.url + "/-/ready"); return code == http.StatusOK })
	return m
}

// send tells Alertmanager of alerts as Prometheus does; each has labels, its start,
// and whether it fires.
func (m *alertmanager) send(alerts ...any) {
	m.Helper()
	var list []string
	for i := 0; i < len(alerts); i += 3 {
		ends := time.Now().Add(time.Hour)
		if !alerts[i+2].(bool) {
			ends = time.Now()
		}
		list = append(list, fmt.Sprintf(`{"labels":{%s,"page":"default","component":"auth-api","instance":"10.1.2.3:9100"},
			"annotations":{"summary":"The API is disturbed","description":"Some requests fail."},"startsAt":%q,"endsAt":%q,
			"generatorURL":"http://10.1.2.3:9090/graph"}`, alerts[i], alerts[i+1].(time.Time).Format(time.RFC3339Nano), ends.Format(time.RFC3339Nano)))
	}
	post(m.T, m.url+"/api/v2/alerts", "application/json", "["+strings.Join(list, ",")+"]", http.StatusOK)
}
