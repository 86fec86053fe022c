package floor

import (
	"net/netip"
	"strconv"
	"time"
)

// signature stands for what the engine computes: it is as long.
const signature = "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

const userAgent = "Tocsin-Floor (+https://www.standardwebhooks.com)"

// request makes the requests of one round: everything that they share is there
// already.
type request struct {
	ids      ids
	sequence int
	// head begins after the host, body included in size.
	head []byte
	tail []byte // from the signature to the end of the body
	body int    // bytes of that
}

// newRequest prepares the requests of an update.
func newRequest(s *Story, sequence int, now time.Time) *request {
	body := s.Body(sequence)
	r := &request{ids: newIDs(s.Incident), sequence: sequence, body: len(body)}
	r.head = append(r.head, "\r\nUser-Agent: "+userAgent+"\r\nContent-Type: application/json\r\nContent-Length: "...)
	r.head = strconv.AppendInt(r.head, int64(len(body)), 10)
	r.head = append(r.head, "\r\nWebhook-Id: msg_"...)
	r.tail = append(r.tail, "\r\nWebhook-Timestamp: "...)
	r.tail = strconv.AppendInt(r.tail, now.Unix(), 10)
	r.tail = append(r.tail, "\r\nWebhook-Signature: "+signature+"\r\n\r\n"...)
	r.tail = append(r.tail, body...)
	return r
}

// append appends the whole request to a target at an address.
func (r *request) append(b []byte, to netip.AddrPort, target int) []byte {
	b = append(b, "POST /t/"...)
	b = strconv.AppendInt(b, int64(target), 10)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = to.AppendTo(b)
	b = append(b, r.head...)
	b = r.ids.append(b, target, r.sequence)
	return append(b, r.tail...)
}
