// Package smtp is the channel that sends an update as mail through the operator's
// relays (RFC 5321).
//
// Promises, besides those of package channels:
//   - Delivered is said when the relay took the message with a 2xx after the final
//     dot, whatever happens to the session then, and never without one.
//   - When the relay's answer to the final dot is lost, the result is temporary and
//     says unknown; the next attempt has the same Message-ID.
//   - Half a message is never left to be delivered: a session that fails in the
//     middle of one is cut, without QUIT.
//   - Passwords and messages leave this machine encrypted, unless the operator asks
//     for tls=none, which is for this machine and allow-listed private addresses only.
//   - All mails of one incident to one mailbox form one thread.
//   - No text of an event becomes part of a header, a template, a link or the
//     protocol other than as text.
//
// Words: a relay is a provider, the operator's way out for mail; a session is one
// connection to it, kept for the next message; a transaction is one message on a
// session, to one recipient; a slot is the place in a rendered mail where something
// of one recipient goes.
package smtp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/internal/egress"
)

// Config is what an operator may change. See [Defaults].
type Config struct {
	// Relays are told apart by name; [channels.Message].Provider is one of these
	// names. A message without one goes by the first.
	Relays []Relay
	// Domain is what Message-IDs end in; the domain of the first relay's From if
	// empty. It must stay the same for as long as threads are to hold together.
	Domain string
	// Hello is the name in EHLO; the machine's if empty.
	Hello string
	// Templates is a directory of files that replace the built-in templates or add
	// formats; see [Mail]. None if empty.
	Templates string
	// Unsubscribe returns the signed link that unsubscribes a target, an absolute
	// http or https URL. With https mails say that a POST to it is enough (RFC
	// 8058). Without a function, nil, mails have no such link.
	Unsubscribe func(target int64) string
	// ConnectTimeout bounds name lookup, connect and the handshake of implicit TLS
	// together. It begins when the dial gate lets the attempt in.
	ConnectTimeout time.Duration
	// Timeout bounds what comes before a message, each by itself: opening a session
	// with STARTTLS and AUTH, and the envelope.
	Timeout time.Duration
	// FinalTimeout bounds a message and the relay's answer to it. Relays look into
	// mails before they answer, and giving up too early means to send twice.
	FinalTimeout time.Duration
}

// Relay is one named relay.
type Relay struct {
	Name string
	// URL is smtp://user:password@host:port, port 25 if there is none and with
	// STARTTLS, or smtps:// for implicit TLS, port 465. ?tls=starttls|implicit|none
	// says it in so many words. User and password may be left out.
	URL string
	// From is the sender, as in "Status <status@example.com>". Its address is the
	// envelope sender too, so that it gets the bounces.
	From string
	// Connections is how many sessions there may be at once; 20 if 0.
	Connections int
	// DKIM signs what goes by this relay, unless it is nil.
	DKIM *DKIM
}

// Defaults returns the configuration that applies where nothing is said.
func Defaults() Config {
	return Config{
		ConnectTimeout: 5 * time.Second,
		Timeout:        15 * time.Second,
		FinalTimeout:   time.Minute,
	}
}

// Channel sends mail. It implements [channels.Channel].
type Channel struct {
	config    Config
	templates *templates
	relays    map[string]*relay
	first     *relay
	drafts    drafts
}

var _ channels.Channel = (*Channel)(nil)

// New returns a channel that connects through the gate and budget of dialer. Its
// policy is for strangers' addresses and does not bind relays, which the operator
// named, except that it must allow the private address of a relay with tls=none.
// Errors say what in the configuration, templates or keys is to be corrected.
func New(config Config, dialer *egress.Dialer) (*Channel, error) {
	if len(config.Relays) == 0 {
		return nil, errors.New("smtp: there is no relay; name at least one")
	}
	if config.Hello == "" {
		config.Hello = machineName()
	}
	if !domainName(config.Hello) {
		return nil, fmt.Errorf("smtp: %q is no name to say EHLO with; use a full host name", config.Hello)
	}
	out := dialer.Config
	var err error
	// Relays in private networks are the rule.
	if out.Policy, err = egress.NewPolicy(egress.Rules{Allow: []string{"0.0.0.0/0", "::/0"}}); err != nil {
		return nil, fmt.Errorf("smtp: %w", err)
	}
	via := route{dialer: egress.NewDialer(out), targets: dialer.Policy,
		hello: config.Hello, connectTimeout: config.ConnectTimeout, timeout: config.Timeout}
	c := &Channel{relays: make(map[string]*relay, len(config.Relays))}
	for _, r := range config.Relays {
		if c.relays[r.Name] != nil {
			return nil, fmt.Errorf("smtp: there are two relays named %q; give each its own name", r.Name)
		}
		if c.relays[r.Name], err = newRelay(r, via); err != nil {
			return nil, fmt.Errorf("smtp: relay %q: %w", r.Name, err)
		}
	}
	c.first = c.relays[config.Relays[0].Name]
	if config.Domain == "" {
		config.Domain = domainOf(c.first.sender)
	}
	if !domainName(config.Domain) {
		return nil, errors.New("smtp: the domain of Message-IDs must be a domain name")
	}
	if config.Unsubscribe != nil {
		if err := checkLink(config.Unsubscribe(1)); err != nil {
			return nil, fmt.Errorf("smtp: the unsubscribe link %w", err)
		}
	}
	c.config = config
	if c.templates, err = loadTemplates(config.Templates); err != nil {
		return nil, fmt.Errorf("smtp: %w", err)
	}
	if err := c.trial(); err != nil {
		return nil, err
	}
	return c, nil
}

// machineName is how this machine calls itself, if that is a name others may hear.
func machineName() string {
	if name, err := os.Hostname(); err == nil && domainName(name) {
		return name
	}
	return "localhost"
}

// Close says goodbye on the idle sessions and closes them.
func (c *Channel) Close() error {
	for _, r := range c.relays {
		r.close()
	}
	return nil
}

// Send makes one attempt. It waits for a session of its relay as long as ctx lets
// it. A kept session that turns out to be over, closed or told so by 421 before the
// message began, is replaced by a new one, once.
func (c *Channel) Send(ctx context.Context, m *channels.Message) channels.Result {
	r := c.relays[m.Provider]
	if m.Provider == "" {
		r = c.first
	}
	if r == nil {
		return noConnection("the relay is no longer configured")
	}
	rendered, ok := m.Payload.(*payload)
	if !ok {
		return permanent("the payload was not rendered by the smtp channel")
	}
	if !mailbox(m.Address) {
		return permanent("the address is not a mailbox that can be written to")
	}
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return notSent
	}
	if ctx.Err() != nil {
		return notSent
	}
	d := c.drafts.get()
	defer c.drafts.put(d)
	content, err := d.compose(c, r, rendered, m)
	if err != nil {
		return permanent(err.Error())
	}
	t := transaction{relay: r, message: m, content: content, finalTimeout: c.config.FinalTimeout}
	if s := r.take(); s != nil {
		if result, stale := t.run(ctx, s); !stale {
			return result
		}
		if ctx.Err() != nil {
			return notSent
		}
	}
	s, failed := r.open(ctx)
	if s == nil {
		return failed
	}
	result, _ := t.run(ctx, s)
	return result
}
