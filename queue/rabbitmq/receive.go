package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/tocsin/tocsin/queue"
)

// consumer is the session of the consuming connection.
type consumer struct {
	*epoch
	mu      sync.Mutex
	inboxes map[string]*inbox // by group, or one of the two below
}

// What is taken besides groups, in their place; no group can have these names.
const (
	intake = ""
	probes = "\x00probes"
)

func (b *Broker) openConsumer(ctx context.Context, e *epoch) (*consumer, error) {
	if b.opts.Exclusive {
		if err := b.own(ctx, e); err != nil {
			return nil, err
		}
	}
	if err := b.topology.declare(ctx, e.conn); err != nil {
		return nil, err
	}
	return &consumer{epoch: e, inboxes: map[string]*inbox{}}, nil
}

// own takes the queue that only one connection can hold, as long as that
// lives. It waits a little for the one of a process that has just died.
func (b *Broker) own(ctx context.Context, e *epoch) error {
	ctx, cancel := context.WithTimeout(ctx, b.opts.OwnerPatience)
	defer cancel()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		ch, err := e.conn.Channel()
		if err != nil {
			return err
		}
		_, err = ch.QueueDeclare(b.names.owner, false, false, true, false, nil)
		if err == nil {
			return nil // the channel stays open with the connection
		}
		if !hasCode(err, amqp.ResourceLocked) {
			return refused("queue", b.names.owner, err)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return finalError{fmt.Errorf("another process works as deployment %q on this broker and holds the queue %s: "+
				"stop it, or give this engine another deployment name: %w", b.opts.Deployment, b.names.owner, err)}
		}
	}
}

// inbox returns the group's inbox, starting to consume the first time.
func (c *consumer) inbox(o *Options, n names, group string) (*inbox, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if in := c.inboxes[group]; in != nil {
		return in, nil
	}
	queues, prefetch := []string{n.incidents}, o.IntakePrefetch
	switch group {
	case intake:
	case probes:
		queues[0] = n.probes
	default:
		queues, prefetch = []string{n.group(group, urgent), n.group(group, normal)}, o.Prefetch
	}
	var in *inbox
	// Not bounded by the caller's context, whose end would cut the connection.
	err := c.within(context.Background(), func() (err error) {
		in, err = c.openInbox(queues, prefetch, o.ReturnAfter)
		return err
	})
	if err != nil {
		// Right after its boot the broker may refuse (541): the next epoch, after
		// the backoff, tries again.
		c.fail(fmt.Errorf("couldn't consume from %s: %w", queues[0], err))
		return nil, c.err
	}
	c.inboxes[group] = in
	return in, nil
}

// takeFrom waits for items of a group over as many epochs as it takes. While
// there is no connection it says so after PublishTimeout.
func (b *Broker) takeFrom(ctx context.Context, group string, limit int) ([]*handle, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		bounded, cancel := context.WithTimeout(ctx, b.opts.PublishTimeout)
		c, err := b.consuming.await(bounded)
		cancel()
		if ctx.Err() != nil && !errors.Is(err, queue.ErrClosed) {
			return nil, ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		in, err := c.inbox(&b.opts, b.names, group)
		if err != nil {
			return nil, b.consuming.failed(err)
		}
		handles, err := in.take(ctx, limit)
		if err == nil {
			return handles, nil
		}
	}
}

// Receive implements [queue.Queue]. The first call for a group begins to
// consume from its two queues.
func (b *Broker) Receive(ctx context.Context, group string, limit int) ([]*queue.Lease, error) {
	if err := b.known(group); err != nil {
		return nil, err
	}
	for {
		handles, err := b.takeFrom(ctx, group, limit)
		if err != nil {
			return nil, err
		}
		leases := make([]*queue.Lease, 0, len(handles))
		now := time.Now()
		for _, h := range handles {
			batch, err := queue.ParseBatch(h.item.body)
			if err == nil && batch.Group != group {
				err = fmt.Errorf("it is for the group %q", batch.Group)
			}
			if err != nil {
				b.log.Error("a message that is no batch for this build was parked: look at it there, and publish it again once it can be read",
					"queue", h.in.levels[h.item.urgency].queue, "parked", b.names.parked, "message_id", h.item.messageID, "error", err)
				h.park()
				continue
			}
			leases = append(leases, &queue.Lease{Batch: batch, Takes: h.item.takes, ReceivedAt: now, Tag: h})
		}
		if len(leases) > 0 {
			return leases, nil
		}
	}
}

// Ack implements [queue.Queue].
func (b *Broker) Ack(leases []*queue.Lease) {
	for _, l := range leases {
		if h, ok := l.Tag.(*handle); ok {
			h.ack()
		}
	}
}

// Return implements [queue.Queue]: the batch is offered again to this process
// after Options.ReturnAfter, with the same Takes. The broker isn't told, so a
// return never counts towards the delivery limit; if this process dies, the
// batch comes again like any other.
func (b *Broker) Return(leases []*queue.Lease) {
	for _, l := range leases {
		if h, ok := l.Tag.(*handle); ok {
			h.offerLater()
		}
	}
}
