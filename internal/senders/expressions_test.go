package senders

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/lifecycle"
)

// kuma reads the webhook of Uptime Kuma.
var kuma = Expressions{
	Group: `"kuma-" + string(body.monitor.id)`, Firing: `body.heartbeat.status == 0`, Component: `body.monitor.name.lowerAscii()`,
	Impact: `"critical"`, Title: `body.monitor.name + " is down"`, Message: `body.monitor.description`,
	StartedAt: `timestamp(body.heartbeat.time.replace(" ", "T") + "Z")`,
}

// perAlert reads each alert of Grafana's webhook.
var perAlert = Expressions{
	Each: `body.alerts.filter(a, a.labels.team == "blue")`, Page: `item.labels.?page`, Group: `"latency"`, Key: `item.fingerprint`,
	Firing: `item.status == "firing"`, Component: `[item.labels.zone, ""]`, Impact: `{"page": "critical"}[?item.labels.?severity.orValue("page")].orValue("minor")`,
	Visibility: `has(item.labels.who) ? item.labels.who : null`, Title: `item.annotations.?summary.orValue(item.labels.alertname)`, StartedAt: `item.startsAt`,
}

func mapping(t testing.TB, x Expressions) *Mapping {
	t.Helper()
	m, err := NewMapping(x, "shop")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func reports(t *testing.T, m *Mapping, body []byte) []*lifecycle.Report {
	t.Helper()
	reading, err := m.Read(t.Context(), body)
	if err != nil || len(reading.Events) > 0 {
		t.Fatal(reading, err)
	}
	return reading.Reports
}

func TestMapping(t *testing.T) {
	got := reports(t, mapping(t, kuma), sample(t, "mapping/uptime-kuma.json"))
	want := []*lifecycle.Report{{Source: "mapping", Page: "shop", Group: "kuma-7", Signals: []lifecycle.Signal{{
		Key: "signal", Firing: true, Components: []string{"checkout"}, Impact: incident.ImpactCritical, Title: "Checkout is down",
		StartedAt: time.Date(2026, 11, 21, 4, 50, 0, 123e6, time.UTC),
	}}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the reports are\n%+v\nwant\n%+v", got[0], want[0])
	}
}

// TestMappingOfPublicDetails has maps from the body, and maps that are made.
func TestMappingOfPublicDetails(t *testing.T) {
	for _, tc := range []struct{ expression, body, want string }{
		{`body.facts`, `{"facts":{"code":"E-1","n":7,"half":0.5,"none":null}}`, "map[code:E-1 half:0.5 n:7]"},
		{`{"code": body.code, ?"zone": body.?zone, ?"gone": body.?gone, "none": null}`, `{"code":42,"zone":"b"}`, "map[code:42 zone:b]"},
		{`body.?facts`, `{}`, "map[]"},
		{`{}`, `{}`, "map[]"},
		{`{"code": body.code}`, `{"code":""}`, "map[]"},
		{`{"code": body.code}`, `{"code":true}`, "mapping.public_details"},
		{`{"code": body.code}`, `{"code":{"hush":1}}`, "mapping.public_details"},
		{`{"code": body.code}`, `{}`, "mapping.public_details"},
		{`body.facts`, `{"facts":"hush"}`, "mapping.public_details"},
		{`body.facts`, `{"facts":["hush"]}`, "mapping.public_details"},
		{`body.facts`, `{"facts":{"hu\nsh":"x"}}`, "mapping.public_details"},
		{`{body.code: "x"}`, `{"code":1}`, "mapping.public_details"},
	} {
		x := Expressions{Group: `"g"`, Firing: "true", Impact: `"minor"`, PublicDetails: tc.expression}
		reading, err := mapping(t, x).Read(t.Context(), []byte(tc.body))
		got := ""
		if invalid, ok := errors.AsType[*incident.Invalid](err); ok {
			got = invalid.Field
		} else if err == nil {
			got = fmt.Sprint(reading.Reports[0].Signals[0].PublicDetails)
		}
		if got != tc.want || err != nil && strings.Contains(err.Error(), "hush") {
			t.Errorf("%s of %s gives %s, %v; want %s", tc.expression, tc.body, got, err, tc.want)
		}
	}
}

func TestMappingOfEachItem(t *testing.T) {
	got := reports(t, mapping(t, perAlert), sample(t, "mapping/grafana.json"))
	want := []*lifecycle.Report{{Source: "mapping", Page: "shop", Group: "latency", Signals: []lifecycle.Signal{
		{Key: "c6eadffa33fcdf37", Firing: true, Components: []string{"eu-1"}, Impact: incident.ImpactCritical, Title: "Requests are slow",
			StartedAt: time.Date(2026, 11, 21, 4, 9, 0, 123456000, time.UTC)},
		{Key: "4f2a8f7c8a7d2d3b", Components: []string{"eu-2"}, Impact: incident.ImpactCritical, Title: "High latency",
			StartedAt: time.Date(2026, 11, 21, 5, 9, 0, 0, time.UTC)},
	}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the reports are\n%+v\nwant\n%+v", got[0], want[0])
	}
	body := `{"alerts":[{"status":"firing","fingerprint":"a","labels":{"team":"blue","zone":"z","alertname":"n","page":"a","who":"none"},"annotations":{},"startsAt":1795237200},
		{"status":"firing","fingerprint":"a","labels":{"team":"blue","zone":"z","alertname":"n","page":"b","severity":"x"},"annotations":{},"startsAt":1795237200000},
		{"labels":{"team":"red"}}]}`
	got = reports(t, mapping(t, perAlert), []byte(body))
	if len(got) != 2 || got[0].Page != "a" || got[1].Page != "b" || got[0].Signals[0].Mark != lifecycle.MarkNone || got[1].Signals[0].Impact != incident.ImpactMinor ||
		!got[0].Signals[0].StartedAt.Equal(got[1].Signals[0].StartedAt) || got[0].Signals[0].StartedAt.Year() != 2026 {
		t.Errorf("the reports are %+v, %+v", got[0], got[1])
	}
	if got := reports(t, mapping(t, perAlert), []byte(`{"alerts":[]}`)); len(got) > 0 {
		t.Errorf("nothing is reported as %v", got)
	}
}

// TestFaultyExpressions wants each to be found before there is a body, with its place.
func TestFaultyExpressions(t *testing.T) {
	for _, tc := range []struct {
		change        func(*Expressions)
		field, reason string
	}{
		{func(x *Expressions) { x.Group = "" }, "group", "is missing"},
		{func(x *Expressions) { x.Firing = "" }, "firing", "is missing"},
		{func(x *Expressions) { x.Impact = "" }, "impact", "is missing"},
		{func(x *Expressions) { x.Firing = "body.a ==" }, "firing", "line 1, column 10"},
		{func(x *Expressions) { x.Firing = "true &&\n  bdy.a" }, "firing", "line 2, column 3: undeclared reference to 'bdy'"},
		{func(x *Expressions) { x.Firing = `"yes"` }, "firing", "must give bool, and gives string"},
		{func(x *Expressions) { x.Title = "1" }, "title", "must give string, and gives int"},
		{func(x *Expressions) { x.Each = "body.a.size()" }, "each", "must give list(dyn), and gives int"},
		{func(x *Expressions) { x.Component = "{}" }, "component", "must give string or list(dyn)"},
		{func(x *Expressions) { x.StartedAt = "true" }, "started_at", "must give"},
		{func(x *Expressions) { x.PublicDetails = `["a"]` }, "public_details", "must give map(string, dyn), and gives list(string)"},
		{func(x *Expressions) { x.PublicDetails = `{1: "a"}` }, "public_details", "must give map(string, dyn)"},
		{func(x *Expressions) { x.Message = `lowerAscii(1)` }, "message", "line 1, column 11"},
		{func(x *Expressions) { x.Message = strings.Repeat("(", 1000) + "1" + strings.Repeat(")", 1000) }, "message", "is not an expression"},
		{func(x *Expressions) { x.Message = `"` + strings.Repeat("x", maxExpression) + `"` }, "message", "at most 4096 bytes"},
	} {
		x := kuma
		tc.change(&x)
		_, err := NewMapping(x, "")
		if invalid, ok := errors.AsType[*incident.Invalid](err); !ok || invalid.Field != tc.field || !strings.Contains(invalid.Reason, tc.reason) || strings.Contains(invalid.Reason, "\n") {
			t.Errorf("%s: %v", tc.field, err)
		}
	}
}

func TestRefusedMappings(t *testing.T) {
	x := Expressions{
		Each: `body.list`, Page: `item.?page`, Group: `item.group`, Key: `item.?key`, Firing: `item.firing`, Component: `item.?component`, Impact: `item.impact`,
		Visibility: `item.?visibility`, Title: `item.?title`, Message: `item.a.b.c`, StartedAt: `item.?at`,
	}
	item := func(more string) string {
		return `{"list":[{"group":"g","firing":true,"impact":"none","a":{"b":{"c":""}}` + more + `}]}`
	}
	reports(t, mapping(t, x), []byte(item("")))
	without := func(field string) string { return strings.Replace(item(""), field, `"x"`, 1) }
	var many []string
	for i := range maxReports + 1 {
		many = append(many, fmt.Sprintf(`{"group":"g%d","firing":true,"impact":"none","a":{"b":{"c":""}}}`, i))
	}
	refusesEach(t, append([]refusal{
		{`{}`, "mapping.each"},
		{`{"list":{}}`, "mapping.each"},
		{`{"list":"hush"}`, "mapping.each"},
		{`{"list":[` + strings.Repeat("1,", maxItems) + `1]}`, "mapping.each"},
		{`{"list":["hush"]}`, "mapping.group"},
		{`{"list":[` + strings.Join(many, ",") + `]}`, "mapping.group"},
		{without(`"group"`), "mapping.group"},
		{without(`"firing"`), "mapping.firing"},
		{without(`"impact"`), "mapping.impact"},
		{without(`"c"`), "mapping.message"},
		{strings.Replace(item(""), `"g"`, `"a\nb"`, 1), "mapping.group"},
		{strings.Replace(item(""), `"g"`, `""`, 1), "mapping.group"},
		{strings.Replace(item(""), `true`, `"hush"`, 1), "mapping.firing"},
		{strings.Replace(item(""), `true`, `null`, 1), "mapping.firing"},
		{strings.Replace(item(""), `"none"`, `"hush"`, 1), "mapping.impact"},
		{item(`,"page":"a b"`), "mapping.page"},
		{item(`,"page":{"hush":1}`), "mapping.page"},
		{item(`,"key":"` + strings.Repeat("k", 129) + `"`), "mapping.key"},
		{item(`,"component":["a",1]`), "mapping.component"},
		{item(`,"component":"a\nb"`), "mapping.component"},
		{item(`,"visibility":"hush"`), "mapping.visibility"},
		{item(`,"title":["hush"]`), "mapping.title"},
		{item(`,"at":"hush"`), "mapping.started_at"},
		{item(`,"at":-1e300`), "mapping.started_at"},
		{item(`,"at":9223372036854775807`), "mapping.started_at"},
	}, notBodies...), func(body []byte) error {
		_, err := mapping(t, x).Read(t.Context(), body)
		return err
	})
}

// TestMissingFieldsAreNamed: the field, if the expression has it, and the item.
func TestMissingFieldsAreNamed(t *testing.T) {
	m := mapping(t, perAlert)
	_, err := m.Read(t.Context(), []byte(`{"alerts":[{"labels":{"team":"blue"},"fingerprint":"f"}]}`))
	if err == nil || err.Error() != "mapping.firing: of item 0 needs the field status, which isn't there" {
		t.Error(err)
	}
	x := kuma
	x.Title = `body.titles[body.hidden]`
	_, err = mapping(t, x).Read(t.Context(), []byte(strings.Replace(string(sample(t, "mapping/uptime-kuma.json")), "{", `{"titles":{},"hidden":"hush",`, 1)))
	if err == nil || strings.Contains(err.Error(), "hush") || !strings.HasPrefix(err.Error(), "mapping.title: ") {
		t.Error(err)
	}
}

// TestExpressionsAreBounded: neither what an expression does nor all of a body's can
// go on for ever, whatever the body.
func TestExpressionsAreBounded(t *testing.T) {
	long := `{"list":[` + strings.Repeat("1,", 20_000) + `1],"text":"` + strings.Repeat("x", 100_000) + `","some":[` + strings.Repeat("1,", 900) + `1]}`
	for name, change := range map[string]func(*Expressions){
		"comprehensions": func(x *Expressions) {
			x.Title = `body.list.map(a, body.list.map(b, body.list.map(c, c))).size() > 0 ? "a" : "b"`
		},
		"growth": func(x *Expressions) {
			x.Title = strings.Repeat("(", 100) + "body.text" + strings.Repeat(" + body.text)", 100)
		},
		"growth of growth": func(x *Expressions) { x.Title = `body.text.replace("x", body.text).replace("x", body.text)` },
		"growth in a loop": func(x *Expressions) { x.Title = `body.list.map(a, body.text + body.text).size() > 0 ? "" : ""` },
		"comparisons":      func(x *Expressions) { x.Firing = `body.list.all(a, body.list == body.list)` },
		"matches":          func(x *Expressions) { x.Firing = `body.list.exists(a, body.text.matches("(x+x+)+y"))` },
		"replace": func(x *Expressions) {
			x.Message = `body.list.map(a, body.text.replace("x", "yyyy")).size() > 0 ? "" : ""`
		},
		"many items": func(x *Expressions) { x.Each, x.Title = `body.some`, `body.some.all(a, a > 0) ? "a" : "b"` },
	} {
		x := Expressions{Group: `"g"`, Firing: `true`, Impact: `"none"`}
		change(&x)
		_, err := mapping(t, x).Read(t.Context(), []byte(long))
		if err == nil || !strings.Contains(err.Error(), "too long") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := mapping(t, kuma).Read(t.Context(), []byte(`{"`+strings.Repeat("n", maxString+1)+`":1}`)); err == nil || !strings.Contains(err.Error(), "no names longer") {
		t.Errorf("a long name: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	x := Expressions{Group: `"g"`, Firing: `true`, Impact: `"none"`, Title: `body.some.all(a, a > 0) ? "a" : "b"`}
	if _, err := mapping(t, x).Read(ended, []byte(long)); err == nil || !strings.Contains(err.Error(), "mapping.title: took too long") {
		t.Errorf("a reading that was given up: %v", err)
	}
}

func FuzzMapping(f *testing.F) {
	f.Add(sample(f, "mapping/uptime-kuma.json"))
	f.Add(sample(f, "mapping/grafana.json"))
	f.Add([]byte(`{"alerts":[{"status":"firing","labels":{"team":"blue","zone":"\u202e","alertname":1},"annotations":{"summary":null},"startsAt":1e11,"fingerprint":-0}]}`))
	all := []*Mapping{mapping(f, kuma), mapping(f, perAlert)}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, m := range all {
			reading, err := m.Read(t.Context(), body)
			if err != nil {
				refused(t, err)
				continue
			}
			steps(t, reading.Reports)
		}
	})
}

func FuzzExpression(f *testing.F) {
	for _, text := range []string{`true`, `body.a == 1`, `body.map(a, a.b)`, `item.?a.orValue(body.b.c)`, `"x".format([body])`, `timestamp(body.a)`, `[1, "a", null].map(a, [a])`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, change := range []func(*Expressions){
			func(x *Expressions) { x.Each = text }, func(x *Expressions) { x.Firing = text }, func(x *Expressions) { x.Component = text },
			func(x *Expressions) { x.Title = text }, func(x *Expressions) { x.StartedAt = text },
		} {
			x := Expressions{Group: `"g"`, Firing: `true`, Impact: `"critical"`}
			change(&x)
			m, err := NewMapping(x, "")
			if err != nil {
				refused(t, err)
				continue
			}
			reading, err := m.Read(t.Context(), []byte(`{"a":1,"b":{"c":"d","e":[1,2.5,true,null,"f"]}}`))
			if err != nil {
				refused(t, err)
				continue
			}
			steps(t, reading.Reports)
		}
	})
}
