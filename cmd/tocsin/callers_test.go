package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/config"
)

// The page docs/callers.md is followed as written, but for the port.

type lockedLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// startCallersEngine runs an engine of that configuration in a folder, until the test
// ends, and returns its port.
func startCallersEngine(t *testing.T, folder, scheme, yaml string, environ []string) (port string, log *lockedLog) {
	t.Helper()
	t.Chdir(folder) // the page names files
	if err := os.WriteFile("tocsin.yaml", []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	address := freeAddr(t)
	cfg, err := config.Load("tocsin.yaml", environ, config.Setting{Flag: "--listen", Key: "listen", Value: address},
		config.Setting{Flag: "--data", Key: "data", Value: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	log = new(lockedLog)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- runEngine(ctx, cfg, log) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	for {
		response, err := client.Get(scheme + "://" + address + "/readyz")
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				break
			}
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the engine ended: %v\n%s", err, log)
		case <-time.After(20 * time.Millisecond):
		}
	}
	_, port, _ = net.SplitHostPort(address)
	return port, log
}

// tools skips the test without the programs that the page uses.
func tools(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip("the page's commands need " + name)
		}
	}
}

func fencesOf(text, language string) (texts []string) {
	for _, f := range fences(text) {
		if f.language == language {
			texts = append(texts, f.text)
		}
	}
	return texts
}

func TestCallersPage(t *testing.T) {
	tools(t, "bash", "curl", "openssl", "od", "sed")
	page := readDoc(t, "docs/callers.md")
	folder := t.TempDir()
	secrets := []string{"ALERTMANAGER_TOKEN=hush-token-0123456789", "MONITOR_SECRET=whsec_aHVzaGh1c2hodXNoaHVzaGh1c2hodXNo",
		"FORGE_SECRET=hush-forge-0123456789", "GRAFANA_SECRET=hush-grafana-0123456789"}
	configurations := fencesOf(page, "yaml")
	port, log := startCallersEngine(t, folder, "http", configurations[0], secrets)
	e := &docsEngine{folder: folder, environ: slices.Concat(os.Environ(), secrets, []string{"NO_PROXY=*"})}
	tried := 0
	for _, heading := range []string{"## Standard Webhooks", "## GitHub", "## Grafana", "## Alertmanager"} {
		for _, script := range fencesOf(section(t, page, heading), "sh") {
			tried++
			script = replaced(t, script, "127.0.0.1:8080", "127.0.0.1:"+port)
			if stdout, _ := e.run(t, script); !strings.Contains(stdout, `"incident_id"`) {
				t.Errorf("%s: the answer is %s", heading, stdout)
			}
			// Twice the same is a replay where a time is signed. It is another body than
			// before, which may have been within the same second.
			again := replaced(t, script, "curl -fsS ", "curl -s -o /dev/null -w '%{http_code} ' ") + "\n"
			again = strings.Replace(again, "body='{", "body=' {", 1)
			at := strings.LastIndex(again[:strings.Index(again, "curl ")], "\n") + 1
			want := "202 202 "
			if strings.Contains(again, "$at") {
				want = "202 401 "
			}
			if stdout, _ := e.run(t, again+again[at:]); stdout != want {
				t.Errorf("%s: twice the same is answered %q, want %q", heading, stdout, want)
			}
			change := []string{` -d "$body"`, ` -d "$body "`}
			if heading == "## Alertmanager" {
				change = []string{"Bearer $", "Bearer x$"}
			}
			if stdout, _ := e.run(t, replaced(t, again, change...)); stdout != "401 " {
				t.Errorf("%s: what is wrong is answered %q", heading, stdout)
			}
		}
	}
	if tried != 4 {
		t.Errorf("%d commands were tried, want 4", tried)
	}
	if text := log.String(); strings.Contains(text, "hush") || !strings.Contains(text, `"source":"monitor"`) {
		t.Errorf("the log is %s", text)
	}
}

// TestServeKnowsReplaysAfterARestart sends what was signed and taken to the next process,
// over the same data.
func TestServeKnowsReplaysAfterARestart(t *testing.T) {
	const secret, body = "hush-grafana-0123456789", `{"version":"1","groupKey":"{}:{}","alerts":[{"status":"firing","startsAt":"2026-11-21T04:50:00Z"}]}`
	dir, at := t.TempDir(), strconv.FormatInt(time.Now().Unix(), 10)
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(at + ":" + body))
	send := func(base string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/v1/alerts", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Grafana-Alerting-Signature", hex.EncodeToString(h.Sum(nil)))
		r.Header.Set("X-Time", at)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	yaml := "sources: [{name: grafana, routes: [alerts], hmac: {form: grafana, secrets: [" + secret + "], timestamp_header: X-Time}}]\n"
	base, stop := serving(t, dir, yaml)
	if status := send(base); status != http.StatusAccepted {
		t.Fatalf("it is answered %d", status)
	}
	stop()
	base, _ = serving(t, dir, yaml)
	if status := send(base); status != http.StatusUnauthorized {
		t.Errorf("after a restart it is answered %d", status)
	}
}

func TestCallersPageOverTLS(t *testing.T) {
	tools(t, "bash", "curl", "openssl")
	page := section(t, readDoc(t, "docs/callers.md"), "## Client certificates")
	folder := t.TempDir()
	e := &docsEngine{folder: folder, environ: append(os.Environ(), "NO_PROXY=*")}
	scripts, configurations := fencesOf(page, "sh"), fencesOf(page, "yaml")
	if len(scripts) != 2 || len(configurations) != 2 {
		t.Fatalf("%d scripts and %d configurations", len(scripts), len(configurations))
	}
	e.run(t, scripts[0])
	port, _ := startCallersEngine(t, folder, "https", configurations[0], nil)
	post := replaced(t, scripts[1], "localhost:8080", "localhost:"+port)
	if stdout, _ := e.run(t, post); !strings.Contains(stdout, `"incident_id"`) {
		t.Errorf("the answer is %s", stdout)
	}
	without := replaced(t, post, "--cert alertmanager.pem --key alertmanager.key ", "", "curl -fsS ", "curl -s -o /dev/null -w '%{http_code}' ")
	if stdout, _ := e.run(t, without); stdout != "401" {
		t.Errorf("without a certificate: %s", stdout)
	}
}

// TestCallersPageOfAlertmanager has Alertmanager's own tool read what the page gives
// it.
func TestCallersPageOfAlertmanager(t *testing.T) {
	tools(t, "amtool")
	checked := 0
	for _, text := range fencesOf(readDoc(t, "docs/callers.md"), "yaml") {
		if !strings.HasPrefix(text, "route:") {
			continue
		}
		checked++
		file := filepath.Join(t.TempDir(), fmt.Sprintf("%d.yml", checked))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if said, err := exec.CommandContext(t.Context(), "amtool", "check-config", file).CombinedOutput(); err != nil {
			t.Errorf("%v: %s\n%s", err, said, text)
		}
	}
	if checked != 2 {
		t.Errorf("%d configurations of Alertmanager", checked)
	}
}
