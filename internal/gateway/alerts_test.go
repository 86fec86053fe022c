package gateway

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
)

// firing is a notification as Alertmanager sends it, with all its fields.
const firing = `{"version":"4","groupKey":"{}/{severity=\"critical\"}:{alertname=\"ApiDown\"}","truncatedAlerts":0,"status":"firing",
"receiver":"tocsin","groupLabels":{"alertname":"ApiDown"},"commonLabels":{"alertname":"ApiDown","severity":"critical"},
"commonAnnotations":{"summary":"API is down"},"externalURL":"http://am:9093","notificationReason":"new","alerts":[
{"status":"firing","labels":{"alertname":"ApiDown","component":"auth-api","severity":"critical"},
"annotations":{"summary":"API is down","description":"auth-api does not answer"},"startsAt":"2026-11-21T04:50:00.123456789Z",
"endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://prom:9090/graph","fingerprint":"abc"}]}`

// groupOf builds a notification of alerts given as "status component start".
func groupOf(alerts ...string) string {
	n := notification{Version: "4", GroupKey: "{}:{}", CommonAnnotations: map[string]string{"summary": "Down"}}
	for _, text := range alerts {
		var a alert
		var component string
		var minute int
		if _, err := fmt.Sscan(text, &a.Status, &component, &minute); err != nil {
			panic(err)
		}
		a.Labels = map[string]string{"component": component, "severity": "critical"}
		a.StartsAt = now.Add(time.Duration(minute) * time.Minute)
		if a.Status == "resolved" {
			a.EndsAt = a.StartsAt.Add(time.Minute)
		}
		n.Alerts = append(n.Alerts, a)
	}
	return string(mustJSON(struct {
		Version           string            `json:"version"`
		GroupKey          string            `json:"groupKey"`
		CommonAnnotations map[string]string `json:"commonAnnotations"`
		Alerts            []alert           `json:"alerts"`
	}{n.Version, n.GroupKey, n.CommonAnnotations, n.Alerts}))
}

func one(t *testing.T, body string) *incident.Event {
	t.Helper()
	events, err := eventsOfAlerts([]byte(body))
	if err != nil || len(events) != 1 {
		t.Fatalf("%d events, %v", len(events), err)
	}
	return events[0]
}

func TestAlertsMapping(t *testing.T) {
	e := one(t, firing)
	want := &incident.Event{Page: "default", IncidentID: e.IncidentID, Status: incident.Investigating, Impact: incident.ImpactCritical,
		AffectedComponents: []string{"auth-api"}, Title: "API is down", Message: "auth-api does not answer", Visibility: incident.Public,
		StartedAt: time.Date(2026, 11, 21, 4, 50, 0, 123456000, time.UTC), UpdateID: e.UpdateID}
	got, _ := incident.Encode(e)
	expected, _ := incident.Encode(want)
	if string(got) != string(expected) {
		t.Errorf("the event is\n%s\nwant\n%s", got, expected)
	}
	// printf '{}:{}' | sha256sum
	if id := one(t, groupOf("firing a 1")).IncidentID; id != "am-cc9772a1ec90" {
		t.Errorf("the group's incident is %s", id)
	}
}

func TestAlertsSeverity(t *testing.T) {
	for severity, want := range map[string]incident.Impact{"critical": "critical", "error": "major", "major": "major", "warning": "minor",
		"info": "none", "none": "none", "Critical": "critical", "page": "minor", "": "minor"} {
		if got := one(t, strings.ReplaceAll(firing, `"severity":"critical"`, `"severity":"`+severity+`"`)).Impact; got != want {
			t.Errorf("severity %q gives impact %s, want %s", severity, got, want)
		}
	}
}

