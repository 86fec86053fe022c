package gateway

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/incident"
)

// TestTargetTest follows a test message to its plan: it is for the one target, as
// that is registered, and for nobody else.
func TestTargetTest(t *testing.T) {
	f := start(t)
	f.target(`{"channel":"webhook","address":"https://other.example/","test":true,"visibility":"private"}`)
	id := f.target(`{"channel":"webhook","address":"https://hooks.example.com/a","external_id":"x","page":"eu","components":["api"],
		"min_impact":"critical","locale":"de","every_update":true,"state":"paused","secrets":["` + secret + `"]}`)
	a := f.post("/v1/targets/"+id+"/test", "")
	v := a.want(202)
	name := v["incident_id"].(string)
	if !strings.HasPrefix(name, "TEST-") || v["page"] != name || v["update_id"] == "" || a.header.Get("Location") != v["status_url"] {
		t.Errorf("the receipt is %v", v)
	}
	plan := f.accept(1)[0].Plan
	if !plan.Test || plan.Visibility != incident.Private || plan.Urgent() || !plan.ExpiresAt.Equal(now.Add(time.Minute)) {
		t.Errorf("the plan is %+v", plan)
	}
	page, err := f.store.Audience(t.Context(), plan, 10)
	if err != nil || len(page.Targets) != 1 {
		t.Fatalf("the audience is %v, %v", page, err)
	}
	if d := page.Targets[0]; d.Address != "https://hooks.example.com/a" || d.Locale != "de" || !slices.Equal(d.Secrets, []string{secret}) {
		t.Errorf("the one told is %+v", d)
	}
	f.plan(plan, 1)
	found := f.get(v["status_url"].(string)).want(200)
	update := found["updates"].([]any)[0].(map[string]any)
	if found["status"] != "resolved" || update["audience"] != 1.0 || update["title"] != "Test message" {
		t.Errorf("the incident is %v", found)
	}
	// The target itself is as it was.
	if v := f.get("/v1/targets/" + id).want(200); v["state"] != "paused" || v["test"] != false || v["page"] != "eu" {
		t.Errorf("the target became %v", v)
	}
	if again := f.post("/v1/targets/"+id+"/test", "").want(202); again["incident_id"] == name {
		t.Error("two tests have one name")
	}
	if log := f.log.String(); strings.Contains(log, "whsec") || strings.Contains(log, "hooks.example") {
		t.Errorf("the log tells too much: %s", log)
	}
}

func TestTargetTestRefused(t *testing.T) {
	f := start(t)
	gone := f.target(`{"channel":"smtp","address":"a@example.com","state":"unsubscribed"}`)
	feed := f.target(`{"channel":"rss","address":"default"}`)
	f.post("/v1/targets/"+gone+"/test", "").wantProblem(409, "")
	f.post("/v1/targets/"+feed+"/test", "").wantProblem(409, "")
	f.post("/v1/targets/99/test", "").wantProblem(404, "")
	f.post("/v1/targets/x/test", "").wantProblem(404, "")
	id := f.target(`{"channel":"webhook","address":"https://a.example/"}`)
	f.deps.CheckTarget = func(*incident.Target) error {
		return &incident.Invalid{Field: "address", Reason: "must lead to a public address"}
	}
	f.deps.Intake = brokenIntake{nil}
	f.opt.OfferTimeout = time.Millisecond
	f.serve()
	f.post("/v1/targets/"+id+"/test", "").wantProblem(400, "address")
	f.deps.CheckTarget = func(*incident.Target) error { return nil }
	f.serve()
	f.post("/v1/targets/"+id+"/test", "").wantProblem(503, "")
}
