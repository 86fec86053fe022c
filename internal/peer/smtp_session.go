package peer

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"time"
)

// maxMail is the largest message, in bytes.
const maxMail = 4 << 20

// smtpSession is one connection of an [SMTP], served by one goroutine.
type smtpSession struct {
	peer  *SMTP
	conn  net.Conn
	lines *bufio.Reader

	greeted, from bool
	target        int // 0 before RCPT
	content       []byte
	line          []byte // a receipt
}

var errTooLong = errors.New("a line or message is too long")

// The replies of a relay that has nothing to object to.
const (
	smtpGreeting = "220 peer.example ESMTP"
	smtpOffers   = "250-peer.example\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n250-SIZE 4194304\r\n250 8BITMIME"
	smtpOK       = "250 2.0.0 Ok"
	smtpDisorder = "503 5.5.1 bad sequence of commands"
	smtpLeaving  = "421 4.3.2 shutting down"
)

func (s *smtpSession) serve() {
	if s.leaves() || !s.say(smtpGreeting) {
		return
	}
	for {
		line, err := s.lines.ReadSlice('\n')
		if err != nil {
			return // the client left, or makes no sense
		}
		if s.leaves() {
			return
		}
		command, argument, _ := strings.Cut(strings.TrimRight(string(line), "\r\n"), " ")
		goOn := false
		switch strings.ToUpper(command) {
		case "EHLO":
			s.greeted = true
			goOn = s.say(smtpOffers)
		case "HELO":
			s.greeted = true
			goOn = s.say(smtpOK)
		case "MAIL":
			goOn = s.mail(argument)
		case "RCPT":
			goOn = s.recipient(argument)
		case "DATA":
			goOn = s.data()
		case "RSET":
			s.from, s.target = false, 0
			goOn = s.say(smtpOK)
		case "NOOP":
			goOn = s.say(smtpOK)
		case "QUIT":
			s.say("221 2.0.0 bye")
		default:
			s.peer.failures.note(errors.New("a command is not one of SMTP"))
			goOn = s.say("502 5.5.2 what?")
		}
		if !goOn {
			return
		}
	}
}

// leaves says so to the client if the relay does.
func (s *smtpSession) leaves() bool {
	if !s.peer.leaving.Load() {
		return false
	}
	s.say(smtpLeaving)
	return true
}

// say answers and reports whether the client is still there.
func (s *smtpSession) say(text string) bool {
	_, err := io.WriteString(s.conn, text+"\r\n")
	return err == nil
}

func (s *smtpSession) mail(argument string) bool {
	if !s.greeted || s.from || !strings.HasPrefix(strings.ToUpper(argument), "FROM:<") {
		s.peer.failures.note(errors.New("MAIL came out of order, or without a sender"))
		return s.say(smtpDisorder)
	}
	s.from = true
	return s.say(smtpOK)
}

func (s *smtpSession) recipient(argument string) bool {
	if !s.from || s.target != 0 {
		s.peer.failures.note(errors.New("RCPT came out of order, or twice"))
		return s.say(smtpDisorder)
	}
	address, _, _ := strings.Cut(argument[min(len("TO:<"), len(argument)):], ">")
	n := MailboxTarget(address)
	if n == 0 {
		s.peer.failures.note(errors.New("RCPT names no target"))
		return s.say("550 5.1.2 not a mailbox of mine")
	}
	switch s.peer.script(n).Kind {
	case Refusing:
		s.peer.reset(s.conn)
		return false
	case Gone:
		return s.say("550 5.1.1 no such mailbox")
	}
	s.target = n
	return s.say("250 2.1.5 Ok")
}

func (s *smtpSession) data() bool {
	if s.target == 0 {
		// Right for a client that pipelines: it could not know.
		return s.say("554 5.5.1 no valid recipients")
	}
	if !s.say("354 go on") || s.read() != nil {
		return false // a client that dies in the middle of a message has sent none
	}
	target := s.target
	s.from, s.target = false, 0
	s.peer.open.Add(1)
	receipt, err := s.peer.examine(target, s.content, time.Now())
	if err != nil {
		s.peer.failures.note(err)
		s.peer.open.Add(-1)
		return s.say("554 5.6.0 not a message that can be read")
	}
	code := s.code(receipt)
	s.peer.turn.RLock()
	// Before the write: whoever has the answer can't be earlier than this.
	receipt.AnsweredAt = time.Now()
	if code != 0 && s.say(map[int]string{250: "250 2.0.0 Ok: queued", 450: "450 4.7.1 later, please", 451: "451 4.3.0 out of tea"}[code]) {
		receipt.Status = code
	}
	s.line = s.peer.record(receipt, s.line)
	s.peer.open.Add(-1)
	s.peer.turn.RUnlock()
	return receipt.Status != 0
}

// read takes a message up to its line of one dot, without the dots that were added.
func (s *smtpSession) read() error {
	s.content = s.content[:0]
	begins := true
	for {
		line, err := s.lines.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		if begins && bytes.HasPrefix(line, []byte(".")) {
			if string(line) == ".\r\n" {
				return nil
			}
			line = line[1:]
		}
		begins = err == nil
		if len(s.content)+len(line) > maxMail {
			s.peer.failures.note(errTooLong)
			return errTooLong
		}
		s.content = append(s.content, line...)
	}
}

// code waits as the target's behaviour says and returns what to answer, 0 for nothing.
func (s *smtpSession) code(r Receipt) int {
	b := s.peer.script(r.Target)
	code := smtpCode(b, s.peer.count(r.Target, b))
	if code == 0 {
		hold(s.conn, time.Time{})
	} else if b.After > 0 && !hold(s.conn, r.ReceivedAt.Add(b.After)) {
		return 0
	}
	return code
}
