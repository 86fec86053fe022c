package crash

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// hush is in what must not come back.
const hush = "hush-5e1f0c"

// intakeRoute is a route of the intake, with a body that it takes.
type intakeRoute struct {
	path  string
	limit int // bytes
	body  string
}

const alertsBody = `{"version":"4","groupKey":"{}:{}","truncatedAlerts":0,"status":"firing","receiver":"tocsin","groupLabels":{"page":"hostile"},
	"commonLabels":{"page":"hostile","severity":"critical"},"commonAnnotations":{"summary":"It is down"},"externalURL":"http://alertmanager:9093","alerts":[
	{"status":"firing","labels":{"alertname":"Down","component":"auth-api","page":"hostile"},"annotations":{"summary":"It is down","description":"All of it."},
	"startsAt":"2026-11-21T04:50:00Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://prometheus:9090","fingerprint":"a1b2"},
	{"status":"resolved","labels":{"alertname":"Slow","component":"auth-api","page":"hostile"},"annotations":{},
	"startsAt":"2026-11-21T04:40:00Z","endsAt":"2026-11-21T04:45:00Z","fingerprint":"a1b3"}]}`

// None of what is taken concerns the page that has subscribers.
var intakeRoutes = []intakeRoute{
	{"/v1/incidents", 1 << 20, `{"page":"hostile","incident_id":"INC-1","status":"investigating","affected_components":["auth-api"],"impact":"critical",
		"started_at":"2026-11-21T04:50:00Z","updated_at":"2026-11-21T04:51:00Z","resolved_at":"2026-11-21T04:52:00Z","expires_at":"2026-11-22T04:52:00Z",
		"title":"Sign-in fails","message":"We look into it.","visibility":"public","components":{"auth-api":"down"},"update_id":"u1",
		"links":[{"rel":"self","title":"More","url":"https://status.example.com/1"}],"translations":{"de":{"title":"Gestört","message":"Wir suchen."}},
		"targets":[{"channel":"webhook","address":"https://hooks.example.com/1"}],"details":{"host":"db-7"},"public_details":{"code":"E7"},"test":true}`},
	{"/v1/alerts", 10 << 20, alertsBody},
	{"/v1/update", 10 << 20, alertsBody},
	{"/v1/probes", 1 << 20, `{"results":[{"service":"checkout","location":"fra","ok":true,"latency_ms":84.5,"at":"2026-11-21T04:50:00Z","weight":2}]}`},
	{"/v2/enqueue", 512 << 10, `{"routing_key":"0123456789abcdef0123456789abcdef","event_action":"trigger","dedup_key":"shop/checkout","client":"nagios",
		"payload":{"summary":"Checkout fails","source":"shop-7","severity":"critical","component":"checkout","timestamp":"2026-11-21T04:50:00Z",
		"group":"shop","class":"http","custom_details":{"load":7}},"links":[{"href":"https://nagios.example.com"}],"images":[{"src":"https://nagios.example.com/i"}]}`},
	{"/v1/sources/kuma", 1 << 20, `{"heartbeat":{"status":0,"time":"2026-11-21T04:50:00Z"},"monitor":{"id":7,"name":"Checkout"}}`},
	{"/v1/sources/vendor", 1 << 20, `{"page":{"id":"j2mfxwj97wnj"},"incident":{"id":"lbkhbwn21v5q","name":"Virginia is down","impact":"critical","status":"resolved",
		"backfilled":false,"created_at":"2026-11-21T04:50:00Z","started_at":"2026-11-21T04:50:00Z","resolved_at":"2026-11-21T04:55:00Z","scheduled_for":null,
		"shortlink":"https://stspg.example/1","components":[{"name":"Chat Service","status":"major_outage"}],
		"incident_updates":[{"id":"8d4x6v1k2p0q","status":"resolved","body":"It works again.","created_at":"2026-11-21T04:55:00Z","display_at":"2026-11-21T04:55:00Z",
		"deliver_notifications":true,"affected_components":[{"name":"Chat Service","new_status":"operational"}]}]}}`},
}

