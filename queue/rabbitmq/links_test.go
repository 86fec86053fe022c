package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/testenv"
	"github.com/tocsin/tocsin/queue"
	"github.com/tocsin/tocsin/queue/queuetest"
)

func publish(t *testing.T, b *Broker, batches ...*queue.Batch) {
	t.Helper()
	if err := b.Publish(patience(t), batches); err != nil {
		t.Fatal(err)
	}
}

// receive waits for the next batch of GroupA, over lost connections too.
func receive(t *testing.T, b *Broker) *queue.Lease {
	t.Helper()
	ctx := patience(t)
	for {
		leases, err := b.Receive(ctx, queuetest.GroupA, 1)
		if err == nil {
			return leases[0]
		}
		if !errors.Is(err, queue.ErrUnavailable) {
			t.Fatal(err)
		}
	}
}

func TestCutLinkReconnectsAndStaleAcksAreHarmless(t *testing.T) {
	p, url := testenv.NewProxy(t, testenv.Vhost(t))
	b := open(t, testOptions(t, url))
	publish(t, b, queuetest.Batch(1, queuetest.GroupA, true, 1), queuetest.Batch(2, queuetest.GroupA, true, 1))
	stale := []*queue.Lease{receive(t, b), receive(t, b)}

	p.Cut()
	// Both come again although they are held; their takes say so.
	again := []*queue.Lease{receive(t, b), receive(t, b)}
	for i, l := range again {
		if l.ID != stale[i].ID || l.Takes != 2 {
			t.Errorf("batch %d came in take %d, want batch %d in take 2", l.ID, l.Takes, stale[i].ID)
		}
	}
	b.Ack(stale) // same tags, other epoch: must remove nothing
	b.Return(stale)
	b.Ack(again[:1])

	if err := b.Close(); err != nil { // in order: the ack gets there
		t.Error(err)
	}
	if l := receive(t, open(t, testOptions(t, url))); l.ID != again[1].ID || l.Takes != 3 {
		t.Errorf("batch %d came in take %d, want batch %d in take 3", l.ID, l.Takes, again[1].ID)
	}
}

func TestReceiveOutlivesTheLink(t *testing.T) {
	p, url := testenv.NewProxy(t, testenv.Vhost(t))
	o := testOptions(t, url)
	b := open(t, o)
	got := make(chan *queue.Lease)
	go func() {
		defer close(got)
		for {
			leases, err := b.Receive(t.Context(), queuetest.GroupA, 1)
			switch {
			case err == nil:
				got <- leases[0]
				return
			case !errors.Is(err, queue.ErrUnavailable):
				t.Error(err)
				return
			}
		}
	}()
	for range 3 {
		p.Cut()
		if err := b.Ready(patience(t)); err != nil {
			t.Fatal(err)
		}
	}
	ctx := patience(t)
	for b.Publish(ctx, []*queue.Batch{queuetest.Batch(1, queuetest.GroupA, false, 1)}) != nil {
		if ctx.Err() != nil {
			t.Fatal(ctx.Err())
		}
	}
	if l := <-got; l == nil || l.ID != 1 {
		t.Errorf("got %v", l)
	}
}

// Given up after one silent heartbeat: the client would wait for three.
func TestFault_06_BrokerBlackHoled(t *testing.T) {
	p, url := testenv.NewProxy(t, testenv.Vhost(t))
	o := testOptions(t, url)
	o.PublishTimeout, o.Heartbeat = 50*time.Millisecond, time.Second
	b := open(t, o)
	p.Freeze()
	err := b.Publish(patience(t), []*queue.Batch{queuetest.Batch(1, queuetest.GroupA, false, 1)})
	if !errors.Is(err, queue.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("publish got %v, want ErrUnavailable and no end of the caller's context", err)
	}
	eventually(t, "the silent connections are given up", func() bool { return !b.Connected() })
	eventually(t, "the silence is why", func() bool {
		soon, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		return strings.Contains(fmt.Sprint(b.Ready(soon)), "nothing was heard of the broker")
	})
	if _, err := b.Receive(patience(t), queuetest.GroupA, 1); !errors.Is(err, queue.ErrUnavailable) {
		t.Errorf("receive got %v, want ErrUnavailable", err)
	}
	if _, err := b.Depths(patience(t)); !errors.Is(err, queue.ErrUnavailable) {
		t.Errorf("depths got %v, want ErrUnavailable", err)
	}
	p.Thaw()
	if err := b.Ready(patience(t)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the batch is confirmed within the short time for it", func() bool {
		return b.Publish(t.Context(), []*queue.Batch{queuetest.Batch(2, queuetest.GroupA, true, 1)}) == nil
	})
	for receive(t, b).ID != 2 { // 1 may have got through or not
	}
}

