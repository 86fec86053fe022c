package rabbitmq

import (
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/tocsin/tocsin/internal/testenv"
	"github.com/tocsin/tocsin/queue"
	"github.com/tocsin/tocsin/queue/queuetest"
)

func producersDoc(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/producers.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestDocHasEveryNameAndArgument(t *testing.T) {
	doc := producersDoc(t)
	top := topology{names: namesOf("default"), groups: []string{"<group>"}}
	for _, q := range top.queues() {
		name := strings.TrimSuffix(strings.TrimSuffix(q.name, ".urgent"), "<group>.normal")
		if !strings.Contains(doc, "`"+name) {
			t.Errorf("the queue %s is missing", q.name)
		}
		for arg, value := range q.args {
			if want := fmt.Sprintf("`%s=%v`", arg, value); !strings.Contains(doc, want) {
				t.Errorf("the argument %s of %s is missing", want, q.name)
			}
		}
	}
	for _, header := range []string{headerReason, headerField, headerRoutingKey, headerSource} {
		if !strings.Contains(doc, "`"+header+"`") {
			t.Errorf("the header %s is missing", header)
		}
	}
}

// testPermissions gives users the permissions that the document tells to give.
func testPermissions(t *testing.T, broker *testenv.RabbitMQ, o Options) {
	for line := range strings.Lines(producersDoc(t)) {
		args, ok := strings.CutPrefix(strings.TrimSpace(line), "rabbitmqctl ")
		if !ok {
			continue
		}
		words := strings.Fields(args)
		for i, w := range words {
			words[i] = strings.Trim(w, "'")
		}
		if _, err := broker.Ctl(patience(t), words...); err != nil {
			t.Fatal(err)
		}
	}
	as := func(user string) string {
		u, err := url.Parse(o.URL)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(user, "secret")
		return u.String()
	}
	o.URL, o.Deployment = as("tocsin"), "limited"
	open(t, o) // it may declare everything

	o.Deployment, o.newborn = "", 1
	b := open(t, o)
	publish(t, b, queuetest.Batch(1, queuetest.GroupA, true, 1))
	b.Ack([]*queue.Lease{receive(t, b)})

	ch := peer(t, as("status-page"))
	replies, err := ch.Consume("amq.rabbitmq.reply-to", "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	produce(t, ch, "k", amqp.Publishing{Body: []byte("{"), ReplyTo: "amq.rabbitmq.reply-to"})
	events := takeAll(t, b, 1)
	if err := b.Conclude(patience(t), events, []queue.Verdict{{Result: "invalid", Reason: "isn't JSON"}}); err != nil {
		t.Fatal(err)
	}
	select {
	case d := <-replies:
		if string(d.Body) != `{"result":"invalid","reason":"isn't JSON"}` {
			t.Errorf("replied %s", d.Body)
		}
	case <-patience(t).Done():
		t.Error("no reply came")
	}
	for what, to := range map[string]route{"batches": {"tocsin.deliver", "webhook.urgent"}, "as the engine": {"tocsin.incidents", offered}} {
		ch := peer(t, as("status-page"))
		refused := ch.NotifyClose(make(chan *amqp.Error, 1)) // asked for later, it may have passed
		if err := ch.Publish(to.exchange, to.key, false, false, amqp.Publishing{}); err != nil {
			t.Fatal(err)
		}
		if err := <-refused; err == nil || err.Code != amqp.AccessRefused {
			t.Errorf("a producer that publishes %s got %v, want a refusal", what, err)
		}
	}
}
