package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestIncidentOrders looks at what each command line asks the engine for.
func TestIncidentOrders(t *testing.T) {
	var got map[string]any
	url := api(t, map[string]http.HandlerFunc{"POST /v1/orders": func(w http.ResponseWriter, r *http.Request) {
		got = nil
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		answer(202, `{"page":"default","incident_id":"INC-7","update_id":"k","status_url":"/v1/incidents/INC-7?page=default","pending":[
			{"at":"2026-11-22T02:00:00Z","step":"start","update_id":"x","by":"me"}]}`)(w, r)
	}})
	for line, want := range map[string]string{
		"open --impact major --component a,b --component c --title T -m M --author me --idempotency-key k":                            `{"action":"open","affected_components":["a","b","c"],"author":"me","impact":"major","message":"M","page":"default","title":"T","update_id":"k"}`,
		"open --impact none --whole-page --test --visibility private --idempotency-key k --page eu":                                   `{"action":"open","affected_components":[],"author":"root","impact":"none","page":"eu","test":true,"update_id":"k","visibility":"private"}`,
		"update INC-7 --message - --idempotency-key k":                                                                                `{"action":"update","author":"root","incident_id":"INC-7","message":"from stdin","page":"default","update_id":"k"}`,
		"update INC-7 --whole-page --status identified --idempotency-key k":                                                           `{"action":"update","affected_components":[],"author":"root","incident_id":"INC-7","page":"default","status":"identified","update_id":"k"}`,
		"resolve INC-7 --at 2026-11-22T03:00:00+01:00 --idempotency-key k":                                                            `{"action":"resolve","at":"2026-11-22T02:00:00Z","author":"root","incident_id":"INC-7","page":"default","update_id":"k"}`,
		"cancel INC-7 --idempotency-key k":                                                                                            `{"action":"cancel","author":"root","incident_id":"INC-7","page":"default","update_id":"k"}`,
		"schedule --component db --start 2026-11-22T02:00 --end +2h --reminder 90m --reminder-message R --verify --idempotency-key k": `{"action":"schedule","affected_components":["db"],"author":"root","end":"2026-11-22T04:00:00Z","page":"default","reminder":"1h30m0s","reminder_message":"R","start":"2026-11-22T02:00:00Z","update_id":"k","verify":true}`,
	} {
		args := append([]string{"incident"}, strings.Fields(line)...)
		code, stdout, stderr := tocsin(t, t.Context(), "from stdin\n", []string{"USER=root"}, append(args, "--api", url)...)
		if code != exitDone || stdout != "INC-7 "+url+"/v1/incidents/INC-7?page=default\n" || stderr != "Waits until 2026-11-22 02:00:00 UTC: start\n" {
			t.Errorf("%s: exit code %d, %s%s", line, code, stdout, stderr)
		}
		if body, err := json.Marshal(got); err != nil || string(body) != want {
			t.Errorf("%s asks for\n%s\nnot\n%s", line, body, want)
		}
	}
	for line, want := range map[string]string{
		"open --impact major":                            "--whole-page",
		"open --impact major --component a --whole-page": "not both",
		"open --component a":                             "--impact",
		"open --impact bad --component a":                "critical",
		"update INC-7 --component a --whole-page":        "not both",
		"resolve":                     "<incident>",
		"resolve INC-7 --at tomorrow": "is no time",
		"schedule --component a --start +1h --end ":         "--end",
		"schedule --component a --start= --end +1h":         "--start",
		"schedule --component a --end 2026-11-22T02:00:00Z": "--start",
	} {
		args := append([]string{"incident"}, strings.Fields(line)...)
		if code, _, stderr := tocsin(t, t.Context(), "", nil, append(args, "--api", url)...); code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, %s", line, code, stderr)
		}
	}
	if _, stdout, _ := tocsin(t, t.Context(), "", nil, "incident", "cancel", "INC-7", "--json", "--api", url); !strings.HasPrefix(stdout, `{"page":"default"`) {
		t.Errorf("as JSON: %s", stdout)
	}
	if key, _ := got["update_id"].(string); !strings.HasPrefix(key, "cli-") || len(key) < 20 {
		t.Errorf("without a key it is %q", key)
	}
}

