package smpp

import (
	"bufio"
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fiorix/go-smpp/smpp/pdu"
	"github.com/fiorix/go-smpp/smpp/pdu/pdufield"
	"go.uber.org/goleak"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/egress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testNumber   = "+4915112345678"
	testPassword = "hush-8x"
)

// frame is a PDU as a test sees it.
type frame struct {
	id       pdu.ID
	status   pdu.Status
	sequence uint32
	body     []byte
}

// bytes writes a frame, with a length that is right.
func (f frame) bytes() []byte {
	b := header(f.id, f.status, f.sequence)
	binary.BigEndian.PutUint32(b, uint32(len(b)+len(f.body)))
	return append(b, f.body...)
}

// submitted reads the fields of a submit_sm.
func (f frame) submitted(t testing.TB) pdufield.Map {
	t.Helper()
	p, err := pdu.Decode(strings.NewReader(string(f.bytes())))
	if err != nil {
		t.Error(err) // not Fatal: most callers are other goroutines
		return pdufield.Map{}
	}
	return p.Fields()
}

// centre is the far side of a test: one connection, played by hand.
type centre struct {
	net.Conn
	in  *bufio.Reader
	buf []byte
}

func newCentre(c net.Conn) *centre { return &centre{Conn: c, in: bufio.NewReader(c)} }

// read returns the next frame, with a body of its own. ok is false when the
// connection has ended.
func (c *centre) read() (f frame, ok bool) {
	h, body, err := readFrame(c.in, &c.buf)
	if err != nil {
		return frame{}, false
	}
	return frame{h.ID, h.Status, h.Seq, append([]byte(nil), body...)}, true
}

// next skips until a frame with that command.
func (c *centre) next(id pdu.ID) (frame, bool) {
	for {
		f, ok := c.read()
		if !ok || f.id == id {
			return f, ok
		}
	}
}

func (c *centre) write(frames ...frame) {
	var out []byte
	for _, f := range frames {
		out = append(out, f.bytes()...)
	}
	_, _ = c.Write(out) // a channel that has gone is what some tests are about
}

// accept answers the bind.
func (c *centre) accept() bool {
	f, ok := c.next(pdu.BindTransceiverID)
	if ok {
		c.write(frame{pdu.BindTransceiverRespID, 0, f.sequence, []byte("centre\x00")})
	}
	return ok
}

// taken is the response that takes a submit.
func taken(submit frame, id string) frame {
	return frame{pdu.SubmitSMRespID, 0, submit.sequence, append([]byte(id), 0)}
}

func refused(submit frame, s pdu.Status) frame {
	return frame{pdu.SubmitSMRespID, s, submit.sequence, nil}
}

// takeAll answers every submit with ESME_ROK, link checks and the unbind, until the
// end.
func (c *centre) takeAll() {
	for {
		f, ok := c.read()
		if !ok {
			return
		}
		switch f.id {
		case pdu.SubmitSMID:
			c.write(taken(f, "m1"))
		case pdu.EnquireLinkID:
			c.write(frame{pdu.EnquireLinkRespID, 0, f.sequence, nil})
		case pdu.UnbindID:
			c.write(frame{pdu.UnbindRespID, 0, f.sequence, nil})
			return
		}
	}
}

// testConfig has one account and handlers that record nothing.
func testConfig(change func(*Config)) Config {
	c := Defaults()
	c.Accounts = []Account{{Name: "acme", URL: "smpp://tocsin:" + testPassword + "@centre.example:2775", Source: "STATUS",
		Window: 10, Binds: 1}}
	c.Receipt = func(context.Context, Receipt) error { return nil }
	c.OptOut = func(context.Context, string, string) error { return nil }
	c.Logger = slog.New(slog.DiscardHandler)
	if change != nil {
		change(&c)
	}
	return c
}

// piped opens a channel whose nth connection, from 0, is played by play in a
// goroutine that the end of the test waits for. It works in a synctest bubble.
func piped(t testing.TB, change func(*Config), play func(n int, c *centre)) *Channel {
	t.Helper()
	var all sync.WaitGroup
	var dials atomic.Int32
	c, err := open(testConfig(change), func(context.Context, egress.Endpoint) (net.Conn, error) {
		ours, theirs := net.Pipe()
		n := int(dials.Add(1)) - 1
		all.Go(func() {
			defer theirs.Close()
			play(n, newCentre(theirs))
		})
		return ours, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		all.Wait()
	})
	return c
}

// listening opens a channel against a real listener.
func listening(t testing.TB, config Config, change ...func(*egress.Config)) *Channel {
	t.Helper()
	policy, err := egress.NewPolicy(egress.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	budget := egress.NewBudget(100, time.Minute)
	out := egress.Config{Policy: policy, Gate: egress.NewGate(16, 16), Budget: budget}
	for _, f := range change {
		f(&out)
	}
	c, err := New(config, egress.NewDialer(out))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		budget.Close()
		if n := budget.Used(); n != 0 {
			t.Errorf("%d descriptors are still taken after Close", n)
		}
	})
	return c
}

func sampleUpdate() *channels.Update {
	at := time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)
	return &channels.Update{
		Page: "default", IncidentID: "INC-8892", Sequence: 2, Status: incident.Identified, Impact: incident.ImpactCritical,
		Title: "Logins fail", Message: "A database node is full.", AffectedComponents: []string{"auth-api"},
		StartedAt: at, UpdatedAt: at, AcceptedAt: at,
		Translations: map[string]incident.Translation{
			"de": {Title: "Anmeldung gestört", Message: "Ein Knoten ist voll."},
			"pt": {Title: "Falha no login"},
		},
	}
}

// message is a delivery of the sample update; long makes it three segments.
func message(t testing.TB, c *Channel, long bool) *channels.Message {
	t.Helper()
	u := sampleUpdate()
	if long {
		u.Message = strings.Repeat("0123456789", 40)
	}
	p, err := c.Render(u, channels.Variant{})
	if err != nil {
		t.Fatal(err)
	}
	return &channels.Message{ID: "msg_01234567890123456789012345", Provider: "acme", Address: testNumber, Target: 1,
		Attempt: 1, Update: u, Payload: p}
}

func wantResult(t testing.TB, got, want channels.Result) {
	t.Helper()
	if got != want {
		t.Errorf("got %+v; want %+v", got, want)
	}
}
