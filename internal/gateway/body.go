package gateway

import (
	"bytes"
	"context"
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
	if held, ok := r.Body.(*heldBody); ok {
		return held.content, nil
	}
	return drain(w, r, limit)
}

// drain reads a body of any kind.
func drain(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		w.Header().Set("Connection", "close") // rather than read it all
		return nil, &http.MaxBytesError{Limit: limit}
	}
	return io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
}

// heldBody is a body that was read to check its signature, within the limit of its
// route.
type heldBody struct {
	content []byte
	read    int
}

func (h *heldBody) Read(b []byte) (int, error) {
	if h.read == len(h.content) {
		return 0, io.EOF
	}
	n := copy(b, h.content[h.read:])
	h.read += n
	return n, nil
}

// Close does nothing; the server closes what it was read from.
func (h *heldBody) Close() error { return nil }

// smallBody is what any request may hold in memory; larger ones wait for a turn.
const smallBody = 256 << 10

// readLarge is readBody for bodies that take many times their size once they are
// read: few large ones are in memory at once. done gives the turn back.
func (g *gateway) readLarge(w http.ResponseWriter, r *http.Request, limit int64) (body []byte, done func(), err error) {
	done = func() {}
	if _, err := mediaType(r, mediaJSON); err != nil {
		return nil, done, err
	}
	if r.ContentLength > limit {
		w.Header().Set("Connection", "close") // rather than read it all
		return nil, done, &http.MaxBytesError{Limit: limit}
	}
	if held, ok := r.Body.(*heldBody); ok && len(held.content) < smallBody {
		return held.content, done, nil
	}
	var buf bytes.Buffer
	buf.Grow(int(min(max(r.ContentLength, 0), smallBody)) + bytes.MinRead)
	rest := http.MaxBytesReader(w, r.Body, limit)
	if _, err := buf.ReadFrom(io.LimitReader(rest, smallBody)); err != nil || buf.Len() < smallBody {
		return buf.Bytes(), done, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), g.opt.OfferTimeout)
	defer cancel()
	select {
	case g.large <- struct{}{}:
	case <-ctx.Done():
		return nil, done, refuse(http.StatusServiceUnavailable, "too many large bodies are being read; send this again later")
	}
	done = func() { <-g.large }
	_, err = buf.ReadFrom(rest)
	return buf.Bytes(), done, err
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
