package store

import (
	"context"
	"time"
)

// Replays keeps which signed requests were taken, so that none is taken again after a
// restart. Implementations are safe for concurrent use.
type Replays interface {
	// RememberTaken keeps that a request of source was taken, by the time that it was
	// signed at and its print; that it is kept already is no error. It is durable when it
	// returns nil. A few of those signed before old are forgotten each time, more than
	// one is added.
	RememberTaken(ctx context.Context, source string, at time.Time, print [16]byte, old time.Time) error
	// Taken forgets those signed before since, in bounded transactions, and then calls
	// each for all others, in no order; for some of them perhaps twice.
	Taken(ctx context.Context, since time.Time, each func(source string, at time.Time, print [16]byte)) error
}
