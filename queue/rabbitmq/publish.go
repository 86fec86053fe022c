package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/tocsin/tocsin/queue"
)

// window is how many messages are published before their confirms are awaited.
const window = 64

// message is what goes to the broker; its body is done with once it is
// published.
type message struct {
	route
	amqp.Publishing
}

type route struct{ exchange, key string }

// publisher is the session of the publishing connection.
type publisher struct {
	*epoch
	confirmed *amqp.Channel // in confirm mode
	replies   *amqp.Channel // without; a refused reply closes only this one
	settle    chan chan struct{}

	mu       sync.Mutex
	returned map[route]int                // how often a route led nowhere
	orphans  []*amqp.DeferredConfirmation // given up by who published
}

func (b *Broker) openPublisher(ctx context.Context, e *epoch) (*publisher, error) {
	if err := b.topology.declare(ctx, e.conn); err != nil {
		return nil, err
	}
	p := &publisher{epoch: e, settle: make(chan chan struct{}), returned: map[route]int{}}
	var err error
	if p.confirmed, err = e.conn.Channel(); err != nil {
		return nil, err
	}
	if err := p.confirmed.Confirm(false); err != nil {
		return nil, err
	}
	if p.replies, err = e.conn.Channel(); err != nil {
		return nil, err
	}
	closes := p.confirmed.NotifyClose(make(chan *amqp.Error, 1))
	returns := p.confirmed.NotifyReturn(make(chan amqp.Return, window))
	refusals := p.replies.NotifyClose(make(chan *amqp.Error, 1))
	e.work.Go(func() { p.watch(returns, closes) })
	e.work.Go(func() {
		if err := <-refusals; err != nil && err.Code == amqp.AccessRefused {
			b.log.Warn("the broker refused a reply to a producer: none are sent until the next connection", "error", err)
		}
	})
	return p, nil
}

// watch owns the returns. The client hands over a message's return before its
// confirm, so who has the confirm asks here that all returns so far be counted.
func (p *publisher) watch(returns <-chan amqp.Return, closes <-chan *amqp.Error) {
	for {
		select {
		case r, ok := <-returns:
			if !ok {
				p.fail(channelEnd("publishing", closes))
				return
			}
			p.count(r)
		case counted := <-p.settle:
			for more := true; more; {
				select {
				case r, ok := <-returns:
					if more = ok; ok {
						p.count(r)
					}
				default:
					more = false
				}
			}
			close(counted)
		}
	}
}

// channelEnd is why a channel ended: the client announces the reason before it
// closes anything.
func channelEnd(what string, closes <-chan *amqp.Error) error {
	if err := <-closes; err != nil {
		return fmt.Errorf("the broker closed the channel for %s: %w", what, err)
	}
	return errHungUp
}

func (p *publisher) count(r amqp.Return) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.returned[route{r.Exchange, r.RoutingKey}]++
}

func (p *publisher) returns(r route) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.returned[r]
}

// allCounted waits until the returns which came before now are counted.
func (p *publisher) allCounted() {
	counted := make(chan struct{})
	select {
	case p.settle <- counted:
		<-counted
	case <-p.over:
	}
}

// publish publishes n messages, at most a window, and waits for their confirms
// until ctx ends. Its error is about the broker, or from next.
func (p *publisher) publish(ctx context.Context, n int, next func(i int) (message, error)) error {
	type sent struct {
		route
		before  int
		confirm *amqp.DeferredConfirmation
	}
	list := make([]sent, 0, n)
	waiting := func(from int) []*amqp.DeferredConfirmation {
		rest := make([]*amqp.DeferredConfirmation, 0, n)
		for _, s := range list[from:] {
			rest = append(rest, s.confirm)
		}
		return rest
	}
	for i := range n {
		m, err := next(i)
		if err != nil {
			p.abandon(waiting(0))
			return err
		}
		before := p.returns(m.route)
		confirm, err := p.confirmed.PublishWithDeferredConfirm(m.exchange, m.key, true, false, m.Publishing)
		if err != nil {
			p.fail(err)
			return unavailable(err)
		}
		list = append(list, sent{m.route, before, confirm})
	}
	for i, s := range list {
		select {
		case <-s.confirm.Done():
		case <-p.over:
			return unavailable(p.err)
		case <-ctx.Done():
			p.abandon(waiting(i))
			return unavailable(errors.New("the broker confirmed nothing in time"))
		}
		if !s.confirm.Acked() {
			return unavailable(errors.New("the broker didn't take a message"))
		}
	}
	p.allCounted()
	for _, s := range list {
		// Another's return on the same route counts too: the queue isn't there,
		// whoever asks.
		if p.returns(s.route) != s.before {
			err := fmt.Errorf("no queue is bound to exchange %q for %q: was it deleted? it is declared again", s.exchange, s.key)
			p.fail(err)
			return unavailable(err)
		}
	}
	return nil
}

// abandon remembers confirms that nobody waits for any more. They are bounded:
// too many, and the connection is changed for a new one.
func (p *publisher) abandon(confirms []*amqp.DeferredConfirmation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.orphans = slices.DeleteFunc(append(p.orphans, confirms...), func(c *amqp.DeferredConfirmation) bool {
		select {
		case <-c.Done():
			return true
		default:
			return false
		}
	})
	if len(p.orphans) > 4*window {
		p.fail(errors.New("the broker leaves too many messages unconfirmed"))
	}
}

// send publishes n messages with mandatory and confirm. Each window is bounded
// by PublishTimeout.
func (b *Broker) send(ctx context.Context, n int, next func(i int) (message, error)) error {
	for from := 0; from < n; from += window {
		err := b.sendWindow(ctx, min(window, n-from), func(i int) (message, error) { return next(from + i) })
		if err != nil && ctx.Err() != nil {
			return fmt.Errorf("%w (%w)", err, ctx.Err())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *Broker) sendWindow(ctx context.Context, n int, next func(i int) (message, error)) error {
	ctx, cancel := context.WithTimeout(ctx, b.opts.PublishTimeout)
	defer cancel()
	if err := b.outstanding.Acquire(ctx, int64(n)); err != nil {
		return unavailable(errors.New("too many messages wait for the broker's confirm"))
	}
	defer b.outstanding.Release(int64(n))
	p, err := b.publishing.await(ctx)
	if err != nil {
		return err
	}
	if err := b.topology.ripe(ctx); err != nil {
		return unavailable(err)
	}
	return p.publish(ctx, n, next)
}

// Publish implements [queue.Queue]. Besides the errors there it refuses a group
// that isn't among Options.Groups.
func (b *Broker) Publish(ctx context.Context, batches []*queue.Batch) error {
	for _, batch := range batches {
		if err := b.known(batch.Group); err != nil {
			return err
		}
	}
	var body []byte
	return b.send(ctx, len(batches), func(i int) (message, error) {
		batch := batches[i]
		var err error
		if body, err = batch.AppendBinary(body[:0]); err != nil {
			return message{}, fmt.Errorf("rabbitmq: %w", err)
		}
		return message{
			route{b.names.deliver, key(batch.Group, urgencyOf(batch.Urgent))},
			amqp.Publishing{
				ContentType:  batchType,
				DeliveryMode: amqp.Persistent,
				MessageId:    strconv.FormatInt(batch.ID, 10),
				Timestamp:    time.Now(),
				Body:         body,
			},
		}, nil
	})
}

const batchType = "application/vnd.tocsin.batch"

func (b *Broker) known(group string) error {
	if slices.Contains(b.opts.Groups, group) {
		return nil
	}
	return fmt.Errorf("rabbitmq: the group %q has no queue here: is its provider still configured?", group)
}
