package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// The documentation is run: what it tells people to type has to work.

// docsAPI is where the documentation's engine listens.
const docsAPI = "http://127.0.0.1:8080"

const docsPatience = time.Minute

func readDoc(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// section returns a document from one heading to the next of its level.
func section(t *testing.T, text, heading string) string {
	t.Helper()
	_, rest, found := strings.Cut(text, "\n"+heading+"\n")
	if !found {
		t.Fatalf("there is no section %q", heading)
	}
	level, _, _ := strings.Cut(heading, " ")
	before, _, _ := strings.Cut(rest, "\n"+level+" ")
	return before
}

type fence struct{ language, text string }

var fencePattern = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")

// fences returns the fenced blocks that have a language.
func fences(text string) []fence {
	var all []fence
	for _, match := range fencePattern.FindAllStringSubmatch(text, -1) {
		all = append(all, fence{match[1], match[2]})
	}
	return all
}

// commandBlocks returns the blocks indented by four spaces.
func commandBlocks(text string) []string {
	var blocks []string
	open := false
	for line := range strings.Lines(fencePattern.ReplaceAllString(text, "")) {
		command, indented := strings.CutPrefix(line, "    ")
		switch {
		case indented && open:
			blocks[len(blocks)-1] += command
		case indented:
			blocks = append(blocks, command)
		}
		open = indented
	}
	return blocks
}

// docsEngine is an engine of the documentation's: `serve` as a child, with a
// free port in place of the documented one.
type docsEngine struct {
	folder  string // of the user; bin/tocsin is there
	api     string
	environ []string
}

// senderKeys are what the sources of docs/intake.md show.
var senderKeys = []string{"PAGERDUTY_KEY=pagerduty-key-0123456789", "STATUSPAGE_KEY=statuspage-key-0123456789", "KUMA_TOKEN=kuma-token-0123456789"}

// startDocsEngine starts an engine whose webhooks reach nothing but the address
// given, if any, and which has more in its configuration.
func startDocsEngine(t *testing.T, reachable string, more ...string) *docsEngine {
	t.Helper()
	for _, tool := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("the documentation's commands need " + tool)
		}
	}
	e := &docsEngine{folder: t.TempDir(), environ: append([]string{runVariable + "=1", "NO_PROXY=*"}, senderKeys...)}
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "TOCSIN_") {
			e.environ = append(e.environ, entry)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(e.folder, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(e.folder, "bin", "tocsin")); err != nil {
		t.Fatal(err)
	}
	address := freeAddr(t)
	e.api = "http://" + address

	rules := "{deny: [0.0.0.0/0, \"::/0\"]}"
	if reachable != "" {
		rules = fmt.Sprintf("{allow: [%q], http: true}", reachable)
	}
	file := filepath.Join(e.folder, "tocsin.yaml")
	text := fmt.Sprintf("listen: %s\ndata: %q\negress: %s\n", address, filepath.Join(e.folder, "data"), rules) + strings.Join(more, "")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	engine, err := startChild("engine", t.TempDir(), e.environ, "serve", "--config", file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.stop(docsPatience); err != nil {
			t.Error(err)
		}
	})
	client, err := newClient(e.api, &program{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.close)
	if err := engine.awaitReady(t.Context(), docsPatience, client.ready); err != nil {
		t.Fatal(err)
	}
	return e
}

// run executes a script as the reader would and returns what it printed.
func (e *docsEngine) run(t *testing.T, script string) (stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), docsPatience)
	defer cancel()
	command := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	command.WaitDelay = time.Second
	var out, errs bytes.Buffer
	command.Dir, command.Env, command.Stdout, command.Stderr = e.folder, e.environ, &out, &errs
	if err := command.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s%s", err, script, out.String(), errs.String())
	}
	return out.String(), errs.String()
}

// replaced changes each of the old texts to the new; all have to be there, or
// the test would run something else than the document says.
func replaced(t *testing.T, text string, oldNew ...string) string {
	t.Helper()
	for i := 0; i < len(oldNew); i += 2 {
		if !strings.Contains(text, oldNew[i]) {
			t.Fatalf("%q is not in\n%s", oldNew[i], text)
		}
		text = strings.ReplaceAll(text, oldNew[i], oldNew[i+1])
	}
	return text
}

