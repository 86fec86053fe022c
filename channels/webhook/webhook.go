// Package webhook is the channel that POSTs an update to a URL, signed as Standard
// Webhooks (https://www.standardwebhooks.com) ask for.
//
// Promises, besides those of package channels:
//   - An attempt that reached a connection ends within the configured timeout, and
//     reads no more than 64 KiB of what the peer says, whatever that is.
//   - Delivered is said as soon as the status line has a 2xx, and never without one.
//   - Redirects are not followed, proxies not used, certificates always verified.
//   - A connection is used again only if the peer left it clean.
//   - While it waits for an answer, an attempt holds its connection, 512 bytes and
//     its goroutine, so that 10,000 may wait at once.
//
// Words: an exchange is one request and its answer on one connection; the words are
// what the peer's answer says about a failure.
package webhook

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/internal/egress"
)

// Config is what an operator may change. See [Defaults].
type Config struct {
	// ConnectTimeout bounds name lookup, connect and TLS handshake together. It
	// begins when the dial gate lets the attempt in.
	ConnectTimeout time.Duration
	// Timeout bounds one exchange. It begins when the connection is there.
	Timeout time.Duration
	// Hosts gives single providers (host:port) other timeouts; nil if none has
	// any. It is called for every attempt.
	Hosts func(provider string) (connect, timeout time.Duration)
	// IdlePerHost is how many connections to one host are kept for later; how long
	// is the matter of the [egress.Budget].
	IdlePerHost int
	// UserAgent goes into the header of that name.
	UserAgent string
	// Clock gives the time of webhook-timestamp and of dates in Retry-After.
	Clock func() time.Time
}

// Defaults returns the configuration that applies where nothing is said. version is
// the engine's.
func Defaults(version string) Config {
	return Config{
		ConnectTimeout: 5 * time.Second,
		Timeout:        15 * time.Second,
		IdlePerHost:    64,
		UserAgent:      "Tocsin/" + version + " (+https://www.standardwebhooks.com)",
		Clock:          time.Now,
	}
}

// Channel sends webhooks. It implements [channels.Channel].
type Channel struct {
	config  Config
	dialer  *egress.Dialer
	idle    *pool
	cuts    cuts
	drafts  *drafts
	readers readers
	// exchanges are those that are over, for the next.
	exchanges sync.Pool
}

var (
	_ channels.Channel = (*Channel)(nil)
	_ channels.Teller  = (*Channel)(nil)
)

// New returns a channel that connects by dialer, whose policy it applies to every
// address. All fields of config must be set.
func New(config Config, dialer *egress.Dialer) *Channel {
	return &Channel{config: config, dialer: dialer, drafts: newDrafts(config.UserAgent), idle: newPool(config.IdlePerHost, dialer.Budget)}
}

// TellsWritten implements [channels.Teller].
func (c *Channel) TellsWritten() {}

// Close closes the idle connections.
func (c *Channel) Close() error {
	c.cuts.close()
	c.idle.close()
	return nil
}

// Send makes one attempt. A connection that was kept and turns out to be closed
// before a byte of the answer came is replaced by a new one, once; the peer's
// server had given it up, and this says nothing about the peer.
func (c *Channel) Send(ctx context.Context, m *channels.Message) channels.Result {
	x, kept := c.exchanges.Get().(*exchange)
	if !kept {
		x = new(exchange)
	}
	x.channel, x.message = c, m
	x.send(ctx)
	result := x.result
	*x = exchange{} // it must hold on to nobody's message
	c.exchanges.Put(x)
	return result
}

var notSent = channels.Result{Class: channels.NotSent, Detail: "stopped before anything was sent"}

func permanent(detail string) channels.Result {
	return channels.Result{Class: channels.Permanent, Detail: detail}
}

func dialFailed(ctx context.Context, err error) channels.Result {
	if ctx.Err() != nil {
		return notSent
	}
	if errors.Is(err, egress.ErrBlocked) {
		return permanent(egress.ErrBlocked.Error())
	}
	detail := "connect: failed"
	if failed, ok := errors.AsType[*egress.Error](err); ok {
		detail = failed.Detail
	}
	return channels.Result{Class: channels.Temporary, Detail: detail, NoConnection: true}
}
