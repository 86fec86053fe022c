package smpp

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fiorix/go-smpp/smpp/pdu"
	"github.com/fiorix/go-smpp/smpp/pdu/pdufield"
)

// session is one bind, from its connection's first byte to its last. serve owns
// its goroutines: the reader (its caller), a writer, one that watches for the end,
// and one for each message from the centre that is being recorded.
type session struct {
	account *account
	config  *Config
	conn    net.Conn
	in      *bufio.Reader
	out     *outbox
	window  window
	// slots has one token for each submit without a response.
	slots chan struct{}
	// recording has one token for each deliver_sm without a response.
	recording chan struct{}
	recorders sync.WaitGroup
	// refusing makes new messages from the centre be put off.
	refusing atomic.Bool
	// used says that there was a submit since the watch last looked.
	used atomic.Bool
	// unbound is closed when the centre has answered our unbind.
	unbound chan struct{}
	// written is closed when the writer has ended.
	written chan struct{}
	// over is closed when the session has ended; window.lost says why.
	over chan struct{}
	once sync.Once
}

// maxRecording is how many messages from the centre are recorded at once on one
// bind. They share the store's group commits; what comes beyond is put off.
const maxRecording = 1024

func newSession(a *account, conn net.Conn) *session {
	return &session{
		account: a, config: a.config, conn: conn,
		in: bufio.NewReaderSize(conn, 16<<10), out: newOutbox(),
		window:    window{waiting: make(map[key]waiter, a.window)},
		slots:     make(chan struct{}, a.window),
		recording: make(chan struct{}, maxRecording),
		unbound:   make(chan struct{}), written: make(chan struct{}), over: make(chan struct{}),
	}
}

// bind sends bind_transceiver (section 4.1.5) and awaits its response. Nothing else
// runs on the session yet.
func (s *session) bind() error {
	deadline := time.Now().Add(s.config.ResponseTimeout)
	if err := s.conn.SetDeadline(deadline); err != nil {
		return errCut
	}
	request := pdu.NewBindTransceiver()
	f := request.Fields()
	_ = f.Set(pdufield.SystemID, s.account.systemID) // strings and numbers can always be set
	_ = f.Set(pdufield.Password, s.account.password)
	_ = f.Set(pdufield.InterfaceVersion, 0x34)
	sequence := s.window.next()
	if _, err := s.conn.Write(encode(request, sequence)); err != nil {
		return bindError(err)
	}
	var buf []byte
	// An outbind or a link check may come first, but no more than a few.
	for range 8 {
		h, _, err := readFrame(s.in, &buf)
		switch {
		case err != nil:
			return bindError(err)
		case h.ID != pdu.BindTransceiverRespID && h.ID != pdu.GenericNACKID || h.Seq != sequence:
			continue
		case h.Status != 0:
			return bindRefused{h.Status}
		case h.ID == pdu.GenericNACKID:
			return errBabble
		}
		return s.conn.SetDeadline(time.Time{})
	}
	return errBabble
}

func bindError(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errNoBindResp
	case errors.Is(err, errLength):
		return errLength
	}
	return errClosedBind
}

// serve runs the session until the link ends or ctx does, and returns why it ended.
func (s *session) serve(ctx context.Context) error {
	record, stop := context.WithCancel(context.WithoutCancel(ctx))
	var others sync.WaitGroup
	others.Go(func() {
		err := s.out.run(s.conn, s.config.WriteTimeout)
		close(s.written)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			s.end(errNotReading)
		case err != nil:
			s.end(errCut)
		}
	})
	others.Go(func() { s.watch(ctx) })
	err := s.read(record)
	s.end(err)
	stop()
	others.Wait()
	s.recorders.Wait()
	return s.window.lost
}

// end closes the session for the first reason given. Where the peer still listens
// it gets what was to be written, which the write timeout bounds.
func (s *session) end(why linkError) {
	s.once.Do(func() {
		s.account.leave(s, why)
		s.window.lose(why)
		close(s.over)
		s.out.close()
		switch why {
		case errClosing, errIdle, errUnbound, errLength:
			<-s.written
			_ = s.conn.Close() // the goodbye was said before
		default:
			abort(s.conn)
		}
	})
}

// watch unbinds when ctx ends or an exclusive account has nothing to send.
func (s *session) watch(ctx context.Context) {
	var tick <-chan time.Time
	if s.account.exclusive {
		ticker := time.NewTicker(s.config.IdleTime)
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		select {
		case <-s.over:
			return
		case <-ctx.Done():
			s.unbind(errClosing)
			return
		case <-tick:
			if s.used.Swap(false) || len(s.slots) > 0 {
				continue
			}
			s.unbind(errIdle)
			return
		}
	}
}

