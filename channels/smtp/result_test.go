package smtp

import (
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/internal/egress"
)

const address = "jane@customer.example"

func TestClassesOfReplies(t *testing.T) {
	const d, tmp, thr, gone, perm = channels.Delivered, channels.Temporary, channels.Throttled, channels.Gone, channels.Permanent
	for _, tc := range []struct {
		verb, answer string
		class        channels.Class
		detail       string
		// again is true if the session is used for the next message.
		again bool
	}{
		{".", "250 2.0.0 Ok", d, "", true},
		{".", "250", d, "", true},
		{".", "250-2.0.0 Ok\r\n250 queued", d, "", true},
		{".", "252 2.0.0 taken", d, "", true},
		{".", "250 Ok\r\n" + hangUp, d, "", false},
		{".", "250-" + flood, d, "", false},
		{".", "250-a\r\n550 b", d, "", false},
		{".", "451 4.3.0 try again", tmp, "smtp 451 to the message: 4.3.0 try again", true},
		{".", "452 4.3.1 no space", tmp, "smtp 452 to the message: 4.3.1 no space", true},
		{".", "451 4.7.1 greylisted", thr, "smtp 451 to the message: 4.7.1 greylisted", true},
		{".", "421 4.3.2 shutting down", thr, "smtp 421 to the message: 4.3.2 shutting down", false},
		{".", "550 5.1.1 no such mailbox", gone, "smtp 550 to the message: 5.1.1 no such mailbox", true},
		{".", "550 user unknown", perm, "smtp 550 to the message: user unknown", true},
		{".", "554 5.7.1 spam", perm, "smtp 554 to the message: 5.7.1 spam", true},
		{".", "552-5.3.4 too\r\n552-5.3.4 big\r\n552 5.3.4 indeed", perm, "smtp 552 to the message: 5.3.4 too 5.3.4 big 5.3.4 indeed", true},
		{".", "354 what", tmp, "smtp 354 to the message: what", true},
		{".", "999 what", tmp, "unknown: what the peer says is not SMTP after the whole message was sent", false},
		{".", "x", tmp, "unknown: what the peer says is not SMTP after the whole message was sent", false},
		{".", hangUp, tmp, "unknown: closed by the relay after the whole message was sent", false},
		{".", silent, tmp, "unknown: timeout: no answer in time after the whole message was sent", false},
		{".", flood, tmp, "unknown: what the peer says is not SMTP after the whole message was sent", false},
		{".", "451-" + drip, tmp, "smtp 451 to the message", false},
		{".", "250-" + drip, d, "", false},

		{"RCPT", "250 2.1.5 Ok", d, "", true},
		{"RCPT", "251 will forward", d, "", true},
		{"RCPT", "550 5.1.1 <jane@customer.example>: Recipient address rejected: User unknown", gone, "smtp 550 to RCPT: 5.1.1 <[…]>: Recipient address rejected: User unknown", true},
		{"RCPT", "550 5.1.10 RESOLVER.ADR.RecipientNotFound", gone, "smtp 550 to RCPT: 5.1.10 […]", true},
		{"RCPT", "550 No such user here", gone, "smtp 550 to RCPT: No such user here", true},
		{"RCPT", "550 Unknown user jane", gone, "smtp 550 to RCPT: Unknown user […]", true},
		{"RCPT", "553 mailbox not found", gone, "smtp 553 to RCPT: mailbox not found", true},
		{"RCPT", "550 5.7.1 user unknown to us, relaying denied", perm, "smtp 550 to RCPT: 5.7.1 user unknown to us, relaying denied", true},
		{"RCPT", "550 mailbox unavailable", perm, "smtp 550 to RCPT: mailbox unavailable", true},
		{"RCPT", "554 user unknown", perm, "smtp 554 to RCPT: user unknown", true},
		{"RCPT", "552 5.2.2 mailbox full", perm, "smtp 552 to RCPT: 5.2.2 mailbox full", true},
		{"RCPT", "450 4.2.0 busy", tmp, "smtp 450 to RCPT: 4.2.0 busy", true},
		{"RCPT", "450 4.7.1 greylisted", thr, "smtp 450 to RCPT: 4.7.1 greylisted", true},
		{"RCPT", "450 5.1.1 odd", tmp, "smtp 450 to RCPT: 5.1.1 odd", true},
		{"RCPT", "503 5.5.1 bad sequence", tmp, "smtp 503 to RCPT: 5.5.1 bad sequence", false},
		{"RCPT", "421 4.7.0 slow down", thr, "smtp 421 to RCPT: 4.7.0 slow down", false},
		{"RCPT", hangUp, tmp, "closed by the relay before the message", false},
		{"RCPT", silent, tmp, "timeout: no answer in time before the message", false},
		{"RCPT", flood, tmp, "what the peer says is not SMTP before the message", false},
		{"RCPT", "250-" + flood, tmp, "the relay says more than can be read before the message", false},

		{"MAIL", "553 5.1.8 sender not allowed", perm, "smtp 553 to MAIL: 5.1.8 sender not allowed", true},
		{"MAIL", "550 5.1.1 sender unknown", perm, "smtp 550 to MAIL: 5.1.1 sender unknown", true},
		{"MAIL", "530 5.7.0 authentication required", tmp, "smtp 530 to MAIL: 5.7.0 authentication required", false},
		{"MAIL", "452 4.3.1 no space", tmp, "smtp 452 to MAIL: 4.3.1 no space", true},
		{"MAIL", "421 too many", thr, "smtp 421 to MAIL: too many", false},

		{"DATA", "451 4.3.0 queue file", tmp, "smtp 451 to DATA: 4.3.0 queue file", true},
		{"DATA", "250 what", tmp, "smtp 250 to DATA: what", true},
		{"DATA", "421 bye", thr, "smtp 421 to DATA: bye", false},
	} {
		for _, offers := range [][]string{{"PIPELINING"}, nil} {
			name := tc.verb + " " + tc.answer
			t.Run(strings.NewReplacer("\r\n", "|", "/", "").Replace(name)+strings.Join(offers, ""), func(t *testing.T) {
				t.Parallel()
				p := &peer{offers: offers}
				answer, hangsUp := strings.CutSuffix(tc.answer, "\r\n"+hangUp)
				p.answer = func(verb string, nth int) string {
					switch {
					case verb == tc.verb && nth == 1:
						return answer
					case hangsUp && verb == "MAIL" && nth == 2:
						return hangUp
					}
					return usual
				}
				c := newChannel(t, p.start(t), func(c *Config, _ *egress.Config) {
					if outlasts(tc.answer) {
						c.Timeout, c.FinalTimeout = 2*time.Second, 2*time.Second // the next message is in time
					}
				})
				got := c.Send(t.Context(), message(t, c, 1, address))
				if got.Class != tc.class || got.NoConnection || got.RetryAfter != 0 {
					t.Errorf("%+v; want %s", got, tc.class)
				}
				if got.Detail != tc.detail && !strings.HasPrefix(got.Detail, tc.detail+": x") {
					t.Errorf("detail %q; want %q", got.Detail, tc.detail)
				}
				before := len(p.received())
				if next := c.Send(t.Context(), message(t, c, 1, address)); next.Class != channels.Delivered {
					t.Fatalf("the next message: %+v\n%q", next, p.commands())
				}
				if n := len(p.received()); n != before+1 {
					t.Errorf("the relay has %d messages after %d and one more", n, before)
				}
				if conns := p.connections(); (conns == 1) != tc.again {
					t.Errorf("%d connections; want the session used again: %t\n%q", conns, tc.again, p.commands())
				}
			})
		}
	}
}

