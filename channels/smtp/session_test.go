package smtp

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/channels/channeltest"
	"github.com/tocsin/tocsin/internal/egress"
)

func TestSessionsAreKept(t *testing.T) {
	p := &peer{offers: []string{"PIPELINING"}}
	c := newChannel(t, p.start(t), nil)
	for range 3 {
		if r := c.Send(t.Context(), message(t, c, 1, address)); r.Class != channels.Delivered {
			t.Fatal(r)
		}
	}
	want := []string{"greeting", "EHLO tocsin.example.com"}
	for range 3 {
		want = append(want, "MAIL FROM:<status@example.com>", "RCPT TO:<"+address+">", "DATA", ".")
	}
	if got := p.commands(); !slices.Equal(got, want) {
		t.Errorf("the relay was told %q; want %q", got, want)
	}
}

// After a refusal the relay still has the sender: the next message begins anew.
func TestARefusedRecipientDoesNotSpoilTheNextMessage(t *testing.T) {
	for name, tc := range map[string]struct {
		offers []string
		data   string
		want   []string
	}{
		"lockstep":                      {nil, usual, []string{"MAIL", "RCPT", "RSET", "MAIL", "RCPT", "DATA", "."}},
		"pipelined, DATA refused":       {[]string{"PIPELINING"}, usual, []string{"MAIL", "RCPT", "DATA", "RSET", "MAIL", "RCPT", "DATA", "."}},
		"pipelined, DATA not refused":   {[]string{"PIPELINING"}, "354 go on", []string{"MAIL", "RCPT", "DATA", ".", "MAIL", "RCPT", "DATA", "."}},
		"pipelined, an empty one taken": {[]string{"PIPELINING"}, "taken", []string{"MAIL", "RCPT", "DATA", ".", "MAIL", "RCPT", "DATA", "."}},
	} {
		t.Run(name, func(t *testing.T) {
			p := &peer{offers: tc.offers, answer: func(verb string, nth int) string {
				switch {
				case nth > 1:
				case verb == "RCPT":
					return "550 5.1.1 unknown"
				case verb == "DATA" && tc.data == "taken":
					return "354 go on"
				case verb == "DATA":
					return tc.data
				case verb == "." && tc.data == "354 go on":
					return "554 5.5.1 no valid recipients"
				}
				return usual
			}}
			c := newChannel(t, p.start(t), nil)
			if r := c.Send(t.Context(), message(t, c, 1, "gone@customer.example")); r.Class != channels.Gone {
				t.Error(r)
			}
			if r := c.Send(t.Context(), message(t, c, 1, address)); r.Class != channels.Delivered {
				t.Error(r)
			}
			var verbs []string
			for _, line := range p.commands() {
				if verb, _, _ := strings.Cut(line, " "); verb != "greeting" && verb != "EHLO" {
					verbs = append(verbs, verb)
				}
			}
			if !slices.Equal(verbs, tc.want) {
				t.Errorf("%q; want %q", verbs, tc.want)
			}
			if conns, want := p.connections(), map[bool]int{true: 2, false: 1}[tc.data == "taken"]; conns != want {
				t.Errorf("%d connections; want %d", conns, want)
			}
			for _, m := range p.received() {
				if m.to != address && m.content != "" {
					t.Errorf("%s got a message", m.to)
				}
			}
		})
	}
}

// DATA that is taken although something before it was refused asks for a message. A
// recipient that was taken would get an empty one.
func TestNobodyGetsAnEmptyMessage(t *testing.T) {
	for name, odd := range map[string]map[string]string{
		"RSET refused": {"RSET": "502 5.5.1 not implemented"},
		"MAIL refused": {"MAIL": "553 5.1.8 sender not allowed"},
		"DATA odd":     {"DATA": "334 what"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &peer{lax: true, offers: []string{"PIPELINING"}}
			p.answer = func(verb string, nth int) string {
				if verb == "RCPT" && nth == 1 {
					return "450 4.2.0 busy" // leaves a transaction open
				}
				if verb == "RSET" || nth == 2 {
					return odd[verb]
				}
				return usual
			}
			c := newChannel(t, p.start(t), nil)
			for range 2 {
				if r := c.Send(t.Context(), message(t, c, 1, address)); r.Class == channels.Delivered {
					t.Error(r)
				}
			}
			if r := c.Send(t.Context(), message(t, c, 1, address)); r.Class != channels.Delivered {
				t.Error(r)
			}
			for _, m := range p.received() {
				if m.content == "" {
					t.Errorf("%s got an empty message: %q", m.to, p.commands())
				}
			}
		})
	}
}

