package simulate

import (
	"context"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/queue"
)

// ledger is the store as a process reaches it.
type ledger struct {
	dispatcher.Ledger
	p *process
}

// ask is call for methods with an answer.
func ask[T any](ctx context.Context, p *process, kind string, f func() (T, error)) (answer T, err error) {
	var got T
	err = p.call(ctx, kind, func() (err error) {
		got, err = f()
		return err
	})
	if err != nil {
		return answer, err
	}
	return got, nil
}

func (l *ledger) Register(ctx context.Context, worker string, now time.Time) (int64, error) {
	return ask(ctx, l.p, "register", func() (int64, error) { return l.Ledger.Register(ctx, worker, now) })
}

func (l *ledger) Accept(ctx context.Context, a []*dispatcher.Arrival, d dispatcher.DecideFunc) ([]dispatcher.Acceptance, error) {
	return ask(ctx, l.p, "accept", func() ([]dispatcher.Acceptance, error) { return l.Ledger.Accept(ctx, a, d) })
}

func (l *ledger) Unplanned(ctx context.Context, limit int) ([]*dispatcher.Plan, error) {
	return ask(ctx, l.p, "unplanned", func() ([]*dispatcher.Plan, error) { return l.Ledger.Unplanned(ctx, limit) })
}

func (l *ledger) Audience(ctx context.Context, p *dispatcher.Plan, limit int) (*dispatcher.AudiencePage, error) {
	return ask(ctx, l.p, "audience", func() (*dispatcher.AudiencePage, error) { return l.Ledger.Audience(ctx, p, limit) })
}

func (l *ledger) CommitPage(ctx context.Context, p *dispatcher.Plan, page *dispatcher.PlannedPage) error {
	return l.p.call(ctx, "commit page", func() error { return l.Ledger.CommitPage(ctx, p, page) })
}

func (l *ledger) Published(ctx context.Context, ids []int64, now time.Time) error {
	return l.p.call(ctx, "published", func() error { return l.Ledger.Published(ctx, ids, now) })
}

func (l *ledger) Claim(ctx context.Context, epoch int64, until time.Time, r []dispatcher.ClaimRequest) ([]dispatcher.ClaimAnswer, error) {
	return ask(ctx, l.p, "claim", func() ([]dispatcher.ClaimAnswer, error) { return l.Ledger.Claim(ctx, epoch, until, r) })
}

func (l *ledger) NoteStart(ctx context.Context, row dispatcher.Row, starts int) error {
	return l.p.call(ctx, "note start", func() error { return l.Ledger.NoteStart(ctx, row, starts) })
}

func (l *ledger) Content(ctx context.Context, incident int64, sequence int) (*channels.Update, error) {
	return ask(ctx, l.p, "content", func() (*channels.Update, error) { return l.Ledger.Content(ctx, incident, sequence) })
}

func (l *ledger) Settle(ctx context.Context, rows []dispatcher.Settlement, finished []int64) error {
	return l.p.call(ctx, "settle", func() error {
		err := l.Ledger.Settle(ctx, rows, finished)
		if err == nil {
			l.p.w.peers.committed(rows)
		}
		return err
	})
}

func (l *ledger) Counted(ctx context.Context, since time.Time) ([]dispatcher.HourCount, error) {
	return ask(ctx, l.p, "counted", func() ([]dispatcher.HourCount, error) { return l.Ledger.Counted(ctx, since) })
}

func (l *ledger) Due(ctx context.Context, now time.Time, limit int) ([]dispatcher.DueRow, error) {
	return ask(ctx, l.p, "due", func() ([]dispatcher.DueRow, error) { return l.Ledger.Due(ctx, now, limit) })
}

func (l *ledger) Rebatch(ctx context.Context, now time.Time, b []*queue.Batch, p []dispatcher.Postponement, c []dispatcher.Settlement) error {
	return l.p.call(ctx, "rebatch", func() error { return l.Ledger.Rebatch(ctx, now, b, p, c) })
}

func (l *ledger) Lapsed(ctx context.Context, now, unpublished, unclaimed time.Time, limit int) ([]dispatcher.LapsedBatch, error) {
	return ask(ctx, l.p, "lapsed", func() ([]dispatcher.LapsedBatch, error) {
		return l.Ledger.Lapsed(ctx, now, unpublished, unclaimed, limit)
	})
}

