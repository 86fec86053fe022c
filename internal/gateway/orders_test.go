package gateway

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/lifecycle"
)

const openOrder = `{"action":"open","incident_id":"INC-7","impact":"major","affected_components":["api"],"title":"API down","message":"We look.","author":"alice","update_id":"k-1"}`

// TestOrders says by hand what the ledger then has, with nothing of who said it.
func TestOrders(t *testing.T) {
	f := start(t, func(f *fixture) { f.opt.Tokens = []string{"a-token-0123456789"} })
	f.header.Set("Authorization", "Bearer a-token-0123456789")
	a := f.post("/v1/orders", openOrder)
	if v := a.want(202); v["incident_id"] != "INC-7" || v["update_id"] != "k-1" || v["status_url"] != "/v1/incidents/INC-7?page=default" ||
		v["duplicate"] != nil || a.header.Get("Location") != v["status_url"] {
		t.Errorf("the answer is %v", v)
	}
	f.accept(1)
	// The ledger has it; the order, given again, is known by either.
	if v := f.post("/v1/orders", openOrder).want(202); v["duplicate"] != true {
		t.Errorf("given again: %v", v)
	}
	f.post("/v1/orders", `{"action":"update","incident_id":"INC-7","status":"identified","impact":"critical"}`).want(202)
	f.accept(1)
	f.post("/v1/orders", `{"action":"resolve","incident_id":"INC-7","message":"Done."}`).want(202)
	f.accept(1)
	a = f.get("/v1/incidents/INC-7")
	var shown []string
	for _, u := range a.want(200)["updates"].([]any) {
		u := u.(map[string]any)
		shown = append(shown, fmt.Sprintf("%v %v %v %v: %v", u["sequence"], u["status"], u["impact"], u["title"], u["message"]))
	}
	if got := strings.Join(shown, "; "); got != "3 resolved critical API down: Done.; 2 identified critical API down: ; 1 investigating major API down: We look." {
		t.Errorf("the incident has %s", got)
	}
	if strings.Contains(string(a.body), "alice") {
		t.Errorf("who said it is shown: %s", a.body)
	}
	f.post("/v1/orders", `{"action":"resolve","incident_id":"INC-7"}`).wantProblem(409, "")
	f.post("/v1/orders", `{"action":"update","incident_id":"INC-8","message":"m"}`).wantProblem(404, "")
	// A producer's update of that name is one, too.
	f.post("/v1/incidents", strings.Replace(minimal, `"impact"`, `"update_id":"p-1","impact"`, 1)).want(202)
	f.accept(1)
	if v := f.post("/v1/orders", `{"action":"update","incident_id":"INC-8892","message":"m","update_id":"p-1"}`).want(202); v["duplicate"] != true {
		t.Errorf("after a producer's update of that name: %v", v)
	}
	named := f.post("/v1/orders", `{"action":"open","impact":"none","affected_components":[],"test":true}`).want(202)
	if id, _ := named["incident_id"].(string); len(id) != 12 || !strings.HasPrefix(id, "INC-") {
		t.Errorf("the engine names it %v", named)
	}
}

// TestATestStaysOne: what was opened as a test stays one, and real incidents never
// become one by a producer's test.
func TestATestStaysOne(t *testing.T) {
	f := start(t)
	test := func(id string) bool {
		f.Helper()
		e, err := f.store.LatestEvent(f.Context(), "default", id)
		if err != nil || e == nil {
			f.Fatalf("%v, %v", e, err)
		}
		return e.Test
	}
	f.post("/v1/orders", strings.Replace(openOrder, `"title"`, `"test":true,"title"`, 1)).want(202)
	f.accept(1)
	f.post("/v1/orders", `{"action":"resolve","incident_id":"INC-7"}`).want(202)
	f.accept(1)
	if !test("INC-7") {
		t.Error("everyone hears of the end of a test")
	}
	f.post("/v1/incidents", minimal).want(202)
	f.accept(1)
	f.post("/v1/incidents", strings.Replace(minimal, `"impact"`, `"test":true,"impact"`, 1)).want(202)
	f.accept(1)
	f.post("/v1/orders", `{"action":"resolve","incident_id":"INC-8892"}`).want(202)
	f.accept(1)
	if test("INC-8892") {
		t.Error("nobody hears of the end of a real incident")
	}
}

