// Package smpp is the channel that sends short messages through accounts at SMS
// centres, by SMPP 3.4 (Short Message Peer to Peer Protocol Specification v3.4, SMS
// Forum 1999; "section" below means its sections).
//
// Promises, besides those of package channels:
//   - Delivered is said when the centre took every segment with ESME_ROK, and
//     never without.
//   - SMPP has no idempotency key. An attempt that failed after some of its
//     segments were taken is repeated as a whole, with the same concatenation
//     reference, so that a handset puts what it gets into the one message it has
//     begun; a message of one segment arrives twice if its response was lost or too late.
//   - Every wait has an end: connect, bind, write, response, link check, unbind.
//     A length on the wire is checked before anything is allocated for it.
//   - A delivery receipt or a STOP is answered with ESME_ROK only after the engine
//     has recorded it; until then the centre keeps it and tries again.
//   - No result, log line or error has a phone number or a password.
//
// Words: an account is what an operator has at a centre; a bind is one session of
// it, kept open and bound again by its keeper; the window is how many submits of a
// bind wait for their response; a segment is what one submit_sm carries of a
// message; a stray is a PDU that belongs to nothing.
//
// A crash of the process loses nothing that matters: submits without a response
// are sent again by whoever owns the delivery, and receipts without a response are
// kept by the centre.
package smpp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/internal/egress"
)

// Config is what the channel is made of. Start from [Defaults].
type Config struct {
	// Accounts are the providers of the channel, by unique names; at least one. A
	// message that names no provider goes by the first.
	Accounts []Account
	// Receipt records what became of a message; required. An error makes the
	// centre send the receipt again later. It wraps [ErrUnknown] while the message
	// id is not known, because the submit's result may be on its way to the ledger;
	// after 10 minutes of that the receipt is taken for somebody else's. Receipt is
	// called from many goroutines at once and has to return when ctx ends.
	Receipt func(ctx context.Context, r Receipt) error
	// OptOut suppresses a number that has sent STOP; required. The number is in
	// E.164 form wherever the centre, or Account.Country, says enough. As with Receipt, an error makes
	// the centre send the message again.
	OptOut func(ctx context.Context, provider, number string) error

	// ConnectTimeout bounds name lookup, connect and TLS handshake together. It
	// begins when the dial gate lets the attempt in.
	ConnectTimeout time.Duration
	// ResponseTimeout bounds the wait for any response: to a bind, a submit, a
	// link check. It also bounds the wait for room in the window.
	ResponseTimeout time.Duration
	// WriteTimeout bounds one write, and how long a PDU that has begun to come may
	// take to come whole.
	WriteTimeout time.Duration
	// EnquireLink is the silence after which the link is checked.
	EnquireLink time.Duration
	// IdleTime is how long an exclusive account stays bound without a submit.
	IdleTime time.Duration
	// CloseTimeout bounds the orderly end of a bind.
	CloseTimeout time.Duration
	// RetryBase and RetryCap pace binding again: with each failure in a row twice
	// as long, less up to half by chance.
	RetryBase, RetryCap time.Duration
	// Logger is told of binds made, refused and lost.
	Logger *slog.Logger
}

// Defaults returns the configuration that applies where nothing is said, without
// accounts and handlers.
func Defaults() Config {
	return Config{
		ConnectTimeout:  5 * time.Second,
		ResponseTimeout: 10 * time.Second,
		WriteTimeout:    5 * time.Second,
		EnquireLink:     30 * time.Second,
		IdleTime:        time.Minute,
		CloseTimeout:    2 * time.Second,
		RetryBase:       time.Second,
		RetryCap:        time.Minute,
		Logger:          slog.Default(),
	}
}

// ErrUnknown says that no message of a receipt's id is known.
var ErrUnknown = errors.New("no message has the receipt's id")

// Channel sends short messages. It implements [channels.Channel] and
// [channels.Coster].
type Channel struct {
	accounts map[string]*account
	order    []*account
	stop     context.CancelFunc
	keepers  sync.WaitGroup
}

var (
	_ channels.Channel = (*Channel)(nil)
	_ channels.Coster  = (*Channel)(nil)
)

// New returns a channel that connects through the gate and budget of dialer, and
// begins at once to bind its accounts, but for exclusive ones. The dialer's policy
// is for strangers' addresses and does not bind centres, which the operator named.
// Errors name the account and field, never a password.
func New(config Config, dialer *egress.Dialer) (*Channel, error) {
	connect, err := anywhere(dialer, config.ConnectTimeout)
	if err != nil {
		return nil, err
	}
	return open(config, connect)
}

// anywhere dials through the gate and budget of dialer, whatever its policy: centres
// are mostly reached through a private network.
func anywhere(dialer *egress.Dialer, timeout time.Duration) (dial, error) {
	out := dialer.Config
	var err error
	if out.Policy, err = egress.NewPolicy(egress.Rules{Allow: []string{"0.0.0.0/0", "::/0"}}); err != nil {
		return nil, fmt.Errorf("smpp: %w", err)
	}
	dialer = egress.NewDialer(out)
	return func(ctx context.Context, to egress.Endpoint) (net.Conn, error) {
		conn, err := dialer.Dial(ctx, to, timeout)
		if err != nil {
			return nil, err // not a nil *Conn in an interface
		}
		return conn, nil
	}, nil
}

// dial opens a connection, TLS included where the endpoint asks for it.
type dial func(ctx context.Context, to egress.Endpoint) (net.Conn, error)

func open(config Config, connect dial) (*Channel, error) {
	if config.Receipt == nil || config.OptOut == nil {
		return nil, errors.New("smpp: Receipt and OptOut must be set; without them receipts and STOP would be lost")
	}
	if len(config.Accounts) == 0 {
		return nil, errors.New("smpp: there is no account; name at least one")
	}
	c := &Channel{accounts: make(map[string]*account, len(config.Accounts))}
	for i := range config.Accounts {
		a, err := newAccount(&config, config.Accounts[i], connect)
		if err != nil {
			return nil, fmt.Errorf("smpp account %q: %w", config.Accounts[i].Name, err)
		}
		if c.accounts[a.name] != nil {
			return nil, fmt.Errorf("smpp account %q: is there twice; give each a name of its own", a.name)
		}
		c.accounts[a.name] = a
		c.order = append(c.order, a)
	}
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	for _, a := range c.order {
		for range a.binds {
			c.keepers.Go(func() { a.keep(ctx) })
		}
	}
	return c, nil
}

// Close ends all binds in order, each within CloseTimeout and all at once: what is
// being recorded is finished and answered, unbind is sent and its response awaited,
// then the connection is closed.
func (c *Channel) Close() error {
	c.stop()
	c.keepers.Wait()
	return nil
}

// AccountState is what an operator may want to see of an account.
type AccountState struct {
	Name string
	// Binds is how many there should be, Bound how many there are.
	Binds, Bound int
	// InFlight counts submits that wait for their response.
	InFlight int
	// Failure says why the last bind could not be made or was lost, in fixed
	// words; "" while all is well.
	Failure string
	// Receipts, OptOuts and Inbound count what came in: delivery receipts that
	// were recorded, STOPs that were recorded, other messages from phones. Strays
	// counts responses that nobody waited for, PDUs that could not be used, and
	// receipts of messages that stayed unknown.
	Receipts, OptOuts, Inbound, Strays uint64
}

// Accounts returns the state of each account, in the order of the configuration.
func (c *Channel) Accounts() []AccountState {
	states := make([]AccountState, len(c.order))
	for i, a := range c.order {
		states[i] = a.state()
	}
	return states
}
