package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/incident"
)

const minimal = `{"incident_id":"INC-1","status":"investigating","impact":"critical","affected_components":[],"started_at":"2026-11-21T05:00:00Z"}`

// api is an engine's API as far as a test needs it.
func api(t *testing.T, routes map[string]http.HandlerFunc) string {
	t.Helper()
	mux := http.NewServeMux()
	for pattern, handler := range routes {
		mux.HandleFunc(pattern, handler)
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func TestPublishWatchesUntilAllIsClosed(t *testing.T) {
	var got string
	answers := []string{
		`{"updates":[{"sequence":2,"update_id":"u","planned_at":null,"audience":1,"progress":{"webhook":{"delivered":1}}}]}`,
		`{"updates":[{"sequence":2,"update_id":"u","planned_at":"2026-11-21T05:00:00Z","audience":3,"progress":{"webhook":{"delivered":1,"open":2}}}]}`,
		`{"updates":[{"sequence":3,"update_id":"v","audience":9},{"sequence":2,"update_id":"u","planned_at":"2026-11-21T05:00:00Z","audience":3,
		  "progress":{"webhook":{"delivered":1,"dead":1,"open":0},"smtp":{"delivered":1}}}]}`,
	}
	asked := 0
	url := api(t, map[string]http.HandlerFunc{
		"POST /v1/incidents": func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			got = r.Header.Get("Authorization") + " " + r.Header.Get("Content-Type") + " " + string(b)
			answer(202, `{"page":"default","incident_id":"INC-1","update_id":"u"}`)(w, r)
		},
		"GET /v1/incidents/INC-1": func(w http.ResponseWriter, r *http.Request) {
			if asked == 0 {
				answer(404, `{"title":"not found"}`)(w, r)
			} else {
				answer(200, answers[asked-1])(w, r)
			}
			asked++
		},
	})
	code, stdout, stderr := tocsin(t, t.Context(), minimal, []string{"TOCSIN_TOKEN=secret"}, "publish", "--to", url, "-")
	if code != exitDone || stdout != "INC-1, sequence 2: 1 dead, 2 delivered.\n" || asked != 4 {
		t.Errorf("exit code %d after %d questions\n%s%s", code, asked, stdout, stderr)
	}
	if want := "Bearer secret application/json " + minimal; got != want {
		t.Errorf("the engine got %q, want %q", got, want)
	}
}

func TestPublishFailures(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	for name, test := range map[string]struct {
		event  string
		answer http.HandlerFunc
		view   string
		code   int
		want   string
	}{
		"invalid":  {`{"incident_id":"x","status":"weird"}`, nil, "", exitFailed, "status"},
		"refused":  {minimal, answer(400, `{"title":"invalid","detail":"must be older","field":"updated_at"}`), "", exitFailed, "updated_at: must be older"},
		"no token": {minimal, answer(401, `{}`), "", exitUsage, "TOCSIN_TOKEN"},
		"unavailable": {minimal, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "7")
			answer(503, "")(w, r)
		}, "", exitUnavailable, "again in 7 s"},
		"not ours": {minimal, answer(200, `<html>`), "", exitFailed, "is it a Tocsin engine"},
		"stale": {minimal, answer(202, `{"incident_id":"INC-1","update_id":"u"}`),
			`{"updates":[{"sequence":0,"update_id":"u"}]}`, exitFailed, "older than the latest"},
	} {
		t.Run(name, func(t *testing.T) {
			routes := map[string]http.HandlerFunc{"GET /v1/incidents/INC-1": answer(200, test.view)}
			if test.answer != nil {
				routes["POST /v1/incidents"] = test.answer
			}
			code, stdout, stderr := tocsin(t, t.Context(), test.event, nil, "publish", "--to", api(t, routes), "-")
			if code != test.code || !strings.Contains(stderr, test.want) {
				t.Errorf("exit code %d, want %d and %q\n%s%s", code, test.code, test.want, stdout, stderr)
			}
		})
	}
	stopped := api(t, map[string]http.HandlerFunc{"POST /v1/incidents": answer(202, `{"incident_id":"INC-1","update_id":"u"}`),
		"GET /v1/incidents/INC-1": answer(200, `{"stopped":true,"updates":[{"sequence":1,"update_id":"u","audience":2,"progress":{"webhook":{"suppressed":2}}}]}`)})
	code, stdout, stderr := tocsin(t, t.Context(), minimal, nil, "publish", "--to", stopped, "-")
	if code != exitDone || !strings.Contains(stdout, "2 suppressed") {
		t.Errorf("of a stopped incident: exit code %d, %s", code, stderr)
	}
	code, _, stderr = tocsin(t, t.Context(), minimal, nil, "publish", "--to", closed.URL, "-")
	if code != exitUnavailable || !strings.Contains(stderr, "tocsin serve") {
		t.Errorf("without an engine: exit code %d, %s", code, stderr)
	}
	code, _, stderr = tocsin(t, t.Context(), minimal, nil, "publish", "--to", "amqp://user:sesame@"+strings.TrimPrefix(closed.URL, "http://"), "-")
	if code != exitUnavailable || !strings.Contains(stderr, "RabbitMQ") || strings.Contains(stderr, "sesame") {
		t.Errorf("without a broker: exit code %d, %s", code, stderr)
	}
}