// unbind ends the session in order (section 4.2): no new submits, answers to what
// is being recorded, unbind, its response, and only then the connection. All of it
// within CloseTimeout. A submit that slipped in is lost with the link.
func (s *session) unbind(why linkError) {
	s.account.leave(s, why)
	s.refusing.Store(true)
	timer := time.NewTimer(s.config.CloseTimeout)
	defer timer.Stop()
	defer s.end(why)
	// Nothing is added to recording any more but by a reader that looked at
	// refusing just before.
	for range cap(s.recording) {
		select {
		case s.recording <- struct{}{}:
		case <-timer.C:
			return
		case <-s.over:
			return
		}
	}
	s.out.put(header(pdu.UnbindID, 0, s.window.next()))
	select {
	case <-s.unbound:
	case <-timer.C:
	case <-s.over:
	}
}

// read handles what comes in until the link ends.
func (s *session) read(record context.Context) linkError {
	var buf []byte
	for {
		if end := s.await(); end != "" {
			return end
		}
		h, body, err := readFrame(s.in, &buf)
		switch {
		case errors.Is(err, errLength):
			// Say so, as far as the peer still listens (section 4.3.1).
			s.out.reply(header(pdu.GenericNACKID, statusInvalidLength, h.Seq))
			return errLength
		case errors.Is(err, os.ErrDeadlineExceeded):
			return errStalled
		case err != nil:
			return errCut
		}
		if s.handle(record, h, body) {
			return errUnbound
		}
	}
}

// await returns when a PDU has begun to come, and leaves a deadline for the rest of
// it. After a silence it checks the link; any sign of life will do as an answer.
func (s *session) await() linkError {
	if buffered(s.in) {
		return ""
	}
	patience, checked := s.config.EnquireLink, false
	for {
		if end := s.setReadDeadline(patience); end != "" {
			return end
		}
		_, err := s.in.Peek(1)
		switch {
		case err == nil:
			return s.setReadDeadline(s.config.WriteTimeout)
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return errCut
		case checked:
			return errDead
		}
		s.out.reply(header(pdu.EnquireLinkID, 0, s.window.next()))
		patience, checked = s.config.ResponseTimeout, true
	}
}

func (s *session) setReadDeadline(in time.Duration) linkError {
	if s.conn.SetReadDeadline(time.Now().Add(in)) != nil {
		return errCut
	}
	return ""
}

// handle does what a PDU asks for and reports whether the peer has unbound.
func (s *session) handle(record context.Context, h pdu.Header, body []byte) (unbound bool) {
	switch h.ID {
	case pdu.SubmitSMRespID:
		s.answer(h, body)
	case pdu.GenericNACKID:
		s.answer(pdu.Header{ID: pdu.SubmitSMRespID, Status: nackStatus(h.Status), Seq: h.Seq}, nil)
	case pdu.DeliverSMID:
		s.deliver(record, h, body)
	case pdu.EnquireLinkID:
		s.out.reply(header(pdu.EnquireLinkRespID, 0, h.Seq))
	case pdu.UnbindID:
		s.unboundByPeer(h)
		return true
	case pdu.UnbindRespID:
		select {
		case <-s.unbound:
		default:
			close(s.unbound)
		}
	case pdu.EnquireLinkRespID, pdu.AlertNotificationID, pdu.OutbindID:
		// A sign of life, or news that has no response.
	default:
		s.account.strays.Add(1)
		if h.ID&response == 0 {
			s.out.reply(header(pdu.GenericNACKID, statusInvalidCommand, h.Seq))
		}
	}
	return false
}

// answer gives a response to who waits for it. Nobody does for one that comes
// twice, too late, or was never asked for.
func (s *session) answer(h pdu.Header, body []byte) {
	who, ok := s.window.take(key{h.ID, h.Seq})
	if !ok {
		s.account.strays.Add(1)
		return
	}
	a := answer{segment: who.segment, status: h.Status}
	if h.Status == 0 {
		a.id = messageID(body)
	}
	<-s.slots // first: whoever has the answer finds nothing in flight
	who.answers <- a
}

// unboundByPeer answers an unbind and reads on for a while: responses may still be
// on their way.
func (s *session) unboundByPeer(h pdu.Header) {
	s.account.leave(s, errUnbound)
	s.out.reply(header(pdu.UnbindRespID, 0, h.Seq))
	if s.setReadDeadline(s.config.CloseTimeout) != "" {
		return
	}
	var buf []byte
	for len(s.slots) > 0 {
		h, body, err := readFrame(s.in, &buf)
		if err != nil {
			return
		}
		if h.ID == pdu.SubmitSMRespID {
			s.answer(h, body)
		}
	}
}
