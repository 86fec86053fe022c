package webhook

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/incident"
)

func render(t *testing.T, u *channels.Update, v channels.Variant) (text string, decoded body) {
	t.Helper()
	p, err := (&Channel{}).Render(u.SeenBy(v.Visibility), v)
	if err != nil {
		t.Fatal(err)
	}
	text = string(p.(*payload).json)
	if err := json.Unmarshal([]byte(text), &decoded); err != nil {
		t.Fatal(err)
	}
	return text, decoded
}

// The sample in the documentation is what the code writes.
func TestSampleBody(t *testing.T) {
	text, _ := render(t, sampleUpdate(), channels.Variant{Visibility: incident.Public})
	var got bytes.Buffer
	if err := json.Indent(&got, []byte(text), "", "  "); err != nil {
		t.Fatal(err)
	}
	got.WriteByte('\n')
	want, err := os.ReadFile("../../docs/samples/webhook.json")
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("docs/samples/webhook.json is not what is sent; that is\n%s", got.String())
	}
}

func TestTypeOfTheBody(t *testing.T) {
	for _, tc := range []struct {
		sequence int
		status   incident.Status
		want     string
	}{
		{1, incident.Investigating, "incident.created"},
		{1, incident.Resolved, "incident.created"},
		{2, incident.Monitoring, "incident.updated"},
		{3, incident.Resolved, "incident.resolved"},
		{3, incident.Completed, "incident.resolved"},
		{2, incident.InProgress, "incident.updated"},
	} {
		u := sampleUpdate()
		u.Sequence, u.Status = tc.sequence, tc.status
		if _, b := render(t, u, channels.Variant{}); b.Type != tc.want {
			t.Errorf("sequence %d, %s: %s; want %s", tc.sequence, tc.status, b.Type, tc.want)
		}
	}
}

func TestTextsAreThoseOfTheLocale(t *testing.T) {
	for locale, want := range map[string][2]string{
		"":      {"Logins fail", "A database node"},
		"en":    {"Logins fail", "A database node"},
		"de":    {"Anmeldung gestört", "Ein Datenbankknoten"},
		"de-AT": {"Anmeldung gestört", "Ein Datenbankknoten"},
		"pt":    {"Falha de autenticação", "Um nó"},
		"pt-BR": {"Falha no login", "Um nó"}, // its title, the message of pt
		"pt-PT": {"Falha de autenticação", "Um nó"},
		"-":     {"Logins fail", "A database node"},
	} {
		_, b := render(t, sampleUpdate(), channels.Variant{Locale: locale})
		if b.Data.Title != want[0] || !strings.HasPrefix(b.Data.Message, want[1]) {
			t.Errorf("%q: %q, %q; want %q", locale, b.Data.Title, b.Data.Message, want)
		}
	}
	u := sampleUpdate()
	u.Timeline[1].Translations = map[string]incident.Translation{"de": {Message: "Wir suchen."}}
	_, b := render(t, u, channels.Variant{Locale: "de-CH"})
	if b.Data.Updates[1].Message != "Wir suchen." || b.Data.Updates[0].Message != u.Timeline[0].Message {
		t.Errorf("timeline %+v", b.Data.Updates)
	}
}

func TestDetailsAreForPrivateTargetsOnly(t *testing.T) {
	for v, shown := range map[incident.Visibility]bool{incident.Private: true, incident.Public: false, "": false} {
		text, _ := render(t, sampleUpdate(), channels.Variant{Visibility: v})
		if strings.Contains(text, "runbook") != shown {
			t.Errorf("visibility %q: %s", v, text)
		}
	}
}

func TestPublicDetailsAreForEveryone(t *testing.T) {
	u := sampleUpdate()
	u.PublicDetails = map[string]string{"error_code": "E-1042"}
	for _, v := range []incident.Visibility{incident.Private, incident.Public} {
		if _, b := render(t, u, channels.Variant{Visibility: v}); b.Data.Public["error_code"] != "E-1042" {
			t.Errorf("visibility %q: %+v", v, b.Data)
		}
	}
}

func TestBodyOfABareUpdate(t *testing.T) {
	at := time.Date(2026, 11, 21, 6, 0, 0, 0, time.FixedZone("", 3600))
	text, b := render(t, &channels.Update{Page: "p", IncidentID: "i", Sequence: 1, Status: incident.Investigating,
		Impact: incident.ImpactNone, StartedAt: at, AcceptedAt: at}, channels.Variant{Format: "tocsin"})
	want := `{"type":"incident.created","timestamp":"2026-11-21T05:00:00Z","data":{"page":"p","incident_id":"i","sequence":1,` +
		`"status":"investigating","impact":"none","title":"","message":"","affected_components":[],` +
		`"started_at":"2026-11-21T05:00:00Z","updated_at":"2026-11-21T05:00:00Z","updates":[],"links":[]}}`
	if text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	if !b.Data.ResolvedAt.IsZero() {
		t.Error("resolved_at without a time")
	}
}

func TestBodiesAreBounded(t *testing.T) {
	u := sampleUpdate()
	u.Timeline = make([]channels.TimelineEntry, 5000)
	if _, b := render(t, u, channels.Variant{}); len(b.Data.Updates) != channels.MaxRecent {
		t.Errorf("%d entries", len(b.Data.Updates))
	}
	for i := range u.Timeline {
		u.Timeline[i].Message = strings.Repeat("<", 64<<10)
	}
	text, b := render(t, u, channels.Variant{})
	if len(b.Data.Updates) != 4 || len(text) > channels.MaxRecentText+64<<10 {
		t.Errorf("%d entries, %d bytes", len(b.Data.Updates), len(text))
	}
	u.Timeline[0].Message = strings.Repeat("x", 2*channels.MaxRecentText)
	if _, b := render(t, u, channels.Variant{}); len(b.Data.Updates) != 1 {
		t.Errorf("%d entries; want the newest always", len(b.Data.Updates))
	}
}

func TestUnknownFormatsAreRefused(t *testing.T) {
	if _, err := (&Channel{}).Render(sampleUpdate(), channels.Variant{Format: "fax"}); err == nil {
		t.Error("want an error")
	}
}
