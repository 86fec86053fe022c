package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/queue"
)

func TestProviders(t *testing.T) {
	f := start(t)
	v := f.get("/v1/providers").want(200)
	items := v["items"].([]any)
	pool, relay := items[0].(map[string]any), items[1].(map[string]any)
	if len(items) != 2 || pool["name"] != "webhook" || pool["pool"] != true || pool["state"] != nil || fmt.Sprint(pool["limits"]) != "map[burst:200 per_second:100 window:64]" {
		t.Errorf("the pool is %v", pool)
	}
	if relay["name"] != "main" || relay["group"] != "smtp:main" || relay["channel"] != "smtp" || relay["pool"] != false ||
		relay["state"] != "idle" || relay["tokens"] != 200.0 || relay["breaker"] != "closed" || relay["paused"] != false {
		t.Errorf("a relay that had nothing to do is %v", relay)
	}

	f.engine.snapshot = dispatcher.Snapshot{Holding: 12, InFlight: 5, Blocked: 3,
		Groups: map[string]dispatcher.GroupSnapshot{
			"webhook":   {Lanes: map[string]int{"ready": 2, "open": 1, "idle": 0}, Waiting: 4, InFlight: 1},
			"smtp:main": {Lanes: map[string]int{"window": 1}, Waiting: 3, InFlight: 4}},
		Providers: map[string]dispatcher.ProviderSnapshot{"main": {Group: "smtp:main", State: "window", Tokens: 1.5, Breaker: "half-open"}}}
	v = f.get("/v1/providers").want(200)
	items = v["items"].([]any)
	pool, relay = items[0].(map[string]any), items[1].(map[string]any)
	if v["holding"] != 12.0 || v["in_flight"] != 5.0 || v["blocked"] != 3.0 ||
		fmt.Sprintln(pool["lanes"], pool["waiting"], pool["in_flight"]) != "map[open:1 ready:2] 4 1\n" ||
		fmt.Sprintln(relay["state"], relay["tokens"], relay["breaker"], relay["waiting"]) != "window 1.5 half-open 3\n" {
		t.Errorf("the providers are %v", v)
	}
}

func TestPauseAndResume(t *testing.T) {
	f := start(t)
	steer := func(path, provider string, paused bool) {
		t.Helper()
		v := f.post(path, "").want(200)
		if got := fmt.Sprint(v["provider"], " ", v["paused"]); got != fmt.Sprint(provider, " ", paused) {
			t.Errorf("%s is answered with %s, want %s %v", path, got, provider, paused)
		}
	}
	steer("/v1/providers/main/pause", "main", true)
	steer("/v1/providers/smtp:main/pause", "main", true)
	steer("/v1/providers/Hooks.Example.com:443/pause", "hooks.example.com:443", true)
	steer("/v1/providers/[2001:db8::1]:8443/pause", "[2001:db8::1]:8443", true)
	if got := f.engine.Paused(); !slices.Equal(got, []string{"[2001:db8::1]:8443", "hooks.example.com:443", "main"}) {
		t.Errorf("paused are %q", got)
	}
	v := f.get("/v1/providers").want(200)
	if fmt.Sprintln(v["paused"], v["also_paused"]) != "false [[2001:db8::1]:8443 hooks.example.com:443]\n" ||
		v["items"].([]any)[1].(map[string]any)["paused"] != true || v["items"].([]any)[0].(map[string]any)["paused"] != false {
		t.Errorf("the providers are %v", v)
	}
	steer("/v1/pause", "<nil>", true)
	steer("/v1/providers/main/resume", "main", true) // with everything
	v = f.get("/v1/providers").want(200)
	if v["paused"] != true || v["items"].([]any)[0].(map[string]any)["paused"] != true {
		t.Errorf("with everything paused: %v", v)
	}
	steer("/v1/resume", "<nil>", false)
	steer("/v1/providers/hooks.example.com:443/resume", "hooks.example.com:443", false)
	steer("/v1/providers/[2001:db8::1]:8443/resume", "[2001:db8::1]:8443", false)
	if got := f.engine.Paused(); len(got) != 0 {
		t.Errorf("paused are %q", got)
	}

	// What is configured no more can still be resumed.
	f.engine.paused["old"] = true
	steer("/v1/providers/old/resume", "old", false)
	for _, name := range []string{"old", "backup", "smtp", "a b:443", "hooks.example.com:99999", "user@hooks.example.com:443", "x%2Fy"} {
		f.post("/v1/providers/"+strings.ReplaceAll(name, " ", "%20")+"/pause", "").wantProblem(404, "")
	}
	if detail := f.post("/v1/providers/webhook/pause", "").wantProblem(404, ""); !strings.Contains(detail, "host:port") {
		t.Errorf("a pool: %s", detail)
	}
	if log := f.log.String(); strings.Contains(log, "hooks.example") || !strings.Contains(log, "what=main") {
		t.Errorf("the log is %s", log)
	}
}

func TestQueues(t *testing.T) {
	f := start(t)
	f.post("/v1/incidents", minimal).want(202)
	v := f.get("/v1/queues").want(200)
	first := v["items"].([]any)[0].(map[string]any)
	if first["queue"] != "intake" || first["ready"] != 1.0 || first["oldest_at"] != "2026-11-21T05:00:00Z" {
		t.Errorf("the queues are %v", v)
	}
	f.deps.Depths = func(context.Context) ([]queue.Depth, error) {
		return nil, fmt.Errorf("measure: %w", queue.ErrUnavailable)
	}
	f.serve()
	f.get("/v1/queues").wantProblem(503, "")
	f.deps.Depths = func(context.Context) ([]queue.Depth, error) { return nil, errors.New("hush") }
	f.serve()
	if detail := f.get("/v1/queues").wantProblem(500, ""); strings.Contains(detail, "hush") {
		t.Errorf("the answer tells %s", detail)
	}
}
