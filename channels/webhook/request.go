package webhook

import (
	"crypto/sha256"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/internal/egress"
)

// draft is a request under construction, and what is needed for it.
type draft struct {
	head   fasthttp.RequestHeader
	signer signer
	stamp  []byte
	signed []byte
	wire   []byte
}

// drafts keeps drafts for the next request.
type drafts struct{ pool sync.Pool }

// keptWire is the largest buffer that is kept, in bytes.
const keptWire = 64 << 10

func (d *drafts) get() *draft {
	if kept, ok := d.pool.Get().(*draft); ok {
		return kept
	}
	return &draft{signer: signer{sha: sha256.New()}}
}

func (d *drafts) put(done *draft) {
	if cap(done.wire) <= keptWire {
		d.pool.Put(done)
	}
}

var errID = errors.New("the message id may only have letters, digits, _ and -")

// write builds head and body in one buffer, so that they leave in one write. The
// slice is the draft's.
func (d *draft) write(m *channels.Message, url egress.URL, body []byte, agent string, now time.Time) ([]byte, error) {
	if !plainID(m.ID) {
		return nil, errID
	}
	var err error
	d.stamp = strconv.AppendInt(d.stamp[:0], now.Unix(), 10)
	d.signed, err = d.signer.sign(d.signed[:0], m.Secrets, m.ID, d.stamp, body)
	if err != nil {
		return nil, err
	}
	h := &d.head
	h.Reset()
	h.SetMethod(fasthttp.MethodPost)
	h.SetRequestURI(url.Path)
	h.SetHost(url.Authority)
	h.SetUserAgent(agent)
	h.SetContentType("application/json")
	h.SetContentLength(len(body))
	h.Set("Webhook-Id", m.ID)
	h.SetBytesV("Webhook-Timestamp", d.stamp)
	if len(d.signed) > 0 {
		h.SetBytesV("Webhook-Signature", d.signed)
	}
	d.wire = append(h.AppendBytes(d.wire[:0]), body...)
	return d.wire, nil
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
