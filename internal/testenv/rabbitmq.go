package testenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// ErrNotInstalled is returned when the machine has no RabbitMQ.
var ErrNotInstalled = errors.New("RabbitMQ is not installed: run `make deps`")

const (
	// startTimeout bounds a start whose context sets no deadline. A start takes
	// 5 s on two idle cores.
	startTimeout = 2 * time.Minute
	probeEvery   = 50 * time.Millisecond
	probeTimeout = 10 * time.Second
)

// Options are what a test may want different in its private broker.
type Options struct {
	// Heartbeat is the interval the broker proposes to clients, in whole
	// seconds; 0 means RabbitMQ's default of 60 s.
	Heartbeat time.Duration
	// Config is added to rabbitmq.conf, one "key = value" per line.
	Config string
}

// RabbitMQ is a private broker. Its methods are for one goroutine at a time,
// except URL and Env.
type RabbitMQ struct {
	node   node
	guard  *guard
	epmd   *process
	broker *process
}

// StartRabbitMQ starts a broker and returns when it accepts connections and
// can declare a quorum queue. ctx bounds the start only, not the broker's life.
// The caller has to Close it; should the caller's process die first, the broker
// and its folder are removed all the same.
func StartRabbitMQ(ctx context.Context, opts Options) (*RabbitMQ, error) {
	server, err := findServer()
	if err != nil {
		return nil, err
	}
	// Another process can take a port between our choosing it and the broker's
	// binding it; then others are tried.
	for attempt := 1; ; attempt++ {
		r, err := startOnFreePorts(ctx, server, opts)
		if err == nil || attempt == 3 || !errors.Is(err, syscall.EADDRINUSE) {
			return r, err
		}
	}
}

func startOnFreePorts(ctx context.Context, server string, opts Options) (_ *RabbitMQ, err error) {
	n, err := newNode(server, opts)
	if err != nil {
		return nil, err
	}
	g, err := startGuard(n.dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(n.dir))
	}
	r := &RabbitMQ{node: n, guard: g}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if err := r.startEPMD(ctx); err != nil {
		return nil, err
	}
	if err := r.Start(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// URL is the broker's AMQP URL, default virtual host, user guest. It stays the
// same over restarts.
func (r *RabbitMQ) URL() string { return r.node.url() }

// Env returns the variables ("NAME=value") by which RabbitMQURL and Vhost
// in another process find this broker.
func (r *RabbitMQ) Env() []string {
	return []string{EnvAMQPURL + "=" + r.URL(), EnvAMQPAdmin + "=" + r.node.adminSocket()}
}

// Start runs the broker again, on the same ports and data, after Kill or
// StopGraceful, and returns when it is ready. If it fails, the error ends with
// what the broker's log says of it.
func (r *RabbitMQ) Start(ctx context.Context) error {
	if r.broker.running() {
		return errors.New("the broker is already running: call Kill or StopGraceful first")
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var err error
	r.broker, err = startProcess(r.node.path("broker.pid"), r.node.path("broker.log"), r.node.env(), r.node.server, "-eval", adminEval(r.node.adminSocket()))
	if err != nil {
		return err
	}
	if err := r.until(ctx, r.probe); err != nil {
		r.broker.kill()
		return r.node.explain(err)
	}
	return nil
}

// Kill ends the broker at once (SIGKILL), as a crash would, and returns when it
// is gone. A quorum queue declared less than a second ago can lose what was
// confirmed to it.
func (r *RabbitMQ) Kill() error {
	if !r.broker.running() {
		return errors.New("the broker is not running")
	}
	r.broker.kill()
	return nil
}

// StopGraceful stops the broker in order (SIGTERM) and returns when it is gone,
// about 2 s later. A paused broker has to be resumed first.
func (r *RabbitMQ) StopGraceful(ctx context.Context) error {
	if err := r.broker.signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-r.broker.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the broker is still stopping: %w", ctx.Err())
	}
}

// Pause freezes the broker (SIGSTOP) within milliseconds: its connections stay
// open and nothing answers, as behind a black hole.
func (r *RabbitMQ) Pause() error { return r.broker.signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (r *RabbitMQ) Resume() error { return r.broker.signal(syscall.SIGCONT) }

// Ctl runs rabbitmqctl against this broker and returns what it printed; about
// 0.5 s a call.
func (r *RabbitMQ) Ctl(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(filepath.Dir(r.node.server), "rabbitmqctl"), args...)
	cmd.Env = r.node.env()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("rabbitmqctl %v: %w: %s", args, err, out)
	}
	return string(out), nil
}

// Close ends the broker and everything started with it and removes its folder.
// A second Close does nothing.
func (r *RabbitMQ) Close() error {
	r.broker.kill()
	r.epmd.kill()
	return r.guard.close()
}

// startEPMD starts the node's own name server and waits until it listens: a
// broker that found none would start one itself, as a daemon that outlives it.
func (r *RabbitMQ) startEPMD(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	n := r.node
	port := strconv.Itoa(n.ports.epmd)
	var err error
	r.epmd, err = startProcess(n.path("epmd.pid"), n.path("epmd.log"), n.env(), n.epmd, "-port", port, "-address", loopback)
	if err != nil {
		return err
	}
	err = r.until(ctx, func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(loopback, port))
		if err != nil {
			return fmt.Errorf("epmd: %w", err)
		}
		return conn.Close()
	})
	return r.node.explain(err)
}

// until repeats a try until it succeeds or can't any more: one of the node's
// processes has ended, or ctx has.
func (r *RabbitMQ) until(ctx context.Context, try func(context.Context) error) error {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if !r.epmd.running() {
			return fmt.Errorf("epmd ended, and it says nothing when its port is taken: %w", syscall.EADDRINUSE)
		}
		if r.broker != nil && !r.broker.running() {
			return fmt.Errorf("the broker ended while it started (last try: %w)", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the broker did not become ready: %w (last try: %w)", ctx.Err(), err)
		}
	}
}

// probe asks for the things that come up last: the admin socket, which is
// opened after the boot, and a quorum queue, which needs an elected leader.
func (r *RabbitMQ) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if err := admin(ctx, r.node.adminSocket(), "ping"); err != nil {
		return err
	}
	conn, err := amqp.DialConfig(r.URL(), amqp.Config{Dial: func(network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil {
			// The calls below know no context: at its end the connection goes.
			context.AfterFunc(ctx, func() { _ = c.Close() })
		}
		return c, err
	}})
	if err != nil {
		return fmt.Errorf("no AMQP connection: %w", err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return fmt.Errorf("no AMQP channel: %w", err)
	}
	q, err := ch.QueueDeclare("tocsin.testenv.ready", true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum})
	if err != nil {
		return fmt.Errorf("no quorum queue: %w", err)
	}
	if _, err := ch.QueueDelete(q.Name, false, false, false); err != nil {
		return fmt.Errorf("no quorum queue: %w", err)
	}
	return nil
}
