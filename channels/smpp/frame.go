package smpp

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"

	"github.com/fiorix/go-smpp/smpp/pdu"
)

// maxPDU is the longest PDU taken, in bytes. What centres send is a few hundred;
// message_payload could make it 64 KB.
const maxPDU = 64 << 10

// response is the bit that makes a request's command_id that of its response.
const response pdu.ID = 0x80000000

// linkError is why a link had to end, in fixed words.
type linkError string

func (e linkError) Error() string { return string(e) }

const (
	errLength     = linkError("the peer sent an impossible PDU length")
	errNoBindResp = linkError("bind: no answer in time")
	errClosedBind = linkError("bind: closed before an answer")
	errBabble     = linkError("bind: the peer sent something other than an answer")
	errDead       = linkError("enquire_link: no answer in time")
	errStalled    = linkError("the peer stopped in the middle of a PDU")
	errCut        = linkError("link lost")
	errNotReading = linkError("the peer stopped reading")
	errUnbound    = linkError("unbound by the peer")
	errClosing    = linkError("closing")
	errIdle       = linkError("unbound after idle time")
)

// readFrame reads one PDU. The body is in buf, which it may replace by a larger one,
// and is good until the next call. After errLength there is no way to know where
// the next PDU begins.
func readFrame(r *bufio.Reader, buf *[]byte) (pdu.Header, []byte, error) {
	head, err := r.Peek(pdu.HeaderLen)
	if err != nil {
		return pdu.Header{}, nil, err
	}
	h := pdu.Header{
		Len:    binary.BigEndian.Uint32(head[0:]),
		ID:     pdu.ID(binary.BigEndian.Uint32(head[4:])),
		Status: pdu.Status(binary.BigEndian.Uint32(head[8:])),
		Seq:    binary.BigEndian.Uint32(head[12:]),
	}
	if h.Len < pdu.HeaderLen || h.Len > maxPDU {
		return h, nil, errLength
	}
	if _, err := r.Discard(pdu.HeaderLen); err != nil {
		return h, nil, err
	}
	n := int(h.Len) - pdu.HeaderLen
	if n > cap(*buf) {
		*buf = make([]byte, n)
	}
	body := (*buf)[:n]
	_, err = io.ReadFull(r, body)
	return h, body, err
}

// buffered reports whether the next PDU can be read without waiting.
func buffered(r *bufio.Reader) bool {
	n := r.Buffered()
	if n < pdu.HeaderLen {
		return false
	}
	length, err := r.Peek(4)
	return err == nil && uint64(binary.BigEndian.Uint32(length)) <= uint64(n)
}

// encode writes a PDU with the given sequence number. Writing to memory cannot
// fail, and the fields are ours.
func encode(p pdu.Body, sequence uint32) []byte {
	p.Header().Seq = sequence
	var out bytes.Buffer
	out.Grow(256)
	if err := p.SerializeTo(&out); err != nil {
		panic("smpp: a PDU of our own can't be written: " + err.Error())
	}
	return out.Bytes()
}

// header writes a PDU without a body, the commonest of all.
func header(id pdu.ID, status pdu.Status, sequence uint32) []byte {
	b := make([]byte, pdu.HeaderLen)
	binary.BigEndian.PutUint32(b[0:], pdu.HeaderLen)
	binary.BigEndian.PutUint32(b[4:], uint32(id))
	binary.BigEndian.PutUint32(b[8:], uint32(status))
	binary.BigEndian.PutUint32(b[12:], sequence)
	return b
}

// maxMessageID is the longest message_id (section 5.2.23), without the final zero.
const maxMessageID = 64

// messageID reads the C-string that begins b. It is "" for one that is longer than
// the specification allows or has other than printable ASCII in it.
func messageID(b []byte) string {
	if end := bytes.IndexByte(b, 0); end >= 0 {
		b = b[:end]
	}
	if len(b) > maxMessageID {
		return ""
	}
	for _, c := range b {
		if c <= ' ' || c > '~' {
			return ""
		}
	}
	return string(b)
}
