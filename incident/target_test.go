package incident

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
)

// key24 is the base64 of the shortest key allowed.
const key24 = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"

func targetJSON(channel, address string) string {
	return fmt.Sprintf(`{"channel":%s,"address":%s}`, quote(channel), quote(address))
}

func TestDecodeTargetDefaults(t *testing.T) {
	got, err := DecodeTarget([]byte(`{"channel":"webhook","address":" https://hooks.example.com/x "}`))
	if err != nil {
		t.Fatal(err)
	}
	want := &Target{Channel: "webhook", Address: "https://hooks.example.com/x", Page: "default", Components: []string{},
		MinImpact: ImpactNone, Visibility: Public, Locale: "en", State: StateActive, Format: "tocsin"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v\nwant %#v", *got, *want)
	}
	built := &Target{Channel: "webhook", Address: "https://hooks.example.com/x"}
	if err := built.Validate(); err != nil || !reflect.DeepEqual(built, want) {
		t.Errorf("Validate: %v", err)
	}
}

func TestTargetJSON(t *testing.T) {
	const in = `{"id":"12","external_id":"c-9","channel":"smtp","address":"Ops@Example.COM","page":"eu","components":["a"],` +
		`"min_impact":"major","visibility":"private","locale":"de_at","every_update":true,"state":"paused","test":true,` +
		`"secrets":["whsec_` + key24 + `"],"format":"plain"}`
	got, err := DecodeTarget([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Secrets) != 1 {
		t.Error("the secret is gone")
	}
	const want = `{"id":"12","external_id":"c-9","channel":"smtp","address":"Ops@example.com","page":"eu","components":["a"],` +
		`"min_impact":"major","visibility":"private","locale":"de-AT","every_update":true,"state":"paused","test":true,"format":"plain"}`
	for _, v := range []any{got, *got} {
		out, err := json.Marshal(v)
		if err != nil || string(out) != want {
			t.Errorf("got %s, %v\nwant %s", out, err, want)
		}
	}
	if out, _ := json.Marshal(Target{}); !strings.Contains(string(out), `"components":[]`) || strings.Contains(string(out), `"id"`) {
		t.Errorf("an empty target is %s", out)
	}
}

func TestTargetShowsNoAddressInLogs(t *testing.T) {
	target := Target{ID: 3, Channel: "smpp", Address: "+4915112345678", Secrets: []string{"whsec_" + key24}}
	var log strings.Builder
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	logger.Info(fmt.Sprintf("%v %+v %#v %s", target, &target, target, []Target{target}), "target", target, "pointer", &target)
	if strings.Contains(log.String(), "491511") || strings.Contains(log.String(), key24) {
		t.Errorf("logged %s", log.String())
	}
	if !strings.Contains(log.String(), "smpp target 3") {
		t.Errorf("logged nothing to tell the target by: %s", log.String())
	}
}

func TestDecodeTargetRefuses(t *testing.T) {
	const base = `"channel":"webhook","address":"https://a.example/"`
	secrets := func(s ...string) string {
		out, _ := json.Marshal(s)
		return `{` + base + `,"secrets":` + string(out) + `}`
	}
	key := "whsec_" + key24
	for name, c := range map[string]struct{ data, field string }{
		"empty":               {``, "target"},
		"not an object":       {`[]`, "target"},
		"too large":           {`{` + base + `,"locale":"` + strings.Repeat("e", maxTargetBytes) + `"}`, "target"},
		"no channel":          {`{"address":"https://a.example/"}`, "channel"},
		"channel unknown":     {`{"channel":"fax","address":"x"}`, "channel"},
		"channel empty":       {`{"channel":"","address":"x"}`, "channel"},
		"no address":          {`{"channel":"webhook"}`, "address"},
		"address blank":       {`{"channel":"webhook","address":" "}`, "address"},
		"address number":      {`{"channel":"smpp","address":4915112345678}`, "address"},
		"unknown field":       {`{` + base + `,"url":"x"}`, "url"},
		"unknown null":        {`{` + base + `,"url":null}`, "url"},
		"field in capitals":   {`{` + base + `,"Page":"x"}`, "Page"},
		"repeated field":      {`{` + base + `,"address":"https://b.example/"}`, "address"},
		"id number":           {`{` + base + `,"id":7}`, "id"},
		"id negative":         {`{` + base + `,"id":"-7"}`, "id"},
		"id octal":            {`{` + base + `,"id":"07"}`, "id"},
		"id too large":        {`{` + base + `,"id":"9223372036854775808"}`, "id"},
		"external_id newline": {`{` + base + `,"external_id":"a\nb"}`, "external_id"},
		"external_id long":    {`{` + base + `,"external_id":"` + strings.Repeat("x", 256) + `"}`, "external_id"},
		"page odd":            {`{` + base + `,"page":"a b"}`, "page"},
		"components null":     {`{` + base + `,"components":[null]}`, "components[0]"},
		"components text":     {`{` + base + `,"components":"a"}`, "components"},
		"min_impact":          {`{` + base + `,"min_impact":"big"}`, "min_impact"},
		"visibility empty":    {`{` + base + `,"visibility":""}`, "visibility"},
		"state":               {`{` + base + `,"state":"test"}`, "state"},
		"locale":              {`{` + base + `,"locale":"../en"}`, "locale"},
		"locale digits":       {`{` + base + `,"locale":"12"}`, "locale"},
		"locale long":         {`{` + base + `,"locale":"en` + strings.Repeat("-abcdefg", 5) + `"}`, "locale"},
		"format capitals":     {`{` + base + `,"format":"Slack"}`, "format"},
		"format of mail":      {`{` + base + `,"format":"slack"}`, "format"},
		"format path":         {`{` + base + `,"format":"../x"}`, "format"},
		"every_update":        {`{` + base + `,"every_update":1}`, "every_update"},
		"secret bare":         {secrets(key, key24), "secrets[1]"},
		"secret short":        {secrets("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI="), "secrets[0]"},
		"secret long":         {secrets("whsec_" + strings.Repeat("MDEy", 22)), "secrets[0]"},
		"secret newline":      {secrets(key[:20] + "\n" + key[20:]), "secrets[0]"},
		"secret URL-safe":     {secrets("whsec_" + strings.Repeat("_", 32)), "secrets[0]"},
		"secret stray bits":   {secrets("whsec_" + strings.Repeat("MDEy", 8) + "MB=="), "secrets[0]"},
		"six secrets":         {secrets(key, key, key, key, key, key), "secrets"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DecodeTarget([]byte(c.data))
			wantInvalid(t, err, c.field)
		})
	}
	built := newTarget()
	built.ID, built.Channel, built.Address = -1, ChannelRSS, "a"
	wantInvalid(t, built.Validate(), "id")
	for name, data := range map[string]string{
		"five secrets": secrets(key, key, key, key, key),
		"64 bytes":     secrets("whsec_" + strings.Repeat("MDEy", 21) + "MA=="),
	} {
		if _, err := DecodeTarget([]byte(data)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAddresses(t *testing.T) {
	domain := func(n int) string { return strings.Repeat("a234567890123456789.", 20)[:n-4] + ".com" }
	for channel, addresses := range map[string][]string{
		"webhook": {"https://hooks.example.com/x?y=z", "http://127.0.0.1:8080/", "https://[::1]:8443/", "https://bücher.example/ü",
			"https://a.example/" + strings.Repeat("x", 2030)},
		"websub": {"https://reader.example.com/cb"},
		"smtp": {"ops@example.com", "first.last+tag@mail.example.co.uk", "o'brien@example.com", "a@xn--bcher-kva.example",
			strings.Repeat("l", 64) + "@example.com", "a@" + domain(253)},
		"smpp": {"+4915112345678", "+1234567", "+123456789012345"},
		"rss":  {"default", "eu-west.1_x", strings.Repeat("f", 64)},
	} {
		for _, a := range addresses {
			got, err := DecodeTarget([]byte(targetJSON(channel, a)))
			if err != nil || got.Address != a {
				t.Errorf("%s %q: %v", channel, a, err)
			}
		}
	}
	for channel, addresses := range map[string][]string{
		"webhook": {"file:///etc/passwd", "gopher://a.example/", "//a.example/", "http:1.2.3.4/", "a.example", "/x", "https://",
			"https:///x", "https://:443/", "https://a.example/\r\nHost: b", "https://a b.example/", "https://a.example/ b",
			"https://a.example/\x00", "https://a.example/\u202e", "https://a%00.example/", "https://[::1]]/", "https://[::1",
			"https://a.example:port/", "javascript:alert(1)", "https://a.example/" + strings.Repeat("x", 2031)},
		"smtp": {"ops", "@example.com", "ops@", "ops@localhost", "ops@example.com\r\nBcc: x@example.com", "ops@example.com\n",
			"ops\x00@example.com", "a@example.com,b@example.com", "a@example.com b@example.com", `"a b"@example.com`, `"a"@example.com`,
			"a@b@example.com", "Ops <ops@example.com>", "<ops@example.com>", "a@[127.0.0.1]", "a@[IPv6:::1]", "a@127.0.0.1",
			"-oQ/tmp@x.example", ".a@example.com", "a.@example.com", "a..b@example.com", "a(c)@example.com", "ü@example.com",
			"a@bücher.example", "a@example.com.", "a@.example.com", "a@example..com", "a@-x.example", "a@x-.example", "a@ex_ample.com",
			strings.Repeat("l", 65) + "@example.com", "a@" + domain(254), "a@" + strings.Repeat("d", 64) + ".com", "a@" + domain(300)},
		"smpp": {"4915112345678", "+123456", "+1234567890123456", "+0123456789", "+49 151 1234567", "+49-151", "+", "+١٢٣٤٥٦٧٨",
			"+1234567\n", "+1234567x", "++12345678"},
		"rss": {"", "Default", "a/b", "..", "a b", "ü", strings.Repeat("f", 65)},
	} {
		for _, a := range addresses {
			_, err := DecodeTarget([]byte(targetJSON(channel, a)))
			if err == nil {
				t.Errorf("%s took %q", channel, a)
				continue
			}
			wantInvalid(t, err, "address")
		}
	}
}

func TestPatch(t *testing.T) {
	old := Target{ID: 5, Channel: "webhook", Address: "https://a.example/", Components: []string{"a", "b"},
		Locale: "de", Secrets: []string{"whsec_" + key24}, Test: true}
	if err := old.Validate(); err != nil {
		t.Fatal(err)
	}
	got, err := old.Patch([]byte(`{"state":"paused","components":["c"],"test":false,"locale":null}`))
	if err != nil {
		t.Fatal(err)
	}
	want := old
	want.State, want.Components, want.Test = StatePaused, []string{"c"}, false
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("got %#v", *got)
	}
	if !reflect.DeepEqual(old.Components, []string{"a", "b"}) || old.State != StateActive {
		t.Error("the patched target was touched")
	}
	if _, err := old.Patch([]byte(`{"id":"5"}`)); err != nil {
		t.Errorf("the same id: %v", err)
	}
	_, err = old.Patch([]byte(`{"id":"6"}`))
	wantInvalid(t, err, "id")
	_, err = old.Patch([]byte(`{"channel":"smtp"}`))
	wantInvalid(t, err, "address")
}

func TestMatches(t *testing.T) {
	type update struct {
		page       string
		components []string
		impact     Impact
		vis        Visibility
		test       bool
	}
	base := update{"default", []string{"a", "b"}, ImpactMajor, Public, false}
	for name, c := range map[string]struct {
		target func(*Target)
		update func(*update)
		want   bool
	}{
		"all":                     {nil, nil, true},
		"other page":              {func(t *Target) { t.Page = "eu" }, nil, false},
		"one component":           {func(t *Target) { t.Components = []string{"z", "b"} }, nil, true},
		"no component":            {func(t *Target) { t.Components = []string{"z"} }, nil, false},
		"component by prefix":     {func(t *Target) { t.Components = []string{"a1"} }, nil, false},
		"whole page":              {func(t *Target) { t.Components = []string{"z"} }, func(u *update) { u.components = nil }, true},
		"impact equal":            {func(t *Target) { t.MinImpact = ImpactMajor }, nil, true},
		"impact too low":          {func(t *Target) { t.MinImpact = ImpactCritical }, nil, false},
		"minor hears maintenance": {func(t *Target) { t.MinImpact = ImpactMinor }, func(u *update) { u.impact = ImpactMaintenance }, true},
		"minor hears not none":    {func(t *Target) { t.MinImpact = ImpactMinor }, func(u *update) { u.impact = ImpactNone }, false},
		"private to public":       {nil, func(u *update) { u.vis = Private }, false},
		"private to private":      {func(t *Target) { t.Visibility = Private }, func(u *update) { u.vis = Private }, true},
		"public to private":       {func(t *Target) { t.Visibility = Private }, nil, true},
		"unknown to public":       {nil, func(u *update) { u.vis = "" }, false},
		"test to normal":          {nil, func(u *update) { u.test = true }, false},
		"test to test":            {func(t *Target) { t.Test = true }, func(u *update) { u.test = true }, true},
		"normal to test":          {func(t *Target) { t.Test = true }, nil, false},
		"paused":                  {func(t *Target) { t.State = StatePaused }, nil, false},
		"disabled":                {func(t *Target) { t.State = StateDisabled }, nil, false},
		"unsubscribed":            {func(t *Target) { t.State = StateUnsubscribed }, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			target, u := newTarget(), base
			if c.target != nil {
				c.target(&target)
			}
			if c.update != nil {
				c.update(&u)
			}
			if got := target.Matches(u.page, u.components, u.impact, u.vis, u.test); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
	target := newTarget()
	target.Components = []string{"z", "b"}
	if n := testing.AllocsPerRun(100, func() { target.Matches("default", base.components, ImpactMajor, Public, false) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
