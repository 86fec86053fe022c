package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/config"
	"github.com/tocsin/tocsin/internal/peer"
)

// fakeEngine is an engine's API over a loop that posts to each target in turn.
// It shows that the demo finds what an engine does wrong.
type fakeEngine struct {
	defect string

	mu      sync.Mutex
	targets []string // addresses
	updates []*incident.Event
	rows    []deliveryView
}

// runFakeEngine stands in for serve in a process of its own.
func runFakeEngine(file, defect string) {
	cfg, err := config.Load(file, os.Environ())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitUsage)
	}
	if defect == "dies" {
		fmt.Fprintln(os.Stderr, "the disk is made of cheese")
		os.Exit(exitFailed)
	}
	e := &fakeEngine{defect: defect}
	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		panic(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go http.Serve(listener, e.routes())
	<-ctx.Done()
}

func (e *fakeEngine) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", answer(200, "{}"))
	mux.HandleFunc("POST /v1/targets/import", func(w http.ResponseWriter, r *http.Request) {
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			var t targetView
			if err := json.Unmarshal(lines.Bytes(), &t); err != nil {
				panic(err)
			}
			e.targets = append(e.targets, t.Address)
		}
		fmt.Fprintf(w, `{"accepted":%d}`, len(e.targets))
	})
	mux.HandleFunc("GET /v1/targets", func(w http.ResponseWriter, r *http.Request) {
		items := make([]map[string]string, len(e.targets))
		for i, address := range e.targets {
			items[i] = map[string]string{"id": fmt.Sprint(1000 + i), "channel": "webhook", "address": address, "state": "active"}
		}
		json.NewEncoder(w).Encode(map[string]any{"items": items})
	})
	mux.HandleFunc("POST /v1/incidents", func(w http.ResponseWriter, r *http.Request) {
		var event incident.Event
		if err := json.NewDecoder(r.Body).Decode(&event); err != nil {
			panic(err)
		}
		w.WriteHeader(202)
		fmt.Fprintf(w, `{"incident_id":%q,"update_id":%q}`, event.IncidentID, event.UpdateID)
		w.(http.Flusher).Flush() // accepted now, told later
		e.fanOut(&event)
	})
	mux.HandleFunc("GET /v1/incidents/{id}", func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		defer e.mu.Unlock()
		var views []updateView
		for i, u := range e.updates {
			now := time.Now()
			v := updateView{Sequence: i + 1, UpdateID: u.UpdateID, PlannedAt: &now, Progress: map[string]map[string]int{"webhook": {}}}
			for _, row := range e.rows {
				if row.Sequence == v.Sequence {
					v.Progress["webhook"][row.Outcome]++
					v.Audience++
				}
			}
			views = append(views, v)
		}
		json.NewEncoder(w).Encode(map[string]any{"updates": views})
	})
	mux.HandleFunc("GET /v1/incidents/{id}/deliveries", func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		defer e.mu.Unlock()
		json.NewEncoder(w).Encode(map[string]any{"items": e.rows})
	})
	return mux
}

// fanOut tells each target, and does at most one thing wrong.
func (e *fakeEngine) fanOut(event *incident.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.updates = append(e.updates, event)
	sequence := len(e.updates)
	for i, address := range e.targets {
		outcome, detail := "delivered", ""
		if i == 0 && sequence == 2 && e.defect == "loses" {
			continue
		}
		if i == 0 && sequence == 2 && e.defect == "lies" {
			// says that it was delivered
		} else if status := e.post(address, i, sequence); status != 200 {
			outcome, detail = "dead", fmt.Sprintf("http %d", status)
		}
		if i == 0 && sequence == 2 && e.defect == "duplicates" {
			e.post(address, i, 2)
		}
		if i == 0 && sequence == 3 && e.defect == "reorders" {
			e.post(address, i, 1)
		}
		e.rows = append(e.rows, deliveryView{Target: idText(fmt.Sprint(1000 + i)), Channel: "webhook", Sequence: sequence, Outcome: outcome, Detail: detail})
	}
}

