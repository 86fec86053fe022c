package webhook

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/internal/egress"
)

// exchange is one message on its way; it runs on one connection, or on two if the
// first was stale. What it knows is in here and not on the stack: thousands of senders
// each have one, and where it outgrows 4 KiB, copying it costs more than parsing an
// answer.
type exchange struct {
	channel *Channel
	message *channels.Message
	url     egress.URL
	body    []byte
	draft   *draft // until it is written

	// What it came to.
	result channels.Result
	// answered is false if the peer said nothing that could be understood.
	answered bool
	// keep means that the connection is clean.
	keep bool
	// stale means that the connection had been kept and was closed before the
	// answer began.
	stale bool
	// unfit means that nothing was sent: the kept connection could not be used again.
	unfit bool
}

// prepare reads what the message has to say and reports whether it can be sent.
func (x *exchange) prepare() bool {
	url, err := x.channel.dialer.Policy.CheckURL(x.message.Address)
	if err != nil {
		if errors.Is(err, egress.ErrBlocked) {
			err = egress.ErrBlocked
		}
		x.result = permanent(err.Error())
		return false
	}
	body, ok := x.message.Payload.(*payload)
	if !ok {
		x.result = permanent("the payload was not rendered by the webhook channel")
		return false
	}
	x.url, x.body = url, body.json
	return true
}

// send takes a connection, or two, and sets the result.
func (x *exchange) send(ctx context.Context) {
	if !x.prepare() {
		return
	}
	c := x.channel
	connect, timeout := c.config.ConnectTimeout, c.config.Timeout
	if c.config.Hosts != nil {
		connect, timeout = c.config.Hosts(x.message.Provider)
	}
	if x.reuse(ctx, timeout) {
		return
	}
	if ctx.Err() != nil {
		x.result = notSent
		return
	}
	dialled, err := c.dialer.Dial(ctx, x.url.Endpoint, connect)
	if errors.Is(err, egress.ErrNoPort) {
		x.waitForPort(ctx, connect, timeout)
		return
	}
	if err != nil {
		x.result = dialFailed(ctx, err)
		return
	}
	x.run(ctx, c.idle.adopt(x.url.Endpoint, dialled, timeout))
}

// reuse sends on a connection that was kept, the first that is fit for it, and reports
// whether that came to a result.
func (x *exchange) reuse(ctx context.Context, timeout time.Duration) bool {
	for {
		conn := x.channel.idle.take(x.url.Endpoint, timeout)
		if conn == nil {
			return false
		}
		if x.run(ctx, conn); !x.unfit {
			return !x.stale
		}
	}
}

// portPause is how long a send without a local port waits before it looks again.
const portPause = 50 * time.Millisecond

// waitForPort goes on where no local port was left: those that have one are done with
// it at some time, and leave a connection.
func (x *exchange) waitForPort(ctx context.Context, connect, timeout time.Duration) {
	c := x.channel
	for begun := time.Now(); time.Since(begun) < connect && pause(ctx, portPause); {
		if x.reuse(ctx, timeout) {
			return
		}
		dialled, err := c.dialer.Dial(ctx, x.url.Endpoint, connect)
		if err == nil {
			x.run(ctx, c.idle.adopt(x.url.Endpoint, dialled, timeout))
			return
		}
		if !errors.Is(err, egress.ErrNoPort) {
			x.result = dialFailed(ctx, err)
			return
		}
	}
	x.result = channels.Result{Class: channels.NotSent, Detail: egress.ErrNoPort.Error()}
}

// pause waits and says whether ctx is still going on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// run writes the request, reads the answer and gives the connection back.
func (x *exchange) run(ctx context.Context, c *conn) {
	x.answered, x.keep, x.stale, x.unfit = false, false, false, false
	if ctx.Err() != nil {
		x.channel.idle.drop(c)
		x.result = notSent
		return
	}
	x.channel.cuts.add(ctx, c)
	x.talk(c)
	whole := x.channel.cuts.remove(c)
	switch {
	case x.unfit:
		x.channel.idle.drop(c)
		return
	case !whole || !x.answered:
		c.Abort()
		x.channel.idle.drop(c)
	case x.keep:
		x.channel.idle.put(c)
	default:
		x.channel.idle.drop(c)
	}
	if !whole && !x.answered {
		x.stale = false
		x.result = temporary("stopped while it waited for the answer")
	}
}

// talk does what run says, but for the connection.
func (x *exchange) talk(c *conn) {
	drafts := x.channel.drafts
	x.draft = drafts.get()
	if err := x.draft.write(x.message, &x.url, x.body, x.channel.config.Clock()); err != nil {
		drafts.put(x.draft)
		x.result, x.answered, x.keep = permanent(err.Error()), true, true
		return
	}
	whole, err := c.ask(x)
	switch {
	case err == nil:
		x.answer(c)
		x.keep = x.keep && whole
	case err == egress.ErrNotQuiet:
		drafts.put(x.draft)
		x.unfit = true
	default:
		x.stale = c.reused && egress.ClosedByPeer(err)
		x.result = temporary(silence(err))
	}
}

// Bytes implements [egress.Question].
func (x *exchange) Bytes() []byte { return x.draft.wire }

// Written implements [egress.Question].
func (x *exchange) Written() {
	x.channel.drafts.put(x.draft)
	x.draft = nil
	if x.message.Written != nil {
		x.message.Written()
	}
}

// answer reads the reply that has begun to come.
func (x *exchange) answer(c *conn) {
	r := x.channel.readers.get(c)
	reply := r.read(c)
	x.judge(reply)
	x.answered = reply.status != 0
	x.keep = reply.clean && len(c.unread) == 0
	x.channel.readers.put(r)
}

func temporary(detail string) channels.Result {
	return channels.Result{Class: channels.Temporary, Detail: detail}
}

// silence says why there is no answer, in fixed words.
func silence(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout: no answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return "closed before an answer"
	case egress.ClosedByPeer(err):
		return "reset before an answer"
	}
	return "connection failed before an answer"
}
