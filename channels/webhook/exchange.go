package webhook

import (
	"context"
	"errors"
	"io"
	"net"
	"os"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/internal/egress"
)

// exchange is one message on its way; it runs on one connection, or on two if the
// first was stale.
type exchange struct {
	channel *Channel
	message *channels.Message
	url     egress.URL
	body    []byte
}

// outcome is what one exchange came to.
type outcome struct {
	result channels.Result
	// answered is false if the peer said nothing that could be understood.
	answered bool
	// keep means that the connection is clean.
	keep bool
	// stale means that the connection had been kept and was closed before the
	// answer began.
	stale bool
}

// run writes the request, reads the answer and gives the connection back.
func (x *exchange) run(ctx context.Context, c *conn) (result channels.Result, stale bool) {
	if ctx.Err() != nil {
		x.channel.idle.drop(c)
		return notSent, false
	}
	stop := context.AfterFunc(ctx, c.abort)
	out := x.talk(c)
	whole := stop()
	switch {
	case !whole || !out.answered:
		c.Abort()
		x.channel.idle.drop(c)
	case out.keep:
		x.channel.idle.put(c)
	default:
		x.channel.idle.drop(c)
	}
	if !whole && !out.answered {
		return temporary("stopped while it waited for the answer"), false
	}
	return out.result, out.stale
}

// talk does what run says, but for the connection.
func (x *exchange) talk(c *conn) outcome {
	made, err := x.write(c)
	if !made {
		return outcome{result: permanent(err.Error()), answered: true, keep: true}
	}
	// A peer that refuses a request early answers and closes: look for its answer
	// even if the write failed, unless the time is over.
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		awaited := c.await()
		if awaited == nil {
			out := x.answer(c)
			out.keep = out.keep && err == nil
			return out
		}
		if err == nil {
			err = awaited
		}
	}
	if c.reused && egress.ClosedByPeer(err) {
		return outcome{stale: true}
	}
	return outcome{result: temporary(silence(err))}
}

// write sends the request in one piece. made is false if there is none to send.
func (x *exchange) write(c *conn) (made bool, err error) {
	d := x.channel.drafts.get()
	defer x.channel.drafts.put(d)
	wire, err := d.write(x.message, &x.url, x.body, x.channel.config.Clock())
	if err != nil {
		return false, err
	}
	_, err = c.Write(wire)
	if x.message.Written != nil {
		x.message.Written()
	}
	return true, err
}

// answer reads the reply that has begun to come.
func (x *exchange) answer(c *conn) outcome {
	r := x.channel.readers.get(c)
	defer x.channel.readers.put(r)
	reply := r.read(c)
	return outcome{
		result:   x.judge(reply),
		answered: reply.status != 0,
		keep:     reply.clean && len(c.unread) == 0,
	}
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
