package sink

import (
	"bytes"
	"errors"
)

// request is what a sink takes from a webhook.
type request struct {
	size     int // head and body, in bytes; 0 as long as there is more to come
	target   int
	sequence int
	close    bool
}

const (
	maxHead = 16 << 10
	maxBody = 1 << 20
)

var (
	endOfHead   = []byte("\r\n\r\n")
	endOfLine   = []byte("\r\n")
	postTarget  = []byte("POST /t/")
	sequenceKey = []byte(`"sequence":`)
)

// The faults of a request; the connection ends with it.
var (
	errMethod   = errors.New("the request is not a POST to /t/N")
	errLength   = errors.New("the request has no Content-Length that is one number up to 1 MiB")
	errHead     = errors.New("the head is larger than 16 KiB")
	errSequence = errors.New("the body has no sequence")
	errUnknown  = errors.New("nobody is to send to this target, or this sequence")
	errHost     = errors.New("the path names a target of another host")
)

// parse reads a request (RFC 9112) from the beginning of b, no further than a
// benchmark needs.
func parse(b []byte) (request, error) {
	end := bytes.Index(b, endOfHead)
	if end < 0 {
		if len(b) > maxHead {
			return request{}, errHead
		}
		return request{}, nil
	}
	if !bytes.HasPrefix(b, postTarget) {
		return request{}, errMethod
	}
	target, after := number(b[len(postTarget):end])
	if target == 0 || after == 0 || b[len(postTarget)+after] != ' ' {
		return request{}, errMethod
	}
	r := request{target: target}
	length, closing, ok := headers(b[:end+len(endOfLine)])
	if !ok {
		return request{}, errLength
	}
	r.close = closing
	size := end + len(endOfHead) + length
	if len(b) < size {
		return request{}, nil
	}
	r.size = size
	body := b[end+len(endOfHead) : size]
	if at := bytes.Index(body, sequenceKey); at >= 0 {
		body = bytes.TrimLeft(body[at+len(sequenceKey):], " ")
		r.sequence, _ = number(body)
	}
	if r.sequence == 0 {
		return request{}, errSequence
	}
	return r, nil
}

// headers reads the lines after the first.
func headers(head []byte) (length int, closing, ok bool) {
	length = -1
	for {
		next := bytes.Index(head, endOfLine)
		if next < 0 || next+len(endOfLine) >= len(head) {
			return max(length, 0), closing, length >= 0
		}
		head = head[next+len(endOfLine):]
		switch head[0] | 0x20 {
		case 'c':
			if value, found := field(head, "content-length:"); found {
				n, digits := number(value)
				if digits == 0 || n > maxBody || length >= 0 {
					return 0, false, false
				}
				length = n
			} else if value, found := field(head, "connection:"); found {
				closing = len(value) >= 5 && bytes.EqualFold(value[:5], []byte("close"))
			}
		case 't':
			if _, found := field(head, "transfer-encoding:"); found {
				return 0, false, false
			}
		}
	}
}

// field returns what follows the name, which is in lower case with its colon.
func field(line []byte, name string) (value []byte, found bool) {
	if len(line) < len(name) || !bytes.EqualFold(line[:len(name)], []byte(name)) {
		return nil, false
	}
	return bytes.TrimLeft(line[len(name):], " \t"), true
}

// number reads the digits at the beginning of b, at most nine.
func number(b []byte) (n, digits int) {
	for digits < len(b) && b[digits]-'0' <= 9 {
		if digits == 9 {
			return 0, 0
		}
		n = 10*n + int(b[digits]-'0')
		digits++
	}
	return n, digits
}
