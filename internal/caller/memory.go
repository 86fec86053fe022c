package caller

import (
	"context"
	"fmt"
	"time"
)

// Memory keeps over restarts what was taken. It is safe for concurrent use.
type Memory interface {
	// RememberTaken keeps that a request was taken which source signed at that time, by
	// its print. It is durable when the error is nil. Some of those signed before old may
	// be forgotten then.
	RememberTaken(ctx context.Context, source string, at time.Time, print [16]byte, old time.Time) error
	// Taken forgets those signed before since and calls each for all others, in no
	// order; for some of them perhaps twice.
	Taken(ctx context.Context, since time.Time, each func(source string, at time.Time, print [16]byte)) error
}

// keepPatience bounds how long an answer waits for the memory.
const keepPatience = 2 * time.Second

// Recall takes up what was taken before a restart. It is called once, before Admit.
func (g *Guard) Recall(ctx context.Context) error {
	if g.opt.Memory == nil {
		return nil
	}
	now := g.opt.Clock()
	err := g.opt.Memory.Taken(ctx, oldest(now), func(source string, at time.Time, print [16]byte) {
		if t := g.taken[source]; t != nil {
			t.recall(print, at)
		}
	})
	if err != nil {
		return fmt.Errorf("read which signed requests were taken: %w", err)
	}
	return nil
}

// oldest is how long ago a request may have been signed that is to be remembered.
func oldest(now time.Time) time.Time { return now.Add(-MaxSkew - backwards) }

// keep has the memory know of a request that is about to be answered with success. The
// intake has what it said by now, and a crash before the memory does leaves one that may
// come again: that is harmless, for the intake knows an update_id, and an update that
// says nothing new. The other way round a crash would leave one that nobody has, and
// that may not come again. So the answer doesn't depend on it, either.
func (g *Guard) keep(ctx context.Context, source string, print fingerprint, at time.Time) {
	if g.opt.Memory == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepPatience)
	defer cancel()
	now := g.opt.Clock()
	err := g.opt.Memory.RememberTaken(ctx, source, at, print, oldest(now))
	if err == nil {
		return
	}
	if say, unsaid := g.refusals.line(now); say {
		g.opt.Log.Warn("a signed request that was taken is known until a restart only", "source", source, "error", err, "unsaid", unsaid)
	}
}
