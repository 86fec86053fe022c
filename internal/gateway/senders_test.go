package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/caller"
	"github.com/tocsin/tocsin/internal/senders"
	"github.com/tocsin/tocsin/internal/store"
)

// wantNone wants the intake to have nothing that wasn't taken.
func (f *fixture) wantNone() {
	f.Helper()
	if depths, err := f.queue.Depths(f.Context()); err != nil || depths[0].Ready != 0 {
		f.Errorf("there are events in the intake: %v, %v", depths, err)
	}
}

// paging writes an event of PagerDuty's Events API.
func paging(key, action, dedupKey string) string {
	return fmt.Sprintf(`{"routing_key":%q,"event_action":%q,"dedup_key":%q,"payload":{"summary":"Checkout fails",`+
		`"source":"hush-host","severity":"critical","component":"checkout"},"links":[{"href":"https://hush.example/"}]}`, key, action, dedupKey)
}

// TestPagerDutyStory follows an alert from its first event to its end; what the sender
// gets is what PagerDuty would answer.
func TestPagerDutyStory(t *testing.T) {
	f := start(t)
	for i, step := range []struct {
		action   string
		sequence int // 0: nothing new
		status   incident.Status
	}{
		{"resolve", 0, ""},
		{"trigger", 1, incident.Investigating},
		{"trigger", 0, ""},
		{"acknowledge", 0, ""},
		{"acknowledge", 0, ""},
		{"resolve", 2, incident.Resolved},
		{"resolve", 0, ""},
		{"trigger", 3, incident.Investigating},
	} {
		f.later.Store(int64(i) * int64(6*time.Second))
		answer := f.post("/v2/enqueue", paging("k", step.action, "shop/checkout")).want(202)
		if len(answer) != 3 || answer["status"] != "success" || answer["message"] != "Event processed" || answer["dedup_key"] != "shop/checkout" {
			t.Fatalf("step %d is answered with %v", i, answer)
		}
		if step.sequence == 0 {
			continue
		}
		if e := f.taken(1)[0]; e.Source != "pagerduty" || strings.Contains(string(e.Body), "hush") || !strings.Contains(string(e.Body), `"title":"Checkout fails"`) ||
			!strings.Contains(string(e.Body), `"status":"`+string(step.status)+`"`) {
			t.Errorf("step %d became an event of %s: %s", i, e.Source, e.Body)
		}
	}
	log, err := f.store.AuditLog(t.Context(), store.AuditFilter{})
	if err != nil {
		t.Fatal(err)
	}
	var actions []string
	for _, e := range log.Entries {
		actions = append(actions, e.Action)
	}
	if got := strings.Join(actions, " "); got != "opened acknowledged resolved reopened" {
		t.Errorf("the audit log has %s", got)
	}
}

// TestPagerDutyNamesAlerts: a trigger without a key is an alert of its own.
func TestPagerDutyNamesAlerts(t *testing.T) {
	f := start(t)
	names := map[any]bool{}
	for range 2 {
		body := strings.Replace(paging("k", "trigger", ""), `"dedup_key":"",`, "", 1)
		names[f.post("/v2/enqueue", body).want(202)["dedup_key"]] = true
		f.accept(1)
	}
	if len(names) != 2 || names[""] || names[nil] {
		t.Errorf("the names are %v", names)
	}
}

func TestPagerDutyRefusals(t *testing.T) {
	f := start(t)
	for _, tc := range []struct{ body, status, reason string }{
		{paging("k", "hush", "d"), "invalid event", "'event_action' must be one of"},
		{paging("k", "resolve", ""), "invalid event", "'dedup_key' is required"},
		{`{"routing_key":"hush"`, "Unrecognized object", "'body' must be exactly one JSON value"},
		{`{"hush":1,"hush":2}`, "invalid event", "'hush' must be given only once"},
	} {
		a := f.post("/v2/enqueue", tc.body)
		answer := a.want(400)
		list, _ := answer["errors"].([]any)
		if answer["status"] != tc.status || len(list) != 1 || !strings.HasPrefix(list[0].(string), tc.reason) || a.header.Get("Content-Type") != mediaJSON {
			t.Errorf("%s is refused with %s", tc.body, a.body)
		}
	}
	f.post("/v2/enqueue", `{"a":"`+strings.Repeat("x", senders.MaxPagerDuty)+`"}`).wantProblem(413, "")
	f.get("/v2/enqueue").wantProblem(405, "")
	f.wantNone()
}

