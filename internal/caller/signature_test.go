package caller

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// vector is a published example of a form.
type vector struct {
	signature Signature
	header    http.Header
	body      string
	at        time.Time
}

func (v vector) clone() vector {
	v.header = v.header.Clone()
	return v
}

func headers(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

// vectors are the example of the Standard Webhooks libraries, that of GitHub's
// documentation ("Validating webhook deliveries"), and a case of Grafana's own test
// of its sender (grafana/alerting, HMACRoundTripper), computed with openssl.
func vectors() map[Form]vector {
	return map[Form]vector{
		Standard: {
			signature: Signature{Form: Standard, Secrets: []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}},
			header: headers("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp", "1614265330",
				"webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
			body: `{"test": 2432232314}`,
			at:   time.Unix(1614265330, 0),
		},
		GitHub: {
			signature: Signature{Form: GitHub, Secrets: []string{"It's a Secret to Everybody"}},
			header:    headers("X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"),
			body:      "Hello, World!",
		},
		Grafana: {
			signature: Signature{Form: Grafana, Secrets: []string{"secret"}, TimestampHeader: "X-Timestamp"},
			header: headers("X-Grafana-Alerting-Signature", grafanaMAC,
				"X-Timestamp", "0"),
			body: "test message",
			at:   time.Unix(0, 0),
		},
	}
}

const grafanaMAC = "ac18a483a582b60a883e974541afe25aa1026136163e94665649743324183ef1"

// verifierOf makes a verifier; the short secret of Grafana's example isn't one that
// a configuration may have.
func verifierOf(t testing.TB, s Signature) *verifier {
	t.Helper()
	key := []byte(nil)
	if s.Secrets[0] == "secret" {
		key = []byte("secret")
		s.Secrets = []string{strings.Repeat("x", minSecret)}
	}
	v, err := newVerifier(s)
	if err != nil {
		t.Fatal(err)
	}
	if key != nil {
		v.keys[0] = key
	}
	return v
}

func (v vector) holds(t testing.TB) bool {
	t.Helper()
	verifier := verifierOf(t, v.signature)
	c, why := verifier.claim(v.header)
	if why != "" {
		return false
	}
	if !c.at.Equal(v.at) {
		t.Errorf("the time is %v, want %v", c.at, v.at)
	}
	ok := verifier.holds(&c, []byte(v.body))
	return ok
}

func TestPublishedExamples(t *testing.T) {
	for form, v := range vectors() {
		if !v.holds(t) {
			t.Errorf("the example of %s is refused", form)
		}
	}
}

// TestEveryByteIsSigned changes each byte of the body and of each header by one bit:
// none may still hold.
func TestEveryByteIsSigned(t *testing.T) {
	for form, original := range vectors() {
		for i := range original.body {
			v := original
			changed := []byte(v.body)
			changed[i] ^= 1
			v.body = string(changed)
			if v.holds(t) {
				t.Errorf("%s: byte %d of the body is not signed", form, i)
			}
		}
		for _, body := range []string{"", original.body + " ", " " + original.body, original.body[1:]} {
			v := original
			if v.body = body; v.holds(t) {
				t.Errorf("%s: %q is taken for the body", form, body)
			}
		}
		for name, values := range original.header {
			for i := range values[0] {
				v := original.clone()
				changed := []byte(values[0])
				changed[i] ^= 1
				v.header.Set(name, string(changed))
				if c, why := verifierOf(t, v.signature).claim(v.header); why == "" {
					if verifierOf(t, v.signature).holds(&c, []byte(v.body)) {
						t.Errorf("%s: byte %d of %s is not signed", form, i, name)
					}
				}
			}
			for _, value := range []string{"", values[0] + "0", values[0][1:], "0" + values[0], values[0][:len(values[0])-1], " "} {
				v := original.clone()
				v.header.Set(name, value)
				if c, why := verifierOf(t, v.signature).claim(v.header); why == "" {
					if verifierOf(t, v.signature).holds(&c, []byte(v.body)) {
						t.Errorf("%s: %s may be %q", form, name, value)
					}
				}
			}
			v := original.clone()
			v.header.Del(name)
			if v.holds(t) {
				t.Errorf("%s: %s may be missing", form, name)
			}
			v = original.clone()
			v.header.Add(name, values[0])
			if v.holds(t) {
				t.Errorf("%s: %s may be there twice", form, name)
			}
		}
	}
}

func TestMalformedHeaders(t *testing.T) {
	mac := strings.Repeat("ab", 32)
	b64 := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for form, values := range map[Form][]string{
		Standard: {"v1", "v1,", "v1," + b64[:40], "v2," + b64, "v1a," + b64, "V1," + b64, b64, "v1 " + b64, "v1," + b64 + b64,
			strings.Repeat("v2,x ", maxSignatures) + "v1," + b64, "v1," + base64.RawStdEncoding.EncodeToString(make([]byte, 32)),
			"v1," + b64[:43] + "\n", "v1," + b64[:42] + "B="},
		GitHub:  {mac, "sha1=" + mac, "sha256=", "sha256=" + mac[2:], "sha256=" + mac + "00", "SHA256=" + mac, "sha256=" + mac[2:] + "zz", "sha256= " + mac},
		Grafana: {"sha256=" + mac, mac[2:], mac + "00", mac[2:] + "zz", " " + mac, ""},
	} {
		for _, value := range values {
			if _, ok := form.signatures(value); ok {
				t.Errorf("%s reads %q", form, value)
			}
		}
	}
	for _, value := range []string{"", "-1", "+1", "1.5", " 1", "1e3", "0x1", "1234567890123", "१२३"} {
		if at, ok := unixTime(value); ok {
			t.Errorf("%q is read as %v", value, at)
		}
	}
	v := vectors()[Standard]
	v.header.Set("webhook-id", strings.Repeat("x", maxID+1))
	if _, why := verifierOf(t, v.signature).claim(v.header); why == "" {
		t.Error("an id may be of any length")
	}
}

// TestLibraryAgrees signs with the library of Standard Webhooks.
func TestLibraryAgrees(t *testing.T) {
	for n := 24; n <= 64; n += 8 {
		key := make([]byte, n)
		for i := range key {
			key[i] = byte(i * n)
		}
		secret := "whsec_" + base64.StdEncoding.EncodeToString(key)
		theirs, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		body, at := []byte(fmt.Sprintf(`{"n":%d,"é":"\u0000"}`, n)), time.Unix(1_700_000_000+int64(n), 0)
		signature, err := theirs.Sign("msg.with.dots", at, body)
		if err != nil {
			t.Fatal(err)
		}
		v := vector{signature: Signature{Form: Standard, Secrets: []string{secret}}, body: string(body), at: at,
			header: headers("webhook-id", "msg.with.dots", "webhook-timestamp", strconv.FormatInt(at.Unix(), 10), "webhook-signature", signature)}
		if !v.holds(t) {
			t.Errorf("a key of %d bytes: what the library signed is refused", n)
		}
	}
}

// TestRotation: any secret of the source and any signature of the request may be the
// one that matches, and a replay is the same request whichever did.
func TestRotation(t *testing.T) {
	secret := func(b byte) string {
		return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune(b)), 24)))
	}
	at := time.Unix(1_700_000_000, 0)
	sign := func(secret string) string {
		w, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		s, err := w.Sign("msg_1", at, []byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	a, b, c := secret('a'), secret('b'), secret('c')
	v := verifierOf(t, Signature{Form: Standard, Secrets: []string{a, b}})
	prints := map[fingerprint]bool{}
	for header, want := range map[string]bool{
		sign(a): true, sign(b): true, sign(c): false, sign(a) + " " + sign(b): true, sign(c) + " " + sign(b): true,
		"v1a,xyz " + sign(a): true, sign(c) + " " + sign(c): false,
	} {
		claim, why := v.claim(headers("webhook-id", "msg_1", "webhook-timestamp", "1700000000", "webhook-signature", header))
		if why != "" {
			t.Fatal(why)
		}
		if holds := v.holds(&claim, []byte("{}")); holds != want {
			t.Errorf("%s: %v", header, holds)
		}
		prints[claim.print([]byte("{}"))] = true
	}
	if len(prints) != 1 {
		t.Errorf("%d fingerprints of one request", len(prints))
	}
}

func TestSecrets(t *testing.T) {
	key := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for secret, want := range map[string]bool{
		"whsec_" + key(24): true, "whsec_" + key(64): true, "whsec_" + key(23): false, "whsec_" + key(65): false, key(32): false,
		"whsec_" + key(32)[1:]: false, "whsec_" + key(24) + "\n": false, "": false, "whsec_": false,
	} {
		if err := Standard.CheckSecret(secret); (err == nil) != want {
			t.Errorf("%q: %v", secret, err)
		}
	}
	for _, form := range []Form{GitHub, Grafana} {
		if form.CheckSecret(strings.Repeat("x", 16)) != nil || form.CheckSecret(strings.Repeat("x", 15)) == nil {
			t.Errorf("%s takes secrets of another length", form)
		}
	}
}

func TestBadSignatures(t *testing.T) {
	good := strings.Repeat("hush", 5)
	for name, s := range map[string]Signature{
		"no form":            {Form: "svix", Secrets: []string{good}},
		"no secret":          {Form: GitHub},
		"six secrets":        {Form: GitHub, Secrets: []string{good, good, good, good, good, good}},
		"short":              {Form: GitHub, Secrets: []string{"hush"}},
		"no base64":          {Form: Standard, Secrets: []string{good}},
		"no header":          {Form: Grafana, Secrets: []string{good}},
		"a header too much":  {Form: GitHub, Secrets: []string{good}, TimestampHeader: "X"},
		"a header too much2": {Form: Standard, Secrets: []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, TimestampHeader: "X"},
	} {
		_, err := newVerifier(s)
		if err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzClaim(f *testing.F) {
	for form, v := range vectors() {
		name := map[Form]string{Standard: "webhook-signature", GitHub: "X-Hub-Signature-256", Grafana: "X-Grafana-Alerting-Signature"}[form]
		f.Add(string(form), v.header.Get("webhook-id"), v.header.Get("webhook-timestamp")+v.header.Get("X-Timestamp"), v.header.Get(name), []byte(v.body))
	}
	f.Add("standard", "", "99999999999999999999", "v1, v1,= ,", []byte("x"))
	f.Fuzz(func(t *testing.T, form, id, timestamp, signature string, body []byte) {
		example, known := vectors()[Form(form)]
		if !known {
			return
		}
		v := verifierOf(t, example.signature)
		h := http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {timestamp}, "X-Timestamp": {timestamp}}
		h.Set(v.header, signature)
		c, why := v.claim(h)
		if why != "" {
			if strings.Contains(why, signature) && len(signature) > 8 {
				t.Errorf("the reason repeats the signature: %s", why)
			}
			return
		}
		if len(c.macs) == 0 || len(c.macs) > maxSignatures {
			t.Errorf("%d signatures", len(c.macs))
		}
		holds := v.holds(&c, body)
		if v.holds(&c, body) != holds || c.print(body) != c.print(body) || c.print(body) == c.print(append(body, 'x')) {
			t.Error("judged differently the second time")
		}
		if !holds {
			return
		}
		// What was found by luck can only be the example itself.
		if string(body) != example.body || Form(form) == Standard && id != example.header.Get("webhook-id") {
			t.Errorf("a forged signature: %q %q %q %q", id, timestamp, signature, body)
		}
	})
}
