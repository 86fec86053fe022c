package rabbitmq

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"regexp"
	"slices"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/tocsin/tocsin/queue"
)

// Options are what [Open] needs. Zero values mean the defaults.
type Options struct {
	// URL is amqp:// or amqps://, with user, password, virtual host. Needed.
	// It is never logged.
	URL string
	// Deployment is the name of this engine on the broker, lower-case letters,
	// digits and "-", at most 40 of them; "default" if empty. Engines with the
	// same name share queues and work, engines with different names share
	// nothing: see docs/producers.md for what each is called.
	Deployment string
	// Groups are the groups that can be published to and received from.
	Groups []string
	// Unwrap makes an event of one that was published as a CloudEvent: structured, by
	// its content type, or with its attributes in headers, here by their names. It
	// returns why the event is invalid, nil if it isn't. Without it such events are
	// taken as any others.
	Unwrap func(e *queue.Event, contentType string, attributes map[string]string) *queue.Verdict
	// Exclusive holds a queue that only one process can hold, so that a second
	// one refuses to start: set it where the store isn't shared.
	Exclusive bool
	// OwnerPatience is how long Open waits for the process before to be gone
	// from the broker when Exclusive is set. Default 5 s.
	OwnerPatience time.Duration

	// Prefetch bounds the batches of one queue (a group's urgent or normal
	// one) that this process has without having acked them, held ones
	// included. Default 256, at most 65,535.
	Prefetch int
	// IntakePrefetch is the same for events. Default 200.
	IntakePrefetch int
	// Outstanding bounds the messages published and not yet confirmed.
	// Default 256.
	Outstanding int

	// Heartbeat is within what time both sides show that they live; a broker that
	// is silent for longer is given up. Default 10 s, at least 1 s, at most what
	// the broker proposes.
	Heartbeat time.Duration
	// ConnectTimeout bounds TCP connect, and then TLS and AMQP handshake.
	// Default 5 s.
	ConnectTimeout time.Duration
	// WriteTimeout bounds one write to the socket; a connection that takes
	// longer is cut. Default 5 s.
	WriteTimeout time.Duration
	// PublishTimeout bounds the wait for a usable connection and for confirms,
	// and how long Receive and Take wait for a connection before they say
	// [queue.ErrUnavailable]. Default 5 s.
	PublishTimeout time.Duration
	// ReturnAfter is when a returned batch is offered again. Default 1 s.
	ReturnAfter time.Duration
	// Backoff says how long to wait before connecting again after so many
	// failures in a row (0 for the first). Default: doubling from 100 ms to
	// 3 s, of which a random half is left out.
	Backoff func(failures int) time.Duration

	// Logger gets what an operator needs to know. Default: slog's.
	Logger *slog.Logger

	// newborn is the age a queue needs before a confirm of it counts. A quorum
	// queue younger than about 1 s can come back from a crash of the broker
	// without its confirmed messages.
	newborn time.Duration
}

const maxPrefetch = 1<<16 - 1

var deploymentName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)

// Words that a deployment can't be called, because queues of the default
// deployment begin with them.
var reserved = []string{"incidents", "deliver", "updates", "parked", "owner", "probes"}

func (o Options) withDefaults() (Options, error) {
	for _, d := range []struct {
		value    *time.Duration
		standard time.Duration
	}{
		{&o.OwnerPatience, 5 * time.Second},
		{&o.Heartbeat, 10 * time.Second},
		{&o.ConnectTimeout, 5 * time.Second},
		{&o.WriteTimeout, 5 * time.Second},
		{&o.PublishTimeout, 5 * time.Second},
		{&o.ReturnAfter, time.Second},
		{&o.newborn, 1500 * time.Millisecond},
	} {
		if *d.value <= 0 {
			*d.value = d.standard
		}
	}
	for _, d := range []struct {
		value    *int
		standard int
	}{{&o.Prefetch, 256}, {&o.IntakePrefetch, 200}, {&o.Outstanding, 256}} {
		if *d.value <= 0 {
			*d.value = d.standard
		}
	}
	o.Prefetch, o.IntakePrefetch = min(o.Prefetch, maxPrefetch), min(o.IntakePrefetch, maxPrefetch)
	o.Heartbeat = max(o.Heartbeat, time.Second)
	if o.Deployment == "" {
		o.Deployment = "default"
	}
	if o.Backoff == nil {
		o.Backoff = jittered
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o, o.check()
}

func (o Options) check() error {
	if _, err := amqp.ParseURI(o.URL); err != nil {
		// url.Error quotes the whole URL, password and all.
		if broken, ok := errors.AsType[*url.Error](err); ok {
			err = broken.Err
		}
		return fmt.Errorf("the broker's URL can't be used, it has to look like amqp://user:password@host:5672/vhost: %w", err)
	}
	if !deploymentName.MatchString(o.Deployment) || slices.Contains(reserved, o.Deployment) {
		return fmt.Errorf("the deployment can't be called %q: take lower-case letters, digits and \"-\", at most 40, and none of %q",
			o.Deployment, reserved)
	}
	for _, g := range o.Groups {
		if g == "" || len(g) > 180 {
			return fmt.Errorf("the group %q can't be a queue: it needs 1 to 180 bytes", g)
		}
	}
	return nil
}

// jittered doubles from 100 ms to 3 s and leaves out a random half, so that
// workers which lost the same broker don't come back as one.
func jittered(failures int) time.Duration {
	const first, last = 100 * time.Millisecond, 3 * time.Second
	full := last
	if failures < 7 {
		full = min(first<<failures, last)
	}
	return full/2 + rand.N(full/2)
}