// withKeys has two senders with routing keys, and one with a key in its URL.
func withKeys(f *fixture) {
	guard, err := caller.New(caller.Options{Log: f.deps.Log, Clock: func() time.Time { return f.opt.Clock() }, Sources: []caller.Source{
		{Name: "nagios", Routes: []string{caller.PagerDuty}, Keys: []string{"hush-nagios-key-01", "hush-nagios-key-02"}},
		{Name: "zabbix", Routes: []string{caller.PagerDuty}, Keys: []string{"hush-zabbix-key-01"}},
		{Name: "monitor", Routes: []string{caller.Own("monitor")}, Keys: []string{"hush-monitor-key-1"}},
	}})
	if err != nil {
		f.Fatal(err)
	}
	f.deps.Callers = guard
	f.deps.PageOf = func(source string) string { return map[string]string{"nagios": "north", "zabbix": "south"}[source] }
}

func TestRoutingKeys(t *testing.T) {
	f := start(t, withTokens, withKeys)
	pages := map[string]string{}
	for key, page := range map[string]string{"hush-nagios-key-01": "north", "hush-nagios-key-02": "north", "hush-zabbix-key-01": "south"} {
		f.post("/v2/enqueue", paging(key, "trigger", key)).want(202)
		var e struct{ Page string }
		if err := json.Unmarshal(f.taken(1)[0].Body, &e); err != nil || e.Page != page {
			t.Errorf("what %s sends is told on %q", key, e.Page)
		}
		pages[e.Page] = key
	}
	for _, key := range []string{"", "hush", "hush-monitor-key-1", "hush-nagios-key-01 "} {
		f.post("/v2/enqueue", paging(key, "trigger", "d")).wantProblem(401, "")
	}
	f.post("/v2/enqueue", "{").wantProblem(401, "")
	f.post("/v2/enqueue?key=hush-nagios-key-01", paging("hush", "trigger", "d")).wantProblem(401, "")
	if strings.Contains(f.log.String(), "hush") {
		t.Errorf("the log has a secret: %s", f.log.String())
	}
	f.wantNone()
}

