package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tocsin/tocsin/queue"
)

// steady is how long an epoch has to last to count as a success: one that ends
// sooner, as right after the broker's boot, adds to the backoff.
const steady = 10 * time.Second

// link keeps one connection up for as long as it runs: it connects, sets up a
// session of type S on it, and starts over with a new one when it ends, without
// limit. Its one goroutine owns connecting; the state it shares is below mu.
type link[S any] struct {
	name    string
	dial    func(ctx context.Context, name string) (*epoch, error)
	open    func(ctx context.Context, e *epoch) (*S, error)
	backoff func(failures int) time.Duration
	log     *slog.Logger
	stop    context.CancelFunc
	done    chan struct{}

	mu      sync.Mutex
	session *S            // nil while there is none
	epoch   *epoch        // the session's
	blocked bool          // the broker takes nothing for the moment
	closed  bool          // for good
	err     error         // why there is no session
	changed chan struct{} // closed and replaced whenever one of these changes
}

// start begins to connect. Nothing but close ends it.
func (l *link[S]) start() {
	ctx, stop := context.WithCancel(context.Background())
	l.stop, l.done, l.changed = stop, make(chan struct{}), make(chan struct{})
	go l.run(ctx)
}

func (l *link[S]) close() {
	l.change(func() { l.closed = true })
	l.stop()
	<-l.done
}

func (l *link[S]) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *link[S]) run(ctx context.Context) {
	defer close(l.done)
	for failures := 0; ; failures++ {
		began := time.Now()
		err := l.live(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > steady {
			failures = 0
		}
		l.change(func() { l.err = err })
		wait := l.backoff(failures)
		level := slog.LevelWarn
		if failures > 0 && wait < time.Second {
			level = slog.LevelDebug // said already, and most outages are short
		}
		l.log.Log(ctx, level, "no connection to the broker, trying again", "link", l.name, "wait", wait, "error", err)
		if pause(ctx, wait) != nil {
			return
		}
	}
}

// live is one epoch, from connecting to its end, whose reason it returns.
func (l *link[S]) live(ctx context.Context) error {
	e, err := l.dial(ctx, l.name)
	if err != nil {
		return err
	}
	defer e.hangUp()
	var session *S
	if err := e.within(ctx, func() (err error) {
		session, err = l.open(ctx, e)
		return err
	}); err != nil {
		return err
	}
	l.log.Info("connected to the broker", "link", l.name)
	l.change(func() { l.session, l.epoch, l.err = session, e, nil })
	defer l.change(func() { l.session, l.epoch, l.blocked = nil, nil, false })
	for {
		select {
		case b, ok := <-e.blocks:
			if !ok { // the connection is closing and says why below
				e.blocks = nil
				continue
			}
			l.log.Warn("the broker's alarm for this connection changed", "link", l.name, "blocked", b.Active, "reason", b.Reason)
			l.change(func() { l.blocked = b.Active })
		case ended := <-e.closes:
			if ended == nil { // a nil *amqp.Error is no nil error
				return errHungUp
			}
			return fmt.Errorf("the connection to the broker ended: %w", ended)
		case <-e.over:
			return e.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// await returns the session to work with, waiting for one that isn't blocked
// until ctx ends; then it returns [queue.ErrUnavailable] with the reason.
func (l *link[S]) await(ctx context.Context) (*S, error) {
	for {
		l.mu.Lock()
		session, blocked, closed, err, changed := l.session, l.blocked, l.closed, l.err, l.changed
		over := session != nil && l.epoch.ended() // and about to be replaced
		l.mu.Unlock()
		switch {
		case closed:
			return nil, errClosed
		case session != nil && !blocked && !over:
			return session, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, unavailable(reason(blocked, err))
		}
	}
}

func reason(blocked bool, err error) error {
	switch {
	case blocked:
		return errors.New("the broker takes nothing while its memory or disk alarm lasts")
	case err == nil:
		return errors.New("connecting to the broker")
	}
	return err
}

// first waits for the first session, and gives up on errors that waiting
// doesn't heal.
func (l *link[S]) first(ctx context.Context) error {
	for {
		l.mu.Lock()
		session, err, changed := l.session, l.err, l.changed
		l.mu.Unlock()
		if session != nil {
			return nil
		}
		if _, final := errors.AsType[finalError](err); final {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return unavailable(reason(false, err))
		}
	}
}

// state returns the session, or nil, and whether it is blocked.
func (l *link[S]) state() (session *S, blocked bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.session, l.blocked
}

// failed is what becomes of a call that ended with its session: for a reason that
// another session heals, unless nobody will make one.
func (l *link[S]) failed(reason error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	return unavailable(reason)
}

var errClosed = fmt.Errorf("rabbitmq: %w", queue.ErrClosed)

func unavailable(reason error) error {
	return fmt.Errorf("rabbitmq: %w: %w", queue.ErrUnavailable, reason)
}
