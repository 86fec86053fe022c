// Package queuetest is the contract suite for everything that implements
// [queue.Queue] and [queue.Intake].
//
// Promise: an implementation that passes keeps what it confirmed across a
// reopen, gives urgent work first, keeps groups apart and can be closed at any
// moment. Whatever needs a broker or a process to die is tested beside the
// implementation.
//
// Words: a fixture is one opened queue over fresh durable state; to reopen is
// what the next process does; an event is set aside when it was concluded as
// invalid.
package queuetest

import (
	"context"
	"testing"
	"time"

	"github.com/tocsin/tocsin/queue"
)

// GroupA and GroupB are the groups that a fixture has to know.
const (
	GroupA = "webhook"
	GroupB = "smtp:main"
)

// Patience bounds every wait of the suite. Nothing waits that long unless it
// is broken.
const Patience = 30 * time.Second

// Fixture is one opened queue.
type Fixture struct {
	Queue  queue.Queue
	Intake queue.Intake
	// Reopen closes the queue as the end of its process would and opens it
	// again over the same durable state. The fixture closes what it opened
	// when the test ends.
	Reopen func(t *testing.T) Fixture
	// Aside returns the events that were set aside, oldest first. It may
	// remove them.
	Aside func(t *testing.T) []Aside
	// Arrived waits until Receive could return n batches of the group at
	// once. It is called only after a first Receive of that group. Nil where
	// what is published is there at once.
	Arrived func(t *testing.T, group string, n int)
}

// Aside is an event that was concluded as invalid.
type Aside struct {
	Body                    []byte
	UpdateID, Field, Reason string
}

// Run runs the suite. open returns a fixture over fresh durable state; what it
// opens, it closes with t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	t.Run("Queue", func(t *testing.T) { runQueue(t, open) })
	t.Run("Intake", func(t *testing.T) { runIntake(t, open) })
}

func patience(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	return ctx
}

// Batch returns a batch with every field set, for n deliveries.
func Batch(id int64, group string, urgent bool, n int) *queue.Batch {
	accepted := time.UnixMilli(1_795_237_200_000 + id).UTC()
	b := &queue.Batch{
		ID: id, Incident: 7, Sequence: int(id%5) + 1, Group: group, Urgent: urgent, Verify: id%2 == 0,
		AcceptedAt: accepted, ExpiresAt: accepted.Add(time.Hour), Revision: 1000 + id,
	}
	for i := range n {
		b.Deliveries = append(b.Deliveries, queue.Delivery{
			Target: id*1000 + int64(i), Provider: "peer.example:443", Address: "https://peer.example/hook", Locale: "en",
			Format: "tocsin", Private: i%2 == 0, EveryUpdate: i%3 == 0, Failing: i%4 == 0, Attempt: i % 3, Edition: i % 5,
			Since: accepted.Add(-time.Minute), Secrets: []string{"whsec_one", "whsec_two"},
		})
	}
	return b
}

func publish(t *testing.T, q queue.Queue, batches ...*queue.Batch) {
	t.Helper()
	if err := q.Publish(patience(t), batches); err != nil {
		t.Fatalf("publish: %v", err)
	}
}

// receive receives until n batches of the group are there, none of them twice.
func receive(t *testing.T, q queue.Queue, group string, n int) []*queue.Lease {
	t.Helper()
	ctx := patience(t)
	var got []*queue.Lease
	seen := map[int64]bool{}
	for len(got) < n {
		leases, err := q.Receive(ctx, group, n-len(got))
		if err != nil {
			t.Fatalf("receive of %s after %d of %d batches: %v", group, len(got), n, err)
		}
		if len(leases) == 0 || len(leases) > n-len(got) {
			t.Fatalf("receive of %s gave %d batches, want 1 to %d", group, len(leases), n-len(got))
		}
		for _, l := range leases {
			if l.Group != group {
				t.Fatalf("batch %d of group %s was received from %s", l.ID, l.Group, group)
			}
			if seen[l.ID] {
				t.Fatalf("batch %d was received twice", l.ID)
			}
			seen[l.ID] = true
			if l.ReceivedAt.IsZero() {
				t.Fatalf("batch %d has no ReceivedAt", l.ID)
			}
		}
		got = append(got, leases...)
	}
	return got
}

func ids(leases []*queue.Lease) []int64 {
	list := make([]int64, len(leases))
	for i, l := range leases {
		list[i] = l.ID
	}
	return list
}

// nothingLeft checks that the group has nothing before what is published now.
func nothingLeft(t *testing.T, q queue.Queue, group string) {
	t.Helper()
	last := time.Now().UnixMicro() // grows, as ids do
	publish(t, q, Batch(last, group, false, 1))
	got := receive(t, q, group, 1)
	if got[0].ID != last {
		t.Fatalf("batch %d of %s came although it was settled", got[0].ID, group)
	}
	q.Ack(got)
}

// eventually asks again until holds, for what another process counts.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx := patience(t)
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("never came true: %s", what)
		case <-again.C:
		}
	}
}
