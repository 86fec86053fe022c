package senders

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/lifecycle"
)

// sample reads one of the payloads that are written as the vendors publish them.
func sample(t testing.TB, name string) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func paged(t *testing.T, source string, body []byte) *lifecycle.Report {
	t.Helper()
	e, err := ReadPagerDuty(body)
	if err != nil {
		t.Fatal(err)
	}
	reports, err := e.Reports(source, "shop")
	if err != nil || len(reports) != 1 {
		t.Fatalf("%d reports, %v", len(reports), err)
	}
	return reports[0]
}

func TestPagerDuty(t *testing.T) {
	trigger, resolve := paged(t, "", sample(t, "pagerduty/trigger.json")), paged(t, "", sample(t, "pagerduty/resolve.json"))
	// printf '\ndb-3/mysql' | sha256sum
	want := &lifecycle.Report{Source: "pagerduty", Page: "shop", Group: "pd-8ac37d163db7", Signals: []lifecycle.Signal{{
		Key: "alert", Firing: true, Components: []string{"mysql"}, Impact: incident.ImpactCritical, Reported: true,
		Title: "DISK at 99% on machine db-3.example.com", StartedAt: time.Date(2026, 11, 21, 4, 42, 58, 315e6, time.UTC),
	}}}
	if !reflect.DeepEqual(trigger, want) {
		t.Errorf("the trigger is\n%+v\nwant\n%+v", trigger, want)
	}
	if resolve.Group != trigger.Group || len(resolve.Signals) != 1 || resolve.Signals[0].Firing || resolve.Signals[0].Key != "alert" {
		t.Errorf("the end is %+v", resolve)
	}
	if ack := paged(t, "", sample(t, "pagerduty/acknowledge.json")); ack.Group != trigger.Group || len(ack.Signals) > 0 || ack.Note != lifecycle.Acknowledged || ack.Whole {
		t.Errorf("the acknowledgement is %+v", ack)
	}
	if paged(t, "other", sample(t, "pagerduty/trigger.json")).Group == trigger.Group {
		t.Error("two senders share an incident")
	}
	if key := RoutingKey(sample(t, "pagerduty/resolve.json")); key != "0123456789abcdef0123456789abcdef" {
		t.Errorf("the key is %q", key)
	}
	if key := RoutingKey([]byte(`{"routing_key":"k","routing_key":"l"}`)); key != "" {
		t.Errorf("a body with two keys has %q", key)
	}
}

