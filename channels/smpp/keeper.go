package smpp

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"time"

	"github.com/fiorix/go-smpp/smpp/pdu"

	"github.com/tocsin/tocsin/internal/egress"
)

// stable is how long a bind has to have lasted for its end to count as the first
// failure, rather than as one more of a link that flaps.
const stable = time.Minute

// keep holds one bind of the account until ctx ends: it connects, binds, serves,
// and begins again, slower with each failure in a row.
func (a *account) keep(ctx context.Context) {
	for failures := 0; ; {
		if a.exclusive && !a.awaitDemand(ctx) {
			return
		}
		s, err := a.bind(ctx)
		var lasted time.Duration
		if err == nil {
			began := time.Now()
			a.change(func() { a.coming--; a.bound = append(a.bound, s); a.failure = "" })
			a.forgetDemand()
			a.config.Logger.Info("smpp: bound", "account", a.name)
			err = s.serve(ctx)
			lasted = time.Since(began)
		}
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errIdle):
			failures = 0
			continue
		}
		if failures++; lasted >= stable {
			failures = 1
		}
		why := reason(err)
		if failures <= 2 { // an outage is news once
			a.config.Logger.Warn("smpp: not bound", "account", a.name, "cause", why)
		}
		if !a.pause(ctx, why, failures) {
			return
		}
	}
}

func (a *account) awaitDemand(ctx context.Context) bool {
	select {
	case <-a.wanted:
		return true
	case <-ctx.Done():
		return false
	}
}

// forgetDemand drops a wish that was met or refused. One that slips through costs a
// bind that nobody needs.
func (a *account) forgetDemand() {
	select {
	case <-a.wanted:
	default:
	}
}

// pause lets senders fail at once, for the reason, until it is time to try again.
// It returns false when ctx has ended.
func (a *account) pause(ctx context.Context, why string, failures int) bool {
	a.change(func() { a.coming--; a.failure = why })
	timer := time.NewTimer(backoff(a.config.RetryBase, a.config.RetryCap, failures, rand.Float64()))
	defer timer.Stop()
	select {
	case <-timer.C:
		a.forgetDemand() // who was turned away comes again by itself
		a.change(func() { a.coming++ })
		return true
	case <-ctx.Done():
		return false
	}
}

// backoff returns the pause after so many failures in a row, from 1: base doubled
// each time up to limit, less up to half of it by chance, which is in [0,1).
func backoff(base, limit time.Duration, failures int, chance float64) time.Duration {
	d := limit
	if shift := failures - 1; shift < 30 && base<<shift < limit {
		d = base << shift
	}
	return d - time.Duration(chance*float64(d)/2)
}

// reason puts an error into words that hold no address and nothing of the peer's.
func reason(err error) string {
	var dialled *egress.Error
	var refused bindRefused
	var ended linkError
	switch {
	case errors.As(err, &dialled):
		return dialled.Detail
	case errors.Is(err, egress.ErrBlocked):
		return egress.ErrBlocked.Error()
	case errors.Is(err, egress.ErrNoPort):
		return egress.ErrNoPort.Error()
	case errors.As(err, &refused):
		return refused.Error()
	case errors.As(err, &ended):
		return string(ended)
	}
	return "link failed"
}

// bindRefused is the centre's answer to a bind that it does not like.
type bindRefused struct{ status pdu.Status }

func (b bindRefused) Error() string { return "bind refused: " + statusName(b.status) }

// bind connects and binds as a transceiver.
func (a *account) bind(ctx context.Context) (*session, error) {
	conn, err := a.connect(ctx, a.endpoint)
	if err != nil {
		return nil, err
	}
	return a.bindOn(ctx, conn)
}

// bindOn binds on a connection, which it cuts on an error.
func (a *account) bindOn(ctx context.Context, conn net.Conn) (*session, error) {
	stop := context.AfterFunc(ctx, func() { abort(conn) })
	s := newSession(a, conn)
	err := s.bind()
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		abort(conn)
		return nil, err
	}
	return s, nil
}

// abort closes a connection without waiting for anything.
func abort(conn net.Conn) {
	if c, ok := conn.(interface{ Abort() }); ok {
		c.Abort()
		return
	}
	_ = conn.Close() // nothing is left to be told
}
