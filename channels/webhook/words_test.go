package webhook

import (
	"encoding/base64"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/internal/egress"
)

func hookURL(t testing.TB) egress.URL {
	t.Helper()
	p, err := egress.NewPolicy(egress.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	u, err := p.CheckURL("https://hooks.example.com/services/T0001/B0001/XyZ-secret?token=tok%65n99&v=1")
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestWordsOfThePeerAreRedacted(t *testing.T) {
	u := hookURL(t)
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secretA, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	for words, want := range map[string]string{
		"":                           "http 400",
		" \r\n\t ":                   "http 400",
		"no such channel":            "http 400: no such channel",
		`{"error":"invalid","n":12}`: `http 400: {"error":"invalid","n":12}`,
		"POST /services/T0001/B0001/XyZ-secret?token=tok%65n99&v=1 failed": "http 400: POST […] failed",
		"no XYZ-SECRET here":              "http 400: no […] here",
		"token token99 expired":           "http 400: token […] expired",
		"tok%65n99":                       "http 400: […]",
		"at HOOKS.example.com":            "http 400: at […]",
		"bad " + secretA:                  "http 400: bad […]",
		"bad " + secretA[6:]:              "http 400: bad […]",
		"bad " + string(key):              "http 400: bad […]",
		"bad whsec_abc":                   "http 400: bad […]",
		"see https://x.y/z?k=v.":          "http 400: see […]",
		"ask ann@example.org":             "http 400: ask […]",
		"call +49 171 1234567":            "http 400: call […]",
		"key " + strings.Repeat("a1", 14): "http 400: key […]",
		"<html><head><script>x()</script></head><body><p>Bad <b>hook</b>": "http 400: Bad hook",
		"a\u202eb\u0000c\u200bd": "http 400: a b c d",
	} {
		if got := detail("http 400", []byte(words), []string{secretA}, u); got != want {
			t.Errorf("%q: %q; want %q", words, got, want)
		}
	}
}

func FuzzDetail(f *testing.F) {
	u := hookURL(f)
	f.Add([]byte("no such channel"))
	f.Add([]byte("\xff\xfe <p \u2028 hooks.hooks.example.comexample.com"))
	f.Add([]byte(strings.Repeat("ü ", 200)))
	f.Fuzz(func(t *testing.T, words []byte) {
		got := detail("http 400", words, []string{secretA}, u)
		if len(got) > channels.MaxDetail || !utf8.ValidString(got) || strings.ContainsFunc(got, unicode.IsControl) {
			t.Errorf("%q: %q", words, got)
		}
		if lower := strings.ToLower(got); strings.Contains(lower, "xyz-secret") || strings.Contains(lower, "hooks.example.com") || strings.Contains(got, secretA[6:]) {
			t.Errorf("%q: %q shows what it must not", words, got)
		}
	})
}
