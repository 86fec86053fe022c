package caller

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	token   = "hush-token-0123456789"
	another = "hush-token-9876543210"
	key     = "hush-key-0123456789"
)

// gate is a guard with a clock to be set, and what it told.
type gate struct {
	*testing.T
	*Guard
	now   time.Time
	told  []string
	log   strings.Builder
	reads int
}

func newGate(t *testing.T, sources ...Source) *gate {
	t.Helper()
	g := &gate{T: t, now: start}
	guard, err := New(Options{Sources: sources, Refused: func(s string) { g.told = append(g.told, s) },
		Log: slog.New(slog.NewTextHandler(&g.log, nil)), Clock: func() time.Time { return g.now }})
	if err != nil {
		t.Fatal(err)
	}
	g.Guard = guard
	return g
}

// request is one that a test sends.
type request struct {
	*http.Request
	body string
}

func post(body string, pairs ...string) request {
	r := httptest.NewRequest(http.MethodPost, "/v1/alerts", strings.NewReader(body))
	r.RemoteAddr = "192.0.2.1:1234"
	for i := 0; i < len(pairs); i += 2 {
		r.Header.Set(pairs[i], pairs[i+1])
	}
	return request{r, body}
}

// grafana signs as Grafana does.
func grafana(at time.Time, body string, pairs ...string) request {
	r := post(body, pairs...)
	timestamp := strconv.FormatInt(at.Unix(), 10)
	h := hmac.New(sha256.New, []byte(key))
	io.WriteString(h, timestamp+":"+body)
	r.Header.Set("X-Grafana-Alerting-Signature", hex.EncodeToString(h.Sum(nil)))
	r.Header.Set("X-Time", timestamp)
	return r
}

func (r request) from(peer string) request {
	r.RemoteAddr = peer
	return r
}

func (g *gate) admit(r request) (*Admission, error) {
	return g.Admit(Alerts, r.Request, func() ([]byte, error) {
		g.reads++
		return io.ReadAll(r.Body)
	})
}

// wants admits a request, checks who it is from, and answers it.
func (g *gate) wants(source string, r request, status int) {
	g.Helper()
	a, err := g.admit(r)
	if err != nil {
		g.Fatalf("%v", err)
	}
	if a.Source != source {
		g.Errorf("let in as %s, not %s", a.Source, source)
	}
	a.Answered(g.Context(), status)
}

func (g *gate) refuses(want error, r request) {
	g.Helper()
	if a, err := g.admit(r); a != nil || !errors.Is(err, want) || err == nil {
		g.Fatalf("%+v, %v; want %v", a, err, want)
	}
}

var (
	bearer = Source{Name: "prom", Routes: []string{Alerts}, Bearer: []string{token, another}}
	signed = Source{Name: "grafana", Routes: []string{Alerts}, Signature: Signature{Form: Grafana, Secrets: []string{key}, TimestampHeader: "X-Time"}}
	hub    = Source{Name: "hub", Routes: []string{Alerts}, Signature: Signature{Form: GitHub, Secrets: []string{"It's a Secret to Everybody"}}}
)

