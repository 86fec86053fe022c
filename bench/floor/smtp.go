package floor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tocsin/tocsin/internal/peer"
)

// Mails are the flags that the floors for mail have in common.
type Mails struct {
	Address     string        `required:"" placeholder:"HOST:PORT" help:"The mail relay. It gets no TLS and no login."`
	Count       int           `default:"20000" help:"Mails, each to one recipient."`
	Connections int           `default:"50" help:"Connections, which are kept."`
	Size        int           `default:"2500" help:"Bytes of a mail, text and HTML."`
	Limit       time.Duration `default:"2m" help:"Give up after this."`
}

func (m *Mails) check() error {
	if m.Count < 1 || m.Count > peer.MaxTargets || m.Connections < 1 || m.Connections > m.Count {
		return errors.New("there are 1 or more mails, and 1 connection or more but not more than mails")
	}
	if !loopback(m.Address) {
		return errors.New("the relay must be a port of this machine, as in 127.0.0.1:2525")
	}
	return nil
}

// SMTPCommand is the floor for mail: MAIL, RCPT and DATA in one write, then the mail
// in another; or, in lockstep, each command on its own.
type SMTPCommand struct {
	Mails
	Incident string `default:"FLOOR-1" help:"The incident. Take another for each run against one peer."`
	Lockstep bool   `help:"Wait for each reply before the next command."`
}

// Run sends, see [Result].
func (c *SMTPCommand) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	if err := c.check(); err != nil {
		return err
	}
	story, err := NewStory(c.Incident, len((&Story{Incident: c.Incident}).Body(1))+400)
	if err != nil {
		return err
	}
	letter, err := newLetter(&story, c.Size)
	if err != nil {
		return err
	}
	p := &post{Mails: c.Mails, letter: letter, lockstep: c.Lockstep}
	return perform(ctx, in, out, c.Limit, p.run)
}

// post sends one letter to many.
type post struct {
	Mails
	letter   *letter
	lockstep bool
}

func (p *post) run(ctx context.Context) (Result, error) {
	t := newTally(p.Count)
	t.watch.start()
	var next atomic.Int64
	var all sync.WaitGroup
	for range p.Connections {
		all.Go(func() {
			if err := p.carry(ctx, t, &next); err != nil {
				t.fail(err)
			}
		})
	}
	all.Wait()
	t.watch.stop()
	return t.end(ctx)
}

// carry sends mails over one connection until there are none left.
func (p *post) carry(ctx context.Context, t *tally, next *atomic.Int64) error {
	conn, err := new(Socket).connect(p.Address)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	s := &postman{conn: conn, replies: bufio.NewReader(conn)}
	if err := s.expect(220); err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	if err := s.say([]byte("EHLO floor."+mailDomain+"\r\n"), 250); err != nil {
		return fmt.Errorf("EHLO: %w", err)
	}
	for i := int(next.Add(1)) - 1; i < p.Count; i = int(next.Add(1)) - 1 {
		began := time.Now()
		if err := p.deliver(s, i+1); err != nil {
			return err
		}
		t.done(i, began)
	}
	return s.say([]byte("QUIT\r\n"), 221)
}

// deliver sends the letter to a target.
func (p *post) deliver(s *postman, target int) error {
	codes := [...]int{250, 250, 354}
	commands := [...]string{"MAIL FROM:<status@" + mailDomain + ">\r\n", "RCPT TO:<", "DATA\r\n"}
	b := s.buffer[:0]
	for i, command := range commands {
		b = append(b, command...)
		if i == 1 {
			b = append(append(b, peer.Mailbox(target)...), ">\r\n"...)
		}
		if p.lockstep {
			if err := s.say(b, codes[i]); err != nil {
				return fmt.Errorf("envelope: %w", err)
			}
			b = b[:0]
		}
	}
	if !p.lockstep {
		if err := s.say(b, codes[:]...); err != nil {
			return fmt.Errorf("envelope: %w", err)
		}
	}
	s.buffer = append(p.letter.append(b[:0], target), ".\r\n"...)
	if err := s.say(s.buffer, 250); err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	return nil
}

// postman is one SMTP session (RFC 5321).
type postman struct {
	conn    net.Conn
	replies *bufio.Reader
	buffer  []byte
}

// say writes and wants replies with these codes.
func (s *postman) say(b []byte, codes ...int) error {
	if _, err := s.conn.Write(b); err != nil {
		return err
	}
	for _, code := range codes {
		if err := s.expect(code); err != nil {
			return err
		}
	}
	return nil
}

func (s *postman) expect(code int) error {
	got, err := readReply(s.replies)
	if err == nil && got != code {
		err = fmt.Errorf("the relay said %d, not %d", got, code)
	}
	return err
}

var errReply = errors.New("what the relay says is no SMTP reply")

// maxReplyLines bounds one reply.
const maxReplyLines = 100

// readReply reads one reply, of several lines or one, and returns its code.
func readReply(r *bufio.Reader) (code int, err error) {
	for range maxReplyLines {
		line, err := r.ReadSlice('\n')
		if err == io.EOF {
			return 0, io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, err
		}
		if len(line) < len("250\n") {
			return 0, errReply
		}
		of := 0
		for _, c := range line[:3] {
			if c < '0' || c > '9' {
				return 0, errReply
			}
			of = 10*of + int(c-'0')
		}
		if code != 0 && of != code {
			return 0, errReply
		}
		code = of
		if line[3] != '-' {
			return code, nil
		}
	}
	return 0, errReply
}
