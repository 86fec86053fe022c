package channels

import (
	"encoding/base64"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

var parts = []string{"jane.doe@customer.example", "jane.doe", "customer.example", "XyZ-secret", "relay-user", "al", ""}

func TestDetail(t *testing.T) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	for words, want := range map[string]string{
		"":                                           "x",
		" \r\n\t ":                                   "x",
		"no such channel, al":                        "x: no such channel, al",
		`{"error":"invalid","n":12}`:                 `x: {"error":"invalid","n":12}`,
		"no XYZ-SECRET, xyz-secretXyZ-secret":        "x: no […], […][…]",
		"<jane.doe@customer.example>: unknown":       "x: <[…]>: unknown",
		"JANE.DOE at Customer.Example is full":       "x: […] at […] is full",
		"relay\xff-user":                             "x: […]",
		"bad " + secret:                              "x: bad […]",
		"bad " + strings.ToLower(secret[6:]):         "x: bad […]",
		"bad " + string(key) + " key":                "x: bad […] key",
		"bad whsec_abc":                              "x: bad […]",
		"see https://x.y/z?k=v.":                     "x: see […]",
		"ask ann@example.org":                        "x: ask […]",
		"call +49  171 1234567":                      "x: call […]",
		"key " + strings.Repeat("a1", 14):            "x: key […]",
		"a\x00\x1b[31m\u202eb\xff c\td\u200be":       "x: a [31m b c d e",
		strings.Repeat("word ", 100):                 "x: " + strings.Repeat("word ", 39) + "wo",
		strings.Repeat("é ", 300):                    "x: " + strings.Repeat("é ", 65) + "é",
		strings.Repeat(" ", maxWords) + "cut before": "x",
	} {
		if got := Detail("x", Words{Text: []byte(words)}, []string{secret}, parts); got != want {
			t.Errorf("%q: %q; want %q", words, got, want)
		}
	}
}

// What was cut off in the middle is not recognised: it goes with the cut.
func TestDetailOfWordsThatWereCut(t *testing.T) {
	for words, want := range map[string]string{
		"bad XyZ-sec":                "x: bad",
		`{"path":"/XyZ-s`:            `x: {"path":`,
		"bad whsec":                  "x: bad",
		"for jane.doe@cust":          "x: for",
		"jane.d":                     "x",
		"no hook for x":              "x: no hook for",
		"not there: " + secret[6:20]: "x: not there:",
		"call +49 171 12":            "x: call",
		"all is well. ":              "x: all is",
		"key jane":                   "x: key",
	} {
		if got := Detail("x", Words{[]byte(words), true}, []string{secret}, parts); got != want {
			t.Errorf("%q: %q; want %q", words, got, want)
		}
	}
	// The same where Detail is who cuts.
	long := strings.Repeat(" ", maxWords-10) + "bad XyZ-secret"
	if got := Detail("x", Words{Text: []byte(long)}, nil, parts); got != "x: bad" {
		t.Errorf("%q", got)
	}
}

func FuzzDetail(f *testing.F) {
	f.Add([]byte("no such channel"), false)
	f.Add([]byte("\xff\xfe <p \u2028 customer.customer.exampleexample XyZ-sec"), true)
	f.Add([]byte(strings.Repeat("ü ", 200)), true)
	f.Fuzz(func(t *testing.T, words []byte, more bool) {
		got := Detail("x", Words{words, more}, []string{secret}, parts)
		if !strings.HasPrefix(got, "x") || len(got) > MaxDetail || !utf8.ValidString(got) || strings.ContainsFunc(got, unicode.IsControl) {
			t.Errorf("%q: %q", words, got)
		}
		for _, part := range append(parts[:5:5], secret[6:]) {
			if strings.Contains(strings.ToLower(got), strings.ToLower(part)) {
				t.Errorf("%q: %q shows %q", words, got, part)
			}
		}
	})
}
