package smtp

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/egress"
)

// Whatever it finds, a probe sends no mail and, where it is heard, says goodbye.
func TestProbe(t *testing.T) {
	config, pool := certificate(t)
	const password = "hunter2-hunter2"
	for name, tc := range map[string]struct {
		peer   *peer
		plain  bool // tls=none
		want   Probed
		says   string
		hidden bool // the peer has no chance to hear QUIT
		short  bool // it waits for what doesn't come
	}{
		"all well":        {peer: &peer{offers: []string{"STARTTLS", "PIPELINING", "AUTH PLAIN"}}, want: Probed{Encrypted: true, LoggedIn: true, Pipelining: true}},
		"no PIPELINING":   {peer: &peer{offers: []string{"AUTH PLAIN"}}, plain: true, want: Probed{LoggedIn: true}},
		"no STARTTLS":     {peer: &peer{}, want: Probed{Step: "STARTTLS"}, says: "offers no STARTTLS", hidden: true},
		"no mechanism":    {peer: &peer{offers: []string{"AUTH GSSAPI"}}, plain: true, want: Probed{Step: "AUTH"}, says: "none of PLAIN", hidden: true},
		"silent greeting": {peer: &peer{answer: func(string, int) string { return silent }}, plain: true, want: Probed{Step: "the greeting"}, says: "in time", hidden: true, short: true},
		"wrong password": {peer: &peer{offers: []string{"STARTTLS", "AUTH PLAIN"}, answer: func(verb string, _ int) string {
			if verb == "AUTH" {
				return "535 5.7.8 wrong: " + password
			}
			return usual
		}}, want: Probed{Step: "AUTH", Encrypted: true}, says: "smtp 535 to AUTH", hidden: true},
		"goodbye unanswered": {peer: &peer{offers: []string{"AUTH PLAIN"}, answer: func(verb string, _ int) string {
			if verb == "QUIT" {
				return silent
			}
			return usual
		}}, plain: true, want: Probed{LoggedIn: true}, short: true},
	} {
		t.Run(name, func(t *testing.T) {
			tc.peer.tls = config
			url := strings.Replace(tc.peer.start(t), "smtp://", "smtp://user:"+password+"@", 1)
			if !tc.plain {
				url = strings.TrimSuffix(url, "?tls=none")
			}
			c := newChannel(t, url, func(c *Config, e *egress.Config) {
				e.Roots = pool
				c.Timeout = time.Minute
				if tc.short {
					c.Timeout = time.Second
				}
			})
			got, err := c.Probe(t.Context(), "main")
			if got.Encrypted == got.Certificate.IsZero() {
				t.Errorf("TLS is %v and the certificate ends %v", got.Encrypted, got.Certificate)
			}
			got.Certificate = time.Time{}
			if got != tc.want {
				t.Errorf("found %+v, want %+v", got, tc.want)
			}
			switch {
			case tc.says == "" && err != nil, tc.says != "" && (err == nil || !strings.Contains(err.Error(), tc.says)):
				t.Errorf("got %v, want %q", err, tc.says)
			case err != nil && strings.Contains(err.Error(), password):
				t.Errorf("the error tells the password: %v", err)
			}
			said := strings.Join(tc.peer.commands(), "\n")
			if strings.Contains(said, "MAIL") || !tc.hidden && !strings.HasSuffix(said, "\nQUIT") {
				t.Errorf("the relay was told\n%s", said)
			}
		})
	}
}

func TestProbeOfARelayThatIsNotThere(t *testing.T) {
	c := newChannel(t, "smtp://relay.example.com:25", nil)
	p, err := c.Probe(t.Context(), "main")
	if err == nil || err.Error() != "dns: no such host" || p != (Probed{Step: "connecting"}) {
		t.Errorf("found %+v, %v", p, err)
	}
	if _, err := c.Probe(t.Context(), "other"); err == nil {
		t.Error("a relay of that name was found")
	}
}

func TestProbeEndsWithItsContext(t *testing.T) {
	p := &peer{}
	ctx, cancel := context.WithCancel(t.Context())
	p.answer = func(verb string, _ int) string {
		if verb != "EHLO" {
			return usual
		}
		cancel()
		return silent
	}
	c := newChannel(t, p.start(t), func(c *Config, _ *egress.Config) { c.Timeout = time.Hour })
	if got, err := c.Probe(ctx, "main"); err == nil || got.Step != "EHLO" {
		t.Errorf("found %+v, %v", got, err)
	}
}
