// Package channeltest is the contract kit that every channel passes.
//
// Promise: a channel that passes [Run] keeps what [channels.Channel] says: one
// class for what the peer did, an end to every attempt, little read of an endless
// peer, nothing secret in a result, the same id on each attempt, payloads shared
// without a race, and nothing left over after Close.
//
// Words: a peer is the far side of one test, played by the adapter's own fixture; a
// script is what it does. What a channel did is judged by what its peer received.
package channeltest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/incident"
)

// Script is what a peer does with every message.
type Script string

// The scripts. All but Nobody read the whole message before they do what they say.
const (
	// Accept takes the message.
	Accept Script = "accept"
	// Echo fails it for the moment and repeats, in its words, everything it got
	// to know: address, query, headers, body, and the secrets of [Secrets].
	Echo Script = "echo"
	// Throttle asks for a pause of [Pause].
	Throttle Script = "throttle"
	// Gone says that the address is no more.
	Gone Script = "gone"
	// Refuse refuses this message for good.
	Refuse Script = "refuse"
	// Silent says nothing and keeps the connection.
	Silent Script = "silent"
	// Cut ends the connection without a word.
	Cut Script = "cut"
	// Flood fails the message and never stops talking.
	Flood Script = "flood"
	// Garbage answers with what is not the protocol, control characters included.
	Garbage Script = "garbage"
	// Nobody is an address where no connection can be made.
	Nobody Script = "nobody"
)

// Patience is how long a fixture's channel waits for a peer that plays the script: a
// moment where only its timeouts end the attempt, and longer than any slow machine
// takes where the peer does something.
func (s Script) Patience() time.Duration {
	if s == Silent || s == Nobody {
		return time.Second
	}
	return patience / 2
}

// Pause is what the Throttle script asks for.
const Pause = 7 * time.Second

// maxFlood is how much of a Flood may be taken, in bytes: what a channel reads and
// what lies in the buffers of the sockets.
const maxFlood = 32 << 20

// Peer is a far side that runs.
type Peer struct {
	// Address is where messages to this peer go. It has to have a part that only
	// the target may know, which the fixture names in Private.
	Address string
	Private []string
	// Received returns what has come so far.
	Received func() []Receipt
	// Talked returns how many bytes a Flood has got rid of.
	Talked func() int64
}

// Receipt is a message as its peer received it.
type Receipt struct {
	// ID is the idempotency key.
	ID string
	// Body is what was rendered, without what differs between targets.
	Body []byte
}

// Fixture is what an adapter brings to the kit.
type Fixture struct {
	// New returns a channel for a peer that plays the script, with timeouts of its
	// [Script.Patience].
	New func(t *testing.T, s Script) channels.Channel
	// Play starts a peer that ends with the test. It returns nil for a script that
	// cannot be played on this channel.
	Play func(t *testing.T, s Script) *Peer
	// Secrets are those of the target, in the channel's form; they may be none.
	Secrets []string
	// Variant is what is rendered; the zero value will do for most.
	Variant channels.Variant
	// NoPause says that in this protocol a peer can't name the pause it asks for.
	NoPause bool
}

// patience is how long an attempt may take before it counts as endless. It is far
// above any timeout of a fixture: only a hang reaches it.
const patience = 30 * time.Second

// Run holds a channel to the contract.
func Run(t *testing.T, f Fixture) {
	before := goleak.IgnoreCurrent()
	t.Run("results", f.results)
	t.Run("the same id on each attempt", f.sameID)
	t.Run("concurrent sends share a payload", f.concurrent)
	t.Run("a context that has ended", f.ended)
	t.Run("a context that ends on the way", f.ends)
	t.Run("an unknown format", f.unknownFormat)
	goleak.VerifyNone(t, before)
}

// expectations are the classes that a script may lead to, with what else holds.
var expectations = map[Script]struct {
	class        channels.Class
	pause        time.Duration
	noConnection bool
}{
	Accept:   {class: channels.Delivered},
	Echo:     {class: channels.Temporary},
	Throttle: {class: channels.Throttled, pause: Pause},
	Gone:     {class: channels.Gone},
	Refuse:   {class: channels.Permanent},
	Silent:   {class: channels.Temporary},
	Cut:      {class: channels.Temporary},
	Flood:    {class: channels.Temporary},
	Garbage:  {class: channels.Temporary},
	Nobody:   {class: channels.Temporary, noConnection: true},
}

func (f Fixture) results(t *testing.T) {
	for script, want := range expectations {
		t.Run(string(script), func(t *testing.T) {
			if f.NoPause {
				want.pause = 0
			}
			p, c := f.play(t, script), f.open(t, script)
			got := send(t, t.Context(), c, f.message(t, c, p))
			if got.Class != want.class || got.RetryAfter != want.pause || got.NoConnection != want.noConnection {
				t.Errorf("got %+v; want %+v", got, want)
			}
			if got.Detail == "" && got.Class != channels.Delivered {
				t.Error("a failure without a cause")
			}
			f.checkDetail(t, p, got.Detail)
			if p.Talked != nil && p.Talked() > maxFlood {
				t.Errorf("took %d bytes of an endless answer", p.Talked())
			}
			if script == Nobody {
				return
			}
			if received := p.Received(); len(received) != 1 || received[0].ID != messageID(1) {
				t.Errorf("the peer received %d messages; want one with the message's id", len(received))
			}
		})
	}
}

