package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// work is what runs until the first part of it ends, or ctx does; each part ends
// by itself when its context does.
type work struct {
	parts  sync.WaitGroup
	cancel context.CancelCauseFunc
	mu     sync.Mutex
	err    error
}

func newWork(ctx context.Context) (context.Context, *work) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &work{cancel: cancel}
}

func (w *work) run(ctx context.Context, name string, part func(context.Context) error) {
	w.parts.Go(func() {
		err := part(ctx)
		if err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
		w.end(err)
	})
}

// end ends everything; err is why, if that is worth telling.
func (w *work) end(err error) {
	w.mu.Lock()
	w.err = errors.Join(w.err, err)
	w.mu.Unlock()
	w.cancel(err)
}

func (w *work) wait() error {
	w.parts.Wait()
	return w.err
}
