package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tocsin/tocsin/internal/peer"
)

// wiretap passes connections on to a server and keeps what goes there.
type wiretap struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	wire  bytes.Buffer
	conns []net.Conn
	done  sync.WaitGroup
}

func startWiretap(t *testing.T, to string) *wiretap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wiretap{listener: l, to: to}
	w.done.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			w.done.Go(func() { w.pass(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		w.mu.Lock()
		for _, c := range w.conns {
			c.Close()
		}
		w.mu.Unlock()
		w.done.Wait()
	})
	return w
}

func (w *wiretap) pass(conn net.Conn) {
	defer conn.Close()
	far, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	defer far.Close()
	w.mu.Lock()
	w.conns = append(w.conns, conn, far)
	w.mu.Unlock()
	w.done.Go(func() {
		_, _ = io.Copy(conn, far)
		conn.Close()
	})
	_, _ = io.Copy(far, io.TeeReader(conn, w))
}

func (w *wiretap) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wire.Write(p)
}

func (w *wiretap) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wire.String()
}

// webhookLog keeps the bodies that come to each path.
type webhookLog struct {
	mu     sync.Mutex
	bodies map[string]string
}

func (l *webhookLog) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bodies[r.URL.Path] += string(body)
}

func (l *webhookLog) at(path string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bodies[path]
}

