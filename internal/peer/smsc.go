package peer

import (
	"fmt"
	"net"
	"sync/atomic"
)

// SMSCOptions of an [SMSC].
type SMSCOptions struct {
	// Script, Receipts and Take are as in [Options]. A kind is answered with the
	// command_status that [SMSC] names. Refusing targets behave like Dead ones:
	// there is no connection of their own to reset.
	Script   Script
	Receipts string
	Take     func(Receipt)
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
	station
	options SMSCOptions
	lastID  atomic.Uint64
	reports struct{ sent, acked, putOff atomic.Int64 }

	// Guarded by the lock of the station.
	links map[*smscLink]struct{}
	kept  []*smscDeliver // those for which there was no bind
}

// StartSMSC listens on a free port of 127.0.0.1. The caller must Close it.
func StartSMSC(o SMSCOptions) (*SMSC, error) {
	s := &SMSC{options: o, links: make(map[*smscLink]struct{})}
	if err := s.listen("SMSC", "127.0.0.1", Options{Script: o.Script, Receipts: o.Receipts, Take: o.Take}); err != nil {
		return nil, err
	}
	s.run(func(conn net.Conn) {
		l := newSMSCLink(s, conn)
		s.mu.Lock()
		s.links[l] = struct{}{}
		s.mu.Unlock()
		l.serve()
	})
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
	return numbered(number[3:])
}

// PhoneTarget reads the target from what [PhoneNumber] made; 0 if it is none.
func PhoneTarget(number string) int {
	if number == "" || number[0] != '+' {
		return 0
	}
	return phoneTarget(number[1:])
}

// URL returns where to bind, with the credentials that are asked for.
func (s *SMSC) URL() string {
	id, password := s.options.SystemID, s.options.Password
	if id == "" {
		id, password = "tocsin", "secret"
	}
	return fmt.Sprintf("smpp://%s:%s@%s", id, password, s.listener.Addr())
}

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

// Unbind has the centre end one bind, if there is any (SMPP 3.4, section 4.2): unbind,
// its response, the end of the connection. Messages that it answers until then are
// answered.
func (s *SMSC) Unbind() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.links {
		if l.bound && !s.closed {
			s.handlers.Go(l.unbind)
			return
		}
	}
}

// ended forgets a link.
func (s *SMSC) ended(l *smscLink) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.links, l)
}
