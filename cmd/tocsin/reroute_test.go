package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// serving runs the engine of a configuration until stop, which returns its log.
func serving(t *testing.T, dir, yaml string) (base string, stop func() string) {
	t.Helper()
	listen := freeAddr(t)
	file := filepath.Join(dir, "tocsin.yaml")
	yaml = fmt.Sprintf("listen: %s\ndata: %s\n%s", listen, filepath.Join(dir, "data"), yaml)
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan struct{})
	var log bytes.Buffer
	go func() {
		defer close(ended)
		Main(ctx, []string{"serve", "--config", file}, strings.NewReader(""), &log, &log, nil)
	}()
	stop = func() string { cancel(context.Canceled); <-ended; return log.String() }
	t.Cleanup(func() { stop() })
	base = "http://" + listen
	eventually(t, func() bool { code, _ := get(base + "/readyz"); return code == http.StatusOK })
	return base, stop
}

// TestServeWithAnotherRelay imports mailboxes, gives their relay another name, puts
// another one first, takes all away and gives one back: whoever is told is told
// once, by the relay that is there.
func TestServeWithAnotherRelay(t *testing.T) {
	first, firstURL := startForeignRelay(t)
	second, secondURL := startForeignRelay(t)
	relays := func(named ...string) string {
		yaml := "egress: {allow: [\"127.0.0.0/8\"]}\nsmtp:\n"
		for i := 0; i < len(named); i += 2 {
			yaml += fmt.Sprintf("  - {name: %s, url: %q, from: status@example.com}\n", named[i], named[i+1])
		}
		return yaml
	}
	dir := t.TempDir()
	publish := func(base string, n int) {
		t.Helper()
		post(t, base+"/v1/incidents", "application/json", fmt.Sprintf(`{"incident_id":"INC-%d","status":"investigating",
			"affected_components":["api"],"impact":"major","started_at":"2026-11-21T05:00:00Z"}`, n), http.StatusAccepted)
	}
	told := func(relay *foreignRelay, n int) {
		t.Helper()
		eventually(t, func() bool { return len(relay.received()) == n })
	}

	base, stop := serving(t, dir, relays("old", firstURL))
	var boxes strings.Builder
	const mailboxes = 30
	for i := range mailboxes {
		fmt.Fprintf(&boxes, "{\"external_id\":\"m-%d\",\"channel\":\"smtp\",\"address\":\"jane-%d@example.org\"}\n", i, i)
	}
	post(t, base+"/v1/targets/import", "application/x-ndjson", boxes.String(), http.StatusOK)
	publish(base, 1)
	told(first, mailboxes)
	stop()

	base, stop = serving(t, dir, relays("new", firstURL))
	publish(base, 2)
	told(first, 2*mailboxes)
	if log := stop(); !strings.Contains(log, `"targets":30`) && !strings.Contains(log, "targets=30") {
		t.Errorf("nothing says how many targets moved:\n%s", log)
	}

	base, stop = serving(t, dir, relays("other", secondURL, "new", firstURL))
	publish(base, 3)
	told(second, mailboxes)
	stop()

	base, stop = serving(t, dir, "")
	publish(base, 4)
	deliveries := base + "/v1/incidents/INC-4/deliveries?outcome=open"
	eventually(t, func() bool {
		_, body := get(deliveries)
		return strings.Count(body, "no provider is configured for this channel") == mailboxes
	})
	if log := stop(); !strings.Contains(log, "targets have no provider") || !strings.Contains(log, "30") {
		t.Errorf("nothing warns of targets without a provider:\n%s", log)
	}

	_, stop = serving(t, dir, relays("back", secondURL))
	told(second, 2*mailboxes)
	stop()
	if a, b := len(first.received()), len(second.received()); a != 2*mailboxes || b != 2*mailboxes {
		t.Errorf("the relays took %d and %d mails, want %d each", a, b, 2*mailboxes)
	}
}
