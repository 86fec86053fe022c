package peer

import (
	"bytes"
	"errors"
	"strconv"
	"time"
)

// Limits of a request, in bytes.
const (
	maxHead = 16 << 10
	maxBody = 2 << 20
)

// head is what a peer takes from the head of a request. Its slices point into
// the buffer it was read from.
type head struct {
	size      int // bytes, blank line included
	target    int // 0 if the path names none
	length    int // of the body
	id        []byte
	timestamp []byte
	close     bool
}

var (
	endOfHead = []byte("\r\n\r\n")
	endOfLine = []byte("\r\n")
)

// readHead reads a request head (RFC 9112) from the beginning of b. A head with
// size 0 means that there is more to come. An error means that the connection
// can't go on: what follows has no known beginning.
func readHead(b []byte) (head, error) {
	end := bytes.Index(b, endOfHead)
	if end < 0 {
		if len(b) > maxHead {
			return head{}, errors.New("the head is larger than 16 KiB")
		}
		return head{}, nil
	}
	line, rest, _ := bytes.Cut(b[:end+len(endOfLine)], endOfLine)
	method, line, _ := bytes.Cut(line, []byte(" "))
	path, version, _ := bytes.Cut(line, []byte(" "))
	if string(version) != "HTTP/1.1" || string(method) != "POST" {
		return head{}, errors.New("the request is not a POST of HTTP/1.1")
	}
	h := head{size: end + len(endOfHead), length: -1, target: TargetNumber(string(path))}
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, endOfLine)
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return head{}, errors.New("a header line has no colon")
		}
		if err := h.take(name, bytes.Trim(value, " \t")); err != nil {
			return head{}, err
		}
	}
	if h.length < 0 {
		return head{}, errors.New("the request has no Content-Length")
	}
	return h, nil
}

func (h *head) take(name, value []byte) error {
	switch {
	case is(name, "content-length"):
		n, err := strconv.ParseUint(string(value), 10, 31)
		if err != nil || n > maxBody || h.length >= 0 {
			return errors.New("the Content-Length is not one number up to 2 MiB")
		}
		h.length = int(n)
	case is(name, "transfer-encoding"):
		return errors.New("the request has a Transfer-Encoding, which a peer does not read")
	case is(name, "connection"):
		h.close = is(value, "close")
	case is(name, "webhook-id"):
		h.id = value
	case is(name, "webhook-timestamp"):
		h.timestamp = value
	}
	return nil
}

func is(b []byte, lower string) bool {
	return len(b) == len(lower) && bytes.EqualFold(b, []byte(lower))
}

const (
	idPrefix = "msg_"
	idLength = len(idPrefix) + 26
	// clockSkew is how far a webhook-timestamp may be from now.
	clockSkew = 5 * time.Minute
)

// check refuses a request that a receiver with a Standard Webhooks library would
// refuse, or whose key is not of our form.
func (h *head) check(now time.Time) error {
	if h.target == 0 {
		return errors.New("the path names no target")
	}
	if len(h.id) != idLength || string(h.id[:len(idPrefix)]) != idPrefix {
		return errors.New("the webhook-id is missing or not msg_ and 26 characters")
	}
	for _, c := range h.id[len(idPrefix):] {
		if c <= ' ' || c >= 0x7f {
			return errors.New("the webhook-id is not printable")
		}
	}
	seconds, err := strconv.ParseInt(string(h.timestamp), 10, 64)
	if err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > clockSkew {
		return errors.New("the webhook-timestamp is missing or not of the last five minutes")
	}
	return nil
}