func (f Fixture) checkDetail(t *testing.T, p *Peer, detail string) {
	t.Helper()
	if len(detail) > channels.MaxDetail || !utf8.ValidString(detail) || strings.ContainsFunc(detail, unicode.IsControl) {
		t.Errorf("detail %q: want at most %d bytes of UTF-8 without control characters", detail, channels.MaxDetail)
	}
	for _, hidden := range append(append([]string{p.Address}, p.Private...), f.Secrets...) {
		if hidden != "" && strings.Contains(strings.ToLower(detail), strings.ToLower(hidden)) {
			t.Errorf("detail %q shows %q", detail, hidden)
		}
	}
}

func (f Fixture) sameID(t *testing.T) {
	p, c := f.play(t, Echo), f.open(t, Echo)
	m := f.message(t, c, p)
	for m.Attempt = 1; m.Attempt <= 3; m.Attempt++ {
		send(t, t.Context(), c, m)
	}
	received := p.Received()
	if len(received) != 3 {
		t.Fatalf("the peer received %d messages; want 3", len(received))
	}
	for _, r := range received {
		if r.ID != m.ID {
			t.Errorf("id %q; want %q", r.ID, m.ID)
		}
	}
}

func (f Fixture) concurrent(t *testing.T) {
	const sends = 50
	p, c := f.play(t, Accept), f.open(t, Accept)
	m := f.message(t, c, p)
	var all sync.WaitGroup
	for i := range sends {
		all.Go(func() {
			mine := *m
			mine.ID, mine.Target = messageID(i), int64(i)
			if got := send(t, t.Context(), c, &mine); got.Class != channels.Delivered {
				t.Errorf("got %+v", got)
			}
		})
	}
	all.Wait()
	seen := map[string]bool{}
	for _, r := range p.Received() {
		seen[r.ID] = true
		if !bytes.Equal(r.Body, p.Received()[0].Body) || len(r.Body) == 0 {
			t.Error("the bodies differ, or are empty")
		}
	}
	if len(p.Received()) != sends || len(seen) != sends {
		t.Errorf("the peer received %d messages with %d ids; want %d", len(p.Received()), len(seen), sends)
	}
}

func (f Fixture) ended(t *testing.T) {
	p, c := f.play(t, Accept), f.open(t, Accept)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got := send(t, ctx, c, f.message(t, c, p))
	if got.Class != channels.NotSent || len(p.Received()) != 0 {
		t.Errorf("got %+v, and the peer %d messages; want nothing sent", got, len(p.Received()))
	}
	f.checkDetail(t, p, got.Detail)
}

// ends stops an attempt that its peer keeps waiting. When exactly is left to chance:
// what was sent decides what is right. The context has no deadline, as the engine's
// have none: a dialer would take that for its own, and fail a moment before the
// context has ended.
func (f Fixture) ends(t *testing.T) {
	p, c := f.play(t, Silent), f.open(t, Silent)
	ctx, cancel := context.WithCancel(t.Context())
	defer time.AfterFunc(50*time.Millisecond, cancel).Stop()
	got := send(t, ctx, c, f.message(t, c, p))
	switch received := len(p.Received()); {
	case got.Class == channels.NotSent && received == 0:
	case got.Class == channels.Temporary && !got.NoConnection:
	default:
		t.Errorf("got %+v, and the peer %d messages", got, received)
	}
	f.checkDetail(t, p, got.Detail)
}

func (f Fixture) unknownFormat(t *testing.T) {
	if _, err := f.open(t, Accept).Render(update(), channels.Variant{Format: "channeltest"}); err == nil {
		t.Error("want an error for a format that does not exist")
	}
}

func (f Fixture) play(t *testing.T, s Script) *Peer {
	t.Helper()
	p := f.Play(t, s)
	if p == nil {
		t.Skipf("%s cannot be played on this channel", s)
	}
	return p
}

func (f Fixture) open(t *testing.T, s Script) channels.Channel {
	t.Helper()
	c := f.New(t, s)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

func (f Fixture) message(t *testing.T, c channels.Channel, p *Peer) *channels.Message {
	t.Helper()
	payload, err := c.Render(update(), f.Variant)
	if err != nil {
		t.Fatal(err)
	}
	return &channels.Message{ID: messageID(1), Address: p.Address, Target: 1, Secrets: f.Secrets, Attempt: 1,
		Variant: f.Variant, Update: update(), Payload: payload}
}

func messageID(i int) string { return fmt.Sprintf("msg_%026d", i) }

// send fails the test if the attempt does not end.
func send(t *testing.T, ctx context.Context, c channels.Channel, m *channels.Message) channels.Result {
	t.Helper()
	got := make(chan channels.Result, 1)
	go func() { got <- c.Send(ctx, m) }()
	select {
	case r := <-got:
		return r
	case <-time.After(patience):
		t.Errorf("the attempt did not end within %s", patience)
		return <-got
	}
}

func update() *channels.Update {
	at := time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)
	return &channels.Update{
		Page: "default", IncidentID: "INC-1", Sequence: 1, Status: incident.Investigating,
		Impact: incident.ImpactMajor, Title: "Logins fail", Message: "We are looking into it.\nMore soon.",
		AffectedComponents: []string{"auth-api"}, StartedAt: at, UpdatedAt: at, AcceptedAt: at, ExpiresAt: at.Add(24 * time.Hour),
		Timeline: []channels.TimelineEntry{{Sequence: 1, Status: incident.Investigating, Impact: incident.ImpactMajor,
			Title: "Logins fail", Message: "We are looking into it.\nMore soon.", UpdatedAt: at}},
	}
}
