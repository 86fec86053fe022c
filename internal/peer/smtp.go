package peer

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
)

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
	station
	threads threads
	leaving atomic.Bool
}

// StartSMTP listens on a free port of 127.0.0.1. The caller must Close it.
func StartSMTP(o Options) (*SMTP, error) {
	s := new(SMTP)
	if err := s.listen("SMTP", "127.0.0.1", o); err != nil {
		return nil, err
	}
	s.run(func(c net.Conn) { (&smtpSession{peer: s, conn: c, lines: bufio.NewReader(c)}).serve() })
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
	if !ok || !ok2 {
		return 0
	}
	return numbered(digits)
}

// URL returns the relay's URL as the configuration has it.
func (s *SMTP) URL() string { return fmt.Sprintf("smtp://%s?tls=none", s.listener.Addr()) }

// Leave has the relay shut down, as far as its clients can tell, until Stay: sessions
// and new connections hear 421 in place of the next reply, and are closed (RFC 5321,
// section 3.8). A message that is being read or answered is still taken.
func (s *SMTP) Leave() { s.leaving.Store(true) }

// Stay ends what Leave began.
func (s *SMTP) Stay() { s.leaving.Store(false) }

// SMTPReport is what an [SMTP] has to say of itself.
type SMTPReport struct {
	*Report
	// Connections counts those accepted over all time, MostConnections those at
	// once.
	Connections     int `json:"connections"`
	MostConnections int `json:"most_connections"`
}

// Report judges the receipts so far. It reads all of them.
func (s *SMTP) Report() *SMTPReport {
	r := &SMTPReport{Report: s.book.Report()}
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Connections, r.MostConnections = s.accepted, s.most
	return r
}

// Control answers as that of a [Webhook] does, GET /report with an [SMTPReport].
func (s *SMTP) Control() http.Handler { return s.control(func() any { return s.Report() }) }

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