func network(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func TestTokens(t *testing.T) {
	g := newGate(t, bearer)
	for _, header := range []string{"Bearer " + token, "bearer " + another} {
		g.wants("prom", post("{}", "Authorization", header), 200)
	}
	for _, header := range []string{"", "Bearer", "Bearer ", token, "Basic " + token, "Bearer " + token + "x", "Bearer " + token[1:], "Bearer x" + token} {
		g.refuses(ErrRefused, post("{}", "Authorization", header))
	}
	if g.reads != 0 {
		t.Errorf("%d bodies were read for a token", g.reads)
	}
}

func TestNetworks(t *testing.T) {
	near := Source{Name: "near", Routes: []string{Alerts}, Networks: []netip.Prefix{network("10.0.0.0/8"), network("2001:db8::/32")}}
	g := newGate(t, near)
	for _, peer := range []string{"10.0.0.1:1", "10.255.255.255:1", "[::ffff:10.1.2.3]:1", "[2001:db8::1]:1"} {
		g.wants("near", post("").from(peer), 200)
	}
	for _, peer := range []string{"11.0.0.1:1", "9.255.255.255:1", "[::ffff:11.1.2.3]:1", "[2001:db9::1]:1", "", "@", "10.0.0.1", "[::1]:1"} {
		g.refuses(ErrRefused, post("", "X-Forwarded-For", "10.0.0.1", "Forwarded", "for=10.0.0.1", "X-Real-IP", "10.0.0.1").from(peer))
	}
}

func TestAllPartsOfASource(t *testing.T) {
	all := signed
	all.Bearer, all.Networks = []string{token}, []netip.Prefix{network("192.0.2.0/24")}
	g := newGate(t, all)
	good := []string{"Authorization", "Bearer " + token}
	g.wants("grafana", grafana(g.now, "{}", good...), 200)
	g.refuses(ErrRefused, grafana(g.now, "{1}"))
	g.refuses(ErrRefused, grafana(g.now, "{2}", "Authorization", "Bearer "+another))
	g.refuses(ErrRefused, post("{3}", good...))
	if g.reads != 3 {
		t.Errorf("%d bodies were read: how long an answer takes tells that the token is wrong", g.reads)
	}
	g.refuses(ErrRefused, grafana(g.now, "{4}", good...).from("198.51.100.1:1"))
	if g.reads != 3 {
		t.Error("the body of a stranger was read")
	}
}

func TestAnySourceOfARoute(t *testing.T) {
	elsewhere := Source{Name: "events", Routes: []string{Events}, Bearer: []string{"hush-of-another-route"}}
	g := newGate(t, bearer, signed, hub, elsewhere)
	g.wants("prom", post("{}", "Authorization", "Bearer "+token), 200)
	g.wants("grafana", grafana(g.now, "{}"), 200)
	g.wants("hub", post("Hello, World!", "X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"), 200)
	g.refuses(ErrRefused, post("{}", "Authorization", "Bearer hush-of-another-route"))
	if !g.Guards(Events) || !g.Guards(Alerts) || g.Guards("") || newGate(t, bearer).Guards(Events) {
		t.Error("the guard doesn't know its routes")
	}
}

func TestWindow(t *testing.T) {
	for skew, want := range map[time.Duration]error{0: nil, MaxSkew: nil, -MaxSkew: nil, MaxSkew + time.Second: ErrRefused,
		-MaxSkew - time.Second: ErrRefused, 24 * time.Hour: ErrRefused, -24 * time.Hour: ErrRefused} {
		g := newGate(t, signed)
		g.now = g.now.Truncate(time.Second)
		r := grafana(g.now.Add(skew), "{}")
		if _, err := g.admit(r); !errors.Is(err, want) {
			t.Errorf("%v off: %v, want %v", skew, err, want)
		}
		if want != nil && g.reads > 0 {
			t.Error("the body was read nevertheless")
		}
	}
	g := newGate(t, signed)
	r := grafana(g.now.Add(-MaxSkew), "{}")
	g.now = g.now.Truncate(time.Second).Add(time.Nanosecond)
	g.refuses(ErrRefused, r)
	// The window is over when the body has come.
	g = newGate(t, signed)
	r = grafana(g.now, "{}")
	_, err := g.Admit(Alerts, r.Request, func() ([]byte, error) {
		g.now = g.now.Add(MaxSkew + time.Second)
		return []byte("{}"), nil
	})
	if !errors.Is(err, ErrRefused) {
		t.Errorf("a body that came too late: %v", err)
	}
}

func TestReplays(t *testing.T) {
	twin := signed
	twin.Name = "twin" // with the same secret
	g := newGate(t, signed, twin)
	r := func() request { return grafana(start, "{}") }
	for _, status := range []int{503, 500, 400, 0, 507} {
		g.wants("grafana", r(), status) // may come again
	}
	a, err := g.admit(r())
	if err != nil {
		t.Fatal(err)
	}
	g.refuses(ErrLater, r()) // its answer isn't known yet
	a.Answered(t.Context(), 202)
	g.refuses(ErrRefused, r())
	g.refuses(ErrRefused, r().from("198.51.100.1:1"))
	g.wants("grafana", grafana(start.Add(time.Second), "{}"), 202) // the sender sends it again
	g.now = start.Add(MaxSkew)
	g.refuses(ErrRefused, grafana(start.Add(time.Second), "{}"))
	if !strings.Contains(g.log.String(), "it was taken before") {
		t.Errorf("the log is %s", &g.log)
	}
}

// TestNoTimeNoReplay: a sender that signs no time says the same thing twice.
func TestNoTimeNoReplay(t *testing.T) {
	g := newGate(t, hub)
	for range 3 {
		g.wants("hub", post("Hello, World!", "X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"), 202)
	}
}

func TestFullMemoryIsNoRefusal(t *testing.T) {
	g := newGate(t, signed)
	g.routes[Alerts][0].taken = newTaken(1)
	g.wants("grafana", grafana(start, "{1}"), 202)
	g.refuses(ErrLater, grafana(start, "{2}"))
	g.refuses(ErrRefused, grafana(start, "{1}"))
	if !strings.Contains(g.log.String(), "than can be remembered") || len(g.told) != 1 {
		t.Errorf("told %q: %s", g.told, &g.log)
	}
}

func TestUnreadableBody(t *testing.T) {
	g := newGate(t, signed)
	r := grafana(start, "{}")
	gone := errors.New("gone")
	if _, err := g.Admit(Alerts, r.Request, func() ([]byte, error) { return nil, gone }); err != gone {
		t.Errorf("%v", err)
	}
	g.wants("grafana", r, 200)
}

func TestCertificates(t *testing.T) {
	u, err := url.Parse("spiffe://example.com/am")
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{Subject: pkix.Name{CommonName: "am"}, DNSNames: []string{"AM.example.com"}, URIs: []*url.URL{u},
		EmailAddresses: []string{"am@example.com"}, NotBefore: start.Add(-time.Hour), NotAfter: start.Add(time.Hour)}
	with := func(c *tls.ConnectionState) request {
		r := post("{}")
		r.TLS = c
		return r
	}
	verified := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf}}}
	for text, want := range map[string]bool{
		"dns:am.example.com": true, "dns:AM.EXAMPLE.COM": true, "uri:spiffe://example.com/am": true, "email:am@example.com": true, "cn:am": true,
		"dns:am": false, "dns:example.com": false, "cn:AM": false, "cn:am.example.com": false, "uri:spiffe://example.com/am2": false, "email:x@example.com": false,
	} {
		name, err := ParseIdentity(text)
		if err != nil {
			t.Fatal(err)
		}
		g := newGate(t, Source{Name: "am", Routes: []string{Alerts}, Certificates: []Identity{name}})
		if _, err := g.admit(with(verified)); (err == nil) != want {
			t.Errorf("%s: %v", text, err)
		}
		g.refuses(ErrRefused, with(nil))
		g.refuses(ErrRefused, with(&tls.ConnectionState{}))
		g.refuses(ErrRefused, with(&tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}})) // not verified
		for _, at := range []time.Time{leaf.NotAfter.Add(time.Second), leaf.NotBefore.Add(-time.Second)} {
			g.now = at // the connection outlives it
			g.refuses(ErrRefused, with(verified))
		}
	}
}

