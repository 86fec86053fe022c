package probing

import (
	"context"
	"errors"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/queue"
)

const (
	// takeAtOnce is how many bodies are taken from a feed before they are acked.
	takeAtOnce = 64
	// feedPause is after a feed had an error.
	feedPause = time.Second
)

// Feed has bodies of results, as [queue.Intake] has events: what is concluded doesn't
// come again.
type Feed interface {
	TakeProbes(ctx context.Context, limit int) ([]*queue.Event, error)
	Conclude(ctx context.Context, events []*queue.Event, verdicts []queue.Verdict) error
}

// Consume takes the results of a feed until ctx ends, and returns nil. Those that it
// had taken and not concluded come again, and are known as repeats if they have times.
func (w *Watch) Consume(ctx context.Context, feed Feed) error {
	for ctx.Err() == nil {
		bodies, err := feed.TakeProbes(ctx, takeAtOnce)
		if err != nil {
			rest(ctx)
			continue
		}
		verdicts := make([]queue.Verdict, len(bodies))
		for i, body := range bodies {
			verdicts[i] = verdictOf(w.Take(body.Body))
		}
		for feed.Conclude(ctx, bodies, verdicts) != nil && ctx.Err() == nil {
			rest(ctx)
		}
	}
	return nil
}

func verdictOf(_, _ int, err error) queue.Verdict {
	if bad, ok := errors.AsType[*incident.Invalid](err); ok {
		return queue.Verdict{Result: "invalid", Field: bad.Field, Reason: bad.Reason}
	}
	return queue.Verdict{Result: "accepted"}
}

func rest(ctx context.Context) {
	timer := time.NewTimer(feedPause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
