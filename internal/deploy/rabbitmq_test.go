package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/tocsin/tocsin/internal/testenv"
	"github.com/tocsin/tocsin/queue"
	"github.com/tocsin/tocsin/queue/rabbitmq"
)

type definitions struct {
	Users []struct {
		Name, Password string
		PasswordHash   string `json:"password_hash"`
		Tags           []string
	}
	Permissions []struct{ User, VHost, Configure, Write, Read string }
	Topics      []struct{ User, VHost, Exchange, Write, Read string } `json:"topic_permissions"`
}

func readDefinitions(t *testing.T) (d definitions) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, "rabbitmq/definitions.json")), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestPermissionsAreTheSameEverywhere compares the definitions with the commands
// in docs/producers.md and with what the compose file's broker gives its first
// user.
func TestPermissionsAreTheSameEverywhere(t *testing.T) {
	doc, err := os.ReadFile("../../docs/producers.md")
	if err != nil {
		t.Fatal(err)
	}
	conf := read(t, "compose/rabbitmq.conf")
	d := readDefinitions(t)
	if len(d.Permissions) != 2 {
		t.Errorf("permissions for %d users, want the engine and a producer", len(d.Permissions))
	}
	for _, p := range d.Permissions {
		command := "rabbitmqctl set_permissions -p " + p.VHost + " " + p.User + " '" + p.Configure + "' '" + p.Write + "' '" + p.Read + "'\n"
		if !strings.Contains(string(doc), command) {
			t.Errorf("docs/producers.md does not have: %s", command)
		}
		if p.User != "tocsin" {
			continue
		}
		for name, value := range map[string]string{"configure": p.Configure, "write": p.Write, "read": p.Write} {
			if !strings.Contains(conf, "default_permissions."+name+" = "+value+"\n") {
				t.Errorf("compose/rabbitmq.conf gives another permission to %s", name)
			}
		}
	}
	for _, p := range d.Topics {
		command := "rabbitmqctl set_topic_permissions -p " + p.VHost + " " + p.User + " " + p.Exchange + " '" + p.Write + "' '" + p.Read + "'\n"
		if !strings.Contains(string(doc), command) {
			t.Errorf("docs/producers.md does not have: %s", command)
		}
	}
	for _, u := range d.Users {
		if u.Password != "" || u.PasswordHash != "" || len(u.Tags) > 0 {
			t.Errorf("%s comes with a password that everybody knows, or with tags", u.Name)
		}
	}
}

