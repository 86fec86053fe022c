package senders

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/lifecycle"
)

func ofStatuspage(t testing.TB, components bool) Own {
	t.Helper()
	own, err := NewStatuspage("vendors", components)
	if err != nil || own.Kind != SourceStatuspage {
		t.Fatal(own.Kind, err)
	}
	return own
}

func updates(t *testing.T, body []byte) []*incident.Event {
	t.Helper()
	reading, err := ofStatuspage(t, true).Read(t.Context(), body)
	if err != nil || len(reading.Reports) > 0 {
		t.Fatal(reading, err)
	}
	for _, e := range reading.Events {
		accepted(t, e)
	}
	return reading.Events
}

func TestStatuspageIncident(t *testing.T) {
	at := func(hour, minute int) time.Time { return time.Date(2026, 11, 21, hour, minute, 0, 0, time.UTC) }
	event := func(id, status, message string, updated time.Time, components map[string]string, affected ...string) *incident.Event {
		return &incident.Event{
			Page: "vendors", IncidentID: "sp-lbkhbwn21v5q", UpdateID: "sp-" + id, Status: incident.Status(status), Impact: incident.ImpactCritical,
			AffectedComponents: affected, Components: components, StartedAt: at(4, 45), UpdatedAt: updated, Title: "Virginia is down", Message: message,
			Links: []incident.Link{{Rel: "alternate", URL: "http://stspg.io/e1a2b3"}}, Visibility: incident.Public,
		}
	}
	want := []*incident.Event{
		event("8d4x6v1k2p0q", "investigating", "Nobody reaches the data centre.", at(4, 50), map[string]string{"Chat Service": "major_outage"}, "Chat Service"),
		event("2rryghr4qgrh", "identified", "Power was lost.\nIt is being restored.", at(5, 0), nil, "Chat Service", "API"),
		event("drfcwbnpxnr6", "resolved", "All is well again.", at(5, 30), map[string]string{"Chat Service": "operational"}, "Chat Service"),
	}
	want[2].ResolvedAt = at(5, 30)
	got := updates(t, sample(t, "statuspage/incident.json"))
	if !reflect.DeepEqual(got, want) {
		for i := range got {
			t.Errorf("update %d is\n%+v", i, got[i])
		}
	}
}

func TestStatuspageMaintenance(t *testing.T) {
	got := updates(t, sample(t, "statuspage/maintenance.json"))
	if len(got) != 1 || got[0].Status != incident.Scheduled || got[0].Impact != incident.ImpactMaintenance ||
		!got[0].StartedAt.Equal(time.Date(2026, 11, 22, 2, 0, 0, 0, time.UTC)) || !reflect.DeepEqual(got[0].AffectedComponents, []string{"API"}) {
		t.Errorf("the maintenance is %+v", got)
	}
}

// TestStatuspageStatuses reads every status and impact, and what is not told.
func TestStatuspageStatuses(t *testing.T) {
	of := func(more, status, announce string) string {
		return fmt.Sprintf(`{"incident":{"id":"i","name":"n","impact":"minor","created_at":"2026-11-21T04:50:00Z"%s,"components":[],
			"incident_updates":[{"id":"u","status":%q,"created_at":"2026-11-21T04:50:00Z","deliver_notifications":%s}]}}`, more, status, announce)
	}
	for _, status := range []string{"investigating", "identified", "monitoring", "resolved", "scheduled", "in_progress", "verifying", "completed"} {
		if got := updates(t, []byte(of("", status, "true"))); len(got) != 1 || string(got[0].Status) != status || len(got[0].AffectedComponents) > 0 {
			t.Errorf("%s is %+v", status, got)
		}
		quiet := updates(t, []byte(of("", status, "false")))
		if want := status == "resolved" || status == "completed"; (len(quiet) == 1) != want {
			t.Errorf("%s that is not announced is told %d times", status, len(quiet))
		}
	}
	if got := updates(t, []byte(of("", "postmortem", "true"))); len(got) > 0 {
		t.Errorf("a postmortem is %+v", got)
	}
	if got := updates(t, []byte(of(`,"backfilled":true`, "resolved", "true"))); len(got) > 0 {
		t.Errorf("an incident of the past is %+v", got)
	}
	for _, impact := range []string{"none", "minor", "major", "critical", "maintenance"} {
		body := strings.Replace(of("", "resolved", "true"), `"minor"`, `"`+impact+`"`, 1)
		if got := updates(t, []byte(body)); string(got[0].Impact) != impact {
			t.Errorf("impact %s is %s", impact, got[0].Impact)
		}
	}
	odd := strings.Replace(of(`,"shortlink":"javascript:x"`, "resolved", "true"), `"n"`, `"n\u0007`+strings.Repeat("x", 600)+`"`, 1)
	if got := updates(t, []byte(odd)); len(got[0].Links) > 0 || !strings.HasSuffix(got[0].Title, "x…") || strings.Contains(got[0].Title, "\a") {
		t.Errorf("odd texts are %+v", got[0])
	}
}

