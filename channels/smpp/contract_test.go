package smpp

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fiorix/go-smpp/smpp/pdu"
	"github.com/fiorix/go-smpp/smpp/pdu/pdufield"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/channels/channeltest"
)

// There is no idempotency key in SMPP. So that the kit can tell messages apart, each
// goes to a number of its own, made of its id.
type numbered struct {
	*Channel
	*numbers
}

type numbers struct {
	mu  sync.Mutex
	ids map[string]string // by number
}

func (n numbered) Send(ctx context.Context, m *channels.Message) channels.Result {
	own := *m
	own.Address += m.ID[len(m.ID)-3:]
	n.mu.Lock()
	n.ids[own.Address[1:]] = m.ID
	n.mu.Unlock()
	return n.Channel.Send(ctx, &own)
}

func (n *numbers) id(number string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ids[number]
}

func TestContract(t *testing.T) {
	const prefix = "+491511234"
	for name, payload := range map[string]bool{"short_message": false, "message_payload": true} {
		t.Run(name, func(t *testing.T) {
			var address string // of the peer that was started last: the kit opens the channel after it
			known := &numbers{ids: map[string]string{}}
			channeltest.Run(t, channeltest.Fixture{
				New: func(t *testing.T, s channeltest.Script) channels.Channel {
					if address == "" {
						address = serve(t, (*centre).takeAll)
					}
					return numbered{listening(t, testConfig(func(c *Config) {
						c.Accounts[0].URL = "smpp://tocsin:" + testPassword + "@" + address
						c.Accounts[0].MessagePayload = payload
						c.ConnectTimeout, c.ResponseTimeout, c.CloseTimeout = s.Patience(), s.Patience(), 200*time.Millisecond
					})), known}
				},
				Play: func(t *testing.T, s channeltest.Script) *channeltest.Peer {
					if s == channeltest.Gone {
						return nil // no status says so beyond doubt
					}
					p := &player{t: t, script: s, known: known}
					if address = serve(t, p.play); s == channeltest.Nobody {
						address = channeltest.FreeAddress(t)
					}
					return &channeltest.Peer{Address: prefix, Private: []string{prefix[1:], testPassword, address, "centre-of"},
						Received: p.got, Talked: p.talked.Load}
				},
				NoPause: true,
			})
		})
	}
}

// player is the far side of the contract kit.
type player struct {
	t      testing.TB
	script channeltest.Script
	known  *numbers
	talked atomic.Int64

	mu       sync.Mutex
	received []channeltest.Receipt
}

func (p *player) got() []channeltest.Receipt {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]channeltest.Receipt(nil), p.received...)
}

func (p *player) play(c *centre) {
	if !c.accept() {
		return
	}
	for {
		f, ok := c.read()
		if !ok {
			return
		}
		switch f.id {
		case pdu.UnbindID:
			c.write(frame{pdu.UnbindRespID, 0, f.sequence, nil})
			return
		case pdu.SubmitSMID:
			if !p.answer(c, f) {
				return
			}
		}
	}
}

// answer plays the script and reports whether the connection goes on.
func (p *player) answer(c *centre, f frame) bool {
	body, err := parseDeliver(f.body) // which has the same fields
	if err != nil {
		return false
	}
	number := f.submitted(p.t)[pdufield.DestinationAddr].String()
	p.mu.Lock()
	p.received = append(p.received, channeltest.Receipt{ID: p.known.id(number), Body: []byte(body.text)})
	p.mu.Unlock()
	switch p.script {
	case channeltest.Accept:
		c.write(taken(f, "m1"))
	case channeltest.Echo:
		said := number + " " + testPassword + " centre-of " + body.text
		words := "\x00\x1d" + string([]byte{0, byte(len(said))}) + said // additional_status_info_text
		c.write(frame{pdu.SubmitSMRespID, 0x08, f.sequence, []byte(said + "\x00" + words)})
	case channeltest.Throttle:
		c.write(refused(f, 0x58))
	case channeltest.Refuse:
		c.write(refused(f, 0x0B))
	case channeltest.Garbage:
		_, _ = c.Write([]byte("\x00\x1b[31m\xff 220 mail.example.com ESMTP\r\n"))
	case channeltest.Cut:
		return false
	case channeltest.Flood:
		c.write(refused(f, 0x08))
		link := frame{pdu.EnquireLinkID, 0, 1, nil}.bytes()
		for {
			n, err := c.Write(link)
			p.talked.Add(int64(n))
			if err != nil {
				return false
			}
		}
	}
	return true
}

// serve plays each connection by play until the test ends and returns host:port.
func serve(t testing.TB, play func(*centre)) string {
	return serveOn(t, channeltest.Listen(t, "127.0.0.1"), play)
}

func serveOn(t testing.TB, l net.Listener, play func(*centre)) string {
	return channeltest.ServeOn(t, l, func(c net.Conn) { play(newCentre(c)) })
}
