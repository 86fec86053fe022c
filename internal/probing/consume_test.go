package probing

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/tocsin/tocsin/queue"
)

// feed gives bodies once each, between errors.
type feed struct {
	bodies  []string
	calls   int
	settled []string
	ended   context.CancelFunc
}

func (f *feed) fault() error {
	if f.calls++; f.calls%2 == 1 {
		return queue.ErrUnavailable
	}
	return nil
}

func (f *feed) TakeProbes(_ context.Context, limit int) (events []*queue.Event, err error) {
	if err := f.fault(); err != nil {
		return nil, err
	}
	if len(f.bodies) == 0 {
		f.ended()
		return nil, errors.New("no more")
	}
	n := min(limit, 2, len(f.bodies))
	for _, body := range f.bodies[:n] {
		events = append(events, &queue.Event{Body: []byte(body)})
	}
	f.bodies = f.bodies[n:]
	return events, nil
}

func (f *feed) Conclude(_ context.Context, events []*queue.Event, verdicts []queue.Verdict) error {
	if err := f.fault(); err != nil {
		return err
	}
	for i, v := range verdicts {
		f.settled = append(f.settled, fmt.Sprintf("%s %s %s", events[i].Body[:1], v.Result, v.Field))
	}
	return nil
}

func TestConsume(t *testing.T) {
	inWorld(t, func(w *world) {
		const good = `{"service":"api","location":"a","ok":false}`
		ctx, cancel := context.WithCancel(w.Context())
		f := &feed{bodies: []string{good, "[" + good + "]", "{", `[{"service":1}]`}, ended: cancel}
		if err := w.watch.Consume(ctx, f); err != nil {
			w.Error(err)
		}
		want := []string{"{ accepted ", "[ accepted ", "{ invalid results", "[ invalid results[0].service"}
		if !slices.Equal(f.settled, want) {
			w.Errorf("settled are %q, want %q", f.settled, want)
		}
		synctest.Wait()
		if c := w.counts.all(); c["invalid"] != 2 || c["accepted"]+c["ignored"] != 2 {
			w.Errorf("counted are %v", c)
		}
	})
}
