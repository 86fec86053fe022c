package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// serveUntil runs an engine of this configuration, and returns what ends it.
func serveUntil(t *testing.T, config string) (stop func()) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tocsin.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var log strings.Builder
		p := &program{stdout: &log, stderr: &log}
		cfg, err := (&configFlags{Config: file}).load(p)
		if err == nil {
			err = runEngine(ctx, cfg, &log)
		}
		if err != nil {
			t.Errorf("the engine: %v\n%s", err, log.String())
		}
	}()
	return func() {
		cancel(context.Canceled)
		<-ended
	}
}

// TestABrowserShowsTheLivePage opens the page of a real engine in a real browser:
// numbers, strangers' texts, an engine that goes and comes back, and tokens.
func TestABrowserShowsTheLivePage(t *testing.T) {
	b := startBrowser(t)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refuses" {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	defer receiver.Close()
	listen := freeAddr(t)
	api := "http://" + listen
	config := fmt.Sprintf("listen: %s\ndata: %q\negress: {allow: [%q], http: true}\n", listen, filepath.Join(t.TempDir(), "data"), receiver.Listener.Addr())
	stop := serveUntil(t, config)
	defer func() { stop() }()
	eventually(t, func() bool { code, _ := get(api + "/readyz"); return code == 200 })

	b.open(api+"/", 1280)
	b.until(`document.getElementById("state").textContent === "Ready: broker and store"`)
	b.until(`document.getElementById("incidents-said").textContent === "No incident yet."`)
	var lines strings.Builder
	for n, path := range []string{"/a", "/b", "/refuses"} {
		fmt.Fprintf(&lines, `{"external_id":"%d","channel":"webhook","address":%q}`+"\n", n, receiver.URL+path)
	}
	post(t, api+"/v1/targets/import", "application/x-ndjson", lines.String(), 200)
	const id, title = `INC</script><b>8892`, "Login fails <img src=x onerror=\"document.title='owned'\"> {{.}} ${1}"
	event, err := json.Marshal(map[string]any{"incident_id": id, "status": "investigating", "impact": "critical", "title": title,
		"affected_components": []string{}, "started_at": "2026-11-21T05:00:00Z", "message": "<h1>We look into it.</h1>"})
	if err != nil {
		t.Fatal(err)
	}
	post(t, api+"/v1/incidents", "application/json", string(event), 202)

	cells := `JSON.stringify([...document.querySelectorAll(".update tbody tr")].map((r) => [...r.children].map((c) => c.textContent)))`
	b.until(cells + ` === '[["webhook","","2","0","1","0","0","0"]]'`)
	b.until(`[...document.querySelectorAll("#channel-rows tr:first-child > *")].slice(3).map((e) => e.textContent).join() === "2,1,0"`)
	for expression, want := range map[string]string{
		`document.querySelector(".incident .name").textContent`:  id,
		`document.querySelector(".incident .title").textContent`: title,
		`document.querySelector(".update .message").textContent`: "<h1>We look into it.</h1>",
		`document.querySelector(".incident .chip").textContent`:  "critical, investigating",
		`document.title`: "Tocsin",
		`document.querySelector(".incident .total").textContent`:                                                                 "2 delivered, 1 dead",
		`String(document.querySelector(".incident").open)`:                                                                       "true",
		`[...document.querySelectorAll("#provider-rows th")].map((e) => e.textContent).join()`:                                   "webhook,rss",
		`[...document.querySelectorAll("#queue-rows th")].map((e) => e.textContent).slice(0,3).join()`:                           "intake,rss.normal,rss.urgent",
		`document.querySelectorAll("img").length + " " + document.scripts.length + " " + document.querySelectorAll("h1").length`: "0 1 1",
	} {
		if got := b.text(expression); got != want {
			t.Errorf("%s is %q, want %q", expression, got, want)
		}
	}
	b.open(api+"/", 390)
	b.until(`document.querySelector(".update")`)
	if overflow := b.text(`document.documentElement.scrollWidth > innerWidth ? "yes" : "no"`); overflow != "no" {
		t.Error("a phone has to scroll sideways")
	}

	stop()
	b.until(`document.getElementById("state").textContent.startsWith("Disconnected, trying again") && document.body.classList.contains("stale")`)
	const token = "a-token-0123456789"
	stop = serveUntil(t, config+"tokens: ["+token+"]\n")
	b.until(`!document.getElementById("ask").hidden`)
	give := func(text string) {
		var done bool
		b.ask(fmt.Sprintf(`(document.getElementById("token").value = %q, document.getElementById("ask").requestSubmit(), true)`, text), &done)
	}
	give("wrong")
	b.until(`!document.getElementById("ask").hidden && document.getElementById("ask-said").textContent.startsWith("That token was not taken")`)
	give(token)
	b.until(`document.getElementById("state").textContent.startsWith("Ready") && document.getElementById("ask").hidden`)
	b.open(api+"/", 1280)
	b.until(`document.getElementById("state").textContent.startsWith("Ready") && !document.body.classList.contains("stale")`)
	if kept := b.text(`localStorage.length + " " + sessionStorage.length + " " + document.cookie`); kept != "0 1 " {
		t.Errorf("the browser keeps %s", kept)
	}

	if len(b.complaints) > 0 {
		t.Errorf("the browser complains: %q", b.complaints)
	}
	if strange := b.strangers(api + "/"); len(strange) > 0 || !slices.Contains(b.requested, api+"/v1/live") {
		t.Errorf("the page asked for %q, of which these are not ours: %q", b.requested, strange)
	}
}
