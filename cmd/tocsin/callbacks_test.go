package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Keys as they are made: whsec_ and the base64 of 24 bytes.
const (
	oldKey = "whsec_b2xkIGtleSBvZiAyNCBieXRlcyAuLi4u"
	newKey = "whsec_bmV3IGtleSBvZiAyNCBieXRlcyAuLi4u"
)

// TestServeCallsProducersBack follows an update to its end and its producer, who is
// down at first, through a restart that changes the key.
func TestServeCallsProducersBack(t *testing.T) {
	type told struct {
		header http.Header
		body   []byte
	}
	heard := make(chan told, 100)
	producer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Method == http.MethodPost && r.RequestURI == "/done?token=t" {
			heard <- told{r.Header, body}
		}
		if strings.Count(r.Header.Get("Webhook-Signature"), "v1,") != 2 { // down until the engine has both keys
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer producer.Close()
	listens := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer listens.Close()
	refuses := httptest.NewServer(http.NotFoundHandler())
	defer refuses.Close()

	const common = "egress: {allow: [\"127.0.0.0/8\"], http: true}\nretry: {base: 50ms, cap: 50ms}\n"
	data := t.TempDir()
	base, stop := serving(t, data, common+"callback: {secrets: ["+oldKey+"]}\n")
	post(t, base+"/v1/targets/import", "application/x-ndjson", fmt.Sprintf(`{"external_id":"a","channel":"webhook","address":%q}
{"external_id":"b","channel":"webhook","address":%q}
`, listens.URL, refuses.URL), 200)
	event := fmt.Sprintf(`{"incident_id":"INC-1","update_id":"u-1","status":"resolved","affected_components":[],"impact":"major",
		"started_at":"2026-11-21T05:00:00Z","callback_url":"%s/done?token=t"}`, producer.URL)
	post(t, base+"/v1/incidents", "application/json", event, 202)

	first, second := <-heard, <-heard // 503 each time
	stop()
	base, _ = serving(t, data, common+"callback: {secrets: ["+newKey+", "+oldKey+"]}\n")
	var update struct {
		Updates []struct {
			Callback struct {
				State, Detail string
				Attempt       int
			}
		}
	}
	eventually(t, func() bool {
		_, body := get(base + "/v1/incidents/INC-1")
		if strings.Contains(body, "token=t") {
			t.Fatal("the callback's URL is shown")
		}
		return json.Unmarshal([]byte(body), &update) == nil && update.Updates[0].Callback.State == "delivered"
	})
	all := []told{first, second}
	for len(heard) > 0 {
		all = append(all, <-heard)
	}
	if c := update.Updates[0].Callback; c.Attempt != len(all) || c.Detail != "" {
		t.Errorf("%d calls, and the API says %+v", len(all), c)
	}
	for i, call := range all {
		keys := []string{oldKey}
		if i == len(all)-1 {
			keys = []string{oldKey, newKey}
		}
		for _, key := range keys {
			oracle, err := standardwebhooks.NewWebhook(key)
			if err != nil {
				t.Fatal(err)
			}
			if err := oracle.Verify(call.body, call.header); err != nil {
				t.Errorf("call %d: %v", i+1, err)
			}
		}
		if id := call.header.Get("Webhook-Id"); id != first.header.Get("Webhook-Id") || string(call.body) != string(first.body) {
			t.Errorf("call %d is another message: %s %s", i+1, id, call.body)
		}
	}
	checkDocumentedReceiver(t, all[len(all)-1].header, all[len(all)-1].body)
	for _, want := range []string{`"type":"update.completed"`, `"incident_id":"INC-1","sequence":1,"update_id":"u-1","status":"resolved","audience":2`,
		`"outcomes":{"webhook":{"dead":1,"delivered":1}}`} {
		if !strings.Contains(string(first.body), want) {
			t.Errorf("the producer was told %s, without %s", first.body, want)
		}
	}
}

// checkDocumentedReceiver has the function in docs/producers.md look at a call, and
// at others that it has to refuse.
func checkDocumentedReceiver(t *testing.T, header http.Header, body []byte) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Log("not tried: the receiver in docs/producers.md needs python3")
		return
	}
	var source string
	for _, f := range fences(section(t, readDoc(t, "docs/producers.md"), "## Callbacks")) {
		if f.language == "python" {
			source = replaced(t, f.text, "whsec_…", newKey)
		}
	}
	headers := make(map[string]string)
	for name := range header {
		headers[strings.ToLower(name)] = header.Get(name)
	}
	input, err := json.Marshal(map[string]any{"headers": headers, "body": string(body)})
	if err != nil {
		t.Fatal(err)
	}
	const tried = `
import json, sys
call = json.load(sys.stdin)
headers, body = call["headers"], call["body"].encode()
old = str(int(headers["webhook-timestamp"]) - 600)
print(genuine(headers, body), genuine(headers, body + b" "), genuine({**headers, "webhook-timestamp": old}, body),
      genuine({**headers, "webhook-id": "msg_x"}, body), genuine({**headers, "webhook-signature": "v1,AAAA"}, body))
`
	command := exec.CommandContext(t.Context(), python, "-c", source+tried)
	command.Stdin = bytes.NewReader(input)
	said, err := command.CombinedOutput()
	if err != nil || string(said) != "True False False False False\n" {
		t.Errorf("the receiver in docs/producers.md says %s (%v)", said, err)
	}
}

// TestServeRefusesCallbacks: who posts an event learns at once that nobody will be
// called.
func TestServeRefusesCallbacks(t *testing.T) {
	const event = `{"incident_id":"INC-1","status":"resolved","affected_components":[],"impact":"major",
		"started_at":"2026-11-21T05:00:00Z","callback_url":%q}`
	for name, tc := range map[string]struct{ yaml, url, want string }{
		"without a key":     {"", "https://producer.example/done", "set callback.secrets"},
		"private address":   {"callback: {secrets: [" + oldKey + "]}", "https://10.0.0.1/done", "public address"},
		"without TLS":       {"callback: {secrets: [" + oldKey + "]}", "http://producer.example/done", "https"},
		"a port not opened": {"callback: {secrets: [" + oldKey + "]}", "https://producer.example:22/done", "port"},
	} {
		t.Run(name, func(t *testing.T) {
			base, _ := serving(t, t.TempDir(), tc.yaml)
			r, err := http.Post(base+"/v1/incidents", "application/json", strings.NewReader(fmt.Sprintf(event, tc.url)))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Body.Close()
			var problem struct{ Field, Detail string }
			if err := json.NewDecoder(r.Body).Decode(&problem); err != nil {
				t.Fatal(err)
			}
			if r.StatusCode != 400 || problem.Field != "callback_url" || !strings.Contains(problem.Detail, tc.want) || strings.Contains(problem.Detail, "producer.example") {
				t.Errorf("%d %+v", r.StatusCode, problem)
			}
		})
	}
}
