package smtp

import (
	"crypto/tls"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/channels/channeltest"
	"github.com/tocsin/tocsin/internal/egress"
)

func TestSTARTTLS(t *testing.T) {
	config, pool := certificate(t)
	starts := func(p *peer, change func(*Config, *egress.Config)) (*Channel, channels.Result) {
		p.tls = config
		url := strings.TrimSuffix(p.start(t), "?tls=none")
		c := newChannel(t, strings.Replace(url, "smtp://", "smtp://user:hunter2-hunter2@", 1), func(c *Config, e *egress.Config) {
			e.Roots = pool
			if change != nil {
				change(c, e)
			}
		})
		return c, c.Send(t.Context(), message(t, c, 1, address))
	}
	t.Run("works and is used again", func(t *testing.T) {
		p := &peer{offers: []string{"STARTTLS", "PIPELINING", "AUTH PLAIN"}}
		c, r := starts(p, nil)
		if r.Class != channels.Delivered {
			t.Fatal(r)
		}
		if r := c.Send(t.Context(), message(t, c, 2, address)); r.Class != channels.Delivered || p.connections() != 1 {
			t.Errorf("%+v on %d connections", r, p.connections())
		}
		got := strings.Join(p.commands()[:6], "\n")
		if got != "greeting\nEHLO tocsin.example.com\nSTARTTLS\nEHLO tocsin.example.com\nAUTH PLAIN AHVzZXIAaHVudGVyMi1odW50ZXIy\nMAIL FROM:<status@example.com>" {
			t.Errorf("the relay was told\n%s", got)
		}
	})
	for name, tc := range map[string]struct {
		offers []string
		answer string
		change func(*Config, *egress.Config)
		detail string
	}{
		"stripped from the offers": {[]string{"AUTH PLAIN", "PIPELINING"}, usual, nil, "the relay offers no STARTTLS; if that is right, say tls=implicit or tls=none"},
		"refused":                  {[]string{"STARTTLS"}, "454 4.7.0 TLS not available", nil, "smtp 454 to STARTTLS: 4.7.0 TLS not available"},
		"with more behind it":      {[]string{"STARTTLS"}, "220 go on\r\n250-evil\r\n250 AUTH PLAIN", nil, "something was said between STARTTLS and TLS; somebody may be in between"},
		"with an unknown certificate": {[]string{"STARTTLS"}, usual, func(_ *Config, e *egress.Config) { e.Roots = nil },
			"tls_error: certificate of an unknown authority"},
		"silent after it": {[]string{"STARTTLS"}, silent, func(c *Config, _ *egress.Config) { c.Timeout = time.Second }, "timeout: no answer to STARTTLS in time"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &peer{offers: tc.offers, answer: func(verb string, _ int) string {
				if verb == "STARTTLS" {
					return tc.answer
				}
				return usual
			}}
			_, r := starts(p, tc.change)
			if r.Class != channels.Temporary || !r.NoConnection || r.Detail != tc.detail {
				t.Errorf("%+v", r)
			}
			for _, line := range p.commands() {
				if !strings.HasPrefix(line, "EHLO") && line != "STARTTLS" && line != "greeting" {
					t.Errorf("the relay was told %q without TLS", line)
				}
			}
		})
	}
}

func TestImplicitTLS(t *testing.T) {
	config, pool := certificate(t)
	p := &peer{offers: []string{"AUTH LOGIN"}, seen: map[string]int{}, answer: func(verb string, _ int) string {
		switch verb {
		case "AUTH":
			return "334 VXNlcm5hbWU6"
		case "DXNLCG==": // "user"
			return "334 UGFzc3dvcmQ6"
		case "CHC=": // "pw"
			return "235 2.7.0 welcome"
		}
		return usual
	}}
	at := channeltest.Serve(t, func(c net.Conn) { p.talk(tls.Server(c, config)) })
	c := newChannel(t, "smtps://user:pw@"+at, func(_ *Config, e *egress.Config) { e.Roots = pool })
	for range 2 {
		if r := c.Send(t.Context(), message(t, c, 1, address)); r.Class != channels.Delivered {
			t.Fatal(r)
		}
	}
	got := p.commands()
	if want := []string{"AUTH LOGIN", "dXNlcg==", "cHc="}; p.connections() != 1 || !slices.Equal(got[2:5], want) {
		t.Errorf("%q on %d connections", got, p.connections())
	}
}

// Nothing goes over the network in plain text, whatever the policy for targets.
func TestWithoutTLSOnlyToThisMachineOrAsAllowed(t *testing.T) {
	policy := func(allow ...string) *egress.Policy {
		p, err := egress.NewPolicy(egress.Rules{Allow: allow})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for to, want := range map[string][2]bool{ // without and with 10.0.0.0/8 allowed
		"127.0.0.1:25": {true, true}, "[::1]:25": {true, true}, "[::ffff:127.0.0.1]:25": {true, true},
		"10.1.2.3:25": {false, true}, "192.168.0.1:25": {false, false}, "8.8.8.8:25": {false, false}, "[2600::1]:25": {false, false},
	} {
		at, err := net.ResolveTCPAddr("tcp", to)
		if err != nil {
			t.Fatal(err)
		}
		without := &relay{route: route{targets: policy()}}
		with := &relay{route: route{targets: policy("10.0.0.0/8", "8.8.8.8")}}
		if got := [2]bool{without.plainAllowed(at), with.plainAllowed(at)}; got != want {
			t.Errorf("%s: %v; want %v", to, got, want)
		}
	}
}
