package main

import (
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/tocsin/tocsin/internal/testenv"
)

func TestPublishToBroker(t *testing.T) {
	url := testenv.Vhost(t)
	connection, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	channel, err := connection.Channel()
	if err != nil {
		t.Fatal(err)
	}
	publish := func(want int, text string) {
		t.Helper()
		code, stdout, stderr := tocsin(t, t.Context(), minimal, nil, "publish", "--to", url, "--exchange", "tocsin.x.incidents", "-")
		if code != want || !strings.Contains(stderr, text) || strings.Contains(stderr, "guest") {
			t.Errorf("exit code %d, want %d and %q\n%s%s", code, want, text, stdout, stderr)
		}
	}
	publish(exitUnavailable, "no exchange")
	if err := channel.ExchangeDeclare("tocsin.x.incidents", amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	publish(exitUnavailable, "no queue")
	if _, err := channel.QueueDeclare("in", true, false, false, false, amqp.Table{"x-queue-type": "quorum"}); err != nil {
		t.Fatal(err)
	}
	if err := channel.QueueBind("in", "#", "tocsin.x.incidents", false, nil); err != nil {
		t.Fatal(err)
	}
	publish(exitDone, "Accepted")
	got, ok, err := channel.Get("in", true)
	if err != nil || !ok || string(got.Body) != minimal || got.MessageId == "" || got.DeliveryMode != amqp.Persistent {
		t.Errorf("the broker has %v %+v, %v", ok, got, err)
	}

	producer, err := dialBroker(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.close()
	for range 2 { // what isn't there counts as removed
		if err := producer.remove([]string{"tocsin.x.incidents"}, []string{"in"}); err != nil {
			t.Error(err)
		}
	}
	publish(exitUnavailable, "no exchange")
}
