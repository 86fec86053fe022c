package crash

import (
	"context"
	"errors"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// producer publishes to a broker as docs/producers.md asks a producer to: with
// mandatory and confirm, and again with the same message_id after any doubt. It
// is for one goroutine.
type producer struct {
	url      string
	exchange string
	conn     *amqp.Connection
	channel  *amqp.Channel
	returned chan amqp.Return
}

// tryFor bounds one try of a producer.
const tryFor = 5 * time.Second

func (p *producer) publish(ctx context.Context, u *update) error {
	return insist(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, tryFor)
		defer cancel()
		err := p.try(ctx, u)
		if err != nil {
			p.close()
		}
		return err
	})
}

func (p *producer) try(ctx context.Context, u *update) error {
	if p.conn == nil {
		if err := p.dial(); err != nil {
			return err
		}
	}
	confirm, err := p.channel.PublishWithDeferredConfirmWithContext(ctx, p.exchange, "crash."+u.incident, true, false, amqp.Publishing{
		ContentType: "application/json", DeliveryMode: amqp.Persistent, MessageId: u.id, Body: u.body})
	if err != nil {
		return err
	}
	confirmed, err := confirm.WaitContext(ctx)
	if err == nil && !confirmed {
		err = errors.New("the broker did not take the event")
	}
	select {
	case <-p.returned: // comes before the confirm
		return errors.New("the broker has no queue for events")
	default:
		return err
	}
}

func (p *producer) dial() (err error) {
	if p.conn, err = amqp.DialConfig(p.url, amqp.Config{Dial: amqp.DefaultDial(tryFor), Heartbeat: 10 * time.Second}); err != nil {
		p.conn = nil
		return err
	}
	if p.channel, err = p.conn.Channel(); err != nil {
		return err
	}
	p.returned = p.channel.NotifyReturn(make(chan amqp.Return, 1))
	return p.channel.Confirm(false)
}

func (p *producer) close() {
	if p.conn != nil {
		_ = p.conn.CloseDeadline(time.Now().Add(time.Second)) // all that counts was confirmed
		p.conn = nil
	}
}
