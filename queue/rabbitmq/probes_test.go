package rabbitmq

import (
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/tocsin/tocsin/internal/testenv"
	"github.com/tocsin/tocsin/queue"
)

// Results of probes have a queue of their own, and are set aside, replied to and acked
// as events are.
func TestResultsOfProbes(t *testing.T) {
	url := testenv.Vhost(t)
	b := open(t, testOptions(t, url))
	ch := peer(t, url)
	own, err := ch.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"1", "2", "3"} {
		if err := ch.Publish("tocsin.probes", "fra.api", true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body), ReplyTo: own.Name}); err != nil {
			t.Fatal(err)
		}
	}
	produce(t, ch, "k", amqp.Publishing{Body: []byte("event")})
	var events []*queue.Event
	for len(events) < 3 {
		more, err := b.TakeProbes(patience(t), 3-len(events))
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, more...)
	}
	depths, err := b.Depths(patience(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range depths {
		if held := map[string]int{"probes": 3}[d.Queue]; d.Held != held {
			t.Errorf("%s: %d are held, want %d", d.Queue, d.Held, held)
		}
	}
	if err := b.Conclude(patience(t), events[:2], []queue.Verdict{
		{Result: "accepted"}, {Result: "invalid", Field: "results[0].ok", Reason: "is required"},
	}); err != nil {
		t.Fatal(err)
	}
	if d := get(t, ch, own.Name); string(d.Body) != `{"result":"accepted"}` {
		t.Errorf("replied %s", d.Body)
	}
	if d := get(t, ch, b.names.invalid); string(d.Body) != "2" || d.Headers[headerField] != "results[0].ok" || d.Headers[headerReason] != "is required" ||
		!strings.HasPrefix(d.RoutingKey, "tocsin.") {
		t.Errorf("set aside: %q with %v", d.Body, d.Headers)
	}
	if got := takeAll(t, b, 1); string(got[0].Body) != "event" {
		t.Errorf("taken as an event is %q", got[0].Body)
	}

	// What wasn't concluded comes again.
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = open(t, testOptions(t, url))
	again, err := b.TakeProbes(patience(t), 3)
	if err != nil || len(again) != 1 || string(again[0].Body) != "3" {
		t.Errorf("%d came again, %v", len(again), err)
	}
}
