package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	// callTimeout bounds the calls of the client that know no context.
	callTimeout = 30 * time.Second
	// hangUpTimeout bounds the farewell to the broker.
	hangUpTimeout = 3 * time.Second
)

var (
	errHungUp = errors.New("the connection was closed by this process")
	errSilent = errors.New("the broker didn't answer in time")
)

// epoch is one connection's life. Nothing of it is used for the next one: tags
// and channels of an ended epoch would mean other messages there.
type epoch struct {
	conn   *amqp.Connection
	raw    *watchedConn
	closes <-chan *amqp.Error
	blocks <-chan amqp.Blocking

	// over is closed when the epoch has ended or is about to; err says why.
	over chan struct{}
	once sync.Once
	err  error

	// work are the goroutines that live as long as the epoch. All end when the
	// connection does.
	work sync.WaitGroup
}

func (o *Options) dial(ctx context.Context, name string) (*epoch, error) {
	e := &epoch{over: make(chan struct{})}
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName("tocsin " + o.Deployment + " " + name)
	conn, err := amqp.DialConfig(o.URL, amqp.Config{
		Heartbeat:  o.Heartbeat,
		Properties: properties,
		Dial: func(network, addr string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, o.ConnectTimeout)
			defer cancel()
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			e.raw = newWatchedConn(c, o.WriteTimeout, func(silence error) {
				e.fail(silence)
				_ = c.Close() // nobody would hear a farewell
			})
			// For the handshakes; the client clears it after them.
			return e.raw, c.SetDeadline(time.Now().Add(o.ConnectTimeout))
		},
	})
	if err != nil {
		if e.raw != nil {
			_ = e.raw.Close() // the client doesn't always
		}
		if hasCode(err, amqp.AccessRefused) || hasCode(err, amqp.NotAllowed) {
			return nil, finalError{fmt.Errorf("the broker refuses user, password or virtual host: %w", err)}
		}
		return nil, fmt.Errorf("no connection to the broker: %w", err)
	}
	e.conn = conn
	e.closes = conn.NotifyClose(make(chan *amqp.Error, 1))
	e.blocks = conn.NotifyBlocked(make(chan amqp.Blocking, 16))
	e.watchSilence()
	return e, nil
}

// fail ends the epoch. Only the first reason counts.
func (e *epoch) fail(err error) {
	e.once.Do(func() {
		e.err = err
		close(e.over)
	})
}

func (e *epoch) ended() bool {
	select {
	case <-e.over:
		return true
	default:
		return false
	}
}

// within runs calls of the client, which wait as long as the connection lives,
// and cuts the connection when they last too long or ctx ends.
func (e *epoch) within(ctx context.Context, calls func() error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		e.fail(errSilent)
		_ = e.raw.Close()
	})
	defer stop()
	return calls()
}

// hangUp ends the connection, in order if the broker plays along, and waits
// for the epoch's goroutines. What was received and not acked goes back.
func (e *epoch) hangUp() {
	e.fail(errHungUp)
	cut := time.AfterFunc(hangUpTimeout, func() { _ = e.raw.Close() })
	defer cut.Stop()
	_ = e.conn.Close() // if it is closed already, so much the better
	e.work.Wait()
}
