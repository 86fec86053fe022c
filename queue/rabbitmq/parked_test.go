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
// An operator finds it there, and has it tried again with a new count.
func TestFault_14_PoisonIsParked(t *testing.T) {
	p, url := testenv.NewProxy(t, testenv.Vhost(t))
	b := open(t, testOptions(t, url))
	publish(t, b, queuetest.Batch(1, queuetest.GroupA, true, 1))
	for take := 1; take <= deliveryLimit+1; take++ {
		if l := receive(t, b); l.Takes != take {
			t.Fatalf("take %d says it is take %d", take, l.Takes)
		}
		p.Cut()
	}
	var seen string
	for range 2 { // looking leaves it there
		lot, m := parkedOne(t, b.opts)
		if m.MessageID != "1" || m.Reason != "delivery_limit" || m.Queue != b.names.group(queuetest.GroupA, urgent) || m.At.IsZero() || seen != "" && m.ID != seen {
			t.Errorf("parked %+v", m)
		}
		seen = m.ID
		lot.Close()
	}
	lot, m := parkedOne(t, b.opts)
	defer lot.Close()
	if err := lot.Return(patience(t), m); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := lot.Next(patience(t)); ok || err != nil {
		t.Errorf("returned, and still parked: %v", err)
	}
	if l := receive(t, b); l.ID != 1 || l.Takes != 1 {
		t.Errorf("received batch %d in take %d, want batch 1 in its first", l.ID, l.Takes)
	}
}

// parkedOne waits until something is parked.
func parkedOne(t *testing.T, o Options) (lot *Lot, m *Parked) {
	t.Helper()
	eventually(t, "something is parked", func() (ok bool) {
		var err error
		if lot, err = OpenLot(patience(t), o); err != nil {
			t.Log(err) // the proxy has just been cut
			return false
		}
		if m, ok, err = lot.Next(patience(t)); err != nil {
			t.Fatal(err)
		}
		if !ok {
			lot.Close()
		}
		return ok
	})
	return lot, m
}