// TestRabbitMQ does what deploy/README.md says on a broker that has the compose
// file's configuration: imports the definitions, gives both users a password, and
// starts an engine.
func TestRabbitMQ(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	broker, err := testenv.StartRabbitMQ(ctx, testenv.Options{Config: read(t, "compose/rabbitmq.conf")})
	if errors.Is(err, testenv.ErrNotInstalled) && testing.Short() {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctl := func(args ...string) string {
		t.Helper()
		out, err := broker.Ctl(ctx, args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	as := func(user string) string {
		u, err := url.Parse(broker.URL())
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(user, user+"-secret")
		return u.String()
	}

	file, err := filepath.Abs(filepath.Join(root, "rabbitmq/definitions.json"))
	if err != nil {
		t.Fatal(err)
	}
	ctl("import_definitions", file)
	if users := ctl("--quiet", "list_users"); !strings.Contains(users, "guest\t[]\n") {
		t.Errorf("the broker's first user, here guest, has tags:\n%s", users)
	}
	if got, want := ctl("--quiet", "list_user_permissions", "guest"), firstUserMay(t); !strings.Contains(got, want) {
		t.Errorf("the broker's first user, here guest, may do\n%s, want %q", got, want)
	}
	for _, user := range []string{"tocsin", "status-page"} {
		empty := strings.Replace(as(user), user+"-secret", "", 1)
		for _, url := range []string{as(user), empty} {
			if conn, err := amqp.Dial(url); err == nil {
				conn.Close()
				t.Errorf("%s can log in before it has a password", user)
			}
		}
		ctl("change_password", user, user+"-secret")
	}

	engine, err := rabbitmq.Open(ctx, rabbitmq.Options{
		URL: as("tocsin"), Groups: []string{"webhook", "rss", "smtp:main", "smpp:main-sms"}, Exclusive: true,
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		t.Fatalf("the engine's user can't run an engine: %v", err)
	}
	defer func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	}()
	producerMayPublish(ctx, t, as("status-page"), engine)
	producerMayNotMore(t, as("status-page"))

	queues := ctl("--quiet", "list_queues", "name", "policy")
	for _, name := range []string{"tocsin.incidents", "tocsin.deliver.webhook.urgent", "tocsin.deliver.rss.normal",
		"tocsin.deliver.smtp:main.normal", "tocsin.deliver.smpp:main-sms.urgent"} {
		if !strings.Contains(queues, name+"\ttocsin-working-queues\n") {
			t.Errorf("the policy does not apply to %s:\n%s", name, queues)
		}
	}
	for _, name := range []string{"tocsin.parked", "tocsin.incidents.invalid"} {
		if !strings.Contains(queues, name+"\t\n") {
			t.Errorf("the policy applies to %s too:\n%s", name, queues)
		}
	}
}

// firstUserMay is a line of rabbitmqctl with what the engine's user may do, and to
// read what it writes to.
func firstUserMay(t *testing.T) string {
	t.Helper()
	for _, p := range readDefinitions(t).Permissions {
		if p.User == "tocsin" {
			return strings.Join([]string{p.VHost, p.Configure, p.Write, p.Write}, "\t") + "\n"
		}
	}
	t.Fatal("the engine's user has no permissions")
	return ""
}

// producerMayPublish looks at what the engine gets and what the producer hears.
func producerMayPublish(ctx context.Context, t *testing.T, url string, engine *rabbitmq.Broker) {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	replies, err := ch.Consume("amq.rabbitmq.reply-to", "", true, false, false, false, nil)
	if err != nil {
		t.Fatalf("the producer can't wait for verdicts: %v", err)
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	body := read(t, "samples/event.json")
	confirm, err := ch.PublishWithDeferredConfirmWithContext(ctx, "tocsin.incidents", "prod.auth", true, false,
		amqp.Publishing{Body: []byte(body), ReplyTo: "amq.rabbitmq.reply-to", DeliveryMode: amqp.Persistent})
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := confirm.WaitContext(ctx); err != nil || !ok {
		t.Fatalf("the producer's event was not taken: %v, %v", ok, err)
	}
	events, err := engine.Take(ctx, 1)
	if err != nil || len(events) != 1 || string(events[0].Body) != body {
		t.Fatalf("the engine got %d events and %v, want the one that was published", len(events), err)
	}
	if err := engine.Conclude(ctx, events, []queue.Verdict{{Result: "accepted"}}); err != nil {
		t.Fatal(err)
	}
	select {
	case d := <-replies:
		if string(d.Body) != `{"result":"accepted"}` {
			t.Errorf("the verdict is %s", d.Body)
		}
	case <-ctx.Done():
		t.Error("no verdict came to the producer")
	}
}

func producerMayNotMore(t *testing.T, url string) {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for what, try := range map[string]func(*amqp.Channel) error{
		"read events": func(ch *amqp.Channel) error {
			_, _, err := ch.Get("tocsin.incidents", false)
			return err
		},
		"read batches": func(ch *amqp.Channel) error {
			_, err := ch.Consume("tocsin.deliver.webhook.urgent", "", false, false, false, false, nil)
			return err
		},
		"empty a queue": func(ch *amqp.Channel) error {
			_, err := ch.QueuePurge("tocsin.parked", false)
			return err
		},
		"publish batches": func(ch *amqp.Channel) error {
			closed := ch.NotifyClose(make(chan *amqp.Error, 1))
			if err := ch.Confirm(false); err != nil {
				return err
			}
			confirm, err := ch.PublishWithDeferredConfirm("tocsin.deliver", "webhook.urgent", false, false, amqp.Publishing{})
			if err != nil || confirm.Wait() {
				return err
			}
			return <-closed
		},
		"declare a queue": func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare("tocsin.mine", true, false, false, false, nil)
			return err
		},
		"delete an exchange": func(ch *amqp.Channel) error {
			return ch.ExchangeDelete("tocsin.incidents", false, false)
		},
	} {
		ch, err := conn.Channel()
		if err != nil {
			t.Fatal(err)
		}
		err = try(ch)
		if refused, ok := errors.AsType[*amqp.Error](err); !ok || refused.Code != amqp.AccessRefused {
			t.Errorf("a producer that tries to %s gets %v, want 403", what, err)
		}
		_ = ch.Close()
	}
}
