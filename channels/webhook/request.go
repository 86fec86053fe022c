package webhook

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/internal/egress"
)

// head is that of every request: fasthttp wrote it, once, and a delivery fills in what
// is its own. None of that can end a line: see [egress.Policy.CheckURL] and plainID.
type head [places + 1][]byte

// Places in a head, in their order. Before each, and after the last, is a piece that
// all requests have in common. The signature is the last line, and may be left out.
const (
	atPath = iota
	atAuthority
	atLength
	atID
	atTimestamp
	atSignature
	places // how many there are
)

func newHead(agent string) *head {
	// What stands for each in the model that is then cut into pieces.
	const modelLength = 1234567890
	model := [places]string{"/place-of-path", "place-of-authority", strconv.Itoa(modelLength), "place-of-id", "place-of-timestamp", "place-of-signature"}
	var h fasthttp.RequestHeader
	h.SetMethod(fasthttp.MethodPost)
	h.SetRequestURI(model[atPath])
	h.SetHost(model[atAuthority])
	h.SetUserAgent(agent)
	h.SetContentType("application/json")
	h.SetContentLength(modelLength)
	h.Set("Webhook-Id", model[atID])
	h.Set("Webhook-Timestamp", model[atTimestamp])
	h.Set("Webhook-Signature", model[atSignature])
	pieces, rest := new(head), h.AppendBytes(nil)
	for place, text := range model {
		piece, after, found := bytes.Cut(rest, []byte(text))
		if !found {
			panic("webhook: fasthttp wrote a head without " + text)
		}
		pieces[place], rest = piece, after
	}
	pieces[places] = rest
	return pieces
}

// append appends a head up to its timestamp.
func (h *head) append(b []byte, url *egress.URL, size int, msg string, stamp []byte) []byte {
	b = append(append(b, h[atPath]...), url.Path...)
	b = append(append(b, h[atAuthority]...), url.Authority...)
	b = strconv.AppendInt(append(b, h[atLength]...), int64(size), 10)
	b = append(append(b, h[atID]...), msg...)
	return append(append(b, h[atTimestamp]...), stamp...)
}

// draft is a request under construction, and what is needed for it.
type draft struct {
	head   *head
	signer signer
	stamp  []byte
	wire   []byte
}

// drafts keeps drafts for the next request.
type drafts struct {
	head *head
	pool sync.Pool
}

func newDrafts(agent string) *drafts { return &drafts{head: newHead(agent)} }

// keptWire is the largest buffer that is kept, in bytes.
const keptWire = 64 << 10

func (d *drafts) get() *draft {
	if kept, ok := d.pool.Get().(*draft); ok {
		return kept
	}
	return &draft{head: d.head, signer: signer{sha: sha256.New()}}
}

func (d *drafts) put(done *draft) {
	if cap(done.wire) <= keptWire {
		d.pool.Put(done)
	}
}

var errID = errors.New("the message id may only have letters, digits, _ and -")

// write builds head and body in one buffer, wire, so that they leave in one write.
func (d *draft) write(m *channels.Message, url *egress.URL, body []byte, now time.Time) error {
	if !plainID(m.ID) {
		return errID
	}
	d.stamp = strconv.AppendInt(d.stamp[:0], now.Unix(), 10)
	wire := d.head.append(d.wire[:0], url, len(body), m.ID, d.stamp)
	if len(m.Secrets) > 0 {
		var err error
		wire, err = d.signer.sign(append(wire, d.head[atSignature]...), m.Secrets, m.ID, d.stamp, body)
		if err != nil {
			return err
		}
	}
	d.wire = append(append(wire, d.head[places]...), body...)
	return nil
}

// plainID keeps what could end a header or move the dots of the signed text out of
// the id.
func plainID(id string) bool {
	for i := range len(id) {
		c := id[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return id != "" && len(id) <= 255
}