// A relay that ends a kept session has refused nothing.
func TestAStaleSessionIsReplacedOnce(t *testing.T) {
	for name, end := range map[string]string{
		"closed":              hangUp,
		"421 for idleness":    "421 4.4.2 timeout exceeded",
		"421 without a cause": "421 bye",
	} {
		for _, offers := range [][]string{{"PIPELINING"}, nil} {
			t.Run(name+strings.Join(offers, ""), func(t *testing.T) {
				p := &peer{offers: offers, answer: func(verb string, nth int) string {
					if verb == "MAIL" && nth == 2 {
						return end
					}
					return usual
				}}
				c := newChannel(t, p.start(t), nil)
				for i := range 2 {
					if r := c.Send(t.Context(), message(t, c, i+1, address)); r.Class != channels.Delivered {
						t.Fatal(i, r)
					}
				}
				if p.connections() != 2 || len(p.received()) != 2 {
					t.Errorf("%d connections, %d messages", p.connections(), len(p.received()))
				}
			})
		}
	}
}

// Fault 28: 421 in mid-session. What was delivered stays so and the one that was not
// comes again.
func TestOnlyTheUnsentOneIsLeftBy421(t *testing.T) {
	p := &peer{offers: []string{"PIPELINING"}, answer: func(verb string, nth int) string {
		if verb == "." && nth == 2 {
			return "421 4.3.2 shutting down"
		}
		return usual
	}}
	c := newChannel(t, p.start(t), nil)
	var classes []channels.Class
	for i := range 3 {
		classes = append(classes, c.Send(t.Context(), message(t, c, i+1, address)).Class)
	}
	if !slices.Equal(classes, []channels.Class{channels.Delivered, channels.Throttled, channels.Delivered}) || p.connections() != 2 {
		t.Errorf("%v on %d connections", classes, p.connections())
	}
}

// Fault 28: the relay dies after the final dot. The next attempt can be told from
// another message.
func TestTheNextAttemptHasTheSameMessageID(t *testing.T) {
	p := &peer{answer: func(verb string, nth int) string {
		if verb == "." && nth == 1 {
			return hangUp
		}
		return usual
	}}
	c := newChannel(t, p.start(t), nil)
	m := message(t, c, 2, address)
	if r := c.Send(t.Context(), m); r.Class != channels.Temporary || !strings.HasPrefix(r.Detail, "unknown: ") || r.NoConnection {
		t.Errorf("%+v", r)
	}
	m.Attempt++
	if r := c.Send(t.Context(), m); r.Class != channels.Delivered {
		t.Errorf("%+v", r)
	}
	got := p.received()
	if len(got) != 2 || got[0].content != got[1].content || idOf(t, got[0].content) != m.ID {
		t.Errorf("%d messages; want the same one twice", len(got))
	}
}

// What a relay says between two messages could be taken for the answer to the next.
func TestAnswersGivenInAdvanceAreNotTaken(t *testing.T) {
	p := &peer{answer: func(verb string, nth int) string {
		if verb == "." && nth == 1 {
			return "250 Ok\r\n250 Ok\r\n250 Ok\r\n354 go on\r\n250 Ok"
		}
		return usual
	}}
	c := newChannel(t, p.start(t), nil)
	for i := range 2 {
		if r := c.Send(t.Context(), message(t, c, i+1, address)); r.Class != channels.Delivered {
			t.Fatal(r)
		}
	}
	if p.connections() != 2 || len(p.received()) != 2 {
		t.Errorf("%d connections, %d messages", p.connections(), len(p.received()))
	}
}

