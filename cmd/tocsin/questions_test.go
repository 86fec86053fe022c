package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
)

// squeezed is text with its columns one space apart.
func squeezed(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	return strings.Join(lines, "\n")
}

func TestIncidents(t *testing.T) {
	const one = `{"incident_id":"INC-2","page":"eu","status":"resolved","impact":"major","components":["api","db"],"updated_at":"2026-11-21T05:00:00Z","stopped":true}`
	var queries []string
	url := api(t, map[string]http.HandlerFunc{"GET /v1/incidents": func(w http.ResponseWriter, r *http.Request) {
		queries = append(queries, r.URL.Query().Encode())
		if r.URL.Query().Get("cursor") == "" {
			answer(200, `{"items":[`+one+`],"next":"c"}`)(w, r)
			return
		}
		answer(200, `{"items":[{"incident_id":"INC-1","page":"eu","status":"investigating","impact":"none","components":[],"updated_at":null}],"next":null}`)(w, r)
	}})
	code, stdout, stderr := tocsin(t, t.Context(), "", nil, "incidents", "--api", url, "--page", "eu", "--status", "resolved")
	want := "INCIDENT PAGE STATUS IMPACT UPDATED COMPONENTS\nINC-2 eu resolved (stopped) major 2026-11-21 05:00:00 api,db\nINC-1 eu investigating none - all"
	if code != exitDone || squeezed(stdout) != want {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if got := strings.Join(queries, " "); got != "limit=1000&page=eu&status=resolved cursor=c&limit=1000&page=eu&status=resolved" {
		t.Errorf("asked for %s", got)
	}
	if code, stdout, _ = tocsin(t, t.Context(), "", nil, "incidents", "--api", url, "--json"); code != exitDone || !strings.HasPrefix(stdout, one+"\n") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
	if code, _, stderr = tocsin(t, t.Context(), "", nil, "incidents", "--api", url, "--status", "broken"); code != exitUsage || !strings.Contains(stderr, "investigating") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

func TestDeliveries(t *testing.T) {
	var query string
	url := api(t, map[string]http.HandlerFunc{
		"GET /v1/incidents/{id}/deliveries": func(w http.ResponseWriter, r *http.Request) {
			if r.PathValue("id") != "a/b" {
				answer(404, `{"title":"Not Found","detail":"there is nothing by this name"}`)(w, r)
				return
			}
			query = r.URL.Query().Encode()
			answer(200, `{"items":[
				{"target":"7","channel":"webhook","sequence":1,"outcome":"dead","attempt":3,"class":"permanent","detail":"http 404: none","due_at":null,"done_at":"2026-11-21T05:00:01Z"},
				{"target":"8","channel":"smtp","sequence":2,"outcome":"open","attempt":1,"class":"temporary","detail":"","due_at":"2026-11-21T05:00:09Z","done_at":null}],"next":null}`)(w, r)
		}})
	code, stdout, stderr := tocsin(t, t.Context(), "", nil, "deliveries", "--api", url, "--incident", "a/b", "--outcome", "dead", "--target", "7", "--sequence", "1")
	want := "TARGET CHANNEL SEQUENCE OUTCOME ATTEMPTS WHEN WHY\n7 webhook 1 dead 3 2026-11-21 05:00:01 http 404: none\n8 smtp 2 open 1 2026-11-21 05:00:09 temporary"
	if code != exitDone || squeezed(stdout) != want {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if query != "limit=1000&outcome=dead&page=default&sequence=1&target=7" {
		t.Errorf("asked for %s", query)
	}
	code, stdout, _ = tocsin(t, t.Context(), "", nil, "deliveries", "--api", url, "--incident", "a/b", "--json")
	if code != exitDone || strings.Count(stdout, "\n") != 2 || !strings.HasPrefix(stdout, `{"target":"7"`) {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
	if code, stdout, stderr = tocsin(t, t.Context(), "", nil, "deliveries", "--api", url, "--incident", "x"); code != exitFailed || stdout != "" || !strings.Contains(stderr, "nothing by this name") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	if code, _, stderr = tocsin(t, t.Context(), "", nil, "deliveries", "--api", url); code != exitUsage || !strings.Contains(stderr, "--incident") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

// What came before a fault is printed, in pieces as the list comes.
func TestListsAreStreamed(t *testing.T) {
	url := api(t, map[string]http.HandlerFunc{"GET /v1/incidents/I/deliveries": func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("cursor") != "" {
			answer(503, `{"detail":"not now"}`)(w, r)
			return
		}
		rows := make([]string, tableRows+1)
		for i := range rows {
			rows[i] = fmt.Sprintf(`{"target":"%d","outcome":"dead"}`, i+1)
		}
		answer(200, `{"items":[`+strings.Join(rows, ",")+`],"next":"c"}`)(w, r)
	}})
	for _, flag := range []string{"--json=false", "--json"} {
		code, stdout, stderr := tocsin(t, t.Context(), "", nil, "deliveries", "--incident", "I", "--api", url, flag)
		if code != exitUnavailable || !strings.Contains(stderr, "not now") || !strings.Contains(stdout, fmt.Sprint(tableRows+1)) {
			t.Errorf("%s: exit code %d, %d lines, %s", flag, code, strings.Count(stdout, "\n"), stderr)
		}
	}
}

func TestTargetsTest(t *testing.T) {
	const accepted = `{"page":"TEST-A","incident_id":"TEST-A","update_id":"u","status_url":"/"}`
	open := `{"items":[{"target":"9","channel":"webhook","outcome":"open","attempt":1,"class":"temporary","detail":"http 503: later"}],"next":null}`
	row := func(outcome, class, detail string) string {
		return `{"items":[{"target":"9","channel":"webhook","outcome":"` + outcome + `","attempt":2,"class":"` + class + `","detail":"` + detail + `"}],"next":null}`
	}
	for name, test := range map[string]struct {
		answers []string // after a 404
		code    int
		want    string
	}{
		"delivered": {[]string{`{"items":[],"next":null}`, open, row("delivered", "delivered", "http 204")}, exitDone, "webhook: delivered (http 204)\n"},
		"no words":  {[]string{row("delivered", "delivered", "")}, exitDone, "webhook: delivered\n"},
		"dead":      {[]string{row("dead", "gone", "http 410: moved away")}, exitFailed, "webhook: dead, attempts: 2: http 410: moved away"},
		"expired":   {[]string{row("expired", "", "")}, exitFailed, "no attempt was made"},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			url := api(t, map[string]http.HandlerFunc{
				"POST /v1/targets/7/test": answer(202, accepted),
				"GET /v1/incidents/TEST-A/deliveries": func(w http.ResponseWriter, r *http.Request) {
					if asked++; asked == 1 || r.URL.Query().Get("page") != "TEST-A" {
						answer(404, `{}`)(w, r)
						return
					}
					answer(200, test.answers[min(asked-2, len(test.answers)-1)])(w, r)
				}})
			code, stdout, stderr := tocsin(t, t.Context(), "", nil, "targets", "test", "--api", url, "7")
			if code != test.code || !strings.Contains(stdout+stderr, test.want) {
				t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
			}
			if tried := strings.Contains(stderr, "Attempt 1: http 503: later; trying again."); tried != (name == "delivered") {
				t.Errorf("on the way: %s", stderr)
			}
		})
	}
	url := api(t, map[string]http.HandlerFunc{"POST /v1/targets/8/test": answer(409, `{"detail":"this target has unsubscribed; nothing is sent to it"}`)})
	if code, _, stderr := tocsin(t, t.Context(), "", nil, "targets", "test", "--api", url, "8"); code != exitFailed || !strings.Contains(stderr, "unsubscribed") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

func TestConfigPrint(t *testing.T) {
	file := t.TempDir() + "/tocsin.yaml"
	if err := os.WriteFile(file, []byte("tokens: [sesame-open-sesame]\nretry: {base: 3s}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := tocsin(t, t.Context(), "", []string{"TOCSIN_DATA=/var/lib/tocsin"}, "config", "print", "-c", file, "--listen", "127.0.0.1:9")
	for _, want := range []string{"listen: 127.0.0.1:9\n", "data: /var/lib/tocsin\n", "base: 3s"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("lacks %q: %s", want, stdout)
		}
	}
	if code != exitDone || stderr != "" || strings.Contains(stdout, "sesame") {
		t.Errorf("exit code %d, %s\n%s", code, stderr, stdout)
	}
	if code, _, _ := tocsin(t, t.Context(), "", nil, "config", "print", "-c", file+"x"); code != exitUsage {
		t.Errorf("exit code %d", code)
	}
}

func TestResend(t *testing.T) {
	var got string
	body := `{"sequence":2,"resent":3,"under_way":1,"absent":1,"untold":{"target paused":2,"target disabled":1},"done_at":"2026-11-21T05:00:00Z"}`
	url := api(t, map[string]http.HandlerFunc{
		"POST /v1/incidents/{id}/resend": func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			got = r.PathValue("id") + " " + r.URL.RawQuery + " " + string(b)
			answer(202, body)(w, r)
		},
		"POST /v1/incidents/older/resend": answer(409, `{"detail":"update 1 is not the newest"}`),
	})
	code, stdout, stderr := tocsin(t, t.Context(), "", nil, "resend", "--api", url, "--incident", "a/b", "--target", "7,8", "--target", "9", "--as-new", "--request-id", "r")
	if want := `a/b page=default {"targets":["7","8","9"],"as_new":true,"dry_run":false,"request_id":"r"}`; got != want {
		t.Errorf("the engine got %s, want %s", got, want)
	}
	if want := "a/b, sequence 2: 3 sent again, 1 on their way already, 1 stay untold (target disabled), 2 stay untold (target paused), 1 without a delivery of this update.\n"; code != exitDone || stdout != want {
		t.Errorf("exit code %d, %q %s", code, stdout, stderr)
	}
	code, stdout, _ = tocsin(t, t.Context(), "", nil, "resend", "--api", url, "--incident", "x", "--outcome", "unheard", "--dry-run", "--json")
	if want := `x page=default {"outcome":"unheard","as_new":false,"dry_run":true}`; code != exitDone || got != want || stdout != body+"\n" {
		t.Errorf("exit code %d, the engine got %s, %q", code, got, stdout)
	}
	body = `{"sequence":2,"resent":3,"repeated":true,"at":"2026-11-21T05:00:00Z","by":"local"}`
	if _, stdout, _ = tocsin(t, t.Context(), "", nil, "resend", "--api", url, "--incident", "x", "--outcome", "dead"); !strings.Contains(stdout, "asked for at 2026-11-21T05:00:00Z by local; nothing was done again") {
		t.Errorf("%q", stdout)
	}
	if code, _, stderr = tocsin(t, t.Context(), "", nil, "resend", "--api", url, "--incident", "older", "--outcome", "dead"); code != exitFailed || !strings.Contains(stderr, "not the newest") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	for _, args := range [][]string{{"--incident", "x"}, {"--outcome", "dead"}, {"--incident", "x", "--outcome", "open"}, {"--incident", "x", "--outcome", "dead", "--target", "1"}} {
		if code, _, _ := tocsin(t, t.Context(), "", nil, append([]string{"resend", "--api", url}, args...)...); code != exitUsage {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
}