func TestAlertsTexts(t *testing.T) {
	alerts := func(common string, each ...string) *incident.Event {
		var list []string
		for i, annotations := range each {
			list = append(list, fmt.Sprintf(`{"status":"firing","labels":{"alertname":"Name","service":"s%d"},"annotations":%s,`+
				`"startsAt":"2026-11-21T04:5%d:00Z"}`, i, annotations, i))
		}
		return one(t, fmt.Sprintf(`{"version":"4","groupKey":"k","commonAnnotations":%s,"alerts":[%s]}`, common, strings.Join(list, ",")))
	}
	for _, tc := range []struct {
		name           string
		event          *incident.Event
		title, message string
	}{
		{"common", alerts(`{"summary":"S","description":"D"}`, `{"summary":"x","description":"y"}`), "S", "D"},
		{"the oldest alert's title, each message once",
			alerts(`{}`, `{"summary":"A","description":"1"}`, `{"summary":"B","description":"2"}`, `{"description":"1"}`), "A", "1\n2"},
		{"alertname", alerts(`{}`, `{}`), "Name", ""},
		{"controls", alerts(`{"summary":"a\nb\u0000c","description":"a\r\nb\tc\u0007d"}`, `{}`), "a b c", "a\nb\tc d"},
		{"long", alerts(`{"summary":"`+strings.Repeat("ü", 600)+`"}`, `{}`), strings.Repeat("ü", 254) + "…", ""},
	} {
		if tc.event.Title != tc.title || tc.event.Message != tc.message {
			t.Errorf("%s: title %q, message %q", tc.name, tc.event.Title, tc.event.Message)
		}
	}
	if got := alerts(`{}`, `{}`, `{}`).AffectedComponents; !reflect.DeepEqual(got, []string{"s0", "s1"}) {
		t.Errorf("components from service labels: %q", got)
	}
}

func TestAlertsOfManyComponentsAreForThePage(t *testing.T) {
	var alerts []string
	for i := range maxComponents + 1 {
		alerts = append(alerts, fmt.Sprintf("firing c%d 0", i))
	}
	if e := one(t, groupOf(alerts...)); e.AffectedComponents == nil || len(e.AffectedComponents) != 0 {
		t.Errorf("%d components", len(e.AffectedComponents))
	}
	if e := one(t, groupOf(alerts[1:]...)); len(e.AffectedComponents) != maxComponents {
		t.Errorf("%d components", len(e.AffectedComponents))
	}
}

func TestAlertsOfSeveralPages(t *testing.T) {
	body := `{"version":"4","groupKey":"k","alerts":[
		{"status":"resolved","labels":{"page":"b","component":"x"},"startsAt":"2026-11-21T04:00:00Z","endsAt":"2026-11-21T04:30:00Z"},
		{"status":"firing","labels":{"page":"a"},"startsAt":"2026-11-21T04:10:00Z"}]}`
	events, err := eventsOfAlerts([]byte(body))
	if err != nil || len(events) != 2 {
		t.Fatal(events, err)
	}
	a, b := events[0], events[1]
	if a.Page != "a" || a.Status != incident.Investigating || b.Page != "b" || b.Status != incident.Resolved ||
		!b.ResolvedAt.Equal(time.Date(2026, 11, 21, 4, 30, 0, 0, time.UTC)) || a.IncidentID != b.IncidentID {
		t.Errorf("%+v\n%+v", a, b)
	}
	f := start(t)
	v := f.post("/v1/update", body).want(202)
	if list := v["incidents"].([]any); len(list) != 2 || keys(list[0].(map[string]any)) != "incident_id page status_url update_id" {
		t.Errorf("the answer is %v", v)
	}
	for _, e := range f.taken(2) {
		if e.Source != "alerts" {
			t.Errorf("source %s", e.Source)
		}
	}
}

// TestAlertsStory tells what becomes of a group through the gateway, the intake
// and the acceptor: what repeats changes nothing, what is news becomes an update.
func TestAlertsStory(t *testing.T) {
	f := start(t)
	for _, step := range []struct {
		name, body string
		sequence   int // 0: nothing new
		status     incident.Status
		components int
	}{
		{"it fires", groupOf("firing a 0"), 1, incident.Investigating, 1},
		{"a repeat", groupOf("firing a 0"), 0, "", 0},
		{"another joins", groupOf("firing a 0", "firing b 1"), 2, incident.Investigating, 2},
		{"a repeat in another order", groupOf("firing b 1", "firing a 0"), 0, "", 0},
		{"the other ends", groupOf("firing a 0", "resolved b 1"), 3, incident.Investigating, 1},
		{"what ended is not repeated", groupOf("firing a 0"), 0, "", 0},
		{"the other again", groupOf("firing a 0", "firing b 5"), 4, incident.Investigating, 2},
		{"all ends", groupOf("resolved a 0", "resolved b 5"), 5, incident.Resolved, 2},
		{"a repeated end", groupOf("resolved a 0", "resolved b 5"), 0, "", 0},
		{"it fires anew", groupOf("firing a 9"), 6, incident.Investigating, 1},
		{"and ends anew", groupOf("resolved a 9"), 7, incident.Resolved, 1},
	} {
		f.post("/v1/alerts", step.body).want(202)
		done := f.accept(1)[0]
		if step.sequence == 0 {
			if done.Result != dispatcher.AcceptedDuplicate {
				t.Errorf("%s: %+v", step.name, done)
			}
			continue
		}
		if done.Result != dispatcher.AcceptedNew || done.Sequence != step.sequence {
			t.Fatalf("%s: %+v", step.name, done)
		}
		v := f.get("/v1/incidents/am-cc9772a1ec90").want(200)
		if v["status"] != string(step.status) || len(v["components"].([]any)) != step.components {
			t.Errorf("%s: %v", step.name, v)
		}
	}
	list := f.post("/v1/alerts", groupOf("resolved a 9")).want(202)["incidents"].([]any)
	if list[0].(map[string]any)["duplicate"] != true {
		t.Errorf("a repeat is answered with %v", list)
	}
}

