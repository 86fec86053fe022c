package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/tocsin/tocsin/internal/egress"
)

// Probed is how far a session with a relay came.
type Probed struct {
	// Step names what failed: "connecting", "the greeting", "EHLO", "STARTTLS" or
	// "AUTH"; "" if nothing did.
	Step string
	// Encrypted says that there is TLS; Certificate is when the relay's
	// certificate ends.
	Encrypted   bool
	Certificate time.Time
	// LoggedIn says that user and password were taken; false without a user.
	LoggedIn bool
	// Pipelining says that the relay takes a whole envelope at once (RFC 2920).
	Pipelining bool
}

// stepConnect comes before those of [relay.begin].
const stepConnect = "connecting"

// Probe opens a session with a relay as [Channel.Send] would, ends it with QUIT and
// says how far it came. Nothing is sent over it, and it counts for no limit but the
// relay's own. The error has what the relay said, but never an address or a
// password.
func (c *Channel) Probe(ctx context.Context, relay string) (Probed, error) {
	r := c.relays[relay]
	if r == nil {
		return Probed{}, fmt.Errorf("there is no relay named %q", relay)
	}
	conn, err := r.dialer.Dial(ctx, r.endpoint, r.connectTimeout)
	if err != nil {
		if failed, ok := errors.AsType[*egress.Error](err); ok && failed.Kind == egress.TLS {
			return Probed{Step: stepSecure}, failed
		}
		return Probed{Step: stepConnect}, err
	}
	defer conn.Abort()
	s := &session{conn: &wire{conn, maxOpening}}
	deadline := time.Now().Add(r.timeout)
	_ = conn.SetDeadline(deadline) // as in within
	stop := context.AfterFunc(ctx, conn.Abort)
	defer stop()
	step, err := r.begin(ctx, s, deadline)
	p := Probed{Pipelining: s.pipelining}
	if secured, ok := conn.Conn.(*tls.Conn); ok {
		state := secured.ConnectionState()
		p.Encrypted, p.Certificate = true, state.PeerCertificates[0].NotAfter
	}
	if err != nil {
		p.Step = step
		if ctx.Err() != nil {
			return p, fmt.Errorf("timeout: no answer to %s in time", step)
		}
		return p, errors.New(openFailed(step, err, r).Detail)
	}
	p.LoggedIn = r.user != ""
	s.within(r.timeout)
	if s.text.PrintfLine("QUIT") == nil {
		_, _, _ = s.text.ReadResponse(221) // whatever it says, the session is over
	}
	return p, nil
}
