package incident

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
)

const minimal = `{"incident_id":"INC-8892","status":"investigating","affected_components":["auth-api","payment-gateway"],
 "impact":"critical","started_at":"2023-11-20T14:30:00Z"}`

const full = `{"page":"eu","incident_id":"INC-1","status":"identified","impact":"major","affected_components":["b","a"],
 "started_at":"2026-11-21T05:00:00+02:00","title":"Logins fail","message":"We see it.\nMore soon.","update_id":"u-2",
 "updated_at":"2026-11-21T05:01:02.123456Z","resolved_at":"2026-11-21T06:00:00Z","expires_at":"2026-11-22T05:00:00Z",
 "components":{"a":"major_outage"},"links":[{"rel":"self","title":"Status","url":"https://status.example.com/INC-1"}],
 "visibility":"private","translations":{"pt_br":{"title":"Falha","message":"Vimos."}},
 "targets":[{"channel":"webhook","address":"https://hooks.example.com/x","secrets":["whsec_` + key24 + `"]}],
 "callback_url":" https://status.example.com/done?token=t ","details":{"b":1.0,"a":[true,null,"<&>"]},"test":true,"runbook":{"z":1,"a":2}}`

// with returns the minimal event with one field replaced or, with an empty value,
// removed.
func with(field, value string) string {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(minimal), &fields); err != nil {
		panic(err)
	}
	delete(fields, field)
	if value != "" {
		fields[field] = json.RawMessage(value)
	}
	var parts []string
	for name, raw := range fields {
		parts = append(parts, quote(name)+":"+string(raw))
	}
	slices.Sort(parts)
	return "{" + strings.Join(parts, ",") + "}"
}

func quote(s string) string {
	out, _ := json.Marshal(s)
	return string(out)
}

// list returns a JSON list of n elements.
func list(n int, element func(i int) string) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = element(i)
	}
	return "[" + strings.Join(parts, ",") + "]"
}

func decode(t *testing.T, data string) *Event {
	t.Helper()
	e, err := Decode([]byte(data))
	if err != nil {
		t.Fatalf("Decode: %v", err)
	}
	return e
}

// wantInvalid checks what every refusal promises, and its field.
func wantInvalid(t *testing.T, err error, field string) *Invalid {
	t.Helper()
	invalid, ok := errors.AsType[*Invalid](err)
	if !ok {
		t.Fatalf("got %v, want *Invalid for %s", err, field)
	}
	if invalid.Field != field {
		t.Errorf("got field %q (%v), want %q", invalid.Field, err, field)
	}
	checkRefusal(t, invalid)
	return invalid
}

func checkRefusal(t *testing.T, i *Invalid) {
	t.Helper()
	if i.Error() != i.Field+": "+i.Reason || i.Field == "" || i.Reason == "" {
		t.Errorf("odd text %q", i.Error())
	}
	if len(i.Field) > 256 || len(i.Reason) > 256 {
		t.Errorf("refusal of %d bytes", len(i.Error()))
	}
	if strings.ContainsFunc(i.Error(), func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("unprintable refusal %q", i.Error())
	}
}

func TestDecodeMinimal(t *testing.T) {
	want := &Event{Page: "default", IncidentID: "INC-8892", Status: Investigating, Impact: ImpactCritical,
		AffectedComponents: []string{"auth-api", "payment-gateway"}, Visibility: Public,
		StartedAt: time.Date(2023, 11, 20, 14, 30, 0, 0, time.UTC)}
	if got := decode(t, minimal); !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v\nwant %#v", got, want)
	}
}

func TestDecodeFull(t *testing.T) {
	at := func(h, m, s, us int) time.Time { return time.Date(2026, 11, 21, h, m, s, us*1000, time.UTC) }
	target := newTarget()
	target.Channel, target.Address = ChannelWebhook, "https://hooks.example.com/x"
	target.Secrets = []string{"whsec_" + key24}
	want := &Event{Page: "eu", IncidentID: "INC-1", Status: Identified, Impact: ImpactMajor,
		AffectedComponents: []string{"b", "a"}, StartedAt: at(3, 0, 0, 0), Title: "Logins fail",
		Message: "We see it.\nMore soon.", UpdateID: "u-2", UpdatedAt: at(5, 1, 2, 123456), ResolvedAt: at(6, 0, 0, 0),
		ExpiresAt: at(29, 0, 0, 0), Components: map[string]string{"a": "major_outage"},
		Links:        []Link{{"self", "Status", "https://status.example.com/INC-1"}},
		Visibility:   Private,
		Translations: map[string]Translation{"pt-BR": {"Falha", "Vimos."}},
		Targets:      []Target{target},
		CallbackURL:  "https://status.example.com/done?token=t",
		Details:      json.RawMessage(`{"a":[true,null,"<&>"],"b":1.0}`),
		Test:         true,
		Extra:        map[string]json.RawMessage{"runbook": json.RawMessage(`{"a":2,"z":1}`)}}
	got := decode(t, full)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v\nwant %#v", got, want)
	}
	checkRoundTrip(t, got)
}