// takes says whether a route may take a body that is malformed elsewhere: JSON that
// says little, or more than can be reckoned with.
func (r intakeRoute) takes(name string) bool {
	return slices.Contains([]string{"i 1e999", "i -1e999", "i 1e-999", "i 400 digits", "i a long name"}, name) ||
		name == "an empty list" && r.path == "/v1/probes"
}

// named is a body, by what is wrong with it.
type named struct{ name, body string }

// malformed are bodies that are no JSON, or such as no two readers agree on, in the
// classes of JSONTestSuite: n_ is no JSON, i_ is up to the reader.
func malformed(whole string) (all []named) {
	add := func(name, body string) { all = append(all, named{name, body}) }
	with := func(field string) string { return "{" + field + "," + whole[1:] }
	for _, value := range []string{
		`"\x41"`, `"\u12"`, `"\u12G4"`, `"\`, `"\"`, "\"a\nb\"", "\"a\tb\"", "\"a\x00b\"", `'a'`, `"unended`, `a`, `\u0022a\u0022`,
		`.5`, `1.`, `01`, `-01`, `+1`, `-`, `1e`, `1e+`, `1.e1`, `0x1F`, `1_000`, `NaN`, `-Infinity`, `Infinity`, `1 000`, "\uff11",
		`nul`, `True`, `FALSE`, `undefined`, `[1,]`, `[,1]`, `[1,,2]`, `[1 2]`, `[1`, `[1}`, `{"a":1,}`, `{a:1}`, `{"a" 1}`, `{"a"}`, `{1:1}`, `{"a":1 "b":2}`,
		`{"a"::1}`, `{,}`, `/* a */ 1`, "1 // a\n", `1;`, `<a>`,
	} {
		add("n "+value, with(`"`+hush+`":`+value))
	}
	for name, value := range map[string]string{
		"a lone high surrogate": `"\uD800"`, "a lone low surrogate": `"\uDC00"`, "surrogates the wrong way round": `"\uDC00\uD800"`,
		"half an escaped pair": `"\uD800\u0041"`, "invalid UTF-8": "\"\xff\"", "an overlong form": "\"\xc0\xaf\"", "a surrogate in UTF-8": "\"\xed\xa0\x80\"",
		"beyond Unicode": "\"\xf4\x90\x80\x80\"", "cut UTF-8": "\"\xe2\x82\"",
	} {
		add("i "+name, with(`"`+hush+`":`+value))
	}
	for name, value := range map[string]string{"1e999": "1e999", "-1e999": "-1e999", "1e-999": "1e-999", "400 digits": strings.Repeat("9", 400)} {
		add("i "+name, with(`"`+hush+`":`+value))
	}
	add("i a long name", with(`"`+strings.Repeat("n", 200<<10)+`":1`))
	add("i a name twice", with(`"hu":1,"hu":2`))
	add("i a name twice, once escaped", with(`"hu":1,"\u0068u":2`))
	add("i a name twice, further down", with(`"hu":{"a":[{"b":1,"b":2}]}`))
	add("i a long name twice", with(`"`+strings.Repeat("n", 100<<10)+`":1,"`+strings.Repeat("n", 100<<10)+`":2`))
	add("i the first name twice", with(whole[1:strings.IndexByte(whole, ',')]))
	add("i deep, open", strings.Repeat("[", 100_000))
	add("i deep", strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000))
	add("i deep objects", strings.Repeat(`{"a":`, 100_000)+"1"+strings.Repeat("}", 100_000))
	add("i deep, in a field", with(`"`+hush+`":`+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)))
	add("a byte order mark", "\ufeff"+whole)
	add("UTF-16", "\xff\xfe"+strings.Join(strings.Split(whole, ""), "\x00")+"\x00")
	add("NUL after it", whole+"\x00")
	add("more after it", whole+" "+hush)
	add("twice", whole+whole)
	add("a comma after it", whole+",")
	add("a brace too many", whole+"}")
	for _, part := range []int{1, 2, 10, len(whole) / 2, len(whole) - 1} {
		add(fmt.Sprintf("the first %d bytes", part), whole[:part])
	}
	for name, body := range map[string]string{
		"nothing": "", "spaces": " \t\r\n", "another space": "\u00a0", "NUL": "\x00", "an empty object": "{}", "an empty list": "[]", "a list in a list": "[[]]",
		"a list of null": "[null]", "null": "null", "true": "true", "a number": "0", "a string": `"` + hush + `"`, "a list of it": "[" + whole + "," + whole + ",1]",
		"a form": "payload=" + hush, "XML": "<event>" + hush + "</event>",
	} {
		add(name, body)
	}
	slices.SortStableFunc(all, func(a, b named) int { return strings.Compare(a.name, b.name) })
	return all
}

