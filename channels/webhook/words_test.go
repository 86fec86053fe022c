package webhook

import (
	"strings"
	"testing"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/internal/egress"
)

func TestWordsOfThePeerAreRedacted(t *testing.T) {
	p, err := egress.NewPolicy(egress.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	u, err := p.CheckURL("https://hooks.example.com/services/T0001/B0001/XyZ-secret?token=tok%65n99&v=1")
	if err != nil {
		t.Fatal(err)
	}
	for words, want := range map[string]string{
		"no such channel, v=1": "http 400: no such channel, v=1",
		"POST /services/T0001/B0001/XyZ-secret?token=tok%65n99&v=1 failed": "http 400: POST […] failed",
		`{"url":"https:\/\/hooks.example.com\/services\/T0001"}`:           `http 400: {"url":"https:\/\/[…]\/[…]\/[…]"}`,
		`T0001\/B0001`:         `http 400: […]\/[…]`,
		"no XYZ-SECRET here":   "http 400: no […] here",
		"token token99":        "http 400: token […]",
		"tok%65n99":            "http 400: […]",
		"at HOOKS.example.com": "http 400: at […]",
		"bad " + secretA:       "http 400: bad […]",
		" <html><head><script>x()</script></head><body><p>Bad <b>hook</b>":         "http 400: Bad hook",
		"<html><body>" + strings.Repeat("<hr/>", 95) + " Not found: /services/T00": "http 400: Not found:",
	} {
		if got := detail("http 400", channels.Words{Text: []byte(words), More: len(words) == maxWords}, []string{secretA}, u); got != want {
			t.Errorf("%q: %q; want %q", words, got, want)
		}
	}
}