// The same, when it comes in a piece of its own after the answer was read.
func TestAnswersGivenUnaskedAreNotTaken(t *testing.T) {
	var conns atomic.Int32
	said := make(chan struct{})
	p := &peer{seen: map[string]int{}}
	url := "smtp://" + channeltest.Serve(t, func(c net.Conn) {
		if conns.Add(1) > 1 {
			p.talk(c)
			return
		}
		r := bufio.NewReader(c)
		say(c, r, "220 hello", "")
		for _, answer := range []string{"250-hello\r\n250 PIPELINING", "250 Ok", "250 Ok", "354 go on"} {
			if _, err := r.ReadString('\n'); err != nil {
				return
			}
			say(c, r, answer, "")
		}
		if _, ok := readContent(r); !ok {
			return
		}
		say(c, r, "250 Ok", "")
		<-said
		say(c, r, "250 Ok\r\n250 Ok\r\n354 go on\r\n250 Ok", "")
		said <- struct{}{}
		_, _ = io.Copy(io.Discard, r)
	}) + "?tls=none"
	c := newChannel(t, url, nil)
	if r := c.Send(t.Context(), message(t, c, 1, address)); r.Class != channels.Delivered {
		t.Fatal(r)
	}
	said <- struct{}{}
	<-said
	if r := c.Send(t.Context(), message(t, c, 2, address)); r.Class != channels.Delivered || len(p.received()) != 1 {
		t.Errorf("%+v, and the second relay session got %d messages", r, len(p.received()))
	}
}

// With PIPELINING nothing waits for an answer before the message; without it every
// command does.
func TestPipelining(t *testing.T) {
	for offer, want := range map[string]int{"PIPELINING": 3, "8BITMIME": 1} {
		var ahead atomic.Int32
		url := "smtp://" + channeltest.Serve(t, func(c net.Conn) {
			r := bufio.NewReader(c)
			say(c, r, "220 hello", "")
			_, _ = r.ReadString('\n')
			say(c, r, "250-hello\r\n250 "+offer, "")
			for _, answer := range []string{"250 Ok", "250 Ok", "354 go on"} {
				// All that was sent at once is there when its first byte is.
				if _, err := r.Peek(1); err != nil {
					return
				}
				lines, _ := r.Peek(r.Buffered())
				ahead.Store(max(ahead.Load(), int32(bytes.Count(lines, []byte("\n")))))
				_, _ = r.ReadString('\n')
				say(c, r, answer, "")
			}
			_, _ = readContent(r)
			say(c, r, "250 Ok", "")
			_, _ = io.Copy(io.Discard, r)
		}) + "?tls=none"
		c := newChannel(t, url, nil)
		if r := c.Send(t.Context(), message(t, c, 1, address)); r.Class != channels.Delivered {
			t.Error(r)
		}
		if got := int(ahead.Load()); got != want {
			t.Errorf("%s: %d commands came at once; want %d", offer, got, want)
		}
	}
}

func TestTheSessionUsedLastIsTakenFirst(t *testing.T) {
	c := newChannel(t, (&peer{}).start(t), nil)
	var opened []*session
	for range 3 {
		s, failed := c.first.open(t.Context())
		if s == nil {
			t.Fatal(failed)
		}
		opened = append(opened, s)
	}
	for _, s := range opened {
		c.first.put(s)
	}
	if s := c.first.take(); s != opened[2] || !s.reused {
		t.Error("another one was taken")
	} else {
		c.first.put(s)
	}
}

// A connection that ends within a message must not leave a part that counts.
func TestAMessageThatIsCutShortIsNotDelivered(t *testing.T) {
	var whole atomic.Int32
	began := make(chan struct{})
	url := "smtp://" + channeltest.Serve(t, func(c net.Conn) {
		_ = c.(*net.TCPConn).SetReadBuffer(4 << 10) // so that not all of it is under way
		buf := make([]byte, 512)
		say(c, c, "220 hello", "")
		for _, answer := range []string{"250 hello", "250 Ok", "250 Ok", "354 go on"} {
			if _, err := c.Read(buf); err != nil {
				return
			}
			say(c, c, answer, "")
		}
		_, _ = c.Read(buf)
		close(began)
		content, ok := readAll(c)
		if ok || strings.Contains(content, "\r\n.\r\n") || strings.Contains(content, "QUIT") {
			whole.Add(1)
		}
	}) + "?tls=none"
	c := newChannel(t, url, func(c *Config, _ *egress.Config) { c.FinalTimeout = time.Hour })
	u := sampleUpdate(1)
	u.Timeline[0].Message = strings.Repeat("Long. ", 1<<20)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-began; cancel() }()
	r := c.Send(ctx, messageOf(t, c, u, channels.Variant{}, address))
	if r.Class != channels.Temporary || !strings.HasPrefix(r.Detail, "unknown: stopped") {
		t.Errorf("%+v", r)
	}
	if whole.Load() != 0 {
		t.Error("the end of the message arrived")
	}
}