// mappedSource reads the bodies of a monitor that isn't known otherwise.
func mappedSource(t *testing.T) senders.Own {
	t.Helper()
	m, err := senders.NewMapping(senders.Expressions{
		Group: `"monitor-" + string(body.monitor.id)`, Firing: `body.monitor.status == "down"`, Component: `body.monitor.name.lowerAscii()`,
		Impact: `body.monitor.?impact.orValue("minor")`, Title: `body.monitor.name + " is down"`,
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	return senders.Own{Kind: senders.SourceMapping, Read: m.Read}
}

func monitored(status, impact string) string {
	return fmt.Sprintf(`{"monitor":{"id":7,"name":"Checkout","status":%q,"impact":%q,"url":"https://hush.example/"}}`, status, impact)
}

func TestMappedSource(t *testing.T) {
	f := start(t)
	if answer := f.post("/v1/sources/monitor", monitored("down", "minor")).want(202); answer["held_back"] != 1.0 {
		t.Errorf("what nobody has to hear of is answered with %v", answer)
	}
	for i, status := range []string{"down", "down", "up"} {
		f.later.Store(int64(i) * int64(6*time.Second))
		told := f.post("/v1/sources/monitor", monitored(status, "critical")).want(202)["incidents"].([]any)[0].(map[string]any)
		if told["incident_id"] != "monitor-7" || (told["duplicate"] == true) != (i == 1) {
			t.Errorf("step %d is answered with %v", i, told)
		}
		if i == 1 {
			continue
		}
		if e := f.taken(1)[0]; e.Source != "mapping" || strings.Contains(string(e.Body), "hush") || !strings.Contains(string(e.Body), `"Checkout is down"`) {
			t.Errorf("step %d became an event of %s: %s", i, e.Source, e.Body)
		}
	}
	f.post("/v1/sources/monitor", `{"monitor":{"id":7,"name":"Checkout"}}`).wantProblem(400, "mapping.firing")
	f.post("/v1/sources/monitor", `{"a":1,"a":2}`).wantProblem(400, "a")
	f.post("/v1/sources/other", `{}`).wantProblem(404, "")
	f.get("/v1/sources/monitor").wantProblem(405, "")
}

func TestKeyInURL(t *testing.T) {
	f := start(t, withTokens, withKeys)
	for path, status := range map[string]int{
		"/v1/sources/monitor": 401, "/v1/sources/monitor?key=hush": 401, "/v1/sources/monitor?key=hush-nagios-key-01": 401,
		"/v1/sources/monitor?key=hush-monitor-key-1": 202, "/v1/sources/other?key=hush-monitor-key-1": 401,
	} {
		if a := f.post(path, monitored("down", "minor")); a.status != status {
			t.Errorf("%s is answered with %d", path, a.status)
		}
	}
	f.header = http.Header{"Authorization": {"Bearer " + f.opt.Tokens[0]}}
	f.post("/v1/sources/monitor", monitored("down", "minor")).want(202)
	f.post("/v1/sources/other", `{}`).wantProblem(404, "")
	if strings.Contains(f.log.String(), "hush") {
		t.Errorf("the log has a secret: %s", f.log.String())
	}
}

// TestStatuspageSource sends each webhook of an incident twice; each has all updates
// so far.
func TestStatuspageSource(t *testing.T) {
	own, err := senders.NewStatuspage("vendors", true)
	if err != nil {
		t.Fatal(err)
	}
	f := start(t, func(f *fixture) { f.deps.Own["vendor"] = own })
	update := func(id, status string, minute int) string {
		return fmt.Sprintf(`{"id":%q,"status":%q,"body":"B","created_at":"2026-11-21T04:%02d:00Z","deliver_notifications":true}`, id, status, minute)
	}
	var all []string
	for i, status := range []string{"investigating", "identified", "resolved"} {
		all = append([]string{update(status+"-id", status, i)}, all...)
		body := `{"meta":{"unsubscribe":"https://hush.example/"},"incident":{"id":"i","name":"N","impact":"critical","created_at":"2026-11-21T04:00:00Z","components":[{"name":"API"}],
			"incident_updates":[` + strings.Join(all, ",") + `]}}`
		for again := range 2 {
			list := f.post("/v1/sources/vendor", body).want(202)["incidents"].([]any)
			if len(list) != i+1 {
				t.Fatalf("%d updates are answered with %v", i+1, list)
			}
			for j, told := range list {
				told := told.(map[string]any)
				if told["incident_id"] != "sp-i" || told["page"] != "vendors" || (told["duplicate"] == true) != (j < i || again == 1) {
					t.Errorf("update %d of webhook %d, %d: %v", j, i, again, told)
				}
			}
		}
		events := f.taken(1)
		if strings.Contains(string(events[0].Body), "hush") || events[0].Source != "statuspage" || events[0].UpdateID != "sp-"+status+"-id" {
			t.Errorf("%s became an event of %s: %s", status, events[0].Source, events[0].Body)
		}
	}
	component := `{"component":{"name":"API"},"component_update":{"component_id":"c","new_status":"major_outage","created_at":"2026-11-21T04:00:00Z"}}`
	told := f.post("/v1/sources/vendor", component).want(202)["incidents"].([]any)[0].(map[string]any)
	if told["incident_id"] != "sp-component-c" {
		t.Errorf("a component is answered with %v", told)
	}
	f.post("/v1/sources/vendor", `{}`).wantProblem(400, "incident")
	f.post("/v1/sources/vendor", strings.Replace(component, "2026", "2999", 1)).want(202)
	ahead := `{"incident":{"id":"i","name":"N","impact":"none","created_at":"2026-11-21T04:00:00Z","incident_updates":[{"id":"u","status":"resolved","created_at":"2999-11-21T04:00:00Z"}]}}`
	f.post("/v1/sources/vendor", ahead).wantProblem(400, "updated_at")
}
