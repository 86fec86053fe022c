package rabbitmq

import (
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/tocsin/tocsin/internal/testenv"
	"github.com/tocsin/tocsin/queue"
	"github.com/tocsin/tocsin/queue/queuetest"
)

func TestUnreadableBatchesAreParked(t *testing.T) {
	url := testenv.Vhost(t)
	b := open(t, testOptions(t, url))
	ch := peer(t, url)
	readable, err := queuetest.Batch(1, queuetest.GroupA, true, 1).AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	newer := append([]byte(nil), readable...)
	newer[1]++
	astray, err := queuetest.Batch(2, queuetest.GroupB, true, 1).AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	unreadable := map[string][]byte{"garbage": []byte("{}"), "empty": nil, "newer": newer, "cut": readable[:len(readable)-1], "astray": astray}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	for id, body := range unreadable {
		confirm, err := ch.PublishWithDeferredConfirm(b.names.deliver, key(queuetest.GroupA, urgent), true, false,
			amqp.Publishing{MessageId: id, DeliveryMode: amqp.Persistent, Body: body})
		if err != nil {
			t.Fatal(err)
		}
		if acked, err := confirm.WaitContext(patience(t)); err != nil || !acked {
			t.Fatal(acked, err)
		}
	}
	publish(t, b, queuetest.Batch(3, queuetest.GroupA, true, 1))
	l := receive(t, b)
	if l.ID != 3 {
		t.Errorf("received batch %d, want 3", l.ID)
	}
	b.Ack([]*queue.Lease{l})
	for range unreadable {
		d := get(t, ch, b.names.parked)
		if want, ok := unreadable[d.MessageId]; !ok || string(d.Body) != string(want) {
			t.Errorf("parked %q: %q, want %q", d.MessageId, d.Body, want)
		}
	}
}

// A batch that kills whoever takes it is parked, and not lost, once it has come
// back too often.
func TestPoisonIsParkedAfterTheDeliveryLimit(t *testing.T) {
	p, url := testenv.NewProxy(t, testenv.Vhost(t))
	b := open(t, testOptions(t, url))
	publish(t, b, queuetest.Batch(1, queuetest.GroupA, true, 1))
	for take := 1; take <= deliveryLimit+1; take++ {
		if l := receive(t, b); l.Takes != take {
			t.Fatalf("take %d says it is take %d", take, l.Takes)
		}
		p.Cut()
	}
	if d := get(t, peer(t, url), b.names.parked); d.MessageId != "1" {
		t.Errorf("parked %q, want batch 1", d.MessageId)
	}
}
