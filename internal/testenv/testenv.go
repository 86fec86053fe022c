// Package testenv gives tests the real services Tocsin talks to, privately.
//
// Promise: what it starts listens on loopback only, keeps everything in one
// temporary folder, touches no service of the machine, and is gone, processes
// and folder, once it is closed or the process that started it has died, in
// whatever way.
//
// Words: a broker is one private RabbitMQ node with its own name server (epmd),
// cookie and data; the guard is the small process that outlives a dead owner
// and clears up after it; the admin socket is how virtual hosts are made in
// milliseconds, where rabbitmqctl needs half a second.
//
// `make test` starts one broker for all packages and announces it in the
// environment (see RabbitMQ.Env). Without that, as in a plain `go test
// ./queue/rabbitmq`, each test that asks gets a broker of its own, which costs
// about five seconds a test.
package testenv

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

const (
	// EnvAMQPURL names the environment variable with the shared broker's URL.
	EnvAMQPURL = "TOCSIN_TEST_AMQP_URL"
	// EnvAMQPAdmin names the one with the path of its admin socket.
	EnvAMQPAdmin = "TOCSIN_TEST_AMQP_ADMIN"
)

// adminTimeout bounds one command on the admin socket. Commands take about
// 15 ms; the rest is for a machine that is busy with other tests.
const adminTimeout = 30 * time.Second

// RabbitMQURL returns the AMQP URL of a broker the test may use: the shared one when
// the environment announces it, otherwise one started for this test alone and
// closed at its end. The default virtual host is shared by all tests; most
// want Vhost. A test that stops, kills or pauses its broker calls
// StartRabbitMQ instead.
//
// Without RabbitMQ on the machine the test fails and says what to run; with
// -short it is skipped.
func RabbitMQURL(t testing.TB) string {
	t.Helper()
	if url := os.Getenv(EnvAMQPURL); url != "" {
		return url
	}
	return start(t).URL()
}

// Vhost returns the AMQP URL of a virtual host that belongs to this test alone
// and is deleted, queues and connections included, when the test ends.
func Vhost(t testing.TB) string {
	t.Helper()
	url, admin := os.Getenv(EnvAMQPURL), os.Getenv(EnvAMQPAdmin)
	if url == "" {
		return start(t).URL() // fresh broker, fresh virtual host
	}
	if admin == "" {
		t.Fatalf("%s is set without %s, so no virtual host can be made: unset it, or run `make test`.", EnvAMQPURL, EnvAMQPAdmin)
	}
	name := "test-" + strings.ToLower(rand.Text())
	command(t, admin, "add "+name)
	t.Cleanup(func() { command(t, admin, "delete "+name) })
	return withVhost(url, name)
}

func command(t testing.TB, socket, line string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	if err := admin(ctx, socket, line); err != nil {
		t.Fatalf("testenv: %v", err)
	}
}

func start(t testing.TB) *RabbitMQ {
	t.Helper()
	broker, err := StartRabbitMQ(context.Background(), Options{})
	if errors.Is(err, ErrNotInstalled) && testing.Short() {
		t.Skip(err)
	}
	if err != nil {
		t.Fatalf("testenv: %v", err)
	}
	t.Cleanup(func() {
		if err := broker.Close(); err != nil {
			t.Errorf("testenv: %v", err)
		}
	})
	return broker
}