// readAll reads until the end and reports whether that was an orderly one; only the
// last bytes are kept.
func readAll(c net.Conn) (string, bool) {
	var tail []byte
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		tail = append(tail[max(0, len(tail)-64):], buf[:n]...)
		if err != nil {
			return string(tail), strings.Contains(string(tail), "\r\n.\r\n")
		}
	}
}

func TestNoMoreSessionsThanAllowed(t *testing.T) {
	var open, most atomic.Int32
	p := &peer{answer: func(verb string, _ int) string {
		switch verb {
		case "MAIL":
			most.Store(max(most.Load(), open.Add(1)))
		case ".":
			open.Add(-1)
		}
		return usual
	}}
	c := newChannel(t, p.start(t), func(c *Config, _ *egress.Config) { c.Relays[0].Connections = 3 })
	m := message(t, c, 1, address)
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			if r := c.Send(t.Context(), m); r.Class != channels.Delivered {
				t.Errorf("%+v", r)
			}
		})
	}
	all.Wait()
	if p.connections() > 3 || most.Load() > 3 || len(p.received()) != 40 {
		t.Errorf("%d sessions, %d at once, %d messages", p.connections(), most.Load(), len(p.received()))
	}
	if kept := len(c.first.idle); kept != p.connections() {
		t.Errorf("%d sessions are kept of %d", kept, p.connections())
	}
}

func TestWaitingForASessionEndsWithTheContext(t *testing.T) {
	p := &peer{}
	c := newChannel(t, p.start(t), func(c *Config, _ *egress.Config) { c.Relays[0].Connections = 1 })
	c.first.slots <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	go cancel()
	if r := c.Send(ctx, message(t, c, 1, address)); r != notSent {
		t.Errorf("%+v", r)
	}
	<-c.first.slots
	if p.connections() != 0 {
		t.Error("it connected")
	}
}

func TestIdleSessionsSayGoodbye(t *testing.T) {
	for name, end := range map[string]func(c *Channel, b *egress.Budget){
		"on eviction": func(_ *Channel, b *egress.Budget) { b.EvictOldest() },
		"on close":    func(c *Channel, _ *egress.Budget) { _ = c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			quit := make(chan struct{})
			p := &peer{answer: func(verb string, _ int) string {
				if verb == "QUIT" {
					close(quit)
				}
				return usual
			}}
			c := newChannel(t, p.start(t), nil)
			if r := c.Send(t.Context(), message(t, c, 1, address)); r.Class != channels.Delivered {
				t.Fatal(r)
			}
			end(c, c.first.dialer.Budget)
			<-quit
			if n := c.first.dialer.Budget.Used(); n != 0 || len(c.first.idle) != 0 {
				t.Errorf("%d descriptors used, %d sessions kept", n, len(c.first.idle))
			}
		})
	}
}

func TestRelaysAreChosenByName(t *testing.T) {
	first, second := &peer{}, &peer{}
	other := Relay{Name: "other", URL: second.start(t), From: "Other <other@example.org>"}
	c := newChannel(t, first.start(t), func(c *Config, _ *egress.Config) { c.Relays = append(c.Relays, other) })
	m := message(t, c, 1, address)
	for _, provider := range []string{"", "main", "other"} {
		m.Provider = provider
		if r := c.Send(t.Context(), m); r.Class != channels.Delivered {
			t.Errorf("%q: %+v", provider, r)
		}
	}
	m.Provider = "gone"
	if r := c.Send(t.Context(), m); r.Class != channels.Temporary || !r.NoConnection || r.Detail == "" {
		t.Errorf("%+v", r)
	}
	a, b := first.received(), second.received()
	if len(a) != 2 || len(b) != 1 || b[0].from != "MAIL FROM:<other@example.org>" || !strings.HasPrefix(b[0].content, "From: \"Other\" <other@example.org>\r\n") {
		t.Errorf("%d and %d messages: %+v", len(a), len(b), b)
	}
	// The one that takes over sends what the other would have sent.
	if idOf(t, a[0].content) != idOf(t, b[0].content) {
		t.Error("the Message-ID depends on the relay")
	}
}