// outlasts says whether only a timeout ends the wait for an answer.
func outlasts(answer string) bool { return answer == silent || strings.HasSuffix(answer, drip) }

// What a relay says while a session is opened is about us, never about a message.
func TestClassesOfOpening(t *testing.T) {
	for _, tc := range []struct {
		verb, answer, detail string
		throttled            bool
	}{
		{"greeting", "554 5.7.1 you are on a list", "smtp 554 to the greeting: 5.7.1 you are on a list", false},
		{"greeting", "421 4.7.0 too many connections", "smtp 421 to the greeting: 4.7.0 too many connections", true},
		{"greeting", "450 4.7.1 later", "smtp 450 to the greeting: 4.7.1 later", true},
		{"greeting", "HTTP/1.1 400 Bad Request", "what the peer says is not SMTP at the greeting", false},
		{"greeting", silent, "timeout: no answer to the greeting in time", false},
		{"greeting", hangUp, "closed by the relay at the greeting", false},
		{"greeting", flood, "the relay says more than can be read at the greeting", false},
		{"greeting", "220-" + flood, "the relay says more than can be read at the greeting", false},
		{"greeting", "554-" + drip, "timeout: no answer to the greeting in time", false},
		{"EHLO", "550 5.7.1 bad name", "smtp 550 to EHLO: 5.7.1 bad name", false},
		{"EHLO", "250-" + flood, "the relay says more than can be read at EHLO", false},
		{"EHLO", hangUp, "closed by the relay at EHLO", false},
		{"AUTH", "535 5.7.8 bad password hunter2-hunter2 aHVudGVyMi1odW50ZXIy", "smtp 535 to AUTH", false},
		{"AUTH", "454 4.7.0 try later", "smtp 454 to AUTH", false},
		{"AUTH", "421 4.7.0 too many failures", "smtp 421 to AUTH", true},
		{"AUTH", "334 aHVudGVyMi1odW50ZXIy", "connection failed at AUTH", false},
		{"AUTH", hangUp, "closed by the relay at AUTH", false},
	} {
		t.Run(tc.verb+" "+strings.ReplaceAll(tc.answer, "/", ""), func(t *testing.T) {
			p := &peer{offers: []string{"AUTH PLAIN"}}
			p.answer = func(verb string, _ int) string {
				if verb == tc.verb || tc.verb == "EHLO" && verb == "HELO" {
					return tc.answer
				}
				return usual
			}
			url := strings.Replace(p.start(t), "smtp://", "smtp://user:hunter2-hunter2@", 1)
			c := newChannel(t, url, func(c *Config, _ *egress.Config) {
				if outlasts(tc.answer) {
					c.Timeout = time.Second
				}
			})
			got := c.Send(t.Context(), message(t, c, 1, address))
			want := channels.Result{Class: channels.Temporary, Detail: tc.detail, NoConnection: true}
			if tc.throttled {
				want.Class, want.NoConnection = channels.Throttled, false
			}
			if got != want {
				t.Errorf("%+v; want %+v", got, want)
			}
			if len(p.received()) != 0 {
				t.Error("a message was sent")
			}
		})
	}
}

