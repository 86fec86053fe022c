package peer

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"
)

// Webhook is one listener that stands for every target in 127/8: see
// [TargetURL]. Each open connection costs a file descriptor, a goroutine and
// 4 KiB.
type Webhook struct {
	station
	payloads *payloads
}

// StartWebhook listens on a free port of every loopback address. Connections
// from outside this machine can't reach it. The caller must Close it.
func StartWebhook(o Options) (*Webhook, error) {
	w := &Webhook{payloads: newPayloads()}
	if err := w.listen("webhook", "0.0.0.0", o); err != nil {
		return nil, err
	}
	w.run(w.greet)
	return w, nil
}

// URL returns the webhook URL of target n.
func (w *Webhook) URL(n int) string { return TargetURL(n, w.Port()) }

// greet serves a connection as the target whose address was dialled.
func (w *Webhook) greet(c net.Conn) {
	local := addressOf(c)
	n := numberOf(local)
	switch {
	case !local.IsLoopback(): // from outside this machine
	case n != 0 && w.script(n).Kind == Refusing:
		w.reset(c)
	default:
		w.serve(c, n)
	}
}

func addressOf(c net.Conn) netip.Addr {
	return c.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
}

// serve answers one request after the other. host is the target whose address
// was dialled, 0 if it is nobody's.
func (w *Webhook) serve(c net.Conn, host int) {
	buffer := make([]byte, 0, 4096)
	var line []byte // a receipt
	for {
		request, body, rest, err := readRequest(c, buffer)
		if err != nil {
			w.failures.note(err)
			c.Write(badRequest)
			return
		}
		if request.size == 0 {
			return // the client left between two requests
		}
		w.open.Add(1)
		receipt, err := w.examine(request, host, body)
		if err != nil {
			w.failures.note(err)
			w.open.Add(-1)
			c.Write(badRequest)
			return
		}
		status, answer := w.answer(c, receipt)
		w.turn.RLock()
		// Before the write: whoever has the answer can't be earlier than this.
		receipt.AnsweredAt = time.Now()
		if status != 0 {
			if _, err := c.Write(answer); err == nil {
				receipt.Status = status
			}
		}
		line = w.record(receipt, line)
		w.open.Add(-1)
		w.turn.RUnlock()
		if receipt.Status == 0 || request.close {
			return
		}
		buffer = append(buffer[:0], rest...)
	}
}

// readRequest reads one request into buffer, or a larger one, and returns what
// came after it as rest. A request of size 0 means that there is none.
func readRequest(c net.Conn, buffer []byte) (h head, body, rest []byte, err error) {
	for {
		if h.size == 0 && len(buffer) > 0 {
			if h, err = readHead(buffer); err != nil {
				return head{}, nil, nil, err
			}
		}
		if end := h.size + h.length; h.size > 0 && len(buffer) >= end {
			return h, buffer[h.size:end], buffer[end:], nil
		}
		if len(buffer) == cap(buffer) {
			larger := make([]byte, len(buffer), 4*cap(buffer))
			copy(larger, buffer)
			buffer = larger
			h = head{} // it points into the old buffer
			continue
		}
		n, err := c.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		if n == 0 && err != nil {
			// A client that dies in the middle of a request has sent none.
			return head{}, nil, nil, nil
		}
	}
}

func (w *Webhook) examine(h head, host int, body []byte) (Receipt, error) {
	now := time.Now()
	if err := h.check(now); err != nil {
		return Receipt{}, err
	}
	if host != 0 && host != h.target {
		return Receipt{}, errors.New("the path names another target than the address")
	}
	p := w.payloads.decode(body)
	if p.fault != nil {
		return Receipt{}, p.fault
	}
	return Receipt{Target: h.target, ID: string(h.id), Incident: p.incident, Sequence: p.sequence, ReceivedAt: now}, nil
}

// answer waits as the target's behaviour says and returns what to answer, with status 0
// nothing.
func (w *Webhook) answer(c net.Conn, r Receipt) (status int, text []byte) {
	b := w.script(r.Target)
	status = b.Status(w.count(r.Target, b))
	switch {
	case status == 0:
		if b.Kind == Silent {
			hold(c, time.Time{})
		}
		return 0, nil
	case b.After > 0:
		if !hold(c, r.ReceivedAt.Add(b.After)) {
			return 0, nil
		}
	}
	return status, response(status, b.RetryAfter)
}

// hold waits until a time, for ever if it is zero, and reports whether the client
// is still there. A client that sends more meanwhile is none of ours: that ends
// it too.
func hold(c net.Conn, until time.Time) bool {
	c.SetReadDeadline(until)
	var b [1]byte
	_, err := c.Read(b[:])
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	return c.SetReadDeadline(time.Time{}) == nil
}

var (
	okResponse   = []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	goneResponse = []byte("HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")
	errorBody    = []byte("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 11\r\n\r\nout of tea\n")
	badRequest   = []byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
)

func response(status int, retryAfter time.Duration) []byte {
	switch status {
	case 200:
		return okResponse
	case 410:
		return goneResponse
	case 429:
		seconds := int64((retryAfter + time.Second - 1) / time.Second)
		b := []byte("HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nRetry-After: ")
		return append(strconv.AppendInt(b, seconds, 10), "\r\n\r\n"...)
	}
	return errorBody
}
