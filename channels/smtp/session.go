package smtp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/wneessen/go-mail/smtp"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/internal/egress"
)

// How much is read of a relay, in bytes: while a session is opened, certificates
// included, and in one transaction.
const (
	maxOpening     = 256 << 10
	maxTransaction = 64 << 10
)

// goodbye is how long a QUIT may take to leave.
const goodbye = time.Second

// session belongs to one transaction, or, while idle, to the budget's Evict.
type session struct {
	conn *wire
	// text reads and writes conn, or the TLS connection on it.
	text       *textproto.Conn
	pipelining bool
	// reused is true from the second transaction on.
	reused bool
	// open means that a transaction began and was not ended: RSET comes first.
	open    bool
	idle    egress.Idle
	evicted bool // guarded by the relay's lock
}

// wire ends when more is read of it than was allowed.
type wire struct {
	*egress.Conn
	left int
}

var errEndless = errors.New("the relay says more than can be read")

func (w *wire) Read(p []byte) (int, error) {
	if w.left <= 0 {
		return 0, errEndless
	}
	n, err := w.Conn.Read(p[:min(len(p), w.left)])
	w.left -= n
	return n, err
}

// within begins a step that has so much time for all its reads and writes.
func (s *session) within(limit time.Duration) {
	s.conn.left = maxTransaction
	_ = s.conn.SetDeadline(time.Now().Add(limit)) // fails only on a closed connection, as the write will
}

// quit closes an idle session without waiting for the relay's goodbye.
func (s *session) quit() {
	s.within(goodbye)
	_ = s.text.PrintfLine("QUIT") // a courtesy
	_ = s.conn.Close()
}

// open returns a session that is ready for a transaction, or nil and why there is
// none. The caller holds a slot.
func (r *relay) open(ctx context.Context) (*session, channels.Result) {
	conn, err := r.dialer.Dial(ctx, r.endpoint, r.connectTimeout)
	if err != nil {
		if ctx.Err() != nil {
			return nil, notSent
		}
		if errors.Is(err, egress.ErrNoPort) {
			return nil, channels.Result{Class: channels.NotSent, Detail: egress.ErrNoPort.Error()}
		}
		if failed, ok := errors.AsType[*egress.Error](err); ok {
			return nil, noConnection(failed.Detail)
		}
		return nil, noConnection("connect: not an address that can be dialled")
	}
	s := &session{conn: &wire{conn, maxOpening}}
	s.idle.Evict = func() { r.evict(s) }
	deadline := time.Now().Add(r.timeout)
	_ = conn.SetDeadline(deadline) // as in within
	stop := context.AfterFunc(ctx, conn.Abort)
	step, err := r.begin(ctx, s, deadline)
	if !stop() {
		conn.Abort()
		return nil, notSent
	}
	if err != nil {
		conn.Abort()
		return nil, openFailed(step, err, r)
	}
	s.within(r.timeout)
	return s, channels.Result{}
}

// The steps of a session, as they are named to people.
const (
	stepGreeting  = "the greeting"
	stepHello     = "EHLO"
	stepSecure    = "STARTTLS"
	stepLogin     = "AUTH"
	stepReset     = "RSET"
	stepMail      = "MAIL"
	stepRecipient = "RCPT"
	stepData      = "DATA"
	stepMessage   = "the message"
)

// begin takes a connection through greeting, TLS and login. On an error it says at
// which step.
func (r *relay) begin(ctx context.Context, s *session, deadline time.Time) (step string, err error) {
	if r.security == noTLS && !r.plainAllowed(s.conn.RemoteAddr()) {
		return stepGreeting, errPlain
	}
	client, err := smtp.NewClient(s.conn, r.endpoint.Host)
	if err != nil {
		return stepGreeting, err
	}
	s.text = client.Text
	if r.security == startTLS {
		if err := r.secure(ctx, s, deadline); err != nil {
			return stepSecure, err
		}
	}
	if err := client.Hello(r.hello); err != nil {
		return stepHello, err
	}
	s.pipelining, _ = client.Extension("PIPELINING")
	if r.user == "" {
		return "", nil
	}
	auth, err := r.login(client)
	if err != nil {
		return stepLogin, err
	}
	return stepLogin, client.Auth(auth)
}

var (
	errPlain      = errors.New("tls=none is for a relay on this machine or one whose private address egress.allow names; use STARTTLS")
	errNoStartTLS = errors.New("the relay offers no STARTTLS; if that is right, say tls=implicit or tls=none")
	errInjected   = errors.New("something was said between STARTTLS and TLS; somebody may be in between")
	errMechanism  = errors.New("the relay offers none of PLAIN, LOGIN and CRAM-MD5")
)

// plainAllowed reports whether passwords and mails may go to an address as they
// are: to this machine, and to private addresses that the operator has listed.
func (r *relay) plainAllowed(to net.Addr) bool {
	at, err := netip.ParseAddrPort(to.String())
	if err != nil {
		return false
	}
	addr := at.Addr().Unmap()
	return addr.IsLoopback() || addr.IsPrivate() && r.targets.CheckAddr(netip.AddrPortFrom(addr, at.Port())) == nil
}

// secure begins TLS (RFC 3207). The hello before it is not the client's: what a
// relay offers in plain text counts for nothing afterwards.
func (r *relay) secure(ctx context.Context, s *session, deadline time.Time) error {
	if err := s.text.PrintfLine("EHLO %s", r.hello); err != nil {
		return err
	}
	_, offers, err := s.text.ReadResponse(250)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(strings.Split(offers, "\n"), func(line string) bool { return strings.EqualFold(strings.TrimSpace(line), "STARTTLS") }) {
		return errNoStartTLS
	}
	if err := s.text.PrintfLine("STARTTLS"); err != nil {
		return err
	}
	if _, _, err := s.text.ReadResponse(220); err != nil {
		return err
	}
	if s.text.R.Buffered() > 0 {
		return errInjected
	}
	if err := r.dialer.Handshake(ctx, s.conn.Conn, r.endpoint.Host, deadline); err != nil {
		return err
	}
	return s.conn.SetDeadline(deadline)
}

// login chooses how to log in (RFC 4954): without TLS first what does not show the
// password, else first what takes one step.
func (r *relay) login(client *smtp.Client) (smtp.Auth, error) {
	_, offers := client.Extension("AUTH")
	offered := strings.Fields(strings.ToUpper(offers))
	host := r.endpoint.Host
	plain, cram := slices.Contains(offered, "PLAIN"), slices.Contains(offered, "CRAM-MD5")
	switch {
	case cram && (r.security == noTLS || !plain):
		return smtp.CRAMMD5Auth(r.user, r.password), nil
	case plain: // "true": plainAllowed is stricter than the library
		return smtp.PlainAuth("", r.user, r.password, host, true), nil
	case slices.Contains(offered, "LOGIN"):
		return smtp.LoginAuth(r.user, r.password, host, true), nil
	}
	return nil, errMechanism
}
