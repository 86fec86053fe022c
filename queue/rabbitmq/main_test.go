package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"github.com/tocsin/tocsin/internal/testenv"
	"github.com/tocsin/tocsin/queue/queuetest"
)

// One broker serves all tests of the package but those which harm it.
func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	if os.Getenv(testenv.EnvAMQPURL) == "" {
		broker, err := testenv.StartRabbitMQ(context.Background(), testenv.Options{})
		switch {
		case err == nil:
			defer func() {
				if err := broker.Close(); err != nil {
					fmt.Fprintln(os.Stderr, err)
					code = 1
				}
			}()
			for _, kv := range broker.Env() {
				name, value, _ := strings.Cut(kv, "=")
				os.Setenv(name, value)
			}
		case !errors.Is(err, testenv.ErrNotInstalled): // each test says what to do
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	before := goleak.IgnoreCurrent() // what keeps the broker
	if code := m.Run(); code != 0 {
		return code
	}
	if err := goleak.Find(before); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func patience(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), queuetest.Patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually asks again until holds, for what the broker does by itself.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx := patience(t)
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("never came true: %s", what)
		case <-again.C:
		}
	}
}

// testOptions are quick: queues count at once, a return comes back at once.
func testOptions(t *testing.T, url string) Options {
	return Options{
		URL: url, Groups: []string{queuetest.GroupA, queuetest.GroupB},
		OwnerPatience: 20 * time.Second, ReturnAfter: 10 * time.Millisecond, newborn: 1,
		Backoff: func(int) time.Duration { return 20 * time.Millisecond },
		Logger:  slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

func open(t *testing.T, o Options) *Broker {
	t.Helper()
	b, err := Open(patience(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// peer is a client that isn't ours.
func peer(t *testing.T, url string) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// get waits for a message of the queue and removes it.
func get(t *testing.T, ch *amqp.Channel, queue string) (d amqp.Delivery) {
	t.Helper()
	eventually(t, "a message in "+queue, func() bool {
		var ok bool
		var err error
		if d, ok, err = ch.Get(queue, true); err != nil {
			t.Fatal(err)
		}
		return ok
	})
	return d
}
