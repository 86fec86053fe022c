package rabbitmq

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/tocsin/tocsin/internal/testenv"
	"github.com/tocsin/tocsin/queue"
)

func produce(t *testing.T, ch *amqp.Channel, key string, p amqp.Publishing) {
	t.Helper()
	p.DeliveryMode = amqp.Persistent
	if err := ch.Publish("tocsin.incidents", key, true, false, p); err != nil {
		t.Fatal(err)
	}
}

// takeAll takes n events, in order, over lost connections too.
func takeAll(t *testing.T, b *Broker, n int) (events []*queue.Event) {
	t.Helper()
	ctx := patience(t)
	for len(events) < n {
		more, err := b.Take(ctx, n-len(events))
		if err != nil && !errors.Is(err, queue.ErrUnavailable) {
			t.Fatal(err)
		}
		events = append(events, more...)
	}
	return events
}

func TestAnyClientsEvents(t *testing.T) {
	url := testenv.Vhost(t)
	b := open(t, testOptions(t, url))
	ch := peer(t, url)
	produce(t, ch, "anything.at.all", amqp.Publishing{Body: []byte("1"), MessageId: "m-1"})
	produce(t, ch, "", amqp.Publishing{Body: []byte("2"), Headers: amqp.Table{headerSource: "forged", headerReceivedAt: "soon"}})
	produce(t, ch, "x", amqp.Publishing{Headers: amqp.Table{headerSource: int32(5), headerReceivedAt: int64(1) << 60}})
	events := takeAll(t, b, 3)
	for i, want := range []queue.Event{{Body: []byte("1"), UpdateID: "m-1"}, {Body: []byte("2")}, {}} {
		e := events[i]
		if string(e.Body) != string(want.Body) || e.UpdateID != want.UpdateID || e.Source != "amqp" {
			t.Errorf("event %d: got %q, update id %q, source %q", i, e.Body, e.UpdateID, e.Source)
		}
		if e.ReceivedAt.IsZero() || e.ReceivedAt.Year() > 10_000 {
			t.Errorf("event %d was received at %v", i, e.ReceivedAt)
		}
	}
}

// TestSendersAreNamed: a name is the broker's word or the engine's, never the producer's
// alone.
func TestSendersAreNamed(t *testing.T) {
	url := testenv.Vhost(t)
	b := open(t, testOptions(t, url))
	ch := peer(t, url)
	user, _, _ := strings.Cut(strings.TrimPrefix(url, "amqp://"), ":")
	claims := amqp.Table{headerSender: "token 1"}
	produce(t, ch, "k", amqp.Publishing{Body: []byte("1")})
	produce(t, ch, "k", amqp.Publishing{Body: []byte("2"), Headers: claims})
	produce(t, ch, "k", amqp.Publishing{Body: []byte("3"), UserId: user})
	produce(t, ch, offered, amqp.Publishing{Body: []byte("4"), UserId: user, Headers: claims})
	for body, sender := range map[string]string{"5": "source grafana", "6": ""} {
		if err := b.Offer(patience(t), &queue.Event{Body: []byte(body), Source: "http", Sender: sender}); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]string{}
	for _, e := range takeAll(t, b, 6) {
		got[string(e.Body)] = e.Sender
	}
	want := map[string]string{"1": "amqp", "2": "amqp", "3": "user " + user, "4": "user " + user, "5": "source grafana", "6": ""}
	if !maps.Equal(got, want) {
		t.Errorf("the senders are %v, want %v", got, want)
	}
}

func TestSenderHasNoAddress(t *testing.T) {
	for _, c := range []struct {
		user, key string
		header    any
		want      string
	}{
		{"ops@example.com", "k", nil, "amqp"},
		{"ops@example.com", offered, "token 1", "amqp"},
		{"10.0.0.1", "k", nil, "amqp"},
		{"+4915112345678", "k", nil, "amqp"},
		{"Status-Page_2.eu", "k", nil, "user Status-Page_2.eu"},
		{strings.Repeat("u", 65), "k", nil, "amqp"},
		{"", offered, "local", "local"},
		{"", offered, "token 12", "token 12"},
		{"", offered, "source https://example.com", "amqp"},
		{"", offered, "token 1\n", "amqp"},
		{"", offered, int32(5), ""},
		{"", offered, nil, ""},
		{"", "k", "local", "amqp"},
	} {
		d := amqp.Delivery{UserId: c.user, RoutingKey: c.key, Headers: amqp.Table{headerSender: c.header}}
		if got := sender(&d); got != c.want {
			t.Errorf("user %q, key %q and header %v make %q, want %q", c.user, c.key, c.header, got, c.want)
		}
	}
}

func TestCloudEventsAreUnwrapped(t *testing.T) {
	url := testenv.Vhost(t)
	opt := testOptions(t, url)
	opt.Unwrap = func(e *queue.Event, contentType string, attributes map[string]string) *queue.Verdict {
		if attributes["id"] == "bad" {
			return &queue.Verdict{Result: "invalid", Field: "cloudEvents:source", Reason: "is required"}
		}
		e.Body = []byte(contentType + " " + attributes["id"] + " " + attributes["time"])
		return nil
	}
	b := open(t, opt)
	ch := peer(t, url)
	at := time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)
	produce(t, ch, "a", amqp.Publishing{Body: []byte("plain"), ContentType: "application/json"})
	produce(t, ch, "a", amqp.Publishing{Headers: amqp.Table{"cloudEvents:id": "bad"}})
	produce(t, ch, "a", amqp.Publishing{ContentType: "application/json", Headers: amqp.Table{"cloudEvents:id": "1", "cloudEvents:time": at}})
	produce(t, ch, "a", amqp.Publishing{ContentType: "application/json", Headers: amqp.Table{"cloudEvents_id": "2", "cloudEvents_other": int32(1)}})
	produce(t, ch, "a", amqp.Publishing{ContentType: "application/cloudevents+json; charset=utf-8"})
	events := takeAll(t, b, 4)
	for i, want := range []string{"plain", "application/json 1 2026-11-21T05:00:00Z", "application/json 2 ", "application/cloudevents+json; charset=utf-8  "} {
		if got := string(events[i].Body); got != want {
			t.Errorf("event %d: got %q, want %q", i, got, want)
		}
	}
	aside, ok, err := ch.Get("tocsin.incidents.invalid", true)
	if err != nil || !ok || aside.Headers[headerField] != "cloudEvents:source" {
		t.Errorf("set aside: %v, %v, %v", aside.Headers, ok, err)
	}
}