func TestRefusedAlerts(t *testing.T) {
	f := start(t)
	for _, tc := range []struct{ body, field string }{
		{"[]", "alerts"},
		{"{", "alerts"},
		{`{}`, "version"},
		{`{"version":"3"}`, "version"},
		{`{"version":"4","alerts":[]}`, "groupKey"},
		{`{"version":"4","groupKey":"k","alerts":[]}`, "alerts"},
		{`{"version":"4","groupKey":"k","alerts":{}}`, "alerts"},
		{`{"version":"4","groupKey":"k","alerts":[{"status":"on"}]}`, "alerts[0].status"},
		{`{"version":"4","groupKey":"k","alerts":[{"status":"firing"}]}`, "alerts[0].startsAt"},
		{`{"version":"4","groupKey":"k","alerts":[{"status":"firing","startsAt":"hush"}]}`, "alerts"},
		{`{"version":"4","groupKey":"k","alerts":[{"status":"firing","startsAt":"2026-11-21T05:00:00Z","labels":{"page":"a b"}}]}`, "alerts.labels.page"},
		{`{"version":"4","groupKey":"k","alerts":[{"status":"firing","startsAt":"2026-11-21T05:00:00Z","labels":{"component":"a\nb"}}]}`, "alerts.labels.component"},
		{`{"version":"4","groupKey":"k","alerts":[{"status":"firing","startsAt":"0002-11-21T05:00:00Z"}]}`, "alerts.startsAt"},
	} {
		if detail := f.post("/v1/alerts", tc.body).wantProblem(400, tc.field); strings.Contains(detail, "hush") {
			t.Errorf("%s: %s", tc.body, detail)
		}
	}
	if len(f.meter.refused) != 13 || f.meter.refused[0] != "alerts invalid" {
		t.Errorf("counted: %q", f.meter.refused)
	}
	f.post("/v1/alerts", strings.Repeat(" ", maxAlertsBytes+1)).wantProblem(413, "")
}

func FuzzAlerts(f *testing.F) {
	f.Add([]byte(firing))
	f.Add([]byte(groupOf("firing a 1", "resolved b 2")))
	f.Add([]byte(`{"version":"4","groupKey":"k","alerts":[{"status":"firing","startsAt":"2026-11-21T05:00:00Z"}]}`))
	f.Add([]byte("{\"version\":\"4\",\"groupKey\":\"\xff\",\"commonAnnotations\":{\"summary\":\"\\u202e\\u0000\"},\"alerts\":[{\"status\":\"resolved\",\"startsAt\":\"9999-01-01T00:00:00Z\"}]}"))
	f.Fuzz(func(t *testing.T, body []byte) {
		events, err := eventsOfAlerts(body)
		if err != nil {
			if p := problemOf(err); p.Status != 400 || p.Field == "" {
				t.Fatalf("refused as %+v", p)
			}
			return
		}
		again, err := eventsOfAlerts(body)
		if err != nil || !reflect.DeepEqual(events, again) {
			t.Fatal("the same notification gives other events")
		}
		for _, e := range events {
			native, err := incident.Encode(e)
			if err != nil {
				t.Fatal(err)
			}
			decoded, err := incident.Decode(native)
			if err != nil {
				t.Fatalf("the acceptor would refuse it: %v\n%s", err, native)
			}
			if e.UpdateID == "" || decoded.UpdateID != e.UpdateID || !json.Valid(native) {
				t.Fatalf("the event is %s", native)
			}
		}
	})
}