// TestServeShowsEachTheirFace puts a canary into everything internal of an event and
// looks at every byte that comes to receivers.
func TestServeShowsEachTheirFace(t *testing.T) {
	hooks := &webhookLog{bodies: make(map[string]string)}
	server := httptest.NewServer(hooks)
	defer server.Close()
	relay, mails := startForeignRelay(t)
	centre, err := peer.StartSMSC(peer.SMSCOptions{SystemID: "tocsin", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	defer centre.Close()
	_, at, _ := strings.Cut(strings.TrimPrefix(centre.URL(), "smpp://"), "@")
	texts := startWiretap(t, at)

	const private = "0123456789abcdef0123456789abcdef"
	base, _ := serving(t, t.TempDir(), fmt.Sprintf(`
egress: {allow: ["127.0.0.0/8"], http: true}
callback: {secrets: [%s]}
smtp: [{name: relay, url: "%s", from: "Status <status@example.com>"}]
smpp: [{name: centre, url: "smpp://tocsin:secret@%s", source: "STATUS"}]
`, newKey, mails, texts.listener.Addr()))
	post(t, base+"/v1/targets/import", "application/x-ndjson", strings.ReplaceAll(fmt.Sprintf(`
{"external_id":"w1","channel":"webhook","address":"%[1]s/public","locale":"pt-BR"}
{"external_id":"w2","channel":"webhook","address":"%[1]s/private","visibility":"private","locale":"fr"}
{"external_id":"m1","channel":"smtp","address":"public@example.com"}
{"external_id":"m2","channel":"smtp","address":"insider@example.com","visibility":"private"}
{"external_id":"p1","channel":"smpp","address":"%[2]s"}
{"external_id":"f1","channel":"rss","address":"default","every_update":true}
{"external_id":"f2","channel":"rss","address":"%[3]s","visibility":"private","every_update":true}
`, server.URL, peer.PhoneNumber(1), private), "\n\n", "\n"), 200)
	const canary = "CANARY"
	post(t, base+"/v1/incidents", "application/json", fmt.Sprintf(`{"incident_id":"INC-1","update_id":"u-%[1]s","status":"investigating",
		"affected_components":["login"],"impact":"major","started_at":"2026-11-21T05:00:00Z","title":"Logins fail",
		"translations":{"pt":{"title":"Falha no login"}},
		"public_details":{"error_code":"E-1042"},
		"details":{"host":"%[1]s-details","generator_url":"https://%[1]s.internal/graph"},
		"labels":{"instance":"%[1]s-extra"}, "source":"%[1]s",
		"callback_url":"%[2]s/callback?%[1]s",
		"targets":[{"channel":"webhook","address":"%[2]s/inline?%[1]s","external_id":"%[1]s-inline"}]}`, canary, server.URL), 202)
	eventually(t, func() bool {
		_, body := get(base + "/v1/incidents/INC-1/deliveries?outcome=delivered&limit=100")
		return strings.Count(body, `"target"`) == 8
	})

	got := map[string]string{
		"webhook": hooks.at("/public"), "inline webhook": hooks.at("/inline"), "sms": texts.String(), "private webhook": hooks.at("/private"),
	}
	for _, mail := range relay.received() {
		name := "mail"
		if strings.Contains(mail, "insider@") {
			name = "private mail"
		}
		got[name] += strings.ReplaceAll(mail, "=\r\n", "")
	}
	for _, form := range []string{"atom", "rss", "json"} {
		_, got["feed."+form] = get(base + "/feeds/default." + form)
		_, got["private feed."+form] = get(base + "/feeds/default/" + private + "." + form)
	}
	for name, text := range got {
		if !strings.Contains(text, "INC-1") && !strings.Contains(text, "Logins fail") {
			t.Errorf("%s: nothing came: %q", name, text)
		}
		allowed := strings.NewReplacer(canary+"-details", "", canary+".internal", "")
		if strings.HasPrefix(name, "private") {
			text = allowed.Replace(text)
		}
		if strings.Contains(text, canary) {
			t.Errorf("%s shows what is internal: %s", name, text)
		}
	}
	for _, name := range []string{"webhook", "inline webhook", "private webhook", "mail", "private mail", "feed.json", "private feed.json"} {
		if !strings.Contains(got[name], "E-1042") {
			t.Errorf("%s lacks the error code: %s", name, got[name])
		}
	}
	for _, name := range []string{"private webhook", "private feed.json"} {
		if !strings.Contains(got[name], canary+"-details") {
			t.Errorf("%s lacks the details: %s", name, got[name])
		}
	}
	for name, want := range map[string]string{"webhook": "Falha no login", "private webhook": "Logins fail", "inline webhook": "Logins fail"} {
		var body struct{ Data struct{ Title string } }
		if err := json.Unmarshal([]byte(got[name]), &body); err != nil || body.Data.Title != want {
			t.Errorf("%s: title %q, %v; want %q", name, body.Data.Title, err, want)
		}
	}
}

// TestServeTellsPublicDetailsOfMonitors follows labels of alerts, custom_details and
// what a mapping gives to a public and a private webhook, from the first update to the
// last, over a restart.
func TestServeTellsPublicDetailsOfMonitors(t *testing.T) {
	hooks := &webhookLog{bodies: make(map[string]string)}
	server := httptest.NewServer(hooks)
	defer server.Close()
	dir := t.TempDir()
	const yaml = `
egress: {allow: ["127.0.0.0/8"], http: true}
alerts:
  public_details: {error_code: code, endpoint: [endpoint, path]}
lifecycle: {window: 0s}
sources:
  - {name: nagios, routes: [pagerduty], keys: [nagios-key-0123456789], pagerduty: {public_details: [error_code]}}
  - name: kuma
    routes: [mapping]
    bearer: [kuma-token-0123456789]
    mapping: {group: '"kuma"', firing: body.down, impact: '"critical"', public_details: '{"error_code": body.code}'}
`
	base, stop := serving(t, dir, yaml)
	post(t, base+"/v1/targets/import", "application/x-ndjson", fmt.Sprintf(`{"channel":"webhook","address":"%[1]s/public","every_update":true}
{"channel":"webhook","address":"%[1]s/private","visibility":"private","every_update":true}
`, server.URL), 200)
	alerts := func(status string) string {
		return fmt.Sprintf(`{"version":"1","groupKey":"{}:{}","commonLabels":{"severity":"critical","path":"POST /v1/login","instance":"CANARY"},"alerts":[
			{"status":%[1]q,"startsAt":"2026-11-21T05:00:02Z","labels":{"component":"b","code":"E-7"}},
			{"status":%[1]q,"startsAt":"2026-11-21T05:00:01Z","labels":{"component":"a","code":"E-1042"}},
			{"status":%[1]q,"startsAt":"2026-11-21T05:00:00Z","labels":{"component":"c","code":"CANARY","tocsin":"private"}}]}`, status)
	}
	delivered := func(incidentID string, n int) {
		t.Helper()
		eventually(t, func() bool {
			_, body := get(base + "/v1/incidents/" + incidentID + "/deliveries?outcome=delivered&limit=100")
			return strings.Count(body, `"target"`) == n
		})
	}
	post(t, base+"/v1/alerts", "application/json", alerts("firing"), 202)
	delivered("am-cc9772a1ec90", 2)
	stop()
	base, _ = serving(t, dir, yaml)
	post(t, base+"/v1/alerts", "application/json", alerts("resolved"), 202)
	delivered("am-cc9772a1ec90", 4)
	post(t, base+"/v2/enqueue", "application/json", `{"routing_key":"nagios-key-0123456789","event_action":"trigger","dedup_key":"d","payload":{"summary":"S",
		"source":"CANARY","severity":"critical","custom_details":{"error_code":"E-pd","host":"CANARY"}}}`, 202)
	// printf 'nagios\nd' | sha256sum
	delivered("pd-6c8ab5722375", 2)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/v1/sources/kuma", strings.NewReader(`{"down":true,"code":503,"host":"CANARY"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer kuma-token-0123456789")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	delivered("kuma", 2)

	want := []string{
		`incident.created am-cc9772a1ec90 map[endpoint:POST /v1/login error_code:E-1042, E-7]`,
		`incident.resolved am-cc9772a1ec90 map[endpoint:POST /v1/login error_code:E-1042, E-7]`,
		`incident.created pd-6c8ab5722375 map[error_code:E-pd]`,
		`incident.created kuma map[error_code:503]`,
	}
	for _, path := range []string{"/public", "/private"} {
		var got []string
		bodies := hooks.at(path)
		for decoder := json.NewDecoder(strings.NewReader(bodies)); decoder.More(); {
			var body struct {
				Type string
				Data struct {
					IncidentID string            `json:"incident_id"`
					Public     map[string]string `json:"public_details"`
				}
			}
			if err := decoder.Decode(&body); err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprint(body.Type, " ", body.Data.IncidentID, " ", body.Data.Public))
		}
		if !slices.Equal(got, want) || strings.Contains(bodies, "CANARY") {
			t.Errorf("%s got\n%s\nnot\n%s\nof %s", path, strings.Join(got, "\n"), strings.Join(want, "\n"), bodies)
		}
	}
}
