package smtp

import (
	"bytes"
	"errors"
	"net/textproto"
	"os"
	"strconv"
	"strings"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/internal/egress"
)

var notSent = channels.Result{Class: channels.NotSent, Detail: "stopped before the message was sent"}

func permanent(detail string) channels.Result {
	return channels.Result{Class: channels.Permanent, Detail: detail}
}

func temporary(detail string) channels.Result {
	return channels.Result{Class: channels.Temporary, Detail: detail}
}

func noConnection(detail string) channels.Result {
	return channels.Result{Class: channels.Temporary, Detail: detail, NoConnection: true}
}

// judge puts the reply that ends a transaction into its class.
func (t *transaction) judge(step string, r *reply) channels.Result {
	class := classOf(step, r)
	if class == channels.Delivered {
		return channels.Result{Class: class}
	}
	cause := "smtp " + strconv.Itoa(r.code) + " to " + step
	return channels.Result{Class: class, Detail: detail(cause, r.words(), t.relay, t.message)}
}

// classOf decides by the reply's code, then by its enhanced status.
func classOf(step string, r *reply) channels.Class {
	status := r.status()
	switch {
	case step == stepMessage && r.accepted():
		return channels.Delivered
	case throttled(r.code, status):
		return channels.Throttled
	case r.code/100 != 5, outOfStep(r.code), step == stepReset:
		return channels.Temporary
	case step != stepRecipient && step != stepMessage:
		return channels.Permanent // it is not about the recipient
	case status == "5.1.1", status == "5.1.10",
		status == "" && step == stepRecipient && mailboxUnknown(r):
		return channels.Gone
	}
	return channels.Permanent
}

// throttled reports whether a relay asks for less: 421, or 450 to 452 for a reason of
// policy (RFC 3463, section 3.8). 454 4.7.0 is about TLS or the login.
func throttled(code int, status string) bool {
	return code == 421 || code >= 450 && code <= 452 && strings.HasPrefix(status, "4.7.")
}

// outOfStep reports whether a reply is about the session and says nothing of the
// message: wrong order of commands, or a login or TLS that is missing.
func outOfStep(code int) bool {
	return code == 503 || code == 530 || code == 535 || code == 538
}

// mailboxUnknown reads the words of a 550 or 553 without an enhanced status, which
// can mean a mailbox that does not exist, a policy, or anything else.
func mailboxUnknown(r *reply) bool {
	if r.code != 550 && r.code != 553 {
		return false
	}
	said := bytes.ToLower(r.words().Text)
	for _, phrase := range []string{
		"user unknown", "unknown user", "no such user", "user not found", "user does not exist",
		"recipient unknown", "unknown recipient", "no such recipient", "recipient not found",
		"mailbox unknown", "unknown mailbox", "no such mailbox", "mailbox not found", "mailbox does not exist",
		"no mailbox here", "address does not exist", "account does not exist",
	} {
		if bytes.Contains(said, []byte(phrase)) {
			return true
		}
	}
	return false
}

// openFailed is the result of an attempt that got no session. Whatever the relay
// says, it is not about the message: a wrong password must not end deliveries.
func openFailed(step string, err error, r *relay) channels.Result {
	if said, ok := errors.AsType[*textproto.Error](err); ok {
		cause := "smtp " + strconv.Itoa(said.Code) + " to " + step
		words := channels.Words{Text: []byte(said.Msg)}
		if step == stepLogin {
			words.Text = nil // it may repeat the password in ways that can't be foreseen
		}
		result := noConnection(detail(cause, words, r, nil))
		if throttled(said.Code, statusOf(said.Msg)) {
			result.Class, result.NoConnection = channels.Throttled, false
		}
		return result
	}
	if failed, ok := errors.AsType[*egress.Error](err); ok {
		return noConnection(failed.Detail)
	}
	if _, ok := errors.AsType[textproto.ProtocolError](err); ok {
		err = errGarbage
	}
	switch err {
	case errPlain, errNoStartTLS, errInjected, errMechanism:
		return noConnection(err.Error())
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return noConnection("timeout: no answer to " + step + " in time")
	}
	return noConnection(silence(err) + " at " + step)
}