func (e *fakeEngine) post(address string, target, sequence int) int {
	kind := "incident.updated"
	switch {
	case sequence == 1:
		kind = "incident.created"
	case e.updates[sequence-1].Status.Terminal():
		kind = "incident.resolved"
	}
	var timeline []map[string]int
	for s := sequence; s >= 1; s-- {
		timeline = append(timeline, map[string]int{"sequence": s})
	}
	body, _ := json.Marshal(map[string]any{"type": kind, "data": map[string]any{"incident_id": e.updates[0].IncidentID,
		"sequence": sequence, "status": e.updates[sequence-1].Status, "updates": timeline}})
	request, err := http.NewRequest("POST", address, strings.NewReader(string(body)))
	if err != nil {
		panic(err)
	}
	request.Header.Set("webhook-id", fmt.Sprintf("msg_%013d%013d", target, sequence))
	request.Header.Set("webhook-timestamp", fmt.Sprint(time.Now().Unix()))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

// onlyWebhooks is what the fake engine knows.
var onlyWebhooks = []string{"--channels", "webhook=100", "--mix", "gone=10"}

// runDemo runs a small demo whose children are this test binary, with a fake
// engine, and checks that nothing is left behind.
func runDemo(t *testing.T, ctx context.Context, defect string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	args = append([]string{"demo", "--targets", "40", "--pause", "0s"}, args...)
	return tocsin(t, ctx, "", demoEnviron(t, defect), args...)
}

// demoEnviron is the environment of a demo in a test.
func demoEnviron(t *testing.T, defect string) []string {
	folder := t.TempDir()
	t.Cleanup(func() {
		if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
	return append(os.Environ(), "TMPDIR="+folder, runVariable+"=1", engineVariable+"="+defect,
		"GORACE=atexit_sleep_ms=0") // or each child takes a second to end
}

func TestDemoFinds(t *testing.T) {
	for defect, test := range map[string]struct {
		code int
		want faultCounts
	}{
		"nothing":    {exitDone, faultCounts{}},
		"duplicates": {exitFailed, faultCounts{Duplicates: 1}},
		"loses":      {exitFailed, faultCounts{Lost: 1}},
		"lies":       {exitFailed, faultCounts{Lost: 1, Unreceived: 1}},
		"reorders":   {exitFailed, faultCounts{OrderViolations: 1, Duplicates: 1}}, // it was answered 2xx before
	} {
		t.Run(defect, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := runDemo(t, t.Context(), defect, append(onlyWebhooks, "--json")...)
			var r demoReport
			if err := json.Unmarshal([]byte(stdout), &r); err != nil {
				t.Fatalf("exit code %d, stdout is not the report alone (%v)\n%s\n%s", code, err, stdout, stderr)
			}
			test.want.Invalid = map[string]int{}
			part := r.Channels["webhook"]
			if code != test.code || part == nil || !reflect.DeepEqual(r.faultCounts, test.want) || !reflect.DeepEqual(part.faultCounts, test.want) {
				t.Errorf("exit code %d, found %+v, want %+v\n%s\n%s", code, r.faultCounts, test.want, stdout, stderr)
			}
			if r.Targets != 40 || r.Updates != 3 || r.Queue != "sqlite" || r.PeakRSSMB == 0 || r.DeliveriesPerS == 0 || r.Outcomes["webhook"]["dead"] != 12 ||
				r.Healthy.Targets != 36 || r.Healthy.Untold != 0 || len(r.Causes) != 1 || r.Causes[0].Detail != "http 410" {
				t.Errorf("report %s", stdout)
			}
		})
	}
}

// TestDemo runs the engine itself over all channels: whoever recovers in time is
// told, or gets the newer update instead.
func TestDemo(t *testing.T) {
	t.Parallel()
	const text = "slow=10:10ms-50ms,429=10:1s,500=10,gone=10"
	webhooks, err := peer.ParseMix(text)
	if err != nil {
		t.Fatal(err)
	}
	channels, err := parseChannels(defaultChannels, 40)
	if err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := runDemo(t, t.Context(), "", "--json", "--mix", text)
	var r demoReport
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != exitDone {
		t.Fatalf("exit code %d\n%s\n%s", code, stdout, stderr)
	}
	allHealthy := 0
	for _, c := range channels {
		if c.name == incident.ChannelWebhook {
			c.mix = webhooks
		}
		gone := 0
		for n := 1; n <= c.targets; n++ {
			if c.mix.Behaviour(n).Kind == peer.Gone {
				gone++
			}
		}
		healthy := c.healthy()
		allHealthy += healthy
		got, part := r.Outcomes[c.name], r.Channels[c.name]
		if part == nil || part.Targets != c.targets || part.Healthy != healthy || part.Delivered != got["delivered"] || part.P99MS == 0 ||
			got["dead"] < gone || got["expired"] > 0 ||
			got["delivered"] < 3*healthy+(c.targets-healthy-gone) { // the others at least heard the end
			t.Errorf("%s: %+v, outcomes %v", c.name, part, got)
		}
	}
	if len(r.Channels) != 4 || r.Healthy.Targets != allHealthy || r.Healthy.Delivered != 3*allHealthy || !strings.Contains(stderr, "Live page: http://127.0.0.1:") {
		t.Errorf("report %s\n%s", stdout, stderr)
	}
}

func TestDemoReportForPeople(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := runDemo(t, t.Context(), "nothing", onlyWebhooks...)
	for _, want := range []string{"  webhooks         40        108         12 ", "✓      0 lost", "12 webhook  dead       http 410"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("exit code %d, the report lacks %q\n%s\n%s", code, want, stdout, stderr)
		}
	}
}

// watcher is a stderr whose every text is looked at.
type watcher func(text string)

func (w watcher) Write(b []byte) (int, error) {
	w(string(b))
	return len(b), nil
}

// With --linger the engine is there after the report, until Ctrl-C.
func TestDemoLingers(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var stdout bytes.Buffer
	there := 0
	stderr := watcher(func(text string) {
		_, url, kept := strings.Cut(text, "live page ")
		if !kept {
			return
		}
		url, _, _ = strings.Cut(url, ". ")
		if there, _ = get(url + "readyz"); stdout.Len() == 0 {
			t.Error("the report comes after the engine's time")
		}
		stop()
	})
	args := append([]string{"demo", "--targets", "40", "--pause", "0s", "--linger", "1h"}, onlyWebhooks...)
	code := Main(ctx, args, strings.NewReader(""), &stdout, stderr, demoEnviron(t, "nothing"))
	if code != exitDone || there != 200 {
		t.Errorf("exit code %d, the engine answers %d", code, there)
	}
}

func TestDemoWhoseEngineDies(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := runDemo(t, t.Context(), "dies")
	if code != exitFailed || stdout != "" || !strings.Contains(stderr, "made of cheese") {
		t.Errorf("exit code %d\n%s\n%s", code, stdout, stderr)
	}
}

func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	// The publisher command tells when the demo is under way; it publishes
	// nothing.
	begun := filepath.Join(t.TempDir(), "begun")
	if err := syscall.Mkfifo(begun, 0o600); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer stop()
		if _, err := os.ReadFile(begun); err != nil { // until the command opened it
			t.Error(err)
		}
	})
	code, stdout, stderr := runDemo(t, ctx, "nothing", "--queue", "amqp://127.0.0.1:1", "--publisher", "echo > "+begun)
	wg.Wait()
	if code != exitInterrupted || stdout != "" {
		t.Errorf("exit code %d\n%s\n%s", code, stdout, stderr)
	}
}
