package rabbitmq

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Parked is a message that was given up: no build could read it, or it came back too
// often from workers that died.
type Parked struct {
	// ID is made of the message; a copy has the same.
	ID string
	// MessageID is a batch's number or an event's message_id.
	MessageID string
	// Queue is where it was parked, Reason why in the broker's word, "rejected" or
	// "delivery_limit", At when.
	Queue, Reason string
	At            time.Time
	Body          []byte

	exchange, key string
	delivery      amqp.Delivery
}

// Lot is where messages are parked, for an operator to look at. While it is open, no
// other sees what it has looked at. It is for one goroutine.
type Lot struct {
	epoch *epoch
	names names
	ch    *amqp.Channel
	// returned has what a route led nowhere with.
	returned chan amqp.Return
	// left is how many there were at first and are not looked at: what comes back
	// meanwhile is for another time.
	left int
}

// OpenLot connects, beside the engine or without it. The error never has the URL's
// password.
func OpenLot(ctx context.Context, opts Options) (*Lot, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	e, err := opts.dial(ctx, "parked")
	if err != nil {
		return nil, err
	}
	l := &Lot{epoch: e, names: namesOf(opts.Deployment)}
	if err := e.within(ctx, func() (err error) {
		if l.ch, err = e.conn.Channel(); err != nil {
			return err
		}
		l.returned = l.ch.NotifyReturn(make(chan amqp.Return, 1))
		if err := l.ch.Confirm(false); err != nil {
			return err
		}
		there, err := l.ch.QueueDeclarePassive(l.names.parked, true, false, false, false, nil)
		l.left = there.Messages
		return err
	}); err != nil {
		l.Close()
		if hasCode(err, amqp.NotFound) {
			err = fmt.Errorf("there is no queue %s on this broker: has an engine of this deployment ever run there?", l.names.parked)
		}
		return nil, err
	}
	return l, nil
}

// Close puts back what was looked at and not returned.
func (l *Lot) Close() { l.epoch.hangUp() }

// Next looks at one more message; ok is false if there is none.
func (l *Lot) Next(ctx context.Context) (p *Parked, ok bool, err error) {
	if l.left == 0 {
		return nil, false, nil
	}
	l.left--
	var d amqp.Delivery
	err = l.epoch.within(ctx, func() (err error) {
		d, ok, err = l.ch.Get(l.names.parked, false)
		return err
	})
	if err != nil || !ok {
		return nil, false, err
	}
	sum := sha256.Sum256(append([]byte(d.MessageId+"\x00"), d.Body...))
	p = &Parked{ID: hex.EncodeToString(sum[:6]), MessageID: d.MessageId, Body: d.Body, delivery: d}
	deaths, _ := d.Headers["x-death"].([]any)
	if len(deaths) > 0 {
		death, _ := deaths[0].(amqp.Table) // the latest
		p.Queue, _ = death["queue"].(string)
		p.Reason, _ = death["reason"].(string)
		p.At, _ = death["time"].(time.Time)
		p.exchange, _ = death["exchange"].(string)
		if keys, _ := death["routing-keys"].([]any); len(keys) > 0 {
			p.key, _ = keys[0].(string)
		}
	}
	return p, true, nil
}

// Return has a message tried again from where it was parked, with a new count of
// tries. A crash between its two steps leaves it in both places: a batch that comes
// twice is recognised by its claim, an event by its update_id.
func (l *Lot) Return(ctx context.Context, p *Parked) error {
	if !strings.HasPrefix(p.Queue, l.names.deliver+".") && p.Queue != l.names.incidents {
		return fmt.Errorf("message %s doesn't say which queue of this deployment it comes from", p.ID)
	}
	headers := maps.Clone(p.delivery.Headers)
	maps.DeleteFunc(headers, func(name string, _ any) bool { return strings.HasPrefix(name, "x-") })
	return l.epoch.within(ctx, func() error {
		confirm, err := l.ch.PublishWithDeferredConfirm(p.exchange, p.key, true, false, amqp.Publishing{
			Headers: headers, ContentType: p.delivery.ContentType, DeliveryMode: amqp.Persistent, MessageId: p.MessageID,
			CorrelationId: p.delivery.CorrelationId, ReplyTo: p.delivery.ReplyTo, Timestamp: time.Now(), Body: p.Body,
		})
		if err != nil {
			return err
		}
		taken, err := confirm.WaitContext(ctx)
		if err != nil {
			return err
		}
		select {
		case <-l.returned: // comes before the confirm
			return fmt.Errorf("the queue %s is gone, message %s stays parked: start the engine, which declares it", p.Queue, p.ID)
		default:
		}
		if !taken {
			return errors.New("the broker didn't take the message; it stays parked")
		}
		return p.delivery.Ack(false)
	})
}
