package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/config"
	"github.com/tocsin/tocsin/internal/probing"
	"github.com/tocsin/tocsin/internal/senders"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
	"github.com/tocsin/tocsin/queue"
	"github.com/tocsin/tocsin/queue/rabbitmq"
	queuesqlite "github.com/tocsin/tocsin/queue/sqlite"
)

// queues is the queue and the intake in use, and what readiness asks of them.
type queues struct {
	queue.Queue
	queue.Intake
	name      string
	ready     func(context.Context) error
	connected func() bool
	probes    probing.Feed // nil for the embedded queue
}

// openQueue opens the embedded queue or the broker's.
func openQueue(ctx context.Context, cfg *config.Config, groups []string, db *sqlitedb.DB, log *slog.Logger) (*queues, error) {
	if cfg.Queue == config.Embedded {
		q, err := queuesqlite.New(ctx, db, queuesqlite.Options{Log: log})
		if err != nil {
			return nil, unavailableError(err)
		}
		return &queues{
			Queue: q, Intake: q, name: config.Embedded,
			ready: func(context.Context) error { return nil }, connected: func() bool { return true },
		}, nil
	}
	patience, cancel := context.WithTimeout(ctx, brokerPatience)
	defer cancel()
	b, err := rabbitmq.Open(patience, rabbitmq.Options{
		URL: cfg.Queue, Deployment: cfg.Deployment, Groups: groups, Exclusive: true, Logger: log, Unwrap: unwrap,
	})
	if err != nil {
		return nil, unavailableError(err)
	}
	ready := func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, readyPatience)
		defer cancel()
		return b.Ready(ctx)
	}
	return &queues{Queue: b, Intake: b, name: "rabbitmq", ready: ready, connected: b.Connected, probes: b}, nil
}

// unwrap makes an event of a CloudEvent, as [rabbitmq.Options] has it.
func unwrap(e *queue.Event, contentType string, attributes map[string]string) *queue.Verdict {
	native, err := senders.MessageCloudEvent(contentType, attributes, e.Body)
	if err == nil {
		e.Body, err = incident.Encode(native)
		e.UpdateID = native.UpdateID
	}
	if err == nil {
		return nil
	}
	verdict := &queue.Verdict{Result: "invalid", Reason: err.Error()}
	if invalid, ok := errors.AsType[*incident.Invalid](err); ok {
		verdict.Field, verdict.Reason = invalid.Field, invalid.Reason
	}
	return verdict
}

// Offer implements [gateway.Intake]. A full disk is not a queue that will be
// there again soon.
func (q *queues) Offer(ctx context.Context, e *queue.Event) error {
	err := q.Intake.Offer(ctx, e)
	if errors.Is(err, sqlitedb.ErrFull) {
		err = fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return err
}

// measure measures the queues, in bounded time.
func (q *queues) measure(ctx context.Context) ([]queue.Depth, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return q.Depths(ctx)
}
