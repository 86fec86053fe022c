package cases

import (
	"context"
	"sync"
	"time"

	"github.com/tocsin/tocsin/internal/store"
	"github.com/tocsin/tocsin/queue"
)

const (
	// publishSlice is how many events are read from the outbox at once.
	publishSlice = 256
	// publishAtOnce is how many incidents are published at once: a confirm takes
	// as long for one as for several.
	publishAtOnce = 16
	// offerTimeout bounds one event.
	offerTimeout = 10 * time.Second
	// publishPause is after the intake took nothing, doubled up to longestPause.
	publishPause = 100 * time.Millisecond
	longestPause = 5 * time.Second
)

// publish brings the outbox to the intake. What the intake has and the outbox still
// shows, after a crash or with the disk full, is offered once per process at most,
// and known there by its update_id.
func (k *Keeper) publish(ctx context.Context) {
	p := publisher{Keeper: k, offered: make(map[int64]bool)}
	pause := publishPause
	for {
		more, err := p.slice(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			k.opt.Log.Warn("updates wait to be published; trying again", "pause", pause.String(), "error", err)
			if !rest(ctx, pause) {
				return
			}
			pause = min(2*pause, longestPause)
			continue
		}
		pause = publishPause
		if more {
			continue
		}
		select {
		case <-k.decided:
		case <-ctx.Done():
			return
		}
	}
}

// publisher is the work of publish; offered are the events that the intake has and
// the outbox too.
type publisher struct {
	*Keeper
	offered map[int64]bool
}

// slice publishes what the outbox begins with, the events of each incident one after
// the other; the first that fails keeps those behind it.
func (p *publisher) slice(ctx context.Context) (more bool, err error) {
	events, err := p.store.Outbox(ctx, publishSlice)
	if err != nil || len(events) == 0 {
		return false, err
	}
	type name struct{ page, incidentID string }
	byIncident := make(map[name][]*store.OutboxEvent)
	var order []name
	for i := range events {
		e := &events[i]
		of := name{e.Page, e.IncidentID}
		if byIncident[of] == nil {
			order = append(order, of)
		}
		byIncident[of] = append(byIncident[of], e)
	}
	var mu sync.Mutex // guards failed and p.offered
	var failed error
	var running sync.WaitGroup
	slots := make(chan struct{}, publishAtOnce)
	for _, of := range order {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			for _, e := range byIncident[of] {
				mu.Lock()
				done := p.offered[e.ID]
				mu.Unlock()
				if done {
					continue
				}
				err := p.offer(ctx, e)
				mu.Lock()
				if err != nil {
					failed = err
				} else {
					p.offered[e.ID] = true
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	running.Wait()
	var done []int64
	for i := range events {
		if p.offered[events[i].ID] {
			done = append(done, events[i].ID)
		}
	}
	if err := p.store.Offered(ctx, done); err != nil {
		return false, err
	}
	for _, id := range done {
		delete(p.offered, id)
	}
	return true, failed
}

func (p *publisher) offer(ctx context.Context, e *store.OutboxEvent) error {
	ctx, cancel := context.WithTimeout(ctx, offerTimeout)
	defer cancel()
	return p.intake.Offer(ctx, &queue.Event{Body: e.Body, UpdateID: e.UpdateID, ReceivedAt: e.At, Source: e.Source})
}

// rest returns false when ctx ended.
func rest(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