func TestPending(t *testing.T) {
	f := start(t)
	const schedule = `{"action":"schedule","incident_id":"M","affected_components":["db"],"start":"2026-11-21T07:00:00+01:00","end":"2026-11-21T08:00:00Z","reminder":"30m","author":"bob"}`
	if pending := f.post("/v1/orders", schedule).want(202)["pending"].([]any); len(pending) != 3 {
		t.Fatalf("%v waits", pending)
	}
	shown := f.get("/v1/incidents/M/pending").want(200)["items"].([]any)
	var list []string
	for _, p := range shown {
		p := p.(map[string]any)
		list = append(list, fmt.Sprint(p["at"], " ", p["step"], " ", p["by"]))
	}
	if got := strings.Join(list, "; "); got != "2026-11-21T05:30:00Z reminder bob (local); 2026-11-21T06:00:00Z start bob (local); 2026-11-21T08:00:00Z end bob (local)" {
		t.Errorf("what waits is %s", got)
	}
	f.post("/v1/orders", `{"action":"cancel","incident_id":"M"}`).want(202)
	if items := f.get("/v1/incidents/M/pending").want(200)["items"].([]any); len(items) != 0 {
		t.Errorf("%v waits", items)
	}
	if items := f.get("/v1/incidents/unknown/pending").want(200)["items"].([]any); len(items) != 0 {
		t.Errorf("%v waits", items)
	}
}

func TestFaultyOrders(t *testing.T) {
	f := start(t)
	for body, field := range map[string]string{
		``:                                    "order",
		`[]`:                                  "",
		`{"action":"open","action":"cancel"}`: "action",
		`{"action":"opne"}`:                   "action",
		`{"action":"open","colour":"red"}`:    "",
		`{"action":1}`:                        "action",
		`{"action":"open","affected_components":"api"}`:         "affected_components",
		`{"action":"open","impact":"major"}`:                    "affected_components",
		`{"action":"update","message":"m"}`:                     "incident_id",
		`{"action":"cancel","incident_id":"x","at":"tomorrow"}`: "at",
		`{"action":"schedule","affected_components":[],"start":"2026-11-21T04:00:00Z","end":"2026-11-21T08:00:00Z"}`:                   "start",
		`{"action":"schedule","affected_components":[],"start":"2026-11-21T06:00:00Z","end":"2026-11-21T08:00:00Z","reminder":"soon"}`: "reminder",
		`{"action":"resolve","incident_id":"x","author":"a@example.com"}`:                                                              "author",
		"{\"action\":\"resolve\",\"incident_id\":\"\xff\"}":                                                                            "order",
	} {
		f.post("/v1/orders", body).wantProblem(400, field)
	}
	f.send("POST", "/v1/orders", "text/plain", strings.NewReader(openOrder)).wantProblem(415, "")
	if a := f.get("/v1/audit"); len(a.body) > 0 {
		t.Errorf("something was done: %s", a.body)
	}
}

func FuzzOrder(f *testing.F) {
	for _, seed := range []string{openOrder, `{"action":"cancel","incident_id":"x"}`, `{"action":"update","incident_id":"x","message":"m","at":"2026-11-22T05:00:00Z"}`,
		`{"action":"schedule","affected_components":[],"start":"2026-11-22T05:00:00Z","end":"2026-11-22T06:00:00Z","reminder":"1h","verify":true}`, `{"action":"open","action":1}`, `null`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		o, err := parseOrder(body)
		if err == nil {
			o.Caller = "local"
			if o.UpdateID == "" {
				o.UpdateID = "key"
			}
			err = o.Check(now)
		}
		if err != nil {
			if p := problemOf(err); p.Status != 400 || p.Detail == "" {
				t.Fatalf("%v is %+v", err, p)
			}
			return
		}
		// What passes the checks can be told, at once and in its time.
		a := lifecycle.NewAgenda(o.Page, o.IncidentID)
		latest := &incident.Event{Page: o.Page, IncidentID: o.IncidentID, Status: incident.Identified, Impact: incident.ImpactMinor,
			AffectedComponents: []string{}, StartedAt: now, UpdatedAt: now, Visibility: incident.Public}
		if o.Action == lifecycle.OrderOpen || o.Action == lifecycle.OrderSchedule {
			latest = nil
		}
		a, told, _, err := lifecycle.Obey(a, o, latest, now)
		if err != nil {
			return
		}
		_, later := lifecycle.ObeyDue(a, latest, now.Add(2*lifecycle.MaxAhead))
		for _, d := range append(told, later...) {
			if d.Event == nil {
				continue
			}
			encoded, err := incident.Encode(d.Event)
			if err == nil {
				_, err = incident.Decode(encoded)
			}
			if err != nil {
				t.Fatalf("%s can't be told: %v", d.Action, err)
			}
		}
		state, err := a.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := lifecycle.ParseAgenda(state); err != nil || !again.DueAt().Equal(a.DueAt()) {
			t.Fatalf("%s: %v", state, err)
		}
	})
}
