// Package rabbitmq is the queue over RabbitMQ 3.10 and later.
//
// Promise: what was confirmed is in a quorum queue on disk, and it leaves that
// only by an ack, or towards the queue of parked messages; over any loss of the
// connection or of the broker. Nothing waits without a bound for a broker that
// doesn't answer: after a few seconds it is [queue.ErrUnavailable].
//
// Words: an epoch is the life of one connection; a link keeps a connection up,
// epoch after epoch; an inbox holds what the broker gave to this process and
// nobody has asked for yet; to park is to send to the dead letters. What a
// crash leaves unacked comes again with a higher Takes.
//
// Two connections are used, because a broker under an alarm stops reading from
// those that publish: acks go over the other one. The client's own recovery
// isn't used: after it an ack could remove another message.
package rabbitmq

import (
	"context"
	"log/slog"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/tocsin/tocsin/queue"
)

var (
	_ queue.Queue  = (*Broker)(nil)
	_ queue.Intake = (*Broker)(nil)
)

// Broker is this process's side of the queues on a broker. It implements
// [queue.Queue] and [queue.Intake].
type Broker struct {
	opts        Options
	log         *slog.Logger
	names       names
	topology    *topology
	outstanding *semaphore.Weighted
	publishing  link[publisher]
	consuming   link[consumer]
	closing     sync.Once
}

// Open connects and declares what is missing. It returns once both connections
// are up, or with the reason when ctx ends first, or at once when waiting
// doesn't help: refused user, queues with other arguments, another process with
// this deployment's name. Give ctx a deadline. Once open, lost connections come
// back by themselves.
func Open(ctx context.Context, opts Options) (*Broker, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	n := namesOf(opts.Deployment)
	b := &Broker{
		opts: opts, log: opts.Logger, names: n,
		topology:    &topology{names: n, groups: opts.Groups, newborn: opts.newborn},
		outstanding: semaphore.NewWeighted(int64(max(opts.Outstanding, window))),
	}
	b.consuming = link[consumer]{name: "consume", dial: b.opts.dial, open: b.openConsumer, backoff: opts.Backoff, log: b.log}
	b.publishing = link[publisher]{name: "publish", dial: b.opts.dial, open: b.openPublisher, backoff: opts.Backoff, log: b.log}
	b.consuming.start()
	b.publishing.start()
	err = b.consuming.first(ctx)
	if err == nil {
		err = b.publishing.first(ctx)
	}
	if err != nil {
		_ = b.Close()
		return nil, err
	}
	return b, nil
}

// Connected says whether both connections are up.
func (b *Broker) Connected() bool {
	c, _ := b.consuming.state()
	p, _ := b.publishing.state()
	return c != nil && p != nil
}

// Blocked says whether the broker takes no messages because of its memory or
// disk alarm.
func (b *Broker) Blocked() bool {
	_, blocked := b.publishing.state()
	return blocked
}

// Ready waits until the queue can take and give: connected, no alarm, no queue
// too young to be trusted. When ctx ends first it returns
// [queue.ErrUnavailable] with what is missing.
func (b *Broker) Ready(ctx context.Context) error {
	if _, err := b.consuming.await(ctx); err != nil {
		return err
	}
	if _, err := b.publishing.await(ctx); err != nil {
		return err
	}
	if err := b.topology.ripe(ctx); err != nil {
		return unavailable(err)
	}
	return nil
}

// Close implements [queue.Queue]: it ends the consuming connection, then the
// publishing one, each within a few seconds, and waits for everything it
// started. Acks made before it reach the broker.
func (b *Broker) Close() error {
	b.closing.Do(func() {
		b.consuming.close()
		b.publishing.close()
	})
	return nil
}
