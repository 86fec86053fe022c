package peer

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// SMTPOptions of an [SMTP].
type SMTPOptions struct {
	// Script says how each target behaves; nil makes all of them OK. What a kind
	// means here is said at [SMTP].
	Script Script
	// Receipts is as in [Options].
	Receipts string
}

// SMTP is a mail relay (RFC 5321, with PIPELINING) that stands for every mailbox of
// [Mailbox]. It takes no TLS and no login: it is for this machine.
//
// A receipt is one message to one target; its incident and sequence are those of the
// headers Tocsin-Incident and Tocsin-Sequence, its id is the left side of the
// Message-ID, its status the SMTP code after the final dot. Throttled targets answer
// 450 4.7.1 there at first, Faulty ones 451 4.3.0 at first, Dead ones always; Silent
// ones don't. Without a receipt, since no message is read: Gone targets answer RCPT
// with 550 5.1.1, and Refusing ones reset the connection there.
//
// A message that no reader could thread is refused with 554 and counted as invalid.
type SMTP struct {
	script   Script
	listener net.Listener
	log      *receiptLog
	threads  threads

	open     atomic.Int64 // messages read and not recorded yet
	refused  atomic.Int64
	failures failures

	mu       sync.Mutex
	closed   bool
	conns    map[net.Conn]struct{}
	accepted int // connections, over all time
	most     int // at once
	refusals map[int]int
	handlers sync.WaitGroup
}

// StartSMTP listens on a free port of 127.0.0.1. The caller must Close it.
func StartSMTP(o SMTPOptions) (*SMTP, error) {
	if o.Script == nil {
		o.Script = Mix{}.Behaviour
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("SMTP peer: %w", err)
	}
	log, err := newReceiptLog(o.Receipts)
	if err != nil {
		listener.Close()
		return nil, fmt.Errorf("SMTP peer: %w", err)
	}
	s := &SMTP{script: o.Script, listener: listener, log: log, conns: make(map[net.Conn]struct{}), refusals: make(map[int]int)}
	s.handlers.Go(s.accept)
	return s, nil
}

const (
	mailboxPrefix = "t"
	mailboxDomain = "@peer.example"
)

// Mailbox returns the address of target n.
func Mailbox(n int) string { return mailboxPrefix + strconv.Itoa(n) + mailboxDomain }

// MailboxTarget reads the target from what [Mailbox] made; 0 if it is none.
func MailboxTarget(address string) int {
	digits, ok := strings.CutSuffix(address, mailboxDomain)
	digits, ok2 := strings.CutPrefix(digits, mailboxPrefix)
	n, err := strconv.Atoi(digits)
	if !ok || !ok2 || err != nil || n < 1 || n > MaxTargets {
		return 0
	}
	return n
}

// Port returns the port that it listens on.
func (s *SMTP) Port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// URL returns the relay's URL as the configuration has it.
func (s *SMTP) URL() string { return fmt.Sprintf("smtp://%s?tls=none", s.listener.Addr()) }

// Open returns how many messages were read and have no receipt yet.
func (s *SMTP) Open() int { return int(s.open.Load()) }

// Receipts returns all receipts so far, in the order in which they ended.
func (s *SMTP) Receipts() []Receipt { return s.log.receipts() }

// Close ends all connections, waits for their receipts and returns what went wrong
// with the receipts file, if anything.
func (s *SMTP) Close() error {
	s.mu.Lock()
	s.closed = true
	s.listener.Close()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.handlers.Wait()
	return s.log.close()
}

func (s *SMTP) accept() {
	for {
		c, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.failures.note(errors.New("a connection could not be accepted; is the limit of open files too low?"))
			time.Sleep(acceptPause)
			continue
		}
		if !s.adopt(c) {
			return
		}
		s.handlers.Go(func() {
			(&smtpSession{peer: s, conn: c, lines: bufio.NewReader(c)}).serve()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
			c.Close()
		})
	}
}

// adopt makes Close end c; false if it is too late for that.
func (s *SMTP) adopt(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return false
	}
	s.conns[c] = struct{}{}
	s.accepted++
	s.most = max(s.most, len(s.conns))
	return true
}

// count numbers the messages of targets that refuse their first ones.
func (s *SMTP) count(n int, b Behaviour) int {
	if b.Times == 0 {
		return 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusals[n]++
	return s.refusals[n]
}

// smtpCode is what the nth message to a target, counted from 1, is answered with; 0
// for not at all.
func smtpCode(b Behaviour, nth int) int {
	switch b.Status(nth) {
	case 0:
		return 0
	case 200:
		return 250
	case 429:
		return 450
	}
	return 451
}
