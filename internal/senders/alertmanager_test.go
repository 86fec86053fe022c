package senders

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/lifecycle"
)

// firing is a notification as Alertmanager sends it, with all its fields.
const firing = `{"version":"4","groupKey":"{}/{severity=\"critical\"}:{alertname=\"ApiDown\"}","truncatedAlerts":0,"status":"firing",
"receiver":"tocsin","groupLabels":{"alertname":"ApiDown"},"commonLabels":{"alertname":"ApiDown","severity":"critical"},
"commonAnnotations":{"summary":"API is down"},"externalURL":"http://am:9093","notificationReason":"new","alerts":[
{"status":"firing","labels":{"alertname":"ApiDown","component":"auth-api","severity":"critical","instance":"10.1.2.3:9100"},
"annotations":{"summary":"API is down","description":"auth-api does not answer","runbook":"https://wiki.internal/api"},
"startsAt":"2026-11-21T04:50:00.123456789Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://prom:9090/graph","fingerprint":"abc"}]}`

func reader(t testing.TB, change func(*AlertMapping)) *Alertmanager {
	t.Helper()
	m := DefaultAlertMapping()
	if change != nil {
		change(&m)
	}
	a, err := NewAlertmanager(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func one(t *testing.T, a *Alertmanager, body string) *lifecycle.Report {
	t.Helper()
	reports, err := a.Reports([]byte(body))
	if err != nil || len(reports) != 1 {
		t.Fatalf("%d reports, %v", len(reports), err)
	}
	return reports[0]
}

func TestAlertsMapping(t *testing.T) {
	r := one(t, reader(t, nil), firing)
	want := &lifecycle.Report{Source: "alerts", Page: "default", Group: r.Group, Whole: true, Signals: []lifecycle.Signal{{
		Key: "abc", Firing: true, Components: []string{"auth-api"}, Impact: incident.ImpactCritical, Title: "API is down",
		Message: "auth-api does not answer", StartedAt: time.Date(2026, 11, 21, 4, 50, 0, 123456000, time.UTC),
	}}}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("the report is\n%+v\nwant\n%+v", r, want)
	}
	// printf '{}:{}' | sha256sum
	if id := one(t, reader(t, nil), `{"version":"4","groupKey":"{}:{}","alerts":[{"status":"firing","startsAt":"2026-11-21T05:00:00Z"}]}`).Group; id != "am-cc9772a1ec90" {
		t.Errorf("the group's incident is %s", id)
	}
	if r := one(t, reader(t, nil), strings.Replace(firing, `"truncatedAlerts":0`, `"truncatedAlerts":3`, 1)); r.Whole {
		t.Error("a truncated notification is taken for the whole group")
	}
}

func TestAlertsSeverity(t *testing.T) {
	a := reader(t, func(m *AlertMapping) { m.Impact["page"] = incident.ImpactMaintenance })
	for severity, want := range map[string]incident.Impact{"critical": "critical", "error": "major", "major": "major", "warning": "minor",
		"info": "none", "none": "none", "Critical": "critical", "page": "maintenance", "": "minor", "odd": "minor"} {
		if got := one(t, a, strings.ReplaceAll(firing, `"severity":"critical"`, `"severity":"`+severity+`"`)).Signals[0].Impact; got != want {
			t.Errorf("severity %q gives impact %s, want %s", severity, got, want)
		}
	}
}

// TestAlertsOfAnotherMapping reads all that the configuration can change.
func TestAlertsOfAnotherMapping(t *testing.T) {
	a := reader(t, func(m *AlertMapping) {
		m.Page, m.Component, m.Severity, m.Visibility = []string{"site"}, []string{"app", "job"}, []string{"level"}, []string{"who"}
		m.Impact, m.Otherwise = map[string]incident.Impact{"p1": incident.ImpactCritical}, incident.ImpactNone
		m.Title = `{{ .Labels.app }} in {{ .GroupLabels.zone }}`
		m.Message = `{{ if eq .Status "firing" }}{{ .Annotations.public }}{{ else }}Over since {{ .EndsAt.Format "15:04" }}.{{ end }}`
		m.Prefix = "site-"
		m.Public = map[string][]string{"endpoint": {"app", "job"}, "level": {"level"}, "none": {"nowhere"}}
	})
	r := one(t, a, `{"version":"4","groupKey":"k","groupLabels":{"zone":"b"},"commonLabels":{"site":"eu","level":"P1"},"alerts":[
		{"status":"firing","labels":{"app":"shop","who":"Private"},"annotations":{"public":"Slow."},"startsAt":"2026-11-21T04:00:00Z"},
		{"status":"resolved","labels":{"job":"cart","level":"p2"},"startsAt":"2026-11-21T04:00:00Z","endsAt":"2026-11-21T04:30:00Z"}]}`)
	if r.Page != "eu" || !strings.HasPrefix(r.Group, "site-") {
		t.Errorf("the report is of %s on %s", r.Group, r.Page)
	}
	var got []string
	for _, s := range r.Signals {
		got = append(got, fmt.Sprintf("%v %s %v %s|%s|%s|%v", s.Firing, s.Mark, s.Components, s.Impact, s.Title, s.Message, s.PublicDetails))
	}
	want := []string{
		"true private [shop] critical|shop in b|Slow.|map[endpoint:shop level:P1]",
		"false  [cart] none|in b|Over since 04:30.|map[endpoint:cart level:p2]",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the signals are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTextsThatAreNoneFallBack(t *testing.T) {
	a := reader(t, func(m *AlertMapping) {
		m.Title = `{{ if .Annotations.summary }}{{ index .Annotations.summary 99 }}{{ end }}`
		m.Message = `{{ if eq .Status "resolved" }}never{{ end }}`
	})
	s := one(t, a, firing).Signals[0]
	if s.Title != "API is down" || s.Message != "auth-api does not answer" {
		t.Errorf("title %q, message %q", s.Title, s.Message)
	}
}

func TestFaultyMappings(t *testing.T) {
	for _, tc := range []struct {
		change func(*AlertMapping)
		field  string
	}{
		{func(m *AlertMapping) { m.Title = "{{ .Labels.x" }, "title"},
		{func(m *AlertMapping) { m.Message = "{{ .Label }}" }, "message"},
		{func(m *AlertMapping) { m.Page = []string{""} }, "page"},
		{func(m *AlertMapping) { m.Prefix = "" }, "incident"},
		{func(m *AlertMapping) { m.Public = map[string][]string{"code": nil} }, `public_details["code"]`},
		{func(m *AlertMapping) { m.Public = map[string][]string{"code": {""}} }, `public_details["code"]`},
		{func(m *AlertMapping) { m.Public = map[string][]string{"": {"a"}} }, `public_details[""]`},
		{func(m *AlertMapping) { m.Public = map[string][]string{" code": {"a"}} }, `public_details[" code"]`},
		{func(m *AlertMapping) {
			m.Public = make(map[string][]string)
			for i := range lifecycle.MaxPublicDetails + 1 {
				m.Public[fmt.Sprint(i)] = []string{"a"}
			}
		}, "public_details"},
		{func(m *AlertMapping) { m.Prefix = "a\nb" }, "incident"},
		{func(m *AlertMapping) { m.Prefix = strings.Repeat("x", 41) }, "incident"},
	} {
		m := DefaultAlertMapping()
		tc.change(&m)
		_, err := NewAlertmanager(m)
		if invalid, ok := errors.AsType[*incident.Invalid](err); !ok || invalid.Field != tc.field {
			t.Errorf("%s: %v", tc.field, err)
		}
	}
}

func TestAlertsOfSeveralPages(t *testing.T) {
	reports, err := reader(t, nil).Reports([]byte(`{"version":"4","groupKey":"k","alerts":[
		{"status":"resolved","labels":{"page":"b","component":"x"},"startsAt":"2026-11-21T04:00:00Z","endsAt":"2026-11-21T04:30:00Z"},
		{"status":"firing","labels":{"page":"a"},"startsAt":"2026-11-21T04:10:00Z"},
		{"status":"firing","labels":{"page":" b","component":"y"},"startsAt":"2026-11-21T04:10:00Z"}]}`))
	if err != nil || len(reports) != 2 || reports[0].Page != "a" || reports[1].Page != "b" || len(reports[1].Signals) != 2 ||
		reports[0].Group != reports[1].Group {
		t.Fatal(reports, err)
	}
	var many []string
	for i := range maxPages + 1 {
		many = append(many, fmt.Sprintf(`{"status":"firing","labels":{"page":"p%d"},"startsAt":"2026-11-21T04:10:00Z"}`, i))
	}
	_, err = reader(t, nil).Reports([]byte(`{"version":"4","groupKey":"k","alerts":[` + strings.Join(many, ",") + `]}`))
	if invalid, ok := errors.AsType[*incident.Invalid](err); !ok || invalid.Field != "alerts.labels.page" {
		t.Error(err)
	}
}

func TestRefusedAlerts(t *testing.T) {
	for _, tc := range []struct{ body, field string }{
		{"", "body"},
		{"[]", "alerts"},
		{"{", "body"},
		{`{"version":"4","version":"4"}`, "version"},
		{"{\"version\":\"\xff\"}", "body"},
		{`{} {}`, "body"},
		{`{}`, "version"},
		{`{"version":"3"}`, "version"},
		{`{"version":4}`, "version"},
		{`{"version":"1.0","groupKey":"k","alerts":[{"status":"firing","startsAt":"2026-11-21T05:00:00Z"}]}`, "version"},
		{`{"version":"1","alerts":[{"status":"firing","startsAt":"2026-11-21T05:00:00Z"}]}`, "groupKey"},
		{`{"version":"1","groupKey":"tocsin-57c6-1","alerts":[{"status":"ok","fingerprint":"57c6"}]}`, "alerts[0].status"},
		{`{"version":"4","alerts":[]}`, "groupKey"},
		{`{"version":"4","groupKey":"k","truncatedAlerts":-1,"alerts":[]}`, "truncatedAlerts"},
		{`{"version":"4","groupKey":"k","alerts":[]}`, "alerts"},
		{`{"version":"4","groupKey":"k","alerts":{}}`, "alerts"},
		{`{"version":"4","groupKey":"k","commonLabels":{"a":{}},"alerts":[]}`, "commonLabels"},
		{`{"version":"4","groupKey":"k","alerts":[{"status":"on"}]}`, "alerts[0].status"},
		{`{"version":"4","groupKey":"k","alerts":[{"status":"firing"}]}`, "alerts[0].startsAt"},
		{`{"version":"4","groupKey":"k","alerts":[{"status":"firing","startsAt":"hush"}]}`, "alerts[0].startsAt"},
		{`{"version":"4","groupKey":"k","alerts":[{"status":"firing","startsAt":1763700000}]}`, "alerts[0].startsAt"},
		{`{"version":"4","groupKey":"k","alerts":[{"status":"firing","startsAt":"2026-11-21T05:00:00Z"},
			{"status":"resolved","startsAt":"2026-11-21T05:00:00Z","endsAt":"2026-11-21T25:00:00Z"}]}`, "alerts[1].endsAt"},
		{`{"version":"4","groupKey":"k","alerts":[{"status":"firing","startsAt":"2026-11-21T05:00:00Z","labels":{"page":"a b"}}]}`, "alerts.labels.page"},
		{`{"version":"4","groupKey":"k","alerts":[{"status":"firing","startsAt":"2026-11-21T05:00:00Z","labels":{"component":"a\nb"}}]}`, "alerts.labels.component"},
		{`{"version":"4","groupKey":"k","alerts":[{"status":"firing","startsAt":"2026-11-21T05:00:00Z","labels":{"tocsin":"hush"}}]}`, "alerts.labels.tocsin"},
		{`{"version":"4","groupKey":"k","alerts":[{"status":"firing","startsAt":"0002-11-21T05:00:00Z"}]}`, "alerts.startsAt"},
		{`{"x":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `,"version":"4"}`, "body"},
	} {
		reports, err := reader(t, nil).Reports([]byte(tc.body))
		invalid, ok := errors.AsType[*incident.Invalid](err)
		if !ok || invalid.Field != tc.field || invalid.Reason == "" || strings.Contains(err.Error(), "hush") {
			t.Errorf("%.100s: %v, %v", tc.body, reports, err)
		}
	}
}

// TestTooManyAlertsAreNotRead: what stands in the place of millions of alerts would take
// more than a gigabyte to be read.
func TestTooManyAlertsAreNotRead(t *testing.T) {
	const alert = `{"status":"firing","startsAt":"2026-11-21T05:00:00Z","labels":{"a":"],[\\\","}}`
	body := func(name string, entries int, entry string) []byte {
		return []byte(`{"version":"4","groupKey":"k","` + name + `":[` + strings.Repeat(entry+",", entries-1) + entry + `],"receiver":",,"}`)
	}
	if err := checkCount(body("alerts", maxAlerts, alert)); err != nil {
		t.Errorf("as many as there may be: %v", err)
	}
	for _, tc := range []struct {
		body          []byte
		field, reason string
	}{
		{body("alerts", maxAlerts+1, alert), "alerts", "at most 100000"},
		{body("alerts", maxAlerts+1, "{}"), "alerts", "at most 100000"},
		{body("alerts", 30_000, "{}"), "alerts", "alerts alone"},
		{body("alerts", 30_000, "null"), "alerts", "alerts alone"},
		{body("ALERTS", 30_000, "{}"), "alerts", "alerts alone"},
		{body(`\u0061lerts`, 30_000, "{}"), "alerts", "alerts alone"},
		{body("alerts", 10_000, "{}"), "alerts[0].status", "firing or resolved"},
		{body("others", 30_000, "{}"), "alerts", "at least one"},
	} {
		_, err := reader(t, nil).Reports(tc.body)
		if invalid, ok := errors.AsType[*incident.Invalid](err); !ok || invalid.Field != tc.field || !strings.Contains(invalid.Reason, tc.reason) {
			t.Errorf("%.60s, %d bytes: %v", tc.body, len(tc.body), err)
		}
	}
}

func FuzzAlertmanager(f *testing.F) {
	f.Add([]byte(firing))
	for _, name := range []string{"firing", "resolved", "error", "test"} {
		f.Add(sample(f, "grafana/"+name+".json"))
	}
	f.Add([]byte(`{"version":"4","groupKey":"k","alerts":[{"status":"firing","startsAt":"2026-11-21T05:00:00Z"}]}`))
	f.Add([]byte(`{"version":"4","groupKey":"k","groupKey":"l","alerts":[{"status":"resolved","status":"firing","startsAt":"2999-11-21T05:00:00Z","labels":{"a":"b","a":"c"}}]}`))
	f.Add([]byte("{\"version\":\"4\",\"groupKey\":\"\xff\",\"commonAnnotations\":{\"summary\":\"\\u202e\\u0000\\u2028\"},\"commonLabels\":{\"severity\":\"critical\"},\"alerts\":[{\"status\":\"firing\",\"startsAt\":\"1970-01-01T00:00:00Z\"}]}"))
	now := time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)
	a := reader(f, func(m *AlertMapping) {
		m.Title = `{{ .Labels.a }}{{ .Annotations.summary }}`
		m.Public = map[string][]string{"code": {"a", "severity"}, "instance": {"instance"}}
	})
	f.Fuzz(func(t *testing.T, body []byte) {
		reports, err := a.Reports(body)
		if err != nil {
			if invalid, ok := errors.AsType[*incident.Invalid](err); !ok || invalid.Field == "" {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		again, err := a.Reports(body)
		if err != nil || !reflect.DeepEqual(reports, again) {
			t.Fatal("the same notification gives other reports")
		}
		for _, r := range reports {
			_, decisions := lifecycle.Step(lifecycle.NewCase(r.Page, r.Group), r, now, lifecycle.DefaultRules())
			for _, d := range decisions {
				native, err := incident.Encode(d.Event)
				if err != nil {
					t.Fatal(err)
				}
				decoded, err := incident.Decode(native)
				if err != nil || decoded.UpdateID != d.Event.UpdateID || !json.Valid(native) {
					t.Fatalf("the acceptor would refuse it: %v\n%s", err, native)
				}
			}
		}
	})
}
