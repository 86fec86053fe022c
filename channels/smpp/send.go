package smpp

import (
	"context"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"github.com/fiorix/go-smpp/smpp/pdu"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/internal/egress"
)

// Cost returns the number of segments of a payload.
func (c *Channel) Cost(p channels.Payload) int {
	if text, ok := p.(*text); ok {
		return len(text.segments)
	}
	return 1
}

// Send makes one attempt: it submits the segments in order, as the window lets it,
// and stops at the first that fails. Result.Handle is the centre's id of the first
// segment, which is the one whose receipt is asked for.
func (c *Channel) Send(ctx context.Context, m *channels.Message) channels.Result {
	body, ok := m.Payload.(*text)
	if !ok {
		return failed(channels.Permanent, "the payload was not rendered by the smpp channel")
	}
	a := c.accounts[m.Provider]
	if m.Provider == "" {
		a = c.order[0]
	}
	if a == nil {
		return failed(channels.Temporary, "no smpp account of that name is configured")
	}
	number, plus := strings.CutPrefix(m.Address, "+")
	if !plus || !e164(number) {
		return failed(channels.Permanent, "the address is not a phone number in E.164 form")
	}
	var timer *time.Timer
	// Again if the bind ended, or a better one came, before anything was sent.
	for ctx.Err() == nil {
		chosen, err := a.pick(ctx)
		switch {
		case err != nil:
			return notSent
		case chosen.session == nil:
			if chosen.why == egress.ErrNoPort.Error() {
				return failed(channels.NotSent, chosen.why)
			}
			r := failed(channels.Temporary, chosen.why)
			r.NoConnection = true
			return r
		}
		// The wait for a bind does not count.
		if timer == nil {
			timer = time.NewTimer(a.config.ResponseTimeout)
			defer timer.Stop()
		} else {
			timer.Reset(a.config.ResponseTimeout)
		}
		x := exchange{choice: chosen, timer: timer, submits: a.submits(number, body, reference(m))}
		if result, sent := x.run(ctx); sent {
			return result
		}
	}
	return notSent
}

// accepted is the detail of a delivery until its receipt comes.
const accepted = "accepted"

var notSent = channels.Result{Class: channels.NotSent, Detail: "stopped before anything was sent"}

func failed(class channels.Class, detail string) channels.Result {
	return channels.Result{Class: class, Detail: detail}
}

// reference is the concatenation reference of a delivery, the same for all its
// attempts. Consecutive updates of an incident differ, so that a handset never
// mixes the segments of two that came close together.
func reference(m *channels.Message) byte {
	h := fnv.New32a()
	if m.Update == nil {
		_, _ = h.Write([]byte(m.ID)) // a hash takes everything
		return byte(h.Sum32())
	}
	for _, part := range []string{m.Update.Page, m.Update.IncidentID, m.Address} {
		_, _ = h.Write(append([]byte(part), 0))
	}
	return byte(h.Sum32()) + byte(m.Update.Sequence)
}

// exchange is one message on its way over one bind.
type exchange struct {
	choice
	timer   *time.Timer
	submits [][]byte // one PDU for each segment, without a sequence number

	answers   chan answer
	sequences []uint32
	accepted  int
	id        string  // of the first segment
	first     *answer // the failure of the first segment that has one
}

// run returns the result of the message, or sent false if another bind has to be
// chosen, nothing having left.
func (x *exchange) run(ctx context.Context) (result channels.Result, sent bool) {
	x.answers = make(chan answer, len(x.submits))
	if x.held && x.submit() != "" {
		return channels.Result{}, false
	}
	for got := 0; got < len(x.sequences) || x.more(); {
		var room chan<- struct{}
		if x.more() {
			room = x.session.slots
		}
		changed, over := x.changed, x.session.over
		if len(x.sequences) > 0 {
			changed = nil
		}
		if got < len(x.sequences) {
			over = nil // the loss of the link comes as an answer
		}
		select {
		case a := <-x.answers:
			got++
			x.take(a)
		case room <- struct{}{}:
			if lost := x.submit(); lost != "" {
				if len(x.sequences) == 0 {
					return channels.Result{}, false
				}
				x.take(answer{segment: len(x.sequences), lost: lost})
			}
			x.timer.Reset(x.session.config.ResponseTimeout)
		case <-changed:
			return channels.Result{}, false
		case <-over:
			if len(x.sequences) == 0 {
				return channels.Result{}, false
			}
			x.take(answer{segment: len(x.sequences), lost: errCut})
		case <-x.timer.C:
			x.forget()
			return x.abandoned("no response in time", "no room in the window in time"), true
		case <-ctx.Done():
			x.forget()
			if len(x.sequences) == 0 {
				return notSent, true
			}
			return x.abandoned("stopped while it waited for the response", ""), true
		}
	}
	return x.result(), true
}

// more reports whether there is a segment to submit.
func (x *exchange) more() bool { return len(x.sequences) < len(x.submits) && x.first == nil }

// submit sends the next segment; the caller has taken a slot for it.
func (x *exchange) submit() linkError {
	s, segment := x.session, len(x.sequences)
	sequence, lost := s.window.add(waiter{segment, x.answers})
	if lost != "" {
		return lost // nobody needs a slot of a bind that is over
	}
	x.sequences = append(x.sequences, sequence)
	s.used.Store(true)
	s.out.put(stamp(x.submits[segment], sequence))
	return ""
}

func (x *exchange) take(a answer) {
	switch {
	case a.lost == "" && a.status == 0:
		x.accepted++
		if a.segment == 0 {
			x.id = a.id
		}
	case x.first == nil || a.segment < x.first.segment:
		x.first = &a
	}
}

// forget gives up waiting. A response that comes all the same is a stray.
func (x *exchange) forget() {
	for _, sequence := range x.sequences {
		if _, waits := x.session.window.take(key{pdu.SubmitSMRespID, sequence}); waits {
			<-x.session.slots
		}
	}
}

// abandoned is the result of an attempt that no response ended.
func (x *exchange) abandoned(waiting, unsent string) channels.Result {
	detail := waiting
	if len(x.sequences) == 0 {
		detail = unsent
	}
	return failed(channels.Temporary, detail+x.progress())
}

// progress says how far a message of many segments came.
func (x *exchange) progress() string {
	if len(x.submits) == 1 {
		return ""
	}
	return fmt.Sprintf(" (%d of %d segments accepted)", x.accepted, len(x.submits))
}

func (x *exchange) result() channels.Result {
	switch {
	case x.first == nil:
		return channels.Result{Class: channels.Delivered, Detail: accepted, Handle: x.id}
	case x.first.lost != "":
		return failed(channels.Temporary, string(x.first.lost)+" before the response"+x.progress())
	}
	return failed(classOf(x.first.status), statusName(x.first.status)+x.progress())
}