func TestDecodePublicDetails(t *testing.T) {
	e := decode(t, with("public_details", `{"http_status":503,"share":-1.50e2," error_code ":" E-1042 ","none":"null"}`))
	want := map[string]string{"error_code": "E-1042", "http_status": "503", "share": "-1.50e2", "none": "null"}
	if !reflect.DeepEqual(e.PublicDetails, want) {
		t.Errorf("got %v", e.PublicDetails)
	}
	checkRoundTrip(t, e)
	for _, absent := range []string{"null", "{}"} {
		if e := decode(t, with("public_details", absent)); e.PublicDetails != nil {
			t.Errorf("%s: %v", absent, e.PublicDetails)
		}
	}
}

// checkRoundTrip is the promise of Encode, MarshalJSON and ContentHash.
func checkRoundTrip(t *testing.T, e *Event) {
	t.Helper()
	data, err := Encode(e)
	if err != nil {
		t.Fatalf("Encode: %v", err)
	}
	again, err := Decode(data)
	if err != nil {
		t.Fatalf("Decode(Encode(e)): %v", err)
	}
	if !reflect.DeepEqual(e, again) {
		t.Fatalf("Decode(Encode(e)) differs:\n%#v\n%#v", e, again)
	}
	if e.ContentHash() != again.ContentHash() {
		t.Fatal("the hash changed")
	}
	shown, err := e.MarshalJSON()
	if err != nil {
		t.Fatalf("MarshalJSON: %v", err)
	}
	again, err = Decode(shown)
	if err != nil {
		t.Fatalf("Decode(MarshalJSON(e)): %v", err)
	}
	bare := *e
	bare.CallbackURL = ""
	bare.Targets = slices.Clone(e.Targets)
	for i := range bare.Targets {
		bare.Targets[i].Secrets = nil
	}
	if !reflect.DeepEqual(&bare, again) {
		t.Fatalf("Decode(MarshalJSON(e)) differs:\n%#v\n%#v", &bare, again)
	}
	if e.ContentHash() != again.ContentHash() {
		t.Fatal("the hash depends on secrets")
	}
}

func TestDecodeNormalises(t *testing.T) {
	for name, c := range map[string]struct {
		field, value string
		got          func(*Event) any
		want         any
	}{
		"trimmed id":        {"incident_id", `" INC-1\t"`, func(e *Event) any { return e.IncidentID }, "INC-1"},
		"empty page":        {"page", `""`, func(e *Event) any { return e.Page }, "default"},
		"null counts not":   {"title", `null`, func(e *Event) any { return e.Title }, ""},
		"null details":      {"details", `null`, func(e *Event) any { return e.Details == nil }, true},
		"whole page":        {"affected_components", `[]`, func(e *Event) any { return e.AffectedComponents }, []string{}},
		"repeats":           {"affected_components", `["b","a"," b"]`, func(e *Event) any { return e.AffectedComponents }, []string{"b", "a"}},
		"UTC, microseconds": {"started_at", `"2026-11-21T05:00:00.123456789-05:30"`, func(e *Event) any { return e.StartedAt }, time.Date(2026, 11, 21, 10, 30, 0, 123456000, time.UTC)},
		"year 1 is absent":  {"resolved_at", `"0001-01-01T00:00:00Z"`, func(e *Event) any { return e.ResolvedAt.IsZero() }, true},
		"CRLF":              {"message", `"a\r\nb\r\n"`, func(e *Event) any { return e.Message }, "a\nb"},
		"bidi":              {"title", `"pay\u202epal\u2069"`, func(e *Event) any { return e.Title }, "paypal"},
		"zero width":        {"message", `"\ufeffa\u200bb\u200dc\u2060"`, func(e *Event) any { return e.Message }, "abc"},
		"noncharacter":      {"title", `"a\uffff"`, func(e *Event) any { return e.Title }, "a"},
		"joined emoji":      {"title", `"👩\u200d🚒 fixes"`, func(e *Event) any { return e.Title }, "👩\u200d🚒 fixes"},
		"Persian":           {"title", `"می\u200cرود"`, func(e *Event) any { return e.Title }, "می\u200cرود"},
		"template is data":  {"title", `"{{.Secret}} <b>"`, func(e *Event) any { return e.Title }, "{{.Secret}} <b>"},
		"extra null kept":   {"x", `null`, func(e *Event) any { return string(e.Extra["x"]) }, "null"},
		"blank callback":    {"callback_url", `" \u2003"`, func(e *Event) any { return string(e.CallbackURL) }, ""},
		"inline repeats": {"targets", `[{"channel":"rss","address":"a"},{"channel":"rss","address":"a","test":true},{"channel":"rss","address":"b"}]`,
			func(e *Event) any { return len(e.Targets) }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			e := decode(t, with(c.field, c.value))
			if got := c.got(e); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			checkRoundTrip(t, e)
		})
	}
}