// An update that is accepted and never seen is one that the incident says already,
// or one that something is wrong with.
func TestPublishedAndNeverSeen(t *testing.T) {
	event, err := incident.Decode([]byte(`{"incident_id":"INC-1","status":"identified","impact":"major","affected_components":["b","a"],
		"started_at":"2026-11-21T05:00:00Z","message":"We know."}`))
	if err != nil {
		t.Fatal(err)
	}
	const same = `{"impact":"major","components":["a","b"],"updates":[{"sequence":0,"update_id":"late"},
		{"sequence":3,"update_id":"x","status":"identified","message":"We know."},{"sequence":2,"update_id":"y"}]}`
	for name, test := range map[string]struct {
		status int
		view   string
		said   bool
	}{
		"said already":     {200, same, true},
		"another message":  {200, strings.Replace(same, "know", "hope", 1), false},
		"another status":   {200, strings.Replace(same, "identified", "monitoring", 1), false},
		"another impact":   {200, strings.Replace(same, "major", "minor", 1), false},
		"other components": {200, strings.Replace(same, `["a","b"]`, `["a"]`, 1), false},
		"nothing sent yet": {200, `{"impact":"major","updates":[{"sequence":0,"update_id":"late"}]}`, false},
		"no incident":      {404, `{}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs strings.Builder
			p := &program{stdout: &out, stderr: &errs}
			engine, err := newClient(api(t, map[string]http.HandlerFunc{"GET /v1/incidents/INC-1": answer(test.status, test.view)}), p)
			if err != nil {
				t.Fatal(err)
			}
			defer engine.close()
			err = watch(t.Context(), p, engine, &published{Page: "default", IncidentID: "INC-1", UpdateID: "u"}, event, 0)
			if test.said && (err != nil || !strings.Contains(out.String(), "says already what this update says, since sequence 3;")) {
				t.Errorf("%v, %s", err, out.String())
			}
			if !test.said && (err == nil || exitCode(t.Context(), err) != exitFailed || !strings.Contains(err.Error(), "tocsin.incidents.invalid") || out.Len() > 0) {
				t.Errorf("%v, %s", err, out.String())
			}
		})
	}
}

func TestPublishInterrupted(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	url := api(t, map[string]http.HandlerFunc{
		"POST /v1/incidents": answer(202, `{"incident_id":"INC-1","update_id":"u"}`),
		"GET /v1/incidents/INC-1": func(w http.ResponseWriter, r *http.Request) {
			stop()
			answer(200, `{}`)(w, r)
		},
	})
	if code, _, stderr := tocsin(t, ctx, minimal, nil, "publish", "--to", url, "-"); code != exitInterrupted {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestImport(t *testing.T) {
	var got string
	url := api(t, map[string]http.HandlerFunc{"POST /v1/targets/import": func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = r.Header.Get("Content-Type") + " " + string(b)
		if strings.Contains(got, "bad") {
			answer(200, `{"accepted":2,"rejected":3,"errors":[{"line":2,"field":"address","reason":"must be a URL"},{"line":4,"reason":"no JSON"}]}`)(w, r)
			return
		}
		answer(200, `{"accepted":2,"rejected":0,"errors":[]}`)(w, r)
	}})
	code, stdout, _ := tocsin(t, t.Context(), "good", nil, "targets", "import", "--api", url, "-")
	if code != exitDone || stdout != "2 accepted, 0 rejected\n" || got != "application/x-ndjson good" {
		t.Errorf("exit code %d, %q, the engine got %q", code, stdout, got)
	}
	file := filepath.Join(t.TempDir(), "targets.CSV")
	if err := os.WriteFile(file, []byte("bad"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := tocsin(t, t.Context(), "", nil, "targets", "import", "--api", url, file)
	if code != exitFailed || stdout != "2 accepted, 3 rejected\n" || got != "text/csv bad" {
		t.Errorf("exit code %d, %q, the engine got %q", code, stdout, got)
	}
	for _, want := range []string{"line 2: address: must be a URL\n", "line 4: no JSON\n", "and 1 more\n"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("stderr lacks %q: %s", want, stderr)
		}
	}
}

func TestList(t *testing.T) {
	url := api(t, map[string]http.HandlerFunc{"GET /v1/targets": func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("cursor") {
		case "":
			answer(200, `{"items":[{"id":"1","channel":"webhook","address":"https://a.example/h","state":"active","components":["auth","db"]}],"next":"c1"}`)(w, r)
		case "c1":
			answer(200, `{"items":[{"id":"2","channel":"smtp","address":"b@example.com","state":"paused"}],"next":null}`)(w, r)
		default:
			answer(400, `{}`)(w, r)
		}
	}})
	code, stdout, stderr := tocsin(t, t.Context(), "", nil, "targets", "list", "--api", url)
	if lines := strings.Split(strings.TrimSpace(stdout), "\n"); code != exitDone || len(lines) != 3 ||
		strings.Join(strings.Fields(lines[1]), " ") != "1 webhook active auth,db https://a.example/h" {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, _ = tocsin(t, t.Context(), "", nil, "targets", "list", "--json", "--api", url)
	if want := `{"id":"2","channel":"smtp","address":"b@example.com","state":"paused"}` + "\n"; code != exitDone || !strings.HasSuffix(stdout, want) {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
}

func TestIDText(t *testing.T) {
	for text, want := range map[string]idText{`"a\"b"`: `a"b`, `17`: "17", `null`: ""} {
		var got idText
		if err := got.UnmarshalJSON([]byte(text)); err != nil || got != want {
			t.Errorf("%s is %q, %v", text, got, err)
		}
	}
}

func ExampleMain() {
	out := new(strings.Builder)
	code := Main(context.Background(), []string{"config", "check", "--quiet"}, strings.NewReader(""), out, out, nil)
	fmt.Println(code, out)
	// Output: 0
}
