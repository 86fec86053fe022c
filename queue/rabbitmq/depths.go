package rabbitmq

import (
	"context"
	"errors"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/tocsin/tocsin/queue"
)

// Depths implements [queue.Queue]. Ready is what the broker has ready and what
// this process has received but nobody asked for yet; Held is what this process
// holds. What other workers have isn't in either: the broker doesn't tell.
// Oldest is exact while this process has unasked batches of the queue,
// otherwise a lower bound from the last one it got, or zero. Besides the groups
// there are "intake", "invalid", "parked" and "probes".
func (b *Broker) Depths(ctx context.Context) ([]queue.Depth, error) {
	c, _ := b.consuming.state()
	if c == nil {
		return nil, unavailable(errors.New("no connection to the broker"))
	}
	depths := []queue.Depth{{Queue: "intake"}, {Queue: "invalid"}, {Queue: "parked"}, {Queue: "probes"}}
	queues := []string{b.names.incidents, b.names.invalid, b.names.parked, b.names.probes}
	inboxes := []*inbox{c.existing(intake), nil, nil, c.existing(probes)}
	for _, g := range b.opts.Groups {
		for u := range urgencies {
			depths = append(depths, queue.Depth{Queue: key(g, u)})
			queues = append(queues, b.names.group(g, u))
			inboxes = append(inboxes, c.existing(g))
		}
	}
	// Only the end of the connection ends these calls, so they aren't bounded
	// by ctx: it is looked at between them.
	err := c.within(context.WithoutCancel(ctx), func() error { return c.countReady(ctx, queues, depths) })
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, unavailable(err)
	}
	for i, in := range inboxes {
		if in != nil {
			in.addTo(queues[i], &depths[i])
		}
	}
	return depths, nil
}

func (c *consumer) existing(group string) *inbox {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inboxes[group]
}

// countReady asks the broker. A queue that is missing counts as empty; it is
// declared again with the next connection.
func (c *consumer) countReady(ctx context.Context, queues []string, depths []queue.Depth) error {
	ch, err := c.conn.Channel()
	if err != nil {
		return err
	}
	for i, name := range queues {
		if err := ctx.Err(); err != nil {
			_ = ch.Close()
			return err
		}
		q, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
		if hasCode(err, amqp.NotFound) {
			if ch, err = c.conn.Channel(); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		depths[i].Ready = q.Messages
	}
	return ch.Close()
}

func (in *inbox) addTo(queueName string, d *queue.Depth) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for u := range in.levels {
		l := &in.levels[u]
		if l.queue != queueName {
			continue
		}
		var oldest time.Time
		if d.Ready > 0 {
			oldest = l.newest
		}
		mine := func(it *item) {
			d.Ready++
			if !it.published.IsZero() && (oldest.IsZero() || it.published.Before(oldest)) {
				oldest = it.published
			}
		}
		for i := range l.ready {
			mine(&l.ready[i])
		}
		for i := range in.later {
			if in.later[i].item.urgency == u {
				mine(&in.later[i].item)
			}
		}
		d.Held, d.Oldest = l.held, oldest
	}
}