func TestIncidentOrderFails(t *testing.T) {
	url := api(t, map[string]http.HandlerFunc{"POST /v1/orders": answer(409, `{"detail":"INC-7 is resolved already"}`)})
	code, _, stderr := tocsin(t, t.Context(), "", nil, "incident", "resolve", "INC-7", "--api", url)
	if code != exitFailed || !strings.Contains(stderr, "resolved already") || strings.Contains(stderr, "not known") {
		t.Errorf("refused: exit code %d, %s", code, stderr)
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	code, _, stderr = tocsin(t, t.Context(), "", nil, "incident", "resolve", "INC-7", "--api", closed.URL, "--idempotency-key", "drill")
	if code != exitUnavailable || !strings.Contains(stderr, "--idempotency-key drill") {
		t.Errorf("without an engine: exit code %d, %s", code, stderr)
	}
}

func TestAuditExport(t *testing.T) {
	const line = `{"cursor":"c","action":"opened"}` + "\n"
	var query string
	cut := false
	url := api(t, map[string]http.HandlerFunc{"GET /v1/audit": func(w http.ResponseWriter, r *http.Request) {
		query = r.URL.Query().Encode()
		answer(200, line)(w, r)
		if cut {
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	}})
	code, stdout, stderr := tocsin(t, t.Context(), "", nil, "audit", "export", "--api", url, "--page", "eu", "--incident", "I", "--from", "2026-11-22 02:00", "--until", "2026-11-23T02:00:00Z", "--cursor", "c")
	if code != exitDone || stdout != line || query != "cursor=c&from=2026-11-22T02%3A00%3A00Z&incident=I&page=eu&until=2026-11-23T02%3A00%3A00Z" {
		t.Errorf("exit code %d, asked for %s, %s%s", code, query, stdout, stderr)
	}
	cut = true
	if code, stdout, stderr = tocsin(t, t.Context(), "", nil, "audit", "export", "--api", url); code != exitFailed || stdout != line || !strings.Contains(stderr, "--cursor") {
		t.Errorf("cut: exit code %d, %s%s", code, stdout, stderr)
	}
}

// TestIncidentByHand goes from the command line to a subscriber's webhook, across a
// restart, and back through the audit log. What the webhook got is the judge.
func TestIncidentByHand(t *testing.T) {
	heard, tests := &subscriber{}, &subscriber{}
	hook, testHook := httptest.NewServer(heard), httptest.NewServer(tests)
	defer hook.Close()
	defer testHook.Close()
	const yaml = "egress: {allow: [\"127.0.0.0/8\"], http: true}\n"
	data := t.TempDir()
	base, stop := serving(t, data, yaml)
	post(t, base+"/v1/targets/import", "application/x-ndjson", fmt.Sprintf(`{"channel":"webhook","address":%q,"every_update":true}
		{"channel":"webhook","address":%q,"every_update":true,"test":true}`, hook.URL, testHook.URL), 200)
	say := func(args ...string) string {
		t.Helper()
		code, stdout, stderr := tocsin(t, t.Context(), "", nil, append([]string{"incident", args[0], "--api", base, "--author", "alice"}, args[1:]...)...)
		if code != exitDone {
			t.Fatalf("%s: exit code %d, %s", args, code, stderr)
		}
		id, address, _ := strings.Cut(strings.TrimSpace(stdout), " ")
		if status, body := get(address); status != http.StatusOK && status != http.StatusNotFound {
			t.Errorf("%s answers %d %s", address, status, body)
		}
		return id
	}
	open := []string{"open", "--impact", "major", "--component", "api", "--title", "API down", "--idempotency-key", "key"}
	id := say(open...)
	if again := say(open...); again != id {
		t.Errorf("given again, it opens %s and not %s", again, id)
	}
	heard.told(t, "1 investigating major [api]")
	say("update", id, "--status", "identified", "--message", "A disk.")
	stop()
	base, _ = serving(t, data, yaml)
	if again := say(open...); again != id {
		t.Errorf("after a restart it opens %s and not %s", again, id)
	}
	say("resolve", id)
	heard.told(t, "1 investigating major [api]", "2 identified major [api]", "3 resolved major [api]")

	drill := say("open", "--test", "--impact", "minor", "--whole-page")
	say("resolve", drill)
	tests.told(t, "1 investigating minor []", "2 resolved minor []")

	works := say("schedule", "--component", "db", "--start", "+5h", "--end", "+2h", "--reminder", "1h")
	code, stdout, _ := tocsin(t, t.Context(), "", nil, "incident", "pending", works, "--api", base)
	if lines := strings.Split(strings.TrimSpace(stdout), "\n"); code != exitDone || len(lines) != 4 || !strings.Contains(lines[3], "alice (local)") {
		t.Errorf("what waits is\n%s", stdout)
	}
	say("cancel", works, "--message", "Next week.")
	heard.told(t, "1 investigating major [api]", "2 identified major [api]", "3 resolved major [api]", "1 scheduled maintenance [db]", "2 completed maintenance [db]")
	for _, body := range append(heard.bodies, tests.bodies...) {
		if strings.Contains(body, "alice") {
			t.Errorf("who said it leaves: %s", body)
		}
	}

	code, stdout, _ = tocsin(t, t.Context(), "", nil, "audit", "export", "--api", base, "--incident", id)
	var actions []string
	for line := range strings.Lines(stdout) {
		var e struct{ Actor, Action, UpdateID string }
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Actor != "alice (local)" {
			t.Errorf("%s, %v", line, err)
		}
		actions = append(actions, e.Action)
	}
	if got := strings.Join(actions, " "); code != exitDone || got != "opened changed resolved" {
		t.Errorf("the audit log has %s", got)
	}
}

func TestTimeOf(t *testing.T) {
	after := time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"": "", "+90m": "2026-11-21T06:30:00Z", "2026-11-22 02:00": "2026-11-22T02:00:00Z", "2026-11-22T02:00:00.5+01:00": "2026-11-22T01:00:00.5Z",
		"90m": "error", "+": "error", "2026-11-22": "error",
	} {
		got, err := timeOf("--at", text, after)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q is %s, not %s", text, got, want)
		}
	}
}