func TestVerdictsAreRepliedToWhoAskedForThem(t *testing.T) {
	url := testenv.Vhost(t)
	b := open(t, testOptions(t, url))
	ch := peer(t, url)
	own, err := ch.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	direct, err := ch.Consume("amq.rabbitmq.reply-to", "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	produce(t, ch, "k", amqp.Publishing{Body: []byte("1"), ReplyTo: own.Name, CorrelationId: "first"})
	produce(t, ch, "k", amqp.Publishing{Body: []byte("2"), ReplyTo: "amq.rabbitmq.reply-to", CorrelationId: "second"})
	produce(t, ch, "k", amqp.Publishing{Body: []byte("3"), ReplyTo: "nobody-has-this-queue"})
	produce(t, ch, "k", amqp.Publishing{Body: []byte("4"), ReplyTo: b.names.parked, CorrelationId: "not into our queues"})
	produce(t, ch, "k", amqp.Publishing{Body: []byte("5")})

	events := takeAll(t, b, 5)
	refusal := queue.Verdict{Result: "invalid", Field: "impact", Reason: "is none of minor, major"}
	if err := b.Conclude(patience(t), events, []queue.Verdict{
		{Result: "accepted", IncidentID: "INC-1", UpdateID: "u", Sequence: 3}, refusal,
		{Result: "duplicate"}, {Result: "stale"}, {Result: "accepted"},
	}); err != nil {
		t.Fatal(err)
	}
	answer := func(d amqp.Delivery, correlation string) (v replyVerdict) {
		t.Helper()
		if d.CorrelationId != correlation || d.ContentType != "application/json" {
			t.Errorf("the reply has correlation id %q, content type %q", d.CorrelationId, d.ContentType)
		}
		if err := json.Unmarshal(d.Body, &v); err != nil {
			t.Error(err)
		}
		return v
	}
	if got, want := answer(get(t, ch, own.Name), "first"), (replyVerdict{Result: "accepted", IncidentID: "INC-1", UpdateID: "u", Sequence: 3}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := answer(<-direct, "second"), (replyVerdict{Result: "invalid", Field: "impact", Reason: "is none of minor, major"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	d := get(t, ch, b.names.invalid)
	if string(d.Body) != "2" || d.Headers[headerField] != "impact" || d.Headers[headerReason] != "is none of minor, major" || d.Headers[headerRoutingKey] != "k" {
		t.Errorf("set aside: %q with %v", d.Body, d.Headers)
	}
	if _, ok, err := ch.Get(b.names.parked, true); ok || err != nil {
		t.Errorf("a reply went into one of our own queues (%v)", err)
	}
	if err := b.Ready(patience(t)); err != nil { // no reply ended the connection
		t.Error(err)
	}
}

func TestHostileEventsAreSetAside(t *testing.T) {
	url := testenv.Vhost(t)
	b := open(t, testOptions(t, url))
	ch := peer(t, url)
	large := strings.Repeat("x", queue.MaxEventBytes+1)
	// Headers that all but fill a frame: copied, they would break the connection.
	filling := amqp.Table{"h": strings.Repeat("y", 130_000)}
	produce(t, ch, "k", amqp.Publishing{Body: []byte(large), MessageId: "large"})
	produce(t, ch, strings.Repeat("k", 255), amqp.Publishing{Body: []byte("{"), MessageId: strings.Repeat("i", 255), Headers: filling})
	produce(t, ch, "k", amqp.Publishing{Body: []byte("good")})

	events := takeAll(t, b, 2)
	if string(events[1].Body) != "good" {
		t.Fatalf("taken %.20q", events[1].Body)
	}
	if err := b.Conclude(patience(t), events, []queue.Verdict{
		{Result: "invalid", Field: strings.Repeat("f", 10_000), Reason: strings.Repeat("ü", 200_000)}, {Result: "accepted"},
	}); err != nil {
		t.Fatal(err)
	}
	d := get(t, ch, b.names.invalid)
	if reason, _ := d.Headers[headerReason].(string); d.MessageId != "large" || len(d.Body) != queue.MaxEventBytes || !strings.Contains(reason, "1048577 bytes") {
		t.Errorf("set aside first: %q, %d bytes, %q", d.MessageId, len(d.Body), reason)
	}
	d = get(t, ch, b.names.invalid)
	if reason, _ := d.Headers[headerReason].(string); string(d.Body) != "{" || len(reason) > maxReason {
		t.Errorf("set aside second: %q with a reason of %d bytes", d.Body, len(reason))
	}
	if err := b.Offer(patience(t), &queue.Event{Body: []byte(large)}); err == nil {
		t.Error("too large an event was offered")
	}
	if err := b.Offer(patience(t), &queue.Event{UpdateID: strings.Repeat("i", 256)}); err == nil {
		t.Error("an update id was offered that fits no message_id")
	}
	if err := b.Ready(patience(t)); err != nil {
		t.Error(err)
	}
}