// mistaken are JSON, each with one value that is another one, or left out.
func mistaken(t *testing.T, whole string) (all []named) {
	t.Helper()
	var document any
	if err := json.Unmarshal([]byte(whole), &document); err != nil {
		t.Fatal(err)
	}
	encode := func(name string) {
		body, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, named{name, string(body)})
	}
	values := []string{"null", "true", "12345", "-1", "1e999", `""`, `"` + hush + `"`, `"\u0000` + hush + `"`, `"\u202e\u200b` + hush + `\r\n"`,
		"[]", "{}", "[[]]", `["` + hush + `"]`, `{"` + hush[:4] + `":1}`}
	times := []string{"0001-01-01T00:00:00Z", "0001-01-02T00:00:00Z", "0000-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z",
		"9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "10000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z", "2026-13-45T25:61:61Z",
		"2026-11-21T04:50:00", "2016-12-31T23:59:60Z", "2026-11-21T04:50:00.123456789123Z", "2026-11-21t04:50:00z", time.Now().Add(300 * time.Hour).Format(time.RFC3339)}
	var walk func(path string, v any, set func(any))
	try := func(path, to string, v any, set func(any)) {
		set(v)
		encode(path + " = " + to[:min(len(to), 40)])
	}
	walk = func(path string, v any, set func(any)) {
		for _, value := range values {
			try(path, value, json.RawMessage(value), set)
		}
		text, ok := v.(string)
		if ok {
			try(path, "a long text", strings.Repeat(hush, 6<<10), set)
		}
		if ok && len(text) > 10 && text[4] == '-' && text[10] == 'T' {
			for _, value := range times {
				try(path, value, value, set)
			}
		}
		set(v)
		switch v := v.(type) {
		case map[string]any:
			names := make([]string, 0, len(v))
			for name := range v {
				names = append(names, name)
			}
			slices.Sort(names)
			for _, name := range names {
				was := v[name]
				walk(path+"."+name, was, func(other any) { v[name] = other })
				delete(v, name)
				encode(path + " without " + name)
				v[name] = was
			}
		case []any:
			for i, was := range v {
				walk(fmt.Sprintf("%s[%d]", path, i), was, func(other any) { v[i] = other })
			}
		}
	}
	walk("", document, func(other any) { document = other })
	return all
}

// chunked is a body whose length isn't said before.
func chunked(body string) io.Reader { return struct{ io.Reader }{strings.NewReader(body)} }

// manyAlerts is a notification of that many, as small as they can be.
func manyAlerts(n int) string {
	var b strings.Builder
	b.WriteString(`{"version":"4","groupKey":"many","commonLabels":{"page":"hostile"},"alerts":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"status":"firing","startsAt":"2026-11-21T04:50:00Z","labels":{"component":"c%d"}}`, i)
	}
	b.WriteString("]}")
	return b.String()
}

// manyNames is an object of that many fields.
func manyNames(n int) string {
	var b strings.Builder
	b.WriteString(`{"version":"4","groupKey":"names","alerts":[{"status":"firing","startsAt":"2026-11-21T04:50:00Z","labels":{"page":"hostile"`)
	for i := range n {
		fmt.Fprintf(&b, `,"l%d":"v"`, i)
	}
	b.WriteString("}}]}")
	return b.String()
}
