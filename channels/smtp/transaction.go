package smtp

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/internal/egress"
)

// transaction is one message on its way to one recipient; it runs on one session,
// or on two if the first was stale.
type transaction struct {
	relay   *relay
	message *channels.Message
	// content is the whole message with the line of one dot at its end.
	content      []byte
	finalTimeout time.Duration

	// begun is true from the first byte of content on: from then the relay may
	// have it.
	begun bool
}

// outcome is what a transaction on one session came to.
type outcome struct {
	result channels.Result
	// answered means that result is what the relay answered, and not our guess.
	answered bool
	// keep means that the session is in order.
	keep bool
	// stale means that the session had been kept and was over before this
	// transaction began.
	stale bool
}

// run sends the message and gives the session back.
func (t *transaction) run(ctx context.Context, s *session) (result channels.Result, stale bool) {
	if ctx.Err() != nil {
		s.quit()
		return notSent, false
	}
	stop := context.AfterFunc(ctx, s.conn.Abort)
	out := t.talk(s)
	whole := stop()
	if whole && out.keep {
		t.relay.put(s)
	} else {
		// Cut, not closed with QUIT: what was sent of a message must not count.
		s.conn.Abort()
	}
	switch {
	case whole || out.answered:
		return out.result, out.stale
	case t.begun:
		return temporary("unknown: stopped while it waited for the answer to the message"), false
	}
	return notSent, false
}

// talk does what run says, but for the session.
func (t *transaction) talk(s *session) outcome {
	replies, err := t.envelope(s)
	if err != nil {
		first := replies.mail.code == 0
		return outcome{stale: s.reused && first && egress.ClosedByPeer(err), result: temporary(silence(err) + " before the message")}
	}
	refused, step := replies.refusal()
	if refused == nil {
		return t.deliver(s)
	}
	over := refused.code == 421
	if over && s.reused && step != stepRecipient && step != stepData {
		// It says goodbye to the session, perhaps only because it was idle or has
		// had its number of messages.
		return outcome{stale: true}
	}
	out := outcome{result: t.judge(step, refused), answered: true, keep: !over && !outOfStep(refused.code)}
	if out.keep && replies.data.code/100 == 3 {
		// The relay waits for a message that has no recipient: RFC 2920, section
		// 3.1, has it end at once. If it did take the recipient, that would be a
		// mail without content: the session is cut instead.
		out.keep = !replies.recipient.accepted() && t.endEmpty(s)
	}
	return out
}

// envelope is what the relay answered to the commands before the message; a code is
// 0 if the command was not sent.
type envelope struct{ reset, mail, recipient, data reply }

// refusal returns the first reply that keeps the message from being sent, nil if
// there is none, and the step it came at.
func (e *envelope) refusal() (*reply, string) {
	switch {
	case e.reset.code != 0 && !e.reset.accepted():
		return &e.reset, stepReset
	case !e.mail.accepted():
		return &e.mail, stepMail
	case !e.recipient.accepted():
		return &e.recipient, stepRecipient
	case e.data.code != 354:
		return &e.data, stepData
	}
	return nil, ""
}

// envelope says who it is from and for, all in one go if the relay offers that (RFC
// 2920). The transaction is open afterwards.
func (t *transaction) envelope(s *session) (*envelope, error) {
	e := new(envelope)
	type exchange struct {
		command string
		reply   *reply
	}
	exchanges := make([]exchange, 0, 4)
	if s.open {
		exchanges = append(exchanges, exchange{"RSET", &e.reset})
	}
	exchanges = append(exchanges,
		exchange{"MAIL FROM:<" + t.relay.sender + ">", &e.mail},
		exchange{"RCPT TO:<" + t.message.Address + ">", &e.recipient},
		exchange{"DATA", &e.data})
	s.open = true
	if s.pipelining {
		for _, x := range exchanges {
			s.text.W.WriteString(x.command)
			s.text.W.WriteString("\r\n") // an error stays and comes from Flush
		}
		if err := s.text.W.Flush(); err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
			return e, err
		} // else: look for the reason that the relay gave
	}
	for _, x := range exchanges {
		if !s.pipelining {
			if err := s.text.PrintfLine("%s", x.command); err != nil {
				return e, err
			}
		}
		if err := x.reply.read(s.text.R); err != nil {
			return e, err
		}
		if x.reply.code == 421 || !s.pipelining && x.reply.code >= 400 {
			return e, nil // no more replies come, or none is asked for
		}
	}
	return e, nil
}

// deliver sends the message and waits for the answer that decides.
func (t *transaction) deliver(s *session) outcome {
	s.within(t.finalTimeout)
	t.begun = true
	_, err := s.text.W.Write(t.content)
	if err == nil {
		err = s.text.W.Flush()
	}
	var final reply
	if err != nil {
		// The end did not leave, so it can't be accepted. A relay that refuses a
		// message early says why and closes.
		if !errors.Is(err, os.ErrDeadlineExceeded) && final.read(s.text.R) == nil && final.code >= 400 {
			return outcome{result: t.judge(stepMessage, &final), answered: true}
		}
		return outcome{result: temporary(silence(err) + " in the middle of the message")}
	}
	s.open = false
	if err = final.read(s.text.R); final.code == 0 {
		return outcome{result: temporary("unknown: " + silence(err) + " after the whole message was sent")}
	}
	return outcome{result: t.judge(stepMessage, &final), answered: true,
		keep: err == nil && final.code != 421 && !outOfStep(final.code)}
}

// endEmpty ends a message that was not to begin and reports whether the session is
// in order.
func (t *transaction) endEmpty(s *session) bool {
	var end reply
	if err := s.text.PrintfLine("."); err != nil || end.read(s.text.R) != nil {
		return false
	}
	s.open = false
	return end.code >= 400 && end.code != 421
}

// silence says why there is no answer, in fixed words.
func silence(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout: no answer in time"
	case errors.Is(err, errGarbage):
		return errGarbage.Error()
	case errors.Is(err, errEndless):
		return errEndless.Error()
	case egress.ClosedByPeer(err), errors.Is(err, net.ErrClosed):
		return "closed by the relay"
	}
	return "connection failed"
}
