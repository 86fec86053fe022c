package gateway

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/incident"
)

func newRequest(t *testing.T, cursor string) *http.Request {
	t.Helper()
	return httptest.NewRequest("GET", "/?cursor="+url.QueryEscape(cursor), nil)
}

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func TestTargetLife(t *testing.T) {
	f := start(t)
	a := f.post("/v1/targets", `{"external_id":"x","channel":"webhook","address":"https://hooks.example.com/a?b=c&d","components":["api"],"secrets":["`+secret+`"]}`)
	v := a.want(http.StatusCreated)
	if keys(v) != "address channel components every_update external_id format id locale min_impact page state test visibility" ||
		v["page"] != "default" || v["min_impact"] != "none" || v["state"] != "active" || v["address"] != "https://hooks.example.com/a?b=c&d" {
		t.Errorf("the target is %s", a.body)
	}
	path := a.header.Get("Location")
	if path != "/v1/targets/"+v["id"].(string) {
		t.Errorf("Location is %s", path)
	}
	if got := f.get(path); string(got.body) != string(a.body) {
		t.Errorf("read back: %s", got.body)
	}
	if changed := f.engine.take(); changed != nil {
		t.Errorf("a new target was told as changed: %v", changed)
	}

	// The same external id is the same target.
	again := f.post("/v1/targets", `{"external_id":"x","channel":"webhook","address":"https://hooks.example.com/b","secrets":["`+secret+`"]}`)
	if v2 := again.want(http.StatusOK); v2["id"] != v["id"] || v2["address"] != "https://hooks.example.com/b" || len(v2["components"].([]any)) != 0 {
		t.Errorf("updated to %s", again.body)
	}
	if changed := f.engine.take(); len(changed) != 1 || fmt.Sprint(changed[0]) != v["id"] {
		t.Errorf("told of %v", changed)
	}
	f.post("/v1/targets", `{"external_id":"x","channel":"webhook","address":"https://hooks.example.com/b","secrets":["`+secret+`"]}`).want(200)
	if changed := f.engine.take(); changed != nil {
		t.Errorf("an unchanged target was told as changed: %v", changed)
	}

	patch := func(body string) answer {
		return f.send("PATCH", path, "application/json", strings.NewReader(body))
	}
	if v := patch(`{"state":"paused","components":["db"]}`).want(200); v["state"] != "paused" || v["address"] != "https://hooks.example.com/b" ||
		fmt.Sprint(v["components"]) != "[db]" {
		t.Errorf("patched to %v", v)
	}
	if changed := f.engine.take(); len(changed) != 1 {
		t.Errorf("told of %v", changed)
	}
	if stored, err := f.store.Target(t.Context(), 1); err != nil || !slices.Equal(stored.Secrets, []string{secret}) {
		t.Errorf("the secrets did not stay: %v, %v", stored, err)
	}
	patch(`{"state":"asleep"}`).wantProblem(400, "state")
	patch(`{"id":"77"}`).wantProblem(400, "id")
	patch(`{"address":"https://169.254.169.254/"}`).wantProblem(400, "address")
	patch(`{"address":"https://unrouted.example/"}`).wantProblem(400, "address")
	patch(`{`).wantProblem(400, "target")
	f.send("PATCH", "/v1/targets/999", "application/json", strings.NewReader("{}")).wantProblem(404, "")
	f.send("PATCH", path, "text/plain", strings.NewReader("{}")).wantProblem(415, "")
	if changed := f.engine.take(); changed != nil {
		t.Errorf("refused changes were told: %v", changed)
	}

	if a := f.send("DELETE", path, "", nil); a.status != 204 || len(a.body) != 0 {
		t.Errorf("deleted: %d %s", a.status, a.body)
	}
	if changed := f.engine.take(); len(changed) != 1 {
		t.Errorf("told of %v", changed)
	}
	f.get(path).wantProblem(404, "")
	f.send("DELETE", path, "", nil).wantProblem(404, "")
	f.send("DELETE", "/v1/targets/abc", "", nil).wantProblem(404, "")
	if log := f.log.String(); strings.Contains(log, "whsec") || strings.Contains(log, "hooks.example") {
		t.Errorf("the log tells too much: %s", log)
	}
}

// TestForbiddenTargetCanStillBePaused: rules for addresses may have changed since
// it was registered.
func TestForbiddenTargetCanStillBePaused(t *testing.T) {
	f := start(t)
	f.target(`{"channel":"webhook","address":"https://a.example/"}`)
	f.deps.CheckTarget = func(*incident.Target) error { return errIDGiven }
	f.serve()
	if v := f.send("PATCH", "/v1/targets/1", "application/json", strings.NewReader(`{"state":"paused"}`)).want(200); v["state"] != "paused" {
		t.Errorf("it is %v", v)
	}
}

func TestRefusedTargets(t *testing.T) {
	f := start(t)
	for _, tc := range []struct{ body, field string }{
		{`{"channel":"webhook"}`, "address"},
		{`{"channel":"pigeon","address":"https://a.example/"}`, "channel"},
		{`{"channel":"webhook","address":"https://127.0.0.1/"}`, "address"},
		{`{"channel":"webhook","address":"http://a.example/"}`, "address"},
		{`{"channel":"webhook","address":"https://unrouted.example/"}`, "address"},
		{`{"id":"5","channel":"webhook","address":"https://a.example/"}`, "id"},
		{`{"channel":"webhook","address":"https://a.example/","colour":"red"}`, "colour"},
		{`[]`, "target"},
	} {
		f.post("/v1/targets", tc.body).wantProblem(400, tc.field)
	}
	f.post("/v1/targets", strings.Repeat(" ", maxTargetBytes+1)).wantProblem(413, "")
	if v := f.get("/v1/targets").want(200); len(v["items"].([]any)) != 0 {
		t.Errorf("something was stored: %v", v)
	}
}

func TestTargetList(t *testing.T) {
	f := start(t)
	var want []string
	for i := range 5 {
		want = append(want, f.target(fmt.Sprintf(`{"channel":"webhook","address":"https://h%d.example/","secrets":[%q]}`, i, secret)))
	}
	var got []string
	pages := 0
	for next := ""; ; pages++ {
		page := f.get("/v1/targets?limit=2&cursor=" + next)
		if strings.Contains(string(page.body), "whsec") {
			t.Fatal("the list shows secrets")
		}
		v := page.want(200)
		for _, item := range v["items"].([]any) {
			got = append(got, item.(map[string]any)["id"].(string))
		}
		if v["next"] == nil {
			break
		}
		next = v["next"].(string)
	}
	if !slices.Equal(got, want) || pages != 2 {
		t.Errorf("%d more pages show %q, want %q", pages, got, want)
	}
}
