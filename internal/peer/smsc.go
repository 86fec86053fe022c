package peer

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// SMSCOptions of an [SMSC].
type SMSCOptions struct {
	// Script says how each target behaves; nil makes all of them OK. A kind is
	// answered with the command_status that [SMSC] names. Refusing targets behave
	// like Dead ones: there is no connection of their own to reset.
	Script Script
	// Receipts is as in [Options].
	Receipts string
	// SystemID and Password are what a bind must have; anything if SystemID is
	// empty.
	SystemID, Password string
	// Quiet says that no delivery reports are sent.
	Quiet bool
}

// SMSC is an SMS centre (SMPP 3.4) that stands for every phone: see [PhoneNumber].
// It takes transceiver binds, puts segmented messages together, and sends a delivery
// report, which SMPP calls a receipt, for each message that it accepted and that
// asked for one; what is not acknowledged is sent again, over the next bind if need
// be.
//
// A receipt is one message, all segments together. Its incident and sequence are
// those of its text, "[INC-1] #2 …"; its id is made of both, the number and the
// concatenation reference, so that a retry under another reference is an id fault.
// Its status is in HTTP's numbers: 200 for ESME_ROK, 410 for ESME_RINVDSTADR, 429
// for ESME_RTHROTTLED, 500 for ESME_RSYSERR, 0 for no response.
type SMSC struct {
	options  SMSCOptions
	script   Script
	listener net.Listener
	log      *receiptLog

	open     atomic.Int64 // messages that have begun to come and have no receipt yet
	failures failures
	lastID   atomic.Uint64
	reports  struct{ sent, acked, putOff atomic.Int64 }

	mu       sync.Mutex
	closed   bool
	links    map[*smscLink]struct{}
	refusals map[int]int // messages so far, of Throttled and Faulty targets
	// kept are deliver_sm for which there was no bind.
	kept     []*smscDeliver
	handlers sync.WaitGroup
}

// StartSMSC listens on a free port of 127.0.0.1. The caller must Close it.
func StartSMSC(o SMSCOptions) (*SMSC, error) {
	if o.Script == nil {
		o.Script = Mix{}.Behaviour
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("SMSC peer: %w", err)
	}
	log, err := newReceiptLog(o.Receipts)
	if err != nil {
		listener.Close()
		return nil, fmt.Errorf("SMSC peer: %w", err)
	}
	s := &SMSC{options: o, script: o.Script, listener: listener, log: log,
		links: make(map[*smscLink]struct{}), refusals: make(map[int]int)}
	s.handlers.Go(s.accept)
	return s, nil
}

// phonePrefix begins every number. No country has it.
const phonePrefix = "+999"

// PhoneNumber returns the number of target n, in E.164 form.
func PhoneNumber(n int) string { return fmt.Sprintf("%s%08d", phonePrefix, n) }

// phoneTarget reads the target from a destination_addr, 0 if it is none.
func phoneTarget(number string) int {
	if len(number) != len(phonePrefix)-1+8 || number[:3] != phonePrefix[1:] {
		return 0
	}
	n, err := strconv.Atoi(number[3:])
	if err != nil || n < 1 || n > MaxTargets {
		return 0
	}
	return n
}

// PhoneTarget reads the target from what [PhoneNumber] made; 0 if it is none.
func PhoneTarget(number string) int {
	if number == "" || number[0] != '+' {
		return 0
	}
	return phoneTarget(number[1:])
}

// Port returns the port that it listens on.
func (s *SMSC) Port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// URL returns where to bind, with the credentials that are asked for.
func (s *SMSC) URL() string {
	id, password := s.options.SystemID, s.options.Password
	if id == "" {
		id, password = "tocsin", "secret"
	}
	return fmt.Sprintf("smpp://%s:%s@%s", id, password, s.listener.Addr())
}

// Open returns how many messages have begun to come and have no receipt yet.
func (s *SMSC) Open() int { return int(s.open.Load()) }

// Binds returns how many binds there are.
func (s *SMSC) Binds() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for l := range s.links {
		if l.bound {
			n++
		}
	}
	return n
}

// Receipts returns all receipts so far, in the order in which they ended.
func (s *SMSC) Receipts() []Receipt { return s.log.receipts() }

// CutAll ends all connections without a word. Receipts stay.
func (s *SMSC) CutAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.links {
		l.conn.Close()
	}
}

// Close ends all connections, waits for their receipts and returns what went wrong
// with the receipts file, if anything.
func (s *SMSC) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.listener.Close()
	s.CutAll()
	s.handlers.Wait()
	return s.log.close()
}

func (s *SMSC) accept() {
	for {
		conn, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.failures.note(errors.New("a connection could not be accepted; is the limit of open files too low?"))
			time.Sleep(acceptPause)
			continue
		}
		l := newSMSCLink(s, conn)
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			conn.Close()
			return
		}
		s.links[l] = struct{}{}
		s.handlers.Go(func() {
			l.serve()
			conn.Close()
		})
		s.mu.Unlock()
	}
}

// ended forgets a link.
func (s *SMSC) ended(l *smscLink) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.links, l)
}

// count numbers the messages of targets that refuse their first ones.
func (s *SMSC) count(n int, b Behaviour) int {
	if b.Times == 0 {
		return 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusals[n]++
	return s.refusals[n]
}
