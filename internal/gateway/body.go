package gateway

import (
	"crypto/sha256"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
)

const mediaJSON = "application/json"

// mediaType returns the type of the body if it is one of those allowed.
func mediaType(r *http.Request, allowed ...string) (string, error) {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return "", refuse(http.StatusUnsupportedMediaType, "compressed bodies are not read; send it as it is")
	}
	got, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || !slices.Contains(allowed, got) {
		return "", refuse(http.StatusUnsupportedMediaType, "send a body with Content-Type: "+strings.Join(allowed, " or "))
	}
	return got, nil
}

// readBody reads a JSON body, or one of other types, of at most limit bytes, within
// the time that a client was given when the request began.
func (g *gateway) readBody(w http.ResponseWriter, r *http.Request, limit int64, others ...string) ([]byte, error) {
	if _, err := mediaType(r, append([]string{mediaJSON}, others...)...); err != nil {
		return nil, err
	}
	return g.drain(w, r, limit)
}

// drain reads a body of any kind, once: another time it has the same.
func (g *gateway) drain(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	in, ok := r.Body.(*incoming)
	if !ok {
		return nil, nil // there is none
	}
	return in.all(w, r, limit, g.opt.OfferTimeout)
}

// digestOf tells bodies apart, by where they came to as well.
func digestOf(body []byte, to string) (digest [sha256.Size]byte) {
	h := sha256.New()
	h.Write(body)
	io.WriteString(h, to)
	h.Sum(digest[:0])
	return digest
}

// pacedBody gives a client a time for each part of a long body, so that one that
// drips can't hold its connection for ever, and a long import is not cut.
type pacedBody struct {
	body    io.Reader
	control *http.ResponseController
	timeout time.Duration
	left    int // bytes until the time is renewed
	ended   bool
}

const pace = 64 << 10

// renew gives the client its time anew, as after the store was busy for a while.
// Past the end of the body the server watches the connection for the client's
// going; a deadline then would look like that.
func (p *pacedBody) renew() {
	now := time.Now()
	if !p.ended {
		_ = p.control.SetReadDeadline(now.Add(p.timeout))
	}
	_ = p.control.SetWriteDeadline(now.Add(p.timeout + answerTimeout))
	p.left = pace
}

func (p *pacedBody) Read(b []byte) (int, error) {
	if p.left <= 0 {
		p.renew()
	}
	n, err := p.body.Read(b[:min(len(b), pace)])
	p.left -= n
	p.ended = p.ended || errors.Is(err, io.EOF)
	return n, err
}
