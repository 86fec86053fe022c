package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Options of a [Webhook].
type Options struct {
	// Script says how each target behaves; nil makes all of them OK.
	Script Script
	// Receipts names a file that receipts are written to while they come, in
	// the lines of [Receipt.AppendText]; none if empty.
	Receipts string
}

// Webhook is one listener that stands for every target in 127/8: see
// [TargetURL]. Each open connection costs a file descriptor, a goroutine and
// 4 KiB.
type Webhook struct {
	script   Script
	listener net.Listener
	log      *receiptLog
	payloads *payloads

	open     atomic.Int64 // requests read and not recorded yet
	refused  atomic.Int64
	failures failures

	mu       sync.Mutex
	closed   bool
	conns    map[net.Conn]struct{}
	refusals map[int]int // requests so far, of Throttled and Faulty targets
	handlers sync.WaitGroup
}

// StartWebhook listens on a free port of every loopback address. Connections
// from outside this machine can't reach it. The caller must Close it.
func StartWebhook(o Options) (*Webhook, error) {
	if o.Script == nil {
		o.Script = Mix{}.Behaviour
	}
	config := net.ListenConfig{Control: keepToLoopback}
	listener, err := config.Listen(context.Background(), "tcp4", "0.0.0.0:0")
	if err != nil {
		return nil, fmt.Errorf("webhook peer: %w", err)
	}
	log, err := newReceiptLog(o.Receipts)
	if err != nil {
		listener.Close()
		return nil, fmt.Errorf("webhook peer: %w", err)
	}
	w := &Webhook{script: o.Script, listener: listener, log: log, payloads: newPayloads(),
		conns: make(map[net.Conn]struct{}), refusals: make(map[int]int)}
	w.handlers.Go(w.accept)
	return w, nil
}

// Port returns the port that every target listens on.
func (w *Webhook) Port() int { return w.listener.Addr().(*net.TCPAddr).Port }

// URL returns the webhook URL of target n.
func (w *Webhook) URL(n int) string { return TargetURL(n, w.Port()) }

// Open returns how many requests were read and have no receipt yet: held, silent
// or being answered now.
func (w *Webhook) Open() int { return int(w.open.Load()) }

// Connections returns how many connections are open that were accepted. With 0,
// everything that came over them has its receipt.
func (w *Webhook) Connections() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.conns)
}

// Receipts returns all receipts so far, in the order in which they ended.
func (w *Webhook) Receipts() []Receipt {
	var receipts []Receipt
	if err := ReadReceipts(w.section(0), func(r Receipt) { receipts = append(receipts, r) }); err != nil {
		panic("peer: a receipt of our own can't be read: " + err.Error())
	}
	return receipts
}

// Close ends all connections, waits for their receipts and returns what went
// wrong with the receipts file, if anything.
func (w *Webhook) Close() error {
	w.mu.Lock()
	w.closed = true
	w.listener.Close()
	for c := range w.conns {
		c.Close()
	}
	w.mu.Unlock()
	w.handlers.Wait()
	return w.log.close()
}

// acceptPause is how long to wait for a file descriptor to become free.
const acceptPause = 10 * time.Millisecond

func (w *Webhook) accept() {
	for {
		c, err := w.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			time.Sleep(acceptPause) // the connection waits in the backlog
			continue
		}
		if err != nil {
			w.failures.note(errors.New("a connection could not be accepted"))
			time.Sleep(acceptPause)
			continue
		}
		local := addressOf(c)
		if !local.IsLoopback() {
			c.Close()
			continue
		}
		if n := numberOf(local); n != 0 && w.script(n).Kind == Refusing {
			w.refused.Add(1)
			c.(*net.TCPConn).SetLinger(0) // a reset instead of an orderly end
			c.Close()
			continue
		}
		if !w.adopt(c) {
			return
		}
		w.handlers.Go(func() {
			w.serve(c, numberOf(local))
			w.mu.Lock()
			delete(w.conns, c)
			w.mu.Unlock()
			c.Close()
		})
	}
}

func addressOf(c net.Conn) netip.Addr {
	return c.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
}

// adopt makes Close end c; false if it is too late for that.
func (w *Webhook) adopt(c net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		c.Close()
		return false
	}
	w.conns[c] = struct{}{}
	return true
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
		w.answer(c, &receipt)
		line, err = receipt.AppendText(line[:0])
		if err != nil {
			panic("peer: a checked request makes no receipt: " + err.Error())
		}
		w.log.append(line)
		w.open.Add(-1)
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

// answer does what the target's behaviour says and completes the receipt.
func (w *Webhook) answer(c net.Conn, r *Receipt) {
	b := w.script(r.Target)
	status := b.Status(w.count(r.Target, b))
	switch {
	case status == 0:
		if b.Kind == Silent {
			hold(c, time.Time{})
		}
		r.AnsweredAt = time.Now()
		return
	case b.After > 0:
		if !hold(c, r.ReceivedAt.Add(b.After)) {
			r.AnsweredAt = time.Now()
			return
		}
	}
	// Before the write: whoever has the answer can't be earlier than this.
	r.AnsweredAt = time.Now()
	if _, err := c.Write(response(status, b.RetryAfter)); err == nil {
		r.Status = status
	}
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

// count numbers the requests of targets that refuse their first ones.
func (w *Webhook) count(n int, b Behaviour) int {
	if b.Times == 0 {
		return 1
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refusals[n]++
	return w.refusals[n]
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