// TestPagerDutysCustomDetails tells those that are named, and no others.
func TestPagerDutysCustomDetails(t *testing.T) {
	read := func(custom string) string {
		t.Helper()
		body := strings.Replace(string(sample(t, "pagerduty/trigger.json")), `{"free space": "1%", "ping time": "1500ms", "load avg": 0.75}`, custom, 1)
		e, err := ReadPagerDuty([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		e.Publish([]string{"code", "n", "list", "gone"})
		reports, err := e.Reports("nagios", "")
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(reports[0].Signals[0].PublicDetails)
	}
	for custom, want := range map[string]string{
		`{"code":"E-1","n":0.75,"list":["x"],"host":"hush"}`: "map[code:E-1 n:0.75]",
		`{}`: "map[]", `null`: "map[]", `"hush"`: "map[]", `["hush"]`: "map[]",
	} {
		if got := read(custom); got != want {
			t.Errorf("of %s are told %s, not %s", custom, got, want)
		}
	}
}

func TestPagerDutySeverity(t *testing.T) {
	for severity, want := range map[string]incident.Impact{"critical": "critical", "error": "major", "warning": "minor", "info": "none"} {
		body := strings.Replace(string(sample(t, "pagerduty/trigger.json")), `"critical"`, `"`+severity+`"`, 1)
		if got := paged(t, "", []byte(body)).Signals[0].Impact; got != want {
			t.Errorf("severity %s is impact %s, want %s", severity, got, want)
		}
	}
}

// TestPagerDutyKeepsTheBeginning: a trigger that is repeated has the time of the
// repetition, and one without a time that of its arrival; neither begins anew.
func TestPagerDutyKeepsTheBeginning(t *testing.T) {
	now := time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)
	body := string(sample(t, "pagerduty/trigger.json"))
	c, _ := lifecycle.Step(lifecycle.NewCase("shop", "g"), paged(t, "", []byte(body)), now, lifecycle.DefaultRules())
	began := c.Firing[0].StartedAt
	for i, timestamp := range []string{`"timestamp": "2026-11-21T05:00:30Z",`, ""} {
		body := strings.Replace(body, `"timestamp": "2026-11-21T04:42:58.315+0000",`, timestamp, 1)
		again, decisions := lifecycle.Step(c, paged(t, "", []byte(body)), now.Add(time.Minute), lifecycle.DefaultRules())
		if !again.Firing[0].StartedAt.Equal(began) || len(decisions) > 0 {
			t.Errorf("repetition %d begins at %s, with %d updates", i, again.Firing[0].StartedAt, len(decisions))
		}
	}
	first := strings.Replace(body, `"timestamp": "2026-11-21T04:42:58.315+0000",`, "", 1)
	if c, _ := lifecycle.Step(lifecycle.NewCase("shop", "g"), paged(t, "", []byte(first)), now, lifecycle.DefaultRules()); !c.StartedAt.Equal(now) {
		t.Errorf("without a time it began at %s", c.StartedAt)
	}
}

// refusal is a body, and the field that its refusal names.
type refusal struct{ body, field string }

// refusesEach wants each to be refused without a word of what was sent.
func refusesEach(t *testing.T, cases []refusal, read func([]byte) error) {
	t.Helper()
	for _, tc := range cases {
		err := read([]byte(tc.body))
		invalid, ok := errors.AsType[*incident.Invalid](err)
		if !ok || invalid.Field != tc.field || invalid.Reason == "" || strings.Contains(err.Error(), "hush") {
			t.Errorf("%.100s: %v, want field %s", tc.body, err, tc.field)
		}
	}
}

// notBodies are refused by all that are read by their exact names.
var notBodies = []refusal{
	{"", "body"}, {"[]", "body"}, {"{", "body"}, {"{} {}", "body"}, {"nul", "body"}, {"\"hush\"", "body"}, {"{\"hush\xff\":1}", "body"},
	{`{"hush":"\ud800"}`, "body"}, {`{"a":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`, "body"},
	{`{"a":1,"a":2}`, "a"}, {`{"b":{"c":1,"\u0063":2}}`, "c"}, {strings.Repeat(" ", MaxBody+1), "body"},
}

func TestRefusedPagerDuty(t *testing.T) {
	refusesEach(t, append([]refusal{
		{`{}`, "routing_key"},
		{`{"routing_key":7}`, "routing_key"},
		{`{"Routing_Key":"k","event_action":"resolve","dedup_key":"d"}`, "routing_key"},
		{`{"routing_key":"k"}`, "event_action"},
		{`{"routing_key":"k","event_action":"hush"}`, "event_action"},
		{`{"routing_key":"k","event_action":["trigger"]}`, "event_action"},
		{`{"routing_key":"k","event_action":"resolve"}`, "dedup_key"},
		{`{"routing_key":"k","event_action":"acknowledge","dedup_key":null}`, "dedup_key"},
		{`{"routing_key":"k","event_action":"resolve","dedup_key":"` + strings.Repeat("ä", 256) + `"}`, "dedup_key"},
		{`{"routing_key":"k","event_action":"trigger"}`, "payload.source"},
		{`{"routing_key":"k","event_action":"trigger","payload":[]}`, "payload"},
		{`{"routing_key":"k","event_action":"trigger","payload":{"source":"s"}}`, "payload.summary"},
		{`{"routing_key":"k","event_action":"trigger","payload":{"source":"s","summary":"s","severity":"hush"}}`, "payload.severity"},
		{`{"routing_key":"k","event_action":"trigger","payload":{"source":"s","summary":"s","severity":"info","timestamp":"hush"}}`, "payload.timestamp"},
		{`{"routing_key":"k","event_action":"trigger","payload":{"source":"s","summary":"s","severity":"info","component":"a\nb"}}`, "payload.component"},
	}, notBodies...), func(body []byte) error {
		e, err := ReadPagerDuty(body)
		if err != nil {
			return err
		}
		_, err = e.Reports("", "")
		return err
	})
}

// steps wants what reports lead to be what the acceptor takes.
func steps(t *testing.T, reports []*lifecycle.Report) {
	t.Helper()
	now := time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)
	for _, r := range reports {
		_, decisions := lifecycle.Step(lifecycle.NewCase(r.Page, r.Group), r, now, lifecycle.DefaultRules())
		for _, d := range decisions {
			accepted(t, d.Event)
		}
	}
}

func accepted(t *testing.T, e *incident.Event) {
	t.Helper()
	native, err := incident.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	if decoded, err := incident.Decode(native); err != nil || decoded.UpdateID != e.UpdateID {
		t.Fatalf("the acceptor would refuse it: %v\n%s", err, native)
	}
}

// refused wants an error to name a field.
func refused(t *testing.T, err error) {
	t.Helper()
	if invalid, ok := errors.AsType[*incident.Invalid](err); !ok || invalid.Field == "" {
		t.Fatalf("refused with %v", err)
	}
}

func FuzzPagerDuty(f *testing.F) {
	for _, name := range []string{"trigger", "acknowledge", "resolve"} {
		f.Add(sample(f, "pagerduty/"+name+".json"))
	}
	f.Add([]byte(`{"routing_key":"k","event_action":"trigger","payload":{"source":"s","summary":"\u202e\u0000","severity":"critical","timestamp":"9999-12-31T23:59:59-14:00"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		RoutingKey(body)
		e, err := ReadPagerDuty(body)
		if err != nil {
			refused(t, err)
			return
		}
		reports, err := e.Reports("s", "")
		if err != nil {
			refused(t, err)
			return
		}
		steps(t, reports)
	})
}
