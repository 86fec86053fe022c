package gateway

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/caller"
	"github.com/tocsin/tocsin/internal/probe"
)

const probed = `{"service":"api","location":"fra","ok":%v,"latency_ms":12.5}`

func TestResultsOfProbes(t *testing.T) {
	f := start(t)
	if v := f.get("/v1/probes").want(200); len(v["items"].([]any)) != 0 {
		t.Errorf("at first there are %v", v)
	}
	f.post("/v1/probes", fmt.Sprintf(probed, true)).want(202)
	f.later.Store(int64(time.Second))
	failing := fmt.Sprintf(probed, false)
	a := f.post("/v1/probes", `{"results":[`+failing+","+failing+","+failing+","+
		`{"service":"api","location":"fra","ok":true,"at":"1999-01-01T00:00:00Z"},{"service":"web","location":"ams","ok":true}]}`).want(202)
	if a["accepted"] != 4.0 || a["ignored"] != 1.0 {
		t.Errorf("answered is %v", a)
	}
	items := f.get("/v1/probes").want(200)["items"].([]any)
	if got, want := fmt.Sprint(items...), "map[failing:1 flapping:false health:down last_at:2026-11-21T05:00:01.000000002Z service:api voting:1] "+
		"map[failing:0 flapping:false health:operational last_at:2026-11-21T05:00:01.000000004Z service:web voting:1]"; got != want {
		t.Errorf("the services are\n%s, not\n%s", got, want)
	}

	// What is noticed is told as an incident.
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = f.watch.Run(ctx) // nil
	}()
	told := f.accept(1)[0]
	cancel()
	<-ended
	if told.Plan == nil || told.Plan.IncidentID != "probe-api" || told.Plan.Sequence != 1 {
		t.Errorf("told is %+v", told)
	}
}

// TestForgettingAService: it is listed no more, its incident ends, and the audit log
// says who did it.
func TestForgettingAService(t *testing.T) {
	f := start(t, withTokens)
	f.header.Set("Authorization", "Bearer "+f.opt.Tokens[0])
	const name = "eu/api v1" // as a name may be
	failing := strings.Replace(fmt.Sprintf(probed, false), `"api"`, `"`+name+`"`, 1)
	f.post("/v1/probes", "["+failing+","+failing+","+failing+","+fmt.Sprintf(probed, true)+"]").want(202)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = f.watch.Run(ctx) // nil
	}()
	if told := f.accept(1)[0]; told.Plan == nil || told.Plan.IncidentID != "probe-"+name {
		t.Errorf("told is %+v", told)
	}
	cancel()
	<-ended
	f.later.Store(int64(time.Minute))
	remove := func(path string) answer { return f.send("DELETE", path, "", nil) }
	remove("/v1/probes/eu%2Fapi%20v1").want(204)
	if e := f.taken(1)[0]; !strings.Contains(string(e.Body), `"status":"resolved"`) || !strings.Contains(string(e.Body), "It is no longer watched.") {
		t.Errorf("the end is told as %s", e.Body)
	}
	if items := f.get("/v1/probes").want(200)["items"].([]any); len(items) != 1 {
		t.Errorf("there are %v", items)
	}
	remove("/v1/probes/eu%2Fapi%20v1").wantProblem(404, "")
	remove("/v1/probes/ap").wantProblem(404, "")
	remove("/v1/probes").wantProblem(405, "")
	f.get("/v1/probes/api").wantProblem(405, "")
	audit := string(f.get("/v1/audit").body)
	if strings.Count(audit, `"action":"forgotten"`) != 1 || !strings.Contains(audit, `"incident_id":"probe-eu/api v1"`) ||
		!strings.Contains(audit, `"actor":"token 1","action":"forgotten"`) {
		t.Errorf("the audit log is %s", audit)
	}
	f.header.Del("Authorization")
	remove("/v1/probes/api").wantProblem(401, "")
}

func TestProbesAreRefused(t *testing.T) {
	f := start(t)
	good := fmt.Sprintf(probed, true)
	for _, c := range []struct {
		body, field string
		status      int
	}{
		{good[:30], "results", 400},
		{"[" + good + "," + strings.Replace(good, "true", `"yes"`, 1) + "]", "results[1].ok", 400},
		{strings.Replace(good, "{", `{"ok":true,`, 1), "results[0].ok", 400},
		{strings.Repeat("[", 200_000), "results", 400},
		{good + strings.Repeat(" ", probe.MaxBytes), "", 413},
	} {
		f.post("/v1/probes", c.body).wantProblem(c.status, c.field)
	}
	f.send("POST", "/v1/probes", "text/plain", strings.NewReader(good)).wantProblem(415, "")
	if v := f.get("/v1/probes").want(200); len(v["items"].([]any)) != 0 {
		t.Errorf("there are %v", v)
	}
}

func TestSourcesOfProbes(t *testing.T) {
	f := start(t, func(f *fixture) {
		f.opt.Tokens = []string{"a-token-0123456789"}
		callers, err := caller.New(caller.Options{Sources: []caller.Source{
			{Name: "prober", Routes: []string{caller.Probes}, Bearer: []string{"probers-token-0123"}, Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		f.deps.Callers = callers
	})
	good := fmt.Sprintf(probed, true)
	f.post("/v1/probes", good).wantProblem(401, "")
	f.header.Set("Authorization", "Bearer probers-token-0123")
	f.post("/v1/probes", good).want(202)
	f.get("/v1/probes").wantProblem(401, "")
	f.post("/v1/alerts", groupOf("firing a 0")).wantProblem(401, "")
}