func TestStatuspageComponent(t *testing.T) {
	body := string(sample(t, "statuspage/component.json"))
	if reading, err := ofStatuspage(t, false).Read(t.Context(), []byte(body)); err != nil || len(reading.Reports)+len(reading.Events) > 0 {
		t.Errorf("a component that doesn't count is %+v, %v", reading, err)
	}
	for status, want := range map[string]incident.Impact{"operational": "none", "degraded_performance": "minor", "partial_outage": "major",
		"major_outage": "critical", "under_maintenance": "maintenance"} {
		reading, err := ofStatuspage(t, true).Read(t.Context(), []byte(strings.Replace(body, `"new_status": "major_outage"`, `"new_status": "`+status+`"`, 1)))
		if err != nil || len(reading.Reports) != 1 {
			t.Fatal(reading, err)
		}
		r := reading.Reports[0]
		expected := &lifecycle.Report{Source: "statuspage", Page: "vendors", Group: "sp-component-rb5wq1dczvbm", Signals: []lifecycle.Signal{{
			Key: "component", Firing: status != "operational", Components: []string{"Some Component"}, Impact: want, Reported: true,
			StartedAt: time.Date(2026, 11, 21, 4, 50, 30, 0, time.UTC), Title: "Some Component: " + strings.ReplaceAll(status, "_", " "),
		}}}
		if !reflect.DeepEqual(r, expected) {
			t.Errorf("%s is\n%+v\nwant\n%+v", status, r, expected)
		}
	}
}

func TestRefusedStatuspage(t *testing.T) {
	of := func(incident, update string) string {
		return `{"incident":{"id":"i","impact":"none","created_at":"2026-11-21T04:50:00Z"` + incident + `,"incident_updates":[{"id":"u","status":"resolved"` + update + `}]}}`
	}
	component := func(component, update string) string {
		return `{"component":{` + component + `},"component_update":{"component_id":"c","new_status":"operational"` + update + `}}`
	}
	refusesEach(t, append([]refusal{
		{`{}`, "incident"},
		{`{"incident":null,"component_update":null}`, "incident"},
		{`{"incident":"hush"}`, "incident"},
		{`{"incident":{}}`, "incident.id"},
		{`{"incident":{"id":"i"}}`, "incident.impact"},
		{`{"incident":{"id":"i","impact":"hush"}}`, "incident.impact"},
		{`{"incident":{"id":"i","impact":"none"}}`, "incident.created_at"},
		{of(`,"name":7`, ""), "incident.name"},
		{of(`,"resolved_at":"hush"`, ""), "incident.resolved_at"},
		{of(`,"components":{}`, ""), "incident.components"},
		{of(`,"components":["hush"]`, ""), "incident.components[0]"},
		{of(`,"components":[{"id":"hush"}]`, ""), "incident.components[0].name"},
		{of(`,"backfilled":"hush"`, ""), "incident.backfilled"},
		{`{"incident":{"id":"i","impact":"none","created_at":"2026-11-21T04:50:00Z","incident_updates":[` + strings.Repeat("{},", maxUpdates) + `{}]}}`, "incident.incident_updates"},
		{`{"incident":{"id":"i","impact":"none","created_at":"2026-11-21T04:50:00Z","incident_updates":[{}]}}`, "incident.incident_updates[0].id"},
		{strings.Replace(of("", ""), `"resolved"`, `"hush"`, 1), "incident.incident_updates[0].status"},
		{strings.Replace(of("", ""), `"i"`, `"i\n"`, 1), "incident.id"},
		{strings.Replace(of("", ""), `"u"`, `"u\n"`, 1), "incident.incident_updates[0].id"},
		{of("", `,"body":[]`), "incident.incident_updates[0].body"},
		{of("", `,"display_at":"hush"`), "incident.incident_updates[0].display_at"},
		{of("", `,"affected_components":[{"name":"a\nb"}]`), "incident.incident_updates[0].affected_components"},
		{component("", ""), "component.name"},
		{component(`"name":"n"`, `,"created_at":"hush"`), "component_update.created_at"},
		{component(`"name":"a\nb"`, ""), "component.name"},
		{strings.Replace(component(`"name":"n"`, ""), "operational", "hush", 1), "component_update.new_status"},
		{strings.Replace(component(`"name":"n"`, ""), `"c"`, `""`, 1), "component_update.component_id"},
		{strings.Replace(component(`"name":"n"`, ""), `"c"`, `"`+strings.Repeat("c", 101)+`"`, 1), "component_update.component_id"},
	}, notBodies...), func(body []byte) error {
		_, err := ofStatuspage(t, true).Read(t.Context(), body)
		return err
	})
}

func FuzzStatuspage(f *testing.F) {
	for _, name := range []string{"incident", "maintenance", "component"} {
		f.Add(sample(f, "statuspage/"+name+".json"))
	}
	own := ofStatuspage(f, true)
	f.Fuzz(func(t *testing.T, body []byte) {
		reading, err := own.Read(t.Context(), body)
		if err != nil {
			refused(t, err)
			return
		}
		steps(t, reading.Reports)
		for _, e := range reading.Events {
			if e.UpdateID == "" {
				t.Fatal("an update has no name")
			}
			accepted(t, e)
		}
	})
}
