package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// deliveryLimit is how often a message may come back before it is parked.
// Every crash of a consumer counts for all it had prefetched, so it is far
// above what one poisonous batch needs.
const deliveryLimit = 20

// invalidBytes bounds the queue of refused events; the oldest go first. They
// are somebody's mistakes, kept for looking at, and mustn't fill the disk.
const invalidBytes = 1 << 30

// topology is what has to exist on the broker. It is only ever declared, with
// the same arguments: deleting and declaring again would make newborn queues.
type topology struct {
	names   names
	groups  []string
	newborn time.Duration

	mu       sync.Mutex // one declares at a time, so that the other sees what was born
	declared bool       // once, completely, by this process
	born     time.Time  // when a queue was last created
}

// mourning is how long a queue that somebody deleted stays away. A queue that
// is declared again within some 20 ms keeps its consumers without a word on
// 3.10, and they never get anything from it.
const mourning = 500 * time.Millisecond

// probesBytes bounds the queue of probes' results; the oldest go first, as they are
// worth least.
const probesBytes = 64 << 20

type queueSpec struct {
	name string
	args amqp.Table
	bind func(ch *amqp.Channel) error
}

func (t *topology) queues() []queueSpec {
	n := t.names
	quorum := func(more amqp.Table) amqp.Table {
		args := amqp.Table{"x-queue-type": "quorum"}
		for k, v := range more {
			args[k] = v
		}
		return args
	}
	working := func(more amqp.Table) amqp.Table {
		args := quorum(more)
		args["x-delivery-limit"] = int32(deliveryLimit)
		args["x-dead-letter-exchange"] = n.parked
		// A dead letter leaves its queue only once it is in the other; this
		// needs reject-publish.
		args["x-dead-letter-strategy"] = "at-least-once"
		args["x-overflow"] = "reject-publish"
		return args
	}
	bound := func(queue, key, exchange string) func(ch *amqp.Channel) error {
		return func(ch *amqp.Channel) error { return ch.QueueBind(queue, key, exchange, false, nil) }
	}
	list := []queueSpec{
		{n.parked, quorum(nil), bound(n.parked, "", n.parked)},
		{n.invalid, quorum(amqp.Table{"x-max-length-bytes": int64(invalidBytes), "x-overflow": "drop-head"}), nil},
		{n.incidents, working(amqp.Table{"x-single-active-consumer": true}), bound(n.incidents, "#", n.incidents)},
		{n.probes, quorum(amqp.Table{
			"x-single-active-consumer": true, "x-delivery-limit": int32(deliveryLimit),
			"x-max-length-bytes": int64(probesBytes), "x-overflow": "drop-head",
		}), bound(n.probes, "#", n.probes)},
	}
	for _, g := range t.groups {
		for u := range urgencies {
			name := n.group(g, u)
			list = append(list, queueSpec{name, working(nil), bound(name, key(g, u), n.deliver)})
		}
	}
	return list
}

// declare makes what is missing. A crash in the middle leaves a part, which
// the next declare completes: nothing is published before it is through.
func (t *topology) declare(ctx context.Context, conn *amqp.Connection) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	for _, x := range []struct{ name, kind string }{
		{t.names.incidents, amqp.ExchangeTopic}, {t.names.probes, amqp.ExchangeTopic}, {t.names.deliver, amqp.ExchangeDirect},
		{t.names.updates, amqp.ExchangeFanout}, {t.names.parked, amqp.ExchangeFanout},
	} {
		if err := ch.ExchangeDeclare(x.name, x.kind, true, false, false, false, nil); err != nil {
			return refused("exchange", x.name, err)
		}
	}
	for _, q := range t.queues() {
		if ch, err = t.declareQueue(ctx, conn, ch, q); err != nil {
			return err
		}
	}
	t.declared = true
	return ch.Close()
}

// declareQueue asks first whether the queue is there: only so can it be known
// that the declaration created it. It returns the channel to go on with,
// because a no to that question closes the channel.
func (t *topology) declareQueue(ctx context.Context, conn *amqp.Connection, ch *amqp.Channel, q queueSpec) (*amqp.Channel, error) {
	_, err := ch.QueueDeclarePassive(q.name, true, false, false, false, nil)
	missing := hasCode(err, amqp.NotFound)
	if missing {
		if t.declared {
			if err := pause(ctx, mourning); err != nil {
				return nil, err
			}
		}
		if ch, err = conn.Channel(); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, refused("queue", q.name, err)
	}
	if _, err := ch.QueueDeclare(q.name, true, false, false, false, q.args); err != nil {
		return nil, refused("queue", q.name, err)
	}
	if missing {
		t.born = time.Now()
	}
	if q.bind == nil {
		return ch, nil
	}
	if err := q.bind(ch); err != nil {
		return nil, refused("queue", q.name, err)
	}
	return ch, nil
}

// ripe waits until no queue is so young that a crash of the broker could take
// it back with what it had confirmed.
func (t *topology) ripe(ctx context.Context) error {
	for {
		t.mu.Lock()
		left := t.newborn - time.Since(t.born)
		t.mu.Unlock()
		if left <= 0 {
			return nil
		}
		if pause(ctx, left) != nil {
			return errors.New("its queues have just been created")
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// finalError is one that waiting doesn't heal: at the start it is reported
// instead of tried again.
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

func refused(kind, name string, err error) error {
	switch {
	case hasCode(err, amqp.PreconditionFailed):
		return finalError{fmt.Errorf("the %s %s exists with other arguments than Tocsin needs (docs/producers.md has them): "+
			"empty and remove it, or give this engine a deployment name of its own: %w", kind, name, err)}
	case hasCode(err, amqp.AccessRefused):
		return finalError{fmt.Errorf("the broker's user may not declare the %s %s: "+
			"give it the permissions in docs/producers.md: %w", kind, name, err)}
	}
	return fmt.Errorf("the %s %s couldn't be declared: %w", kind, name, err)
}

func hasCode(err error, code int) bool {
	e, ok := errors.AsType[*amqp.Error](err)
	return ok && e.Code == code
}
