package smtp

import (
	"strings"
	"testing"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/channels/channeltest"
	"github.com/tocsin/tocsin/internal/egress"
)

const (
	kitUser     = "relay-user"
	kitPassword = "correct-horse-battery"
	kitAddress  = "Jane.Doe@customer.example"
)

func TestContract(t *testing.T) {
	for name, offers := range map[string][]string{
		"pipelined": {"PIPELINING", "ENHANCEDSTATUSCODES", "AUTH PLAIN LOGIN"},
		"lockstep":  {"AUTH LOGIN CRAM-MD5 PLAIN"},
	} {
		t.Run(name, func(t *testing.T) {
			// The kit opens the channel after it has started the peer.
			var url string
			channeltest.Run(t, channeltest.Fixture{
				New: func(t *testing.T, s channeltest.Script) channels.Channel {
					if url == "" {
						url = (&peer{}).start(t)
					}
					at := strings.Replace(url, "smtp://", "smtp://"+kitUser+":"+kitPassword+"@", 1)
					return newChannel(t, at, func(c *Config, _ *egress.Config) {
						c.ConnectTimeout, c.Timeout, c.FinalTimeout = s.Patience(), s.Patience(), s.Patience()
					})
				},
				Play: func(t *testing.T, s channeltest.Script) *channeltest.Peer {
					p := &peer{offers: offers}
					// CRAM-MD5 has a second step, which the script is not about.
					p.answer = play(p, s)
					url = p.start(t)
					if s == channeltest.Nobody {
						url = "smtp://" + channeltest.FreeAddress(t) + "?tls=none"
					}
					return &channeltest.Peer{Address: kitAddress,
						Private:  []string{"Jane.Doe", "customer.example", kitUser, kitPassword, url[len("smtp://"):]},
						Received: func() []channeltest.Receipt { return receipts(t, p) }}
				},
				NoPause: true,
			})
		})
	}
}

// play is a relay that takes the whole message before it does what the script says.
func play(p *peer, s channeltest.Script) func(string, int) string {
	return func(verb string, _ int) string {
		if verb == "AUTH" {
			line := p.commands()
			if strings.HasPrefix(line[len(line)-1], "AUTH CRAM") {
				return "334 PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UuZXhhbXBsZS5uZXQ+"
			}
			return usual
		}
		if !strings.Contains("greeting EHLO MAIL RCPT DATA . QUIT RSET", verb) {
			return "235 2.7.0 welcome" // what CRAM-MD5 answers the challenge with
		}
		if verb != "." {
			return usual
		}
		switch s {
		case channeltest.Echo:
			var said strings.Builder
			for _, line := range append(p.commands(), strings.Split(lastContent(p), "\r\n")...) {
				said.WriteString("451-" + line + " " + kitUser + "/" + kitPassword + "\r\n")
			}
			return "451-4.3.0 " + kitAddress + " " + strings.ToUpper(kitAddress) + " Jane.Doe at customer.example " + kitPassword + "\r\n" +
				said.String() + "451 4.3.0 later"
		case channeltest.Throttle:
			return "421 4.7.0 too much mail"
		case channeltest.Gone:
			return "550 5.1.1 no such mailbox"
		case channeltest.Refuse:
			return "554 5.7.1 spam"
		case channeltest.Silent:
			return silent
		case channeltest.Cut:
			return hangUp
		case channeltest.Garbage:
			return "\x00\x1b[31m\xff HTTP/1.1 200 OK"
		case channeltest.Flood:
			return "451-" + flood
		}
		return usual
	}
}

func lastContent(p *peer) string {
	all := p.received()
	return all[len(all)-1].content
}

// receipts are the mails that came, with the body after the headers.
func receipts(t *testing.T, p *peer) []channeltest.Receipt {
	var out []channeltest.Receipt
	for _, m := range p.received() {
		_, body, _ := strings.Cut(m.content, "\r\n\r\n")
		out = append(out, channeltest.Receipt{ID: idOf(t, m.content), Body: []byte(body)})
	}
	return out
}