func TestDecodeAtTheLimits(t *testing.T) {
	nested := strings.Repeat("[", 31) + strings.Repeat("]", 31)
	for name, data := range map[string]string{
		"depth":       with("x", nested),
		"incident_id": with("incident_id", quote(strings.Repeat("i", 128))),
		"page":        with("page", quote(strings.Repeat("p", 64))),
		"update_id":   with("update_id", quote(strings.Repeat("u", 255))),
		"title":       with("title", quote(strings.Repeat("ü", 512))),
		"message":     with("message", quote(strings.Repeat("<", 64<<10))),
		"components":  with("affected_components", list(1000, func(i int) string { return quote(fmt.Sprintf("%0128d", i)) })),
		"links":       with("links", list(20, func(int) string { return `{"url":"https://a.example/` + strings.Repeat("a", 2030) + `"}` })),
		"targets":     with("targets", list(1000, func(i int) string { return fmt.Sprintf(`{"channel":"rss","address":"f%d"}`, i) })),
		"extra":       with("x", quote(strings.Repeat("<", 64<<10-3))),
		"pair":        with("title", `"\ud83d\ude92 \\ud800 \" \\"`),
		"1970":        with("started_at", `"1970-01-01T00:00:00Z"`),
		"9999":        with("started_at", `"9999-12-31T23:59:59.999999999Z"`),
	} {
		t.Run(name, func(t *testing.T) { checkRoundTrip(t, decode(t, data)) })
	}
}

func TestValidateEventBuiltInGo(t *testing.T) {
	valid := func() *Event {
		return &Event{IncidentID: " INC-1 ", Status: Resolved, Impact: ImpactNone, AffectedComponents: []string{"b", "b"},
			StartedAt: time.Date(2026, 11, 21, 6, 0, 0, 1, time.FixedZone("", 3600))}
	}
	e := valid()
	if err := e.Validate(); err != nil {
		t.Fatal(err)
	}
	if e.IncidentID != "INC-1" || e.Page != "default" || e.Visibility != Public || len(e.AffectedComponents) != 1 ||
		e.StartedAt != time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC) {
		t.Errorf("not normalised: %#v", e)
	}
	checkRoundTrip(t, e)

	for field, change := range map[string]func(*Event){
		"affected_components": func(e *Event) { e.AffectedComponents = nil },
		"title":               func(e *Event) { e.Title = "\xff" },
		"message":             func(e *Event) { e.Message = "\xff" },
		"incident_id":         func(e *Event) { e.IncidentID = "\xff" },
		"details":             func(e *Event) { e.Details = json.RawMessage(`{"a":1`) },
		"x":                   func(e *Event) { e.Extra = map[string]json.RawMessage{"x": json.RawMessage(`{} {}`)} },
		"status":              func(e *Event) { e.Extra = map[string]json.RawMessage{"status": json.RawMessage(`1`)} },
		"targets[0].channel":  func(e *Event) { e.Targets = []Target{{}} },
		"started_at":          func(e *Event) { e.StartedAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		`"\x81"`:              func(e *Event) { e.Extra = map[string]json.RawMessage{"\x81": nil} },
	} {
		e := valid()
		change(e)
		wantInvalid(t, e.Validate(), field)
	}
}

// Any of the usual ways to encode or log an event keeps inline secrets to itself;
// logs keep addresses to themselves, too.
func TestEventShowsNoSecrets(t *testing.T) {
	e := decode(t, full)
	shown, err := json.Marshal(map[string]any{"pointer": e, "value": *e})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(shown), key24) || strings.Contains(string(shown), "token=t") || strings.Count(string(shown), `"runbook"`) != 2 {
		t.Errorf("MarshalJSON wrote %s", shown)
	}
	var log strings.Builder
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	logger.Info(fmt.Sprintf("%v %+v %#v", e, *e, *e), "event", e, "value", *e)
	if strings.Contains(log.String(), key24) || strings.Contains(log.String(), "token=t") || strings.Contains(log.String(), "hooks.example.com") {
		t.Errorf("logged %s", log.String())
	}
}

func TestUnmarshalJSONIsDecode(t *testing.T) {
	var e Event
	if err := json.Unmarshal([]byte(full), &e); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(&e, decode(t, full)) {
		t.Errorf("got %#v", e)
	}
	if err := json.Unmarshal([]byte(`{}`), &e); err == nil || e.IncidentID != "INC-1" {
		t.Errorf("a refused event left %#v, %v", e, err)
	}
}
