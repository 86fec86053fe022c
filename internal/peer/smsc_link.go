package peer

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/fiorix/go-smpp/smpp/pdu"
	"github.com/fiorix/go-smpp/smpp/pdu/pdufield"
)

// maxSMPP is the longest PDU that an SMSC takes, in bytes.
const maxSMPP = 64 << 10

// smscLink is one connection. Its reader handles PDUs in order; slow answers and
// delivery reports come from goroutines of their own.
type smscLink struct {
	smsc   *SMSC
	conn   net.Conn
	fields pdufield.List // of a submit_sm
	gone   chan struct{} // closed when the reader has ended

	// The reader's own.
	partial map[messageKey]*smscMessage

	mu       sync.Mutex
	out      *bufio.Writer
	answered []smscAnswer // their responses are in out
	sequence uint32
	awaited  map[uint32]*smscDeliver

	bound bool // guarded by the lock of smsc
}

func newSMSCLink(s *SMSC, conn net.Conn) *smscLink {
	return &smscLink{smsc: s, conn: conn, fields: pdu.NewSubmitSM(nil).FieldList(), gone: make(chan struct{}),
		partial: make(map[messageKey]*smscMessage), out: bufio.NewWriterSize(conn, 16<<10),
		awaited: make(map[uint32]*smscDeliver)}
}

// serve reads until the connection ends or breaks the protocol.
func (l *smscLink) serve() {
	defer l.end()
	in := bufio.NewReaderSize(l.conn, 16<<10)
	var head [pdu.HeaderLen]byte
	var body []byte
	for {
		if in.Buffered() == 0 {
			l.flush()
		}
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return
		}
		length := binary.BigEndian.Uint32(head[:])
		if length < pdu.HeaderLen || length > maxSMPP {
			l.smsc.failures.note(errors.New("a PDU has an impossible length"))
			return
		}
		if n := int(length) - pdu.HeaderLen; n > cap(body) {
			body = make([]byte, n)
		}
		body = body[:length-pdu.HeaderLen]
		if _, err := io.ReadFull(in, body); err != nil {
			return
		}
		id, sequence := pdu.ID(binary.BigEndian.Uint32(head[4:])), binary.BigEndian.Uint32(head[12:])
		if !l.handle(id, pdu.Status(binary.BigEndian.Uint32(head[8:])), sequence, body) {
			l.flush()
			return
		}
	}
}

// end gives what is unfinished its receipt, and reports to the next bind.
func (l *smscLink) end() {
	close(l.gone)
	l.flush() // whoever responded when the connection had ended
	for _, m := range l.partial {
		if !m.settled {
			l.smsc.settled(m, 0, time.Now())
		}
	}
	l.smsc.ended(l) // first, so that nothing is dispatched to a link without awaited
	l.mu.Lock()
	left := l.awaited
	l.awaited = nil
	l.mu.Unlock()
	for _, d := range left {
		l.smsc.dispatch(d)
	}
}

// handle does what a PDU asks for and reports whether the link goes on.
func (l *smscLink) handle(id pdu.ID, status pdu.Status, sequence uint32, body []byte) bool {
	switch id {
	case pdu.BindTransceiverID:
		return l.bind(sequence, body)
	case pdu.EnquireLinkID:
		l.respond(pdu.EnquireLinkRespID, 0, sequence, nil)
	case pdu.UnbindID:
		l.smsc.ended(l) // first: whoever has the response finds no bind
		l.respond(pdu.UnbindRespID, 0, sequence, nil)
		return false
	case pdu.SubmitSMID:
		l.submit(sequence, body)
	case pdu.DeliverSMRespID:
		l.acknowledged(sequence, status)
	case pdu.UnbindRespID:
		return false
	case pdu.EnquireLinkRespID, pdu.GenericNACKID:
	default:
		l.smsc.failures.note(errors.New("a command is none that this peer knows"))
		l.respond(pdu.GenericNACKID, 0x03, sequence, nil)
	}
	return true
}

func (l *smscLink) bind(sequence uint32, body []byte) bool {
	f, err := pdu.NewBindTransceiver().FieldList().Decode(bytes.NewBuffer(body))
	o := l.smsc.options
	if err != nil || f[pdufield.Password] == nil || o.SystemID != "" &&
		(f[pdufield.SystemID].String() != o.SystemID || f[pdufield.Password].String() != o.Password) {
		l.respond(pdu.BindTransceiverRespID, 0x0E, sequence, nil)
		return false
	}
	l.respond(pdu.BindTransceiverRespID, 0, sequence, []byte("peer\x00"))
	l.smsc.bound(l)
	return true
}

// unbind asks the client to leave; the reader ends with its response.
func (l *smscLink) unbind() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sequence++
	l.write(pdu.UnbindID, 0, l.sequence, nil)
	l.empty()
}

