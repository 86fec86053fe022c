package incident

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode"
)

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		minimal, full, ``, `null`, `{}`, `[]`, minimal + `{}`, strings.Repeat(`{"a":`, 40), strings.Repeat("[", 10001),
		strings.Replace(minimal, "{", `{"status":"resolved",`, 1), strings.Replace(minimal, "status", "STATUS", 1),
		with("title", `"\ud800"`), with("title", `"\ud83d\ude92"`), with("title", "\"\xff\""), with("title", `"x\r\nBcc: y"`),
		with("title", `"{{.}} ]]> <script> \u202e\u200b\u200d\ufeff"`), with("title", `"\u3000\u200dx\u200d"`),
		with("title", `"می\u200c\u200dرود"`), with("message", `"a\r\r\nb\n.\nc\r\u200b\n"`), with("message", `"\u0000\u001b"`),
		with("incident_id", `"INC\u202e"`), with("incident_id", `" \u00a0x"`), with("page", `".."`),
		with("started_at", `"9999-12-31T23:59:59-23:59"`), with("started_at", `"0000-01-01T00:00:00Z"`),
		with("links", `[{"url":"javascript:alert(1)"},{"url":"https://a@b.example"}]`),
		with("callback_url", `"https://a.example/done?token=t"`), with("callback_url", `"https://a@b.example\r\n"`),
		with("callback_url", `"\u2003"`), with("callback_url", `{"url":"https://a.example"}`),
		with("translations", `{"pt_br":{},"PT-BR":{}}`), with("translations", `{"zh_hant_tw":{"message":"x"}}`),
		with("targets", `[{"channel":"smtp","address":"A@B.Example"},{"channel":"smpp","address":"+1234567"},null]`),
		with("details", `{"b":[1e400,-0,1.0],"a":"\u2028<>&","":{}}`), with("x", `[[[{"k":"\/"}]]]`), with("", `0`),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := Decode(data)
		if err != nil {
			wantRefusal(t, err)
			return
		}
		checkRoundTrip(t, e)
		for _, s := range append([]string{e.Page, e.IncidentID, e.UpdateID, e.Title}, e.AffectedComponents...) {
			if strings.ContainsFunc(s, unicode.IsControl) || strings.ContainsRune(s, '\u202e') || strings.ContainsRune(s, '\u200b') {
				t.Fatalf("%q got through", s)
			}
		}
		if strings.ContainsFunc(string(e.CallbackURL), func(r rune) bool { return !unicode.IsPrint(r) || r == ' ' }) {
			t.Fatalf("callback %q got through", string(e.CallbackURL))
		}
		if strings.ContainsAny(e.Message, "\x00\r\x1b\u202e") {
			t.Fatalf("message %q got through", e.Message)
		}
	})
}

func FuzzDecodeTarget(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `null`, targetJSON("webhook", "https://hooks.example.com/x"), targetJSON("webhook", "http:1.2.3.4/"),
		targetJSON("webhook", `127.0.0.1\@example.com`), targetJSON("webhook", "https://[::1]]"), targetJSON("webhook", "https://ⓛocalhost/"),
		targetJSON("smtp", "Ops@Example.com"), targetJSON("smtp", "a@[127.0.0.1]"), targetJSON("smtp", `"a b"@c.example`),
		targetJSON("smtp", "-oQ/tmp@x.example"), targetJSON("smtp", "a@"+strings.Repeat("d.", 150)+"com"),
		targetJSON("smpp", "+4915112345678"), targetJSON("smpp", "4915112345678"), targetJSON("rss", "eu.west"),
		targetJSON("websub", "https://reader.example/cb"), targetJSON("fax", "1"),
		`{"id":"9","external_id":"c","channel":"rss","address":"a","components":["x","x"],"locale":"pt_br","secrets":["whsec_` + key24 + `"]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		target, err := DecodeTarget(data)
		if err != nil {
			wantRefusal(t, err)
			return
		}
		shown, err := json.Marshal(target)
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeTarget(shown)
		if err != nil {
			t.Fatalf("refused when read again: %v", err)
		}
		again.Secrets = target.Secrets
		if !reflect.DeepEqual(target, again) {
			t.Fatalf("changed:\n%#v\n%#v", *target, *again)
		}
		if strings.ContainsFunc(target.Address, func(r rune) bool { return !unicode.IsPrint(r) || r == ' ' }) {
			t.Fatalf("address %q got through", target.Address)
		}
	})
}

func wantRefusal(t *testing.T, err error) {
	t.Helper()
	invalid, ok := errors.AsType[*Invalid](err)
	if !ok {
		t.Fatalf("got %T, want *Invalid", err)
	}
	checkRefusal(t, invalid)
}
