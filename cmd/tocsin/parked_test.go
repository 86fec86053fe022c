package main

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/tocsin/tocsin/internal/testenv"
	"github.com/tocsin/tocsin/queue"
	"github.com/tocsin/tocsin/queue/rabbitmq"
)

// A batch that no worker can read is listed, shown, and comes again once it is
// returned; what comes from elsewhere stays.
func TestParked(t *testing.T) {
	url := testenv.Vhost(t)
	environ := []string{"TOCSIN_QUEUE=" + url, "TOCSIN_DATA=" + t.TempDir(), "TOCSIN_LISTEN=" + freeAddr(t)} // where no engine is
	if code, _, stderr := tocsin(t, t.Context(), "", environ, "parked", "list"); code != exitUnavailable || !strings.Contains(stderr, "has an engine") {
		t.Errorf("without an engine: exit code %d\n%s", code, stderr)
	}
	broker, err := rabbitmq.Open(t.Context(), rabbitmq.Options{URL: url, Groups: []string{"webhook"}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	put := func(exchange, key, id string) {
		t.Helper()
		confirm, err := ch.PublishWithDeferredConfirm(exchange, key, true, false, amqp.Publishing{
			MessageId: id, DeliveryMode: amqp.Persistent, Body: []byte("of another build")})
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := confirm.WaitContext(t.Context()); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	put("tocsin.deliver", "webhook.urgent", "batch-1")
	put("", "tocsin.parked", "stray")
	got := make(chan error, 1)
	go func() { // parks what it can't read, until the end
		_, err := broker.Receive(t.Context(), "webhook", 1)
		got <- err
	}()
	var id string
	eventually(t, func() bool {
		code, stdout, stderr := tocsin(t, t.Context(), "", environ, "parked", "list")
		if code != exitDone {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
		for line := range strings.Lines(stdout) {
			if strings.Contains(line, "unreadable batch-1") {
				id, _, _ = strings.Cut(line, " ")
				if !strings.Contains(line, "tocsin.deliver.webhook.urgent") || !strings.Contains(line, "rejected") {
					t.Fatalf("listed as %s", line)
				}
			}
		}
		return id != "" && strings.Contains(stdout, "stray")
	})
	if code, stdout, _ := tocsin(t, t.Context(), "", environ, "parked", "show", id); code != exitDone || stdout != "\"of another build\"\n" {
		t.Errorf("shown with exit code %d: %s", code, stdout)
	}
	if err := broker.Close(); err != nil { // so that nobody parks it again
		t.Fatal(err)
	}
	if err := <-got; !errors.Is(err, queue.ErrClosed) {
		t.Fatal(err)
	}
	if code, _, stderr := tocsin(t, t.Context(), "", environ, "parked", "return", id); code != exitDone || !strings.Contains(stderr, "1 returned") {
		t.Errorf("returned with exit code %d: %s", code, stderr)
	}
	eventually(t, func() bool {
		d, ok, err := ch.Get("tocsin.deliver.webhook.urgent", true)
		if err != nil {
			t.Fatal(err)
		}
		if ok && d.MessageId != "batch-1" {
			t.Errorf("returned %q", d.MessageId)
		}
		return ok
	})
	for args, want := range map[string]string{
		"return --all": "doesn't say which queue", "return " + id: "not parked", "show nothing": "nothing is parked",
	} {
		if code, _, stderr := tocsin(t, t.Context(), "", environ, append([]string{"parked"}, strings.Fields(args)...)...); code != exitFailed || !strings.Contains(stderr, want) {
			t.Errorf("parked %s: exit code %d, want %d and %q\n%s", args, code, exitFailed, want, stderr)
		}
	}
	for code, args := range map[int][]string{
		exitUsage: {"parked", "return"}, exitUnavailable: {"parked", "list", "--queue", "sqlite"},
	} {
		if got, _, _ := tocsin(t, t.Context(), "", environ, args...); got != code {
			t.Errorf("%v: exit code %d, want %d", args, got, code)
		}
	}
}
