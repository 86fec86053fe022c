package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/testenv"
	"github.com/tocsin/tocsin/queue"
	"github.com/tocsin/tocsin/queue/queuetest"
)

// One broker for all that harms it, because a start takes seconds. The subtests
// build on each other.
func TestBrokerInTrouble(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a broker of its own")
	}
	broker, err := testenv.StartRabbitMQ(t.Context(), testenv.Options{Heartbeat: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	})
	o := testOptions(t, broker.URL())
	o.newborn = 0 // the real one: the broker is killed soon
	o.Backoff = func(int) time.Duration { return 200 * time.Millisecond }
	b := open(t, o)

	t.Run("the documented permissions suffice", func(t *testing.T) { testPermissions(t, broker, o) })
	t.Run("nothing confirmed is lost by SIGKILL", func(t *testing.T) { testKill(t, broker, b) })
	t.Run("an alarm is unavailability, and passes", func(t *testing.T) { testAlarm(t, broker, b) })
	t.Run("a graceful restart is survived", func(t *testing.T) {
		if err := broker.StopGraceful(patience(t)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the connections are gone", func() bool { return !b.Connected() })
		if err := broker.Start(patience(t)); err != nil {
			t.Fatal(err)
		}
		if err := b.Ready(patience(t)); err != nil {
			t.Fatal(err)
		}
		publish(t, b, queuetest.Batch(1, queuetest.GroupB, true, 1))
	})
}

// testKill kills the broker while batches and events are published, and while
// some are held, and then looks for every one that was confirmed.
func testKill(t *testing.T, broker *testenv.RabbitMQ, b *Broker) {
	ctx, stop := context.WithCancel(patience(t))
	defer stop()
	var mu sync.Mutex
	batches, events := map[int64]bool{}, map[string]bool{} // confirmed and not yet seen
	enough := make(chan struct{})
	var publishers sync.WaitGroup
	for p := range int64(4) {
		publishers.Go(func() {
			for id := p * 1_000_000; ctx.Err() == nil; id += 3 {
				err := b.Publish(ctx, []*queue.Batch{
					queuetest.Batch(id+1, queuetest.GroupA, true, 5), queuetest.Batch(id+2, queuetest.GroupA, false, 5),
					queuetest.Batch(id+3, queuetest.GroupA, id%2 == 0, 5),
				})
				update := fmt.Sprint(id)
				errEvent := b.Offer(ctx, &queue.Event{Body: []byte("{}"), UpdateID: update, Source: "http"})
				mu.Lock()
				if err == nil {
					batches[id+1], batches[id+2], batches[id+3] = true, true, true
				}
				if errEvent == nil {
					events[update] = true
				}
				if len(batches) >= 300 && len(events) >= 100 && enough != nil {
					close(enough)
					enough = nil
				}
				mu.Unlock()
				for _, err := range []error{err, errEvent} {
					if err != nil && !errors.Is(err, queue.ErrUnavailable) {
						t.Errorf("publishing into the crash: %v", err)
					}
				}
			}
		})
	}
	mu.Lock()
	reached := enough
	mu.Unlock()
	held := []*queue.Lease{receive(t, b), receive(t, b)}
	select {
	case <-reached:
	case <-ctx.Done():
		t.Fatal("too little was confirmed")
	}
	if err := broker.Kill(); err != nil { // in the middle of publishing
		t.Fatal(err)
	}
	eventually(t, "the connections are gone", func() bool { return !b.Connected() })
	stop()
	publishers.Wait()
	if err := broker.Start(patience(t)); err != nil {
		t.Fatal(err)
	}
	b.Ack(held) // of the epoch that the crash ended: must remove nothing
	t.Logf("%d batches and %d events were confirmed", len(batches), len(events))
	for len(batches) > 0 {
		l := receive(t, b)
		delete(batches, l.ID)
		b.Ack([]*queue.Lease{l})
	}
	for len(events) > 0 {
		for _, e := range takeAll(t, b, 1) {
			delete(events, e.UpdateID)
			if err := b.Conclude(patience(t), []*queue.Event{e}, []queue.Verdict{{Result: "accepted"}}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func testAlarm(t *testing.T, broker *testenv.RabbitMQ, b *Broker) {
	if err := b.Ready(patience(t)); err != nil {
		t.Fatal(err)
	}
	o := b.opts
	o.PublishTimeout = 200 * time.Millisecond
	hasty := open(t, o)
	publish(t, b, queuetest.Batch(1, queuetest.GroupB, true, 1), queuetest.Batch(2, queuetest.GroupB, true, 1))
	leases, err := hasty.Receive(patience(t), queuetest.GroupB, 1)
	if err != nil {
		t.Fatal(err)
	}
	watermark := func(args ...string) {
		t.Helper()
		if _, err := broker.Ctl(patience(t), append([]string{"set_vm_memory_high_watermark"}, args...)...); err != nil {
			t.Fatal(err)
		}
	}
	watermark("absolute", "1MB")
	// The first publish makes the broker block the connection; all of them end.
	batch := []*queue.Batch{queuetest.Batch(3, queuetest.GroupB, false, 1)}
	eventually(t, "publishing is unavailable", func() bool {
		err := hasty.Publish(patience(t), batch)
		if err != nil && !errors.Is(err, queue.ErrUnavailable) {
			t.Fatal(err)
		}
		return err != nil && hasty.Blocked()
	})
	for range 3 {
		if err := hasty.Offer(patience(t), &queue.Event{Body: []byte("{}")}); !errors.Is(err, queue.ErrUnavailable) {
			t.Fatalf("offer under the alarm got %v, want ErrUnavailable", err)
		}
	}
	if !hasty.Connected() {
		t.Error("the alarm cost the connection")
	}
	// The other connection goes on: work is received and acked.
	hasty.Ack(leases)
	more, err := hasty.Receive(patience(t), queuetest.GroupB, 1)
	if err != nil {
		t.Fatal(err)
	}
	hasty.Ack(more)
	soon, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := hasty.Ready(soon); !errors.Is(err, queue.ErrUnavailable) {
		t.Errorf("ready under the alarm: got %v", err)
	}

	watermark("0.4")
	if err := hasty.Ready(patience(t)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a batch is confirmed within the short time for it", func() bool {
		return hasty.Publish(patience(t), []*queue.Batch{queuetest.Batch(4, queuetest.GroupB, true, 1)}) == nil
	})
	for {
		leases, err := hasty.Receive(patience(t), queuetest.GroupB, 10)
		if err != nil {
			t.Fatal(err)
		}
		hasty.Ack(leases)
		for _, l := range leases {
			if l.ID == 4 {
				return
			}
		}
	}
}