// TestReadmeCommands follows "Use it", with the hosts of the targets replaced by
// one that is here.
func TestReadmeCommands(t *testing.T) {
	told := make(chan string, 16)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		told <- fmt.Sprintf("%s signed=%v", r.URL.Path, strings.HasPrefix(r.Header.Get("Webhook-Signature"), "v1,"))
	}))
	defer receiver.Close()
	e := startDocsEngine(t, receiver.Listener.Addr().String())

	blocks := commandBlocks(section(t, readDoc(t, "README.md"), "## Use it"))
	if len(blocks) != 3 {
		t.Fatalf("%d blocks of commands, not 3: start, publish, ask", len(blocks))
	}
	if start := strings.Fields(blocks[0]); !slices.Equal(start[:4], []string{"make", "build", "bin/tocsin", "serve"}) || start[4] != "#" {
		t.Errorf("this test starts the engine by serve alone, the README by %q", blocks[0])
	}
	stdout, stderr := e.run(t, replaced(t, blocks[1],
		"https://hooks.example.com", receiver.URL, "https://example.org", receiver.URL,
		"targets import ", "targets import --api "+e.api+" ", "publish ", "publish --to "+e.api+" "))
	if stdout != "2 accepted, 0 rejected\n" || !strings.Contains(stderr, "Accepted: an update of INC-8892.") {
		t.Errorf("the commands said %q and %q", stdout, stderr)
	}
	var got []string
	for late := time.After(docsPatience); len(got) < 2; { // both are planned by then
		select {
		case one := <-told:
			got = append(got, one)
		case <-late:
			t.Fatalf("nobody was told but %q", got)
		}
	}
	slices.Sort(got)
	if want := []string{"/hook signed=false", "/status signed=true"}; !slices.Equal(got, want) {
		t.Errorf("told were %q, want %q", got, want)
	}
	stdout, _ = e.run(t, replaced(t, blocks[2], docsAPI, e.api))
	var ledger struct{ Items []deliveryView }
	if err := json.Unmarshal([]byte(stdout), &ledger); err != nil {
		t.Fatal(err)
	}
	if len(ledger.Items) != 2 || ledger.Items[0].Channel != "webhook" || ledger.Items[0].Sequence != 1 {
		t.Errorf("the ledger says %s", stdout)
	}
}

// TestDocumentedRequests runs each curl of these documents; the answer that the
// text shows next is the one that has to come.
func TestDocumentedRequests(t *testing.T) {
	sources := "sources:\n"
	for _, heading := range []string{"## PagerDuty", "## Atlassian Statuspage", "## Any other monitor"} {
		text, ok := strings.CutPrefix(fencesOf(section(t, readDoc(t, "docs/intake.md"), heading), "yaml")[0], "sources:\n")
		if !ok {
			t.Fatalf("%s has no source", heading)
		}
		sources += text
	}
	e := startDocsEngine(t, "", sources)
	all := slices.Concat(fences(readDoc(t, "docs/producers.md")), fences(readDoc(t, "docs/intake.md")), fences(readDoc(t, "docs/targets.md")))
	tried := 0
	for i, f := range all {
		if f.language != "sh" || !strings.HasPrefix(f.text, "curl ") {
			continue
		}
		if i+1 == len(all) || all[i+1].language != "json" {
			t.Fatalf("no answer is shown for\n%s", f.text)
		}
		tried++
		stdout, _ := e.run(t, replaced(t, f.text, docsAPI, e.api, "curl -i ", "curl -s "))
		if stdout != all[i+1].text {
			t.Errorf("%s\nanswers\n%sand not\n%s", f.text, stdout, all[i+1].text)
		}
	}
	if tried != 10 {
		t.Errorf("%d curls were tried, want 10", tried)
	}
}

// TestDocumentedRoutes asks a running engine for every route that the documents
// name.
func TestDocumentedRoutes(t *testing.T) {
	e := startDocsEngine(t, "")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	route := regexp.MustCompile("`(GET|POST|PATCH|DELETE) (/[A-Za-z0-9/.]+)")
	asked := make(map[string]bool)
	for _, name := range []string{"README.md", "docs/producers.md", "docs/intake.md", "docs/targets.md", "docs/webhooks.md", "docs/operations.md", "CHANGELOG.md"} {
		for _, match := range route.FindAllStringSubmatch(readDoc(t, name), -1) {
			if asked[match[0]] {
				continue
			}
			asked[match[0]] = true
			request, err := http.NewRequestWithContext(t.Context(), match[1], e.api+match[2], strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", "application/json")
			response, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			var p problem
			err = json.NewDecoder(response.Body).Decode(&p)
			response.Body.Close()
			if response.StatusCode == http.StatusMethodNotAllowed || p.Detail == "there is nothing at this path" ||
				err != nil && response.Header.Get("Content-Type") == "application/problem+json" {
				t.Errorf("%s names %s, and the engine answers %d %q", name, match[0][1:], response.StatusCode, p.Detail)
			}
		}
	}
	if len(asked) < 6 {
		t.Errorf("only %d routes were found in the documents", len(asked))
	}
}