func TestNames(t *testing.T) {
	for _, text := range []string{"", "dns:", "am.example.com", "dns:*.example.com", "ip:10.0.0.1", "cn: am", "cn:am ", "DNS:x"} {
		if _, err := ParseIdentity(text); err == nil {
			t.Errorf("%q names someone", text)
		}
	}
	for text, want := range map[string]string{"10.0.0.0/8": "10.0.0.0/8", "192.0.2.7": "192.0.2.7/32", "::1": "::1/128", "2001:db8::/32": "2001:db8::/32",
		"::ffff:192.0.2.7": "192.0.2.7/32", "10.0.0.1/8": "", "10.0.0.0/33": "", "x": "", "": "", "fe80::1%eth0": "", "::ffff:10.0.0.0/104": ""} {
		if got, err := ParseNetwork(text); err != nil && want != "" || err == nil && got.String() != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for text, want := range map[string]bool{"X-Grafana-Alerting-Timestamp": true, "x": true, "": false, "a b": false, "a:b": false, "é": false, strings.Repeat("x", 129): false} {
		if HeaderName(text) != want {
			t.Errorf("%q is a header: %v", text, !want)
		}
	}
}

// TestWhoIsRefused: metrics and the log name the source that was meant, and say why;
// neither holds a secret.
func TestWhoIsRefused(t *testing.T) {
	other := Source{Name: "other-am", Routes: []string{Alerts}, Bearer: []string{another}, Networks: []netip.Prefix{network("10.0.0.0/8")}}
	alone := bearer
	alone.Networks = []netip.Prefix{network("192.0.2.0/24")}
	g := newGate(t, alone, other, signed)
	for _, tc := range []struct {
		r            request
		source, says string
	}{
		{post("{}", "Authorization", "Bearer hush"), "prom", "the token is missing or wrong"},
		{post("{}", "Authorization", "Bearer hush").from("10.1.1.1:1"), "other-am", "the token is missing or wrong"},
		{post("{}", "X-Grafana-Alerting-Signature", strings.Repeat("ab", 32), "X-Time", strconv.FormatInt(start.Unix(), 10)), "grafana", "the signature is wrong"},
		{post("{}", "X-Grafana-Alerting-Signature", "hush", "X-Time", "0"), "grafana", "not of the form"},
		{grafana(start.Add(-time.Hour), "{}"), "grafana", "too far from this clock"},
		{post("{}"), Several, "none of several sources"},
	} {
		g.told, g.now = nil, g.now.Add(10*time.Second)
		g.log.Reset()
		_, err := g.admit(tc.r)
		if !errors.Is(err, ErrRefused) || len(g.told) != 1 || g.told[0] != tc.source || !strings.Contains(g.log.String(), tc.says) ||
			strings.Contains(g.log.String(), "hush") || strings.Contains(g.log.String(), "abab") {
			t.Errorf("%v, told %q: %s; want %s, %s", err, g.told, &g.log, tc.source, tc.says)
		}
	}
	g.told = nil
	g.RefuseToken(post("").Request)
	if len(g.told) != 1 || g.told[0] != Tokens {
		t.Errorf("told %q", g.told)
	}
}

func TestSourcesAtFault(t *testing.T) {
	for name, sources := range map[string][]Source{
		"twice":         {bearer, bearer},
		"asks nothing":  {{Name: "x", Routes: []string{Alerts}}},
		"no route":      {{Name: "x", Bearer: []string{token}}},
		"another route": {{Name: "x", Routes: []string{"targets"}, Bearer: []string{token}}},
		"bad form":      {{Name: "x", Routes: []string{Alerts}, Signature: Signature{Form: "x", Secrets: []string{key}}}},
	} {
		if _, err := New(Options{Sources: sources}); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", name, err)
		}
	}
	g, err := New(Options{Sources: []Source{bearer}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Admit(Alerts, post("").Request, nil); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
}
