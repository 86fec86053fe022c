package rabbitmq

import (
	"context"
	"errors"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// item is one message that the broker has given to this process.
type item struct {
	tag           uint64
	urgency       int
	takes         int
	published     time.Time
	received      time.Time
	source        string
	sender        string
	body          []byte
	messageID     string
	contentType   string
	attributes    map[string]string // of a CloudEvent
	routingKey    string
	replyTo       string
	correlationID string
}

// handle is an item that was handed out. It is settled once: a second ack of
// the same tag would close the channel for all others.
type handle struct {
	in      *inbox
	item    item
	settled bool // guarded by in.mu
}

// inbox holds what one channel received and nobody asked for yet, bounded by
// the prefetch. It belongs to one epoch and ends with it.
type inbox struct {
	epoch       *epoch
	ch          *amqp.Channel
	returnAfter time.Duration
	wake        chan struct{} // something is there
	poke        chan struct{} // later has a first entry

	mu     sync.Mutex
	levels [urgencies]level
	later  []delayed // in order of due
}

// level is one queue's part of an inbox.
type level struct {
	queue string
	ready []item
	held  int
	// newest is when the message that came last was published: what the queue
	// still has is younger.
	newest time.Time
}

type delayed struct {
	due  time.Time
	item item
}

// openInbox consumes from the queues, which stand in order of urgency, with a
// prefetch for each.
func (e *epoch) openInbox(queues []string, prefetch int, returnAfter time.Duration) (*inbox, error) {
	in := &inbox{
		epoch: e, returnAfter: returnAfter,
		wake: make(chan struct{}, 1), poke: make(chan struct{}, 1),
	}
	var err error
	if in.ch, err = e.conn.Channel(); err != nil {
		return nil, err
	}
	closes := in.ch.NotifyClose(make(chan *amqp.Error, 1))
	if err := in.ch.Qos(prefetch, 0, false); err != nil {
		return nil, err
	}
	var deliveries [urgencies]<-chan amqp.Delivery
	for u, name := range queues {
		in.levels[u].queue = name
		if deliveries[u], err = in.ch.Consume(name, "", false, false, false, false, nil); err != nil {
			return nil, err
		}
	}
	e.work.Go(func() { in.pump(deliveries, closes) })
	return in, nil
}

// pump owns the way from the broker into the inbox.
func (in *inbox) pump(deliveries [urgencies]<-chan amqp.Delivery, closes <-chan *amqp.Error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case d, ok := <-deliveries[urgent]:
			if !ok {
				in.lost(urgent, closes)
				return
			}
			in.add(urgent, d)
		case d, ok := <-deliveries[normal]:
			if !ok {
				in.lost(normal, closes)
				return
			}
			in.add(normal, d)
		case <-in.poke:
			in.offerAgain(timer)
		case <-timer.C:
			in.offerAgain(timer)
		}
	}
}

// lost ends the epoch: the broker took a consumer away, with its channel or,
// where the queue is gone, without.
func (in *inbox) lost(urgency int, closes <-chan *amqp.Error) {
	select {
	case err := <-closes:
		if err != nil {
			in.epoch.fail(err)
		} else {
			in.epoch.fail(errHungUp)
		}
	default:
		in.epoch.fail(errors.New("the broker ended the consumer of " + in.levels[urgency].queue + ": was the queue deleted?"))
	}
}

func (in *inbox) add(urgency int, d amqp.Delivery) {
	it := item{
		tag: d.DeliveryTag, urgency: urgency, takes: int(whole(d.Headers["x-delivery-count"])) + 1,
		published: d.Timestamp, received: receivedAt(d.Headers, time.Now()), source: source(d.Headers), sender: sender(&d),
		body: d.Body, messageID: d.MessageId, contentType: d.ContentType, routingKey: d.RoutingKey,
		replyTo: d.ReplyTo, correlationID: d.CorrelationId, attributes: attributes(d.Headers),
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	l := &in.levels[urgency]
	l.ready = append(l.ready, it)
	l.newest = it.published
	signal(in.wake)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// take waits for items and returns up to limit, urgent ones first. It returns ctx's
// error, or the epoch's when that is over.
func (in *inbox) take(ctx context.Context, limit int) ([]*handle, error) {
	for {
		if handles := in.pop(limit); len(handles) > 0 {
			return handles, nil
		}
		select {
		case <-in.wake:
		case <-in.epoch.over:
			return nil, in.epoch.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (in *inbox) pop(limit int) []*handle {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.epoch.ended() { // its tags are void, the broker gives it all again
		return nil
	}
	var handles []*handle
	for u := range in.levels {
		l := &in.levels[u]
		n := min(len(l.ready), limit-len(handles))
		for i := range n {
			handles = append(handles, &handle{in: in, item: l.ready[i]})
			l.ready[i] = item{}
		}
		l.ready = l.ready[n:]
		l.held += n
		if len(l.ready) > 0 {
			signal(in.wake)
		}
	}
	return handles
}

// live says whether the handle's message is still in the hands of this process.
func (h *handle) live() bool {
	h.in.mu.Lock()
	defer h.in.mu.Unlock()
	return !h.settled && !h.in.epoch.ended()
}

// release marks the handle settled and says whether the caller has to tell the
// broker.
func (h *handle) release() bool {
	h.in.mu.Lock()
	defer h.in.mu.Unlock()
	if h.settled || h.in.epoch.ended() {
		return false
	}
	h.settled = true
	h.in.levels[h.item.urgency].held--
	return true
}

// ack removes the message from the broker. If it doesn't get there, the
// connection is over and the message comes again.
func (h *handle) ack() {
	if h.release() {
		_ = h.in.ch.Ack(h.item.tag, false)
	}
}

// park sends the message to the dead letters.
func (h *handle) park() {
	if h.release() {
		_ = h.in.ch.Reject(h.item.tag, false)
	}
}

// offerLater puts the message back after a while without a word to the broker:
// a nack would count as a delivery and put others out of order. Until then, and
// again after, it is unacked, so that it survives this process.
func (h *handle) offerLater() {
	if !h.release() {
		return
	}
	in := h.in
	in.mu.Lock()
	defer in.mu.Unlock()
	in.later = append(in.later, delayed{time.Now().Add(in.returnAfter), h.item})
	if len(in.later) == 1 {
		signal(in.poke)
	}
}

// putBack puts handles that were popped last back where they were.
func (in *inbox) putBack(handles []*handle) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for i := len(handles) - 1; i >= 0; i-- {
		h := handles[i]
		if h.settled {
			continue
		}
		h.settled = true
		l := &in.levels[h.item.urgency]
		l.held--
		l.ready = append([]item{h.item}, l.ready...)
	}
	signal(in.wake)
}

// offerAgain moves what is due to the ready ones and sets the timer for the
// rest.
func (in *inbox) offerAgain(timer *time.Timer) {
	now := time.Now()
	in.mu.Lock()
	defer in.mu.Unlock()
	for len(in.later) > 0 && !in.later[0].due.After(now) {
		l := &in.levels[in.later[0].item.urgency]
		l.ready = append(l.ready, in.later[0].item)
		in.later[0] = delayed{}
		in.later = in.later[1:]
		signal(in.wake)
	}
	if len(in.later) > 0 {
		timer.Reset(in.later[0].due.Sub(now))
	}
}
