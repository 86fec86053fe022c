package senders

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/lifecycle"
)

func TestGrafana(t *testing.T) {
	at := func(text string) time.Time {
		moment, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		return moment.UTC()
	}
	// printf '{}/{team="blue"}:{}' | sha256sum, and printf '{}:{service="checkout"}' | sha256sum
	const group, failing = "am-e9dced92299f", "am-bd3fddab0dc3"
	for name, want := range map[string]*lifecycle.Report{
		"firing": {Source: "alerts", Page: "default", Group: group, Whole: true, Signals: []lifecycle.Signal{
			{
				Key: "c6eadffa33fcdf37", Firing: true, Components: []string{"checkout"}, Impact: incident.ImpactCritical,
				Title: "Checkout is slow", Message: "Checkouts take long.", StartedAt: at("2026-11-21T03:51:03.157076Z"),
			},
			{
				Key: "bc97ff14869b13e3", Firing: true, Components: []string{"search"}, Impact: incident.ImpactMinor,
				Title: "High CPU usage", StartedAt: at("2026-11-21T03:56:03.157076Z"),
			},
		}},
		"resolved": {Source: "alerts", Page: "default", Group: group, Signals: []lifecycle.Signal{{
			Key: "c6eadffa33fcdf37", Components: []string{"checkout"}, Impact: incident.ImpactCritical, Title: "Checkout is slow",
			StartedAt: at("2026-11-21T03:51:03.157076Z"), EndedAt: at("2026-11-21T04:11:00Z"),
		}}},
		// Where the rule can't be evaluated Grafana says so in an alert of its own, with
		// the rule's labels; what went wrong stays here.
		"error": {Source: "alerts", Page: "default", Group: failing, Whole: true, Signals: []lifecycle.Signal{{
			Key: "7a3f0e0d5bb6c9ae", Firing: true, Components: []string{"checkout"}, Impact: incident.ImpactCritical,
			Title: "DatasourceError", StartedAt: at("2026-11-21T05:00:00Z"),
		}}},
	} {
		got := one(t, reader(t, nil), string(sample(t, "grafana/"+name+".json")))
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: the report is\n%+v\nwant\n%+v", name, got, want)
		}
	}
}

// TestGrafanasTest has it that a contact point which is tested tells nobody, whatever
// alert the tester makes up; and that nothing else is taken for a test.
func TestGrafanasTest(t *testing.T) {
	body := sample(t, "grafana/test.json")
	for _, tc := range []struct {
		old, new string
		reports  int
	}{
		{"", "", 0},
		{`"TestAlert"`, `"CheckoutDown"`, 0},
		{`"groupKey": "tocsin-`, `"groupKey": "a contact-point {1}-`, 0},
		{`"groupKey": "tocsin-`, `"groupKey": "{}:{service=\"checkout\"}-`, 1},
		{`-1795237200"`, `-"`, 1},
		{`-1795237200"`, `-later"`, 1},
		{`-1795237200"`, `"`, 1},
		{`"groupKey": "tocsin-57c6d9296de2ad39`, `"groupKey": "tocsin-57c6d9296de2ad38`, 1},
		{`"fingerprint": "57c6d9296de2ad39"`, `"fingerprint": ""`, 1},
		{`"version": "1"`, `"version": "4"`, 1},
		{`"alerts": [`, `"alerts": [{"status": "firing", "startsAt": "2026-11-21T05:00:00Z"},`, 1},
	} {
		text := strings.ReplaceAll(string(body), tc.old, tc.new)
		if tc.old == "" {
			text = string(body)
		} else if text == string(body) {
			t.Fatalf("%s is not there", tc.old)
		}
		reports, err := reader(t, nil).Reports([]byte(text))
		if err != nil || len(reports) != tc.reports {
			t.Errorf("with %s it gives %d reports, %v; want %d", tc.new, len(reports), err, tc.reports)
		}
	}
}

// TestVersions refuses every other version, and says which there are.
func TestVersions(t *testing.T) {
	body := sample(t, "grafana/firing.json")
	for version, taken := range map[string]bool{`"1"`: true, `"4"`: true, `"2"`: false, `""`: false, `"41"`: false, `null`: false} {
		_, err := reader(t, nil).Reports(bytes.Replace(body, []byte(`"version": "1"`), []byte(`"version": `+version), 1))
		if taken {
			if err != nil {
				t.Errorf("version %s: %v", version, err)
			}
			continue
		}
		invalid, ok := errors.AsType[*incident.Invalid](err)
		if !ok || invalid.Field != "version" || !strings.Contains(invalid.Reason, `"4"`) || !strings.Contains(invalid.Reason, `"1"`) {
			t.Errorf("version %s: %v", version, err)
		}
	}
}
