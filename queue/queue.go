// Package queue is the port between planning and sending: it carries batches
// to workers and events to the acceptor.
//
// Promise: what Publish returned for without an error is received at least
// once, by someone, until it is acked, across the death of any process and a
// restart of the broker. Nothing here promises order across groups, or that a
// batch is received only once: claiming in the ledger settles that.
//
// Words: a batch is up to [MaxDeliveries] deliveries of one update for one
// group; a group is what shares a queue (one named provider, or a pool of
// providers); a lease is a received batch that is not acked yet.
package queue

import (
	"context"
	"errors"
	"time"
)

// MaxDeliveries is the largest number of deliveries in a batch.
const MaxDeliveries = 100

// MaxEventBytes bounds the body of an intake message.
const MaxEventBytes = 1 << 20

// ErrUnavailable is returned (wrapped) when the queue can't take or give
// anything now: broker down, alarm, disk full, no confirm in time. The caller
// keeps what it has and tries again later; over HTTP it becomes 503.
var ErrUnavailable = errors.New("the queue is not available now")

// ErrClosed is returned (wrapped) after Close.
var ErrClosed = errors.New("the queue is closed")

// Batch is the unit of work: deliveries of one update for one group.
type Batch struct {
	// ID is unique over the deployment and grows with time.
	ID int64
	// Incident and Sequence name the update by the store's key.
	Incident int64
	Sequence int
	// Group names the queue, as in "webhook" or "smtp:main".
	Group  string
	Urgent bool
	// Verify asks the claim to check every row: set for batches that retry or
	// replace, whose rows may have moved on.
	Verify     bool
	AcceptedAt time.Time // of the update
	ExpiresAt  time.Time // of the update
	// Revision is the store's target revision that the deliveries were read
	// at: a claim asks only for targets that changed after it.
	Revision   int64
	Deliveries []Delivery
}

// Delivery is one notification that has to reach one target, with all that
// sending needs, so that a worker asks the store for nothing per target.
type Delivery struct {
	Target   int64
	Provider string
	Address  string
	Locale   string
	Format   string
	// Private is true for targets whose visibility is private.
	Private     bool
	EveryUpdate bool
	// Failing is true when the target's last update ended without success, so
	// that a success has something to reset.
	Failing bool
	// Attempt counts the attempts already made.
	Attempt int
	// Edition counts how often it was sent again under another idempotency key.
	Edition int
	// Since is when this (incident, target) first began waiting.
	Since   time.Time
	Secrets []string
}

// Lease is a batch in the hands of this process.
type Lease struct {
	*Batch
	// Takes counts how often the batch was received, this time included; 0
	// where the queue can't tell.
	Takes int
	// Claimed is true where the lease is the claim (the embedded queue), so
	// that the ledger needs no compare-and-set.
	Claimed bool
	// ReceivedAt is when this process got it; a batch is settled within two
	// minutes of it.
	ReceivedAt time.Time
	// Tag belongs to the adapter.
	Tag any
}

// Depth is the size of one queue: ready and held work.
type Depth struct {
	// Queue is a bounded name: "intake", "webhook.urgent", "smtp:main.normal".
	Queue string
	// Ready and Held count batches (events for intake).
	Ready, Held int
	// Oldest is when the oldest ready entry was published; zero if unknown or
	// none.
	Oldest time.Time
}

// Queue carries batches. Implementations are safe for concurrent use.
type Queue interface {
	// Publish makes the batches durable in the queues of their groups and
	// returns once all are. On an error some may have been published:
	// publishing them again is always safe.
	Publish(ctx context.Context, batches []*Batch) error

	// Receive waits until a batch of the group is there and returns up to max
	// of them, urgent ones first, oldest first. It returns ctx's error when
	// ctx ends, [ErrUnavailable] (after which the caller may call again; the
	// adapter paces itself) or [ErrClosed]. At most one Receive per group
	// runs at a time.
	Receive(ctx context.Context, group string, max int) ([]*Lease, error)

	// Ack ends leases whose deliveries are all settled and committed. A lease
	// of an earlier connection is dropped without effect: its batch comes
	// again and is recognised by its claim. Ack after a crash never happened
	// is harmless.
	Ack(leases []*Lease)

	// Return gives leases back unprocessed, to be received again later, as
	// when another worker holds the claim.
	Return(leases []*Lease)

	// Depths reports every queue.
	Depths(ctx context.Context) ([]Depth, error)

	// Close stops receiving and closes connections. Leases not acked come
	// again, elsewhere or after a restart.
	Close() error
}

// Event is one message on its way to the acceptor.
type Event struct {
	// Body is the native JSON event of package incident.
	Body []byte
	// UpdateID is the default idempotency key: the AMQP message-id, or what
	// the HTTP intake generated; it is used when the body names none.
	UpdateID string
	// ReceivedAt is when the event became durable here.
	ReceivedAt time.Time
	// Source is "amqp" or "http" for an event, else the kind of sender that made it, as
	// "alerts" or "manual".
	Source string
	// Sender is the producer that published it, as "token 1", "source monitor", "user
	// status-page" or "amqp": never an address. It is "" for what the engine itself
	// decided, of which the audit log has an entry already.
	Sender string
	// Tag belongs to the adapter.
	Tag any
}

// Verdict is the answer to a producer about one event.
type Verdict struct {
	// Field and Reason say why the event was refused; both are empty when it
	// was accepted.
	Field, Reason string
	// Result is "accepted", "duplicate", "stale" or "invalid".
	Result string
	// IncidentID, UpdateID and Sequence name what came of it, where known.
	IncidentID, UpdateID string
	Sequence             int
}

// Intake carries events to the one acceptor, in order.
type Intake interface {
	// Offer makes an event durable and returns once it is; [ErrUnavailable]
	// when it can't.
	Offer(ctx context.Context, e *Event) error

	// Take waits for events and returns up to max of them, oldest first. Only
	// one process at a time takes from an intake queue.
	Take(ctx context.Context, max int) ([]*Event, error)

	// Conclude ends the handling of events after what came of them is
	// committed: accepted, duplicate and stale ones are removed, invalid ones
	// moved aside (kept for the operator) with the reason. Where the producer
	// asked for a reply it gets the verdict. len(verdicts) == len(events).
	Conclude(ctx context.Context, events []*Event, verdicts []Verdict) error
}