// submit takes a segment and answers it by the behaviour of its target.
func (l *smscLink) submit(sequence uint32, body []byte) {
	now := time.Now()
	s, err := readSegment(l.fields, body)
	if err != nil {
		l.smsc.failures.note(err)
		l.respond(pdu.SubmitSMRespID, 0x45, sequence, nil)
		return
	}
	key := messageKey{s.target, s.reference}
	m := l.partial[key]
	if s.part == 1 {
		if m != nil && !m.settled {
			l.smsc.settled(m, 0, now) // it was given up, and begins anew
		}
		b := l.smsc.script(s.target)
		if b.Kind == Refusing {
			b.Kind = Dead
		}
		if m, err = newSMSCMessage(s, b, b.Status(l.smsc.count(s.target, b))); err == nil {
			l.smsc.open.Add(1)
			l.partial[key] = m
		}
	} else if m == nil || m.total != s.total || m.came[s.part] || !m.came[s.part-1] {
		err = errors.New("a part of a message came twice or out of order")
	}
	if err != nil {
		l.smsc.failures.note(err)
		l.respond(pdu.SubmitSMRespID, 0x45, sequence, nil)
		return
	}
	m.came[s.part] = true
	m.missing--
	id := strconv.FormatUint(l.smsc.lastID.Add(1), 10)
	if s.part == 1 {
		m.id = id
	}
	if !m.settled {
		m.receipt.ReceivedAt = now
	}
	if m.missing == 0 {
		delete(l.partial, key)
	}
	switch {
	case m.settled: // refused at its first part
		l.answer(m, sequence, id)
	case m.missing == 0 || m.status != 200:
		m.settled = true
		l.settle(m, sequence, id)
	default:
		l.answer(m, sequence, id)
	}
}

// settle answers the last part of a message that is answered, and writes its
// receipt.
func (l *smscLink) settle(m *smscMessage, sequence uint32, id string) {
	finish := func() {
		at := time.Now()
		if m.status == 0 {
			l.smsc.settled(m, 0, at)
			return
		}
		l.mu.Lock()
		l.writeAnswer(m, sequence, id)
		l.answered = append(l.answered, smscAnswer{m, at})
		l.mu.Unlock()
		if m.status == 200 && m.report && !l.smsc.options.Quiet {
			l.deliver(report(m))
		}
	}
	if m.behaviour.After == 0 {
		finish()
		return
	}
	l.smsc.handlers.Go(func() {
		select {
		case <-time.After(m.behaviour.After):
			finish()
			l.flush()
		case <-l.gone:
			l.smsc.settled(m, 0, time.Now())
		}
	})
}

// answer answers a part that does not decide over its message; a slow target keeps
// the answers of all parts for as long.
func (l *smscLink) answer(m *smscMessage, sequence uint32, id string) {
	if m.status == 0 {
		return
	}
	if m.behaviour.After == 0 {
		l.respondWith(m, sequence, id)
		return
	}
	l.smsc.handlers.Go(func() {
		select {
		case <-time.After(m.behaviour.After):
			l.respondWith(m, sequence, id)
			l.flush()
		case <-l.gone:
		}
	})
}

// respondWith responds to a part that does not decide over its message.
func (l *smscLink) respondWith(m *smscMessage, sequence uint32, id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writeAnswer(m, sequence, id)
}

// writeAnswer writes the submit_sm_resp of a part.
func (l *smscLink) writeAnswer(m *smscMessage, sequence uint32, id string) {
	switch m.status {
	case 200:
		l.write(pdu.SubmitSMRespID, 0, sequence, append([]byte(id), 0))
	case 410:
		l.write(pdu.SubmitSMRespID, 0x0B, sequence, nil)
	case 429:
		l.write(pdu.SubmitSMRespID, 0x58, sequence, nil)
	default:
		l.write(pdu.SubmitSMRespID, 0x08, sequence, nil)
	}
}

// respond writes a PDU to the buffer; the reader flushes it before it waits.
func (l *smscLink) respond(id pdu.ID, status pdu.Status, sequence uint32, body []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(id, status, sequence, body)
}

func (l *smscLink) write(id pdu.ID, status pdu.Status, sequence uint32, body []byte) {
	var head [pdu.HeaderLen]byte
	binary.BigEndian.PutUint32(head[0:], uint32(pdu.HeaderLen+len(body)))
	binary.BigEndian.PutUint32(head[4:], uint32(id))
	binary.BigEndian.PutUint32(head[8:], uint32(status))
	binary.BigEndian.PutUint32(head[12:], sequence)
	if l.out.Available() < len(head)+len(body) {
		l.empty()
	}
	l.out.Write(head[:]) // the error comes again with the next one
	l.out.Write(body)
}

func (l *smscLink) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.empty()
}

// smscAnswer is a message whose last response is written, at that time.
type smscAnswer struct {
	message *smscMessage
	at      time.Time
}

// empty sends what is in the buffer, and then writes the receipts of those that it
// answers: had the connection ended before, nobody could have had an answer.
func (l *smscLink) empty() {
	l.smsc.turn.RLock()
	defer l.smsc.turn.RUnlock()
	err := l.out.Flush() // an error ends the reader soon
	for _, a := range l.answered {
		status := a.message.status
		if err != nil {
			status = 0
		}
		l.smsc.settled(a.message, status, a.at)
	}
	clear(l.answered)
	l.answered = l.answered[:0]
}