func (l *ledger) Replace(ctx context.Context, old dispatcher.LapsedBatch, id int64, now time.Time) (*queue.Batch, error) {
	return ask(ctx, l.p, "replace", func() (*queue.Batch, error) { return l.Ledger.Replace(ctx, old, id, now) })
}

func (l *ledger) Expire(ctx context.Context, now time.Time) (closed map[string]int, more bool, err error) {
	err = l.p.call(ctx, "expire", func() (err error) {
		closed, more, err = l.Ledger.Expire(ctx, now)
		return err
	})
	return closed, more, err
}

func (l *ledger) Stop(ctx context.Context, incident int64, now time.Time, asked ...dispatcher.Asked) (upTo int, closed map[string]int, err error) {
	err = l.p.call(ctx, "stop", func() (err error) {
		upTo, closed, err = l.Ledger.Stop(ctx, incident, now, asked...)
		return err
	})
	return upTo, closed, err
}

func (l *ledger) Paused(ctx context.Context) ([]string, error) {
	return ask(ctx, l.p, "paused", func() ([]string, error) { return l.Ledger.Paused(ctx) })
}

func (l *ledger) SetPaused(ctx context.Context, provider string, paused bool, asked ...dispatcher.Asked) error {
	return l.p.call(ctx, "set paused", func() error { return l.Ledger.SetPaused(ctx, provider, paused, asked...) })
}

// Backlog and callbacks are for metrics and producers: no delivery depends on them.
func (l *ledger) Backlog(context.Context, time.Time) (b dispatcher.Backlog, err error) { return b, nil }

// Complete finds nothing.
func (l *ledger) Complete(context.Context, time.Time) (int, error) { return 0, nil }

// DueCallbacks are none.
func (l *ledger) DueCallbacks(context.Context, time.Time, int) ([]*dispatcher.Callback, error) {
	return nil, nil
}

// line is the queue as a process reaches it.
type line struct {
	queues
	p *process
}

func (l *line) Publish(ctx context.Context, batches []*queue.Batch) error {
	return l.p.call(ctx, "queue.publish", func() error { return l.queues.Publish(ctx, batches) })
}

// Receive takes its time only once something is there.
func (l *line) Receive(ctx context.Context, group string, most int) ([]*queue.Lease, error) {
	leases, err := l.queues.Receive(ctx, group, most)
	if err == nil {
		err = l.p.call(ctx, "queue.receive "+group, func() error { return nil })
		if err != nil && !l.p.isDead() {
			l.queues.Return(leases)
		}
	} else if ctx.Err() == nil && !l.p.isDead() {
		_ = l.p.spend(ctx, time.Second) // the adapter paces itself
	}
	if err != nil {
		return nil, err
	}
	for _, lease := range leases {
		lease.ReceivedAt = l.p.w.clock.now()
	}
	return leases, nil
}

func (l *line) Ack(leases []*queue.Lease) {
	if !l.p.isDead() {
		l.queues.Ack(leases)
	}
}

func (l *line) Return(leases []*queue.Lease) {
	if !l.p.isDead() {
		l.queues.Return(leases)
	}
}

func (l *line) Depths(ctx context.Context) ([]queue.Depth, error) {
	return ask(ctx, l.p, "queue.depths", func() ([]queue.Depth, error) { return l.queues.Depths(ctx) })
}

func (l *line) Take(ctx context.Context, most int) ([]*queue.Event, error) {
	events, err := l.queues.Take(ctx, most)
	if err == nil {
		if err = l.p.spend(ctx, l.p.draw("queue.take").before); err != nil {
			return nil, err
		}
	} else if ctx.Err() == nil && !l.p.isDead() {
		_ = l.p.spend(ctx, time.Second)
	}
	return events, err
}

func (l *line) Conclude(ctx context.Context, e []*queue.Event, v []queue.Verdict) error {
	return l.p.call(ctx, "queue.conclude", func() error { return l.queues.Conclude(ctx, e, v) })
}

// channel is the peers as a process reaches them.
type channel struct{ p *process }

func (c *channel) Render(u *channels.Update, _ channels.Variant) (channels.Payload, error) {
	return u, nil
}

func (c *channel) Close() error { return nil }

func (c *channel) Send(ctx context.Context, m *channels.Message) channels.Result {
	if c.p.isDead() {
		return channels.Result{Class: channels.NotSent}
	}
	return c.p.w.peers.send(ctx, c.p, m)
}
