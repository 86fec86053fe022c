package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// producerPatience is how long a broker may take to let us in, and to confirm.
const producerPatience = 15 * time.Second

// producer publishes events to a broker as any AMQP 0-9-1 client can: it
// declares nothing and knows nothing of the engine.
type producer struct {
	host       string // for error texts, which must not hold the password
	connection *amqp.Connection
	channel    *amqp.Channel
	returns    chan amqp.Return
	closed     chan *amqp.Error
}

func dialBroker(ctx context.Context, address string) (*producer, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return nil, usageError(errors.New("the broker's address must be a URL such as amqp://user:password@host:5672/"))
	}
	p := &producer{host: u.Host, returns: make(chan amqp.Return, 1), closed: make(chan *amqp.Error, 1)}
	dial := func(network, address string) (net.Conn, error) {
		c, err := (&net.Dialer{Timeout: producerPatience}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		// Bounds the handshake; the client clears it afterwards.
		return c, c.SetDeadline(time.Now().Add(producerPatience))
	}
	p.connection, err = amqp.DialConfig(address, amqp.Config{Dial: dial, Heartbeat: 10 * time.Second, Locale: "en_US"})
	if err == nil {
		p.channel, err = p.connection.Channel()
	}
	if err == nil {
		err = p.channel.Confirm(false)
	}
	if err != nil {
		p.close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, unavailableError(fmt.Errorf("no broker to publish to at %s; is RabbitMQ running there, and may this user in? (%w)",
			p.host, withoutURL(err)))
	}
	p.channel.NotifyReturn(p.returns)
	p.channel.NotifyClose(p.closed)
	return p, nil
}

// withoutURL keeps the password out of an error text.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// publish returns once the broker has the event durably in the intake queue
// behind the exchange.
func (p *producer) publish(ctx context.Context, exchange string, body []byte, updateID string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, producerPatience,
		unavailableError(fmt.Errorf("the broker at %s took the event and confirmed nothing; it may be out of memory or disk", p.host)))
	defer cancel()
	confirm, err := p.channel.PublishWithDeferredConfirmWithContext(ctx, exchange, "cli", true, false, amqp.Publishing{
		ContentType: "application/json", DeliveryMode: amqp.Persistent, MessageId: updateID, Timestamp: time.Now(), Body: body})
	if err != nil {
		return p.lost(err)
	}
	confirmed, err := confirm.WaitContext(ctx)
	if err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return ctx.Err()
		}
		return context.Cause(ctx)
	}
	if confirmed {
		select {
		case <-p.returns: // comes before the confirm
			return unavailableError(fmt.Errorf("the broker at %s has no queue for events; start the engine once with this broker: tocsin serve --queue amqp://…", p.host))
		default:
			return nil
		}
	}
	select {
	case closed := <-p.closed:
		return p.lost(closed)
	default:
		return p.lost(errors.New("it said so"))
	}
}

func (p *producer) lost(err error) error {
	if e, ok := errors.AsType[*amqp.Error](err); ok && e.Code == amqp.NotFound {
		err = errors.New("it has no exchange by this name; start the engine once with this broker: tocsin serve --queue amqp://…")
	}
	return unavailableError(fmt.Errorf("the broker at %s did not take the event: %w", p.host, err))
}

// remove deletes exchanges and queues that nobody needs any more. What isn't
// there counts as deleted.
func (p *producer) remove(exchanges, queues []string) error {
	var errs []error
	for _, name := range queues {
		_, err := p.channel.QueueDelete(name, false, false, false)
		errs = append(errs, err)
	}
	for _, name := range exchanges {
		errs = append(errs, p.channel.ExchangeDelete(name, false, false))
	}
	return errors.Join(errs...)
}

func (p *producer) close() {
	if p.connection != nil {
		_ = p.connection.CloseDeadline(time.Now().Add(time.Second)) // everything that matters is confirmed
	}
}

// newID returns a new update id.
func newID(prefix string) string { return prefix + "-" + strings.ToLower(rand.Text()) }
