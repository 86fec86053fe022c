package smtp

import (
	"errors"
	"net/mail"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tocsin/tocsin/internal/egress"
)

// security is how a session is kept from being overheard.
type security uint8

const (
	startTLS security = iota // required, never only tried
	implicitTLS
	noTLS
)

// route is what all relays of a channel share.
type route struct {
	dialer *egress.Dialer
	// targets is the policy for the addresses of targets.
	targets                 *egress.Policy
	hello                   string
	connectTimeout, timeout time.Duration
}

// relay keeps the sessions of one provider. The one used last is taken first, so
// that those beyond the need fall idle and are closed.
type relay struct {
	route
	endpoint       egress.Endpoint
	security       security
	user, password string
	// from is the value of the From header, sender its address.
	from, sender string
	signer       *signer // nil if it signs nothing
	// slots has as many places as there may be sessions.
	slots chan struct{}

	mu     sync.Mutex
	idle   []*session
	closed bool
}

const (
	defaultConnections = 20
	maxConnections     = 1000
)

func newRelay(r Relay, via route) (*relay, error) {
	out := &relay{route: via}
	if r.Name == "" || strings.Trim(r.Name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
		return nil, errors.New("the name must be of a-z 0-9 _ -")
	}
	if err := out.parseURL(r.URL); err != nil {
		return nil, err
	}
	from, err := mail.ParseAddress(r.From)
	if err != nil || !mailbox(from.Address) || strings.ContainsFunc(from.Name, func(r rune) bool { return r < ' ' }) {
		return nil, errors.New(`"from" must be a mailbox with or without a name, as in Status <status@example.com>`)
	}
	out.sender, out.from = from.Address, sender(from)
	if r.Connections == 0 {
		r.Connections = defaultConnections
	}
	if r.Connections < 1 || r.Connections > maxConnections {
		return nil, errors.New("connections must be a number from 1 to 1000")
	}
	out.slots = make(chan struct{}, r.Connections)
	if r.DKIM != nil {
		d := *r.DKIM
		if d.Domain == "" {
			d.Domain = domainOf(out.sender)
		}
		if out.signer, err = newSigner(d); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// parseURL reads where the relay is and how to talk to it. The error of url.Parse
// repeats the URL, password and all, so it stays here.
func (r *relay) parseURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.Fragment != "" || u.Opaque != "" {
		return errors.New("the URL must be like smtp://user:password@relay.example.com:587")
	}
	port := 25
	switch u.Scheme {
	case "smtp":
	case "smtps":
		r.security, port = implicitTLS, 465
	default:
		return errors.New("the URL must begin with smtp:// or smtps://")
	}
	query := u.Query()
	switch mode := query.Get("tls"); {
	case len(query) > 1, len(query) == 1 && len(query["tls"]) != 1:
		return errors.New("the URL may ask for tls=starttls, tls=implicit or tls=none, and for nothing else")
	case mode == "" && len(query) == 0:
	case mode == "implicit":
		r.security = implicitTLS
	case mode == "starttls" && u.Scheme == "smtp":
	case mode == "none" && u.Scheme == "smtp":
		r.security = noTLS
	default:
		return errors.New("tls must be starttls, implicit or none; smtps:// is always implicit")
	}
	if text := u.Port(); text != "" {
		if port, err = strconv.Atoi(text); err != nil || port < 1 || port > 65535 {
			return errors.New("the port must be a number from 1 to 65535")
		}
	}
	if u.User != nil {
		r.user = u.User.Username()
		r.password, _ = u.User.Password()
		if r.user == "" || r.password == "" {
			return errors.New("the URL must have user and password, or neither")
		}
	}
	r.endpoint = egress.Endpoint{Host: strings.ToLower(u.Hostname()), Port: uint16(port), TLS: r.security == implicitTLS}
	return nil
}

// take returns an idle session that is fit for a transaction, or nil. The caller
// holds a slot.
func (r *relay) take() *session {
	for {
		r.mu.Lock()
		if len(r.idle) == 0 {
			r.mu.Unlock()
			return nil
		}
		last := len(r.idle) - 1
		s := r.idle[last]
		r.idle[last] = nil
		r.idle = r.idle[:last]
		r.mu.Unlock()
		if !r.dialer.Budget.Unpark(&s.idle) {
			continue // being evicted
		}
		s.within(r.timeout)
		if s.text.R.Buffered() == 0 && s.conn.Quiet() {
			s.reused = true
			return s
		}
		_ = s.conn.Close() // the relay has given it up; it hears no goodbye
	}
}

// put keeps a session after a transaction that left it in order.
func (r *relay) put(s *session) {
	// Park first: once it is in the stack another transaction may take it, which
	// fails if it is not parked. The other way round, it may be evicted before it
	// is in the stack, which evicted tells.
	r.dialer.Budget.Park(&s.idle)
	r.mu.Lock()
	if s.evicted {
		r.mu.Unlock()
		return
	}
	if !r.closed {
		r.idle = append(r.idle, s)
		r.mu.Unlock()
		return
	}
	r.mu.Unlock()
	if r.dialer.Budget.Unpark(&s.idle) {
		s.quit()
	}
}

// evict is called by the budget.
func (r *relay) evict(s *session) {
	r.mu.Lock()
	s.evicted = true
	if i := slices.Index(r.idle, s); i >= 0 {
		r.idle = slices.Delete(r.idle, i, i+1)
	}
	r.mu.Unlock()
	s.quit()
}

func (r *relay) close() {
	r.mu.Lock()
	r.closed = true
	all := r.idle
	r.idle = nil
	r.mu.Unlock()
	for _, s := range all {
		if r.dialer.Budget.Unpark(&s.idle) {
			s.quit()
		}
	}
}