func TestDetailsShowNoAddressAndNoLogin(t *testing.T) {
	r := &relay{user: "relay-user", password: "hunter2!"}
	m := &channels.Message{Address: "jane.doe@customer.example", Secrets: []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}
	for said, want := range map[string]string{
		"<jane.doe@customer.example>: unknown":              "x: <[…]>: unknown",
		"JANE.DOE at Customer.Example is full":              "x: […] at […] is full",
		"relay-user HUNTER2! cmVsYXktdXNlcg== aHVudGVyMiE=": "x: […] […] […] […]",
		"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw":                  "x: […]",
	} {
		if got := detail("x", channels.Words{Text: []byte(said)}, r, m); got != want {
			t.Errorf("%q: %q; want %q", said, got, want)
		}
	}
	if got := detail("x", channels.Words{Text: []byte("relay-user, jane.doe")}, r, nil); got != "x: […], jane.doe" {
		t.Errorf("without a message: %q", got)
	}
}

// What is kept of a long reply may end in the middle of an address.
func TestARedactedReplyIsCutWhereItIsSafe(t *testing.T) {
	p := &peer{answer: func(verb string, _ int) string {
		if verb == "RCPT" {
			return "451-4.3.0" + strings.Repeat(" ", maxWords-20) + "jane@\r\n451 customer.example"
		}
		return usual
	}}
	c := newChannel(t, p.start(t), nil)
	if got := c.Send(t.Context(), message(t, c, 1, address)); got.Detail != "smtp 451 to RCPT: 4.3.0 […]@" {
		t.Errorf("%+v", got)
	}
}