func TestCloseIsBoundedWhileFrozen(t *testing.T) {
	p, url := testenv.NewProxy(t, testenv.Vhost(t))
	b := open(t, testOptions(t, url))
	p.Freeze()
	if err := b.Close(); err != nil { // the test's own deadline says when it hangs
		t.Error(err)
	}
	if err := b.Publish(t.Context(), []*queue.Batch{queuetest.Batch(1, queuetest.GroupA, false, 1)}); !errors.Is(err, queue.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

func TestNewbornQueuesAreNotTrusted(t *testing.T) {
	o := testOptions(t, testenv.Vhost(t))
	o.newborn, o.PublishTimeout = time.Hour, 50*time.Millisecond
	batch := []*queue.Batch{queuetest.Batch(1, queuetest.GroupA, false, 1)}

	created := open(t, o)
	if err := created.Publish(patience(t), batch); !errors.Is(err, queue.ErrUnavailable) || !strings.Contains(err.Error(), "just been created") {
		t.Errorf("publish to a newborn queue got %v, want ErrUnavailable", err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := created.Ready(soon); !errors.Is(err, queue.ErrUnavailable) {
		t.Errorf("ready with newborn queues: got %v", err)
	}
	// A process that finds the queues there needn't wait. A slow disk may.
	o.PublishTimeout = queuetest.Patience
	if err := open(t, o).Publish(patience(t), batch); err != nil {
		t.Error(err)
	}

	short := testOptions(t, testenv.Vhost(t))
	short.newborn = 200 * time.Millisecond
	began := time.Now()
	b := open(t, short)
	if err := b.Publish(patience(t), batch); err != nil {
		t.Fatal(err)
	}
	if age := time.Since(began); age < short.newborn {
		t.Errorf("the confirm came when the queue was at most %v old, want %v", age, short.newborn)
	}
}

func TestDeletedQueueIsNoticedAndDeclaredAgain(t *testing.T) {
	url := testenv.Vhost(t)
	b := open(t, testOptions(t, url))
	ch := peer(t, url)
	name := b.names.group(queuetest.GroupA, urgent)
	if _, err := ch.QueueDelete(name, false, false, false); err != nil {
		t.Fatal(err)
	}
	batch := queuetest.Batch(1, queuetest.GroupA, true, 1)
	err := b.Publish(patience(t), []*queue.Batch{batch})
	if !errors.Is(err, queue.ErrUnavailable) || !strings.Contains(err.Error(), `"webhook.urgent"`) {
		t.Fatalf("publish to a deleted queue got %v, want an error that names it", err)
	}
	publish(t, b, batch)
	if l := receive(t, b); l.ID != 1 {
		t.Errorf("got batch %d", l.ID)
	}
	// And under a consumer.
	if _, err := ch.QueueDelete(name, false, false, false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the queue is there again", func() bool {
		return b.Publish(t.Context(), []*queue.Batch{queuetest.Batch(2, queuetest.GroupA, true, 1)}) == nil
	})
	for receive(t, b).ID != 2 {
	}
}

func TestUnknownGroupIsRefused(t *testing.T) {
	b := open(t, testOptions(t, testenv.Vhost(t)))
	err := b.Publish(patience(t), []*queue.Batch{queuetest.Batch(1, "smpp:gone", false, 1)})
	if err == nil || errors.Is(err, queue.ErrUnavailable) || !strings.Contains(err.Error(), "smpp:gone") {
		t.Errorf("publish got %v, want an error for good that names the group", err)
	}
	if _, err := b.Receive(patience(t), "smpp:gone", 1); err == nil || errors.Is(err, queue.ErrUnavailable) {
		t.Errorf("receive got %v, want an error for good", err)
	}
}

func TestManyWindowsArePublished(t *testing.T) {
	b := open(t, testOptions(t, testenv.Vhost(t)))
	const n = 5*window + 7
	var batches []*queue.Batch
	for id := range int64(n) {
		batches = append(batches, queuetest.Batch(id+1, queuetest.GroupA, id%2 == 0, 1))
	}
	publish(t, b, batches...)
	seen := map[int64]bool{}
	for len(seen) < n {
		l := receive(t, b)
		seen[l.ID] = true
		b.Ack([]*queue.Lease{l})
	}
}

func TestPrefetchBoundsWhatIsHere(t *testing.T) {
	o := testOptions(t, testenv.Vhost(t))
	o.Prefetch = 2
	b := open(t, o)
	var batches []*queue.Batch
	for id := range int64(5) {
		batches = append(batches, queuetest.Batch(id+1, queuetest.GroupA, true, 1))
	}
	publish(t, b, batches...)
	held := []*queue.Lease{receive(t, b), receive(t, b)}
	soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if leases, err := b.Receive(soon, queuetest.GroupA, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("beyond the prefetch came %d, %v", len(leases), err)
	}
	b.Ack(held[:1])
	if l := receive(t, b); l.ID != 3 {
		t.Errorf("after an ack came batch %d, want 3", l.ID)
	}
}
