package dispatcher

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/incident"
)

// Callbacks tells producers that an update is complete. Implementations are safe
// for concurrent use.
type Callbacks interface {
	// Check refuses, with an [*incident.Invalid] of the field callback_url, a URL
	// that may not be called, or any if there is no key to sign with. It is quick
	// and pure: no name is resolved.
	Check(url incident.CallbackURL) error
	// Post makes one signed attempt with a body of JSON and bounds itself, as
	// [channels.Channel.Send] does. id is the same for all attempts.
	Post(ctx context.Context, id string, url incident.CallbackURL, body []byte) channels.Result
}

// CallbackLedger is the part of a [Ledger] that knows who is to be told of an
// update's completion. Accept writes down an update's callback with the update.
type CallbackLedger interface {
	// Complete looks at the updates that have a callback and notes those that have
	// come to their end since: planned or stopped, and no row open. What is told of
	// them is settled by that, and their callbacks are due now. It says how many.
	Complete(ctx context.Context, now time.Time) (completed int, err error)

	// DueCallbacks returns callbacks that are due, oldest due first, at most limit.
	DueCallbacks(ctx context.Context, now time.Time, limit int) ([]*Callback, error)

	// SettleCallback writes what came of an attempt; of a callback that has ended
	// it changes nothing.
	SettleCallback(ctx context.Context, s CallbackSettlement) error
}

// CallbackState says how far a callback is.
type CallbackState uint8

// The states of a callback.
const (
	// CallbackWaiting: for the update's completion, or for the next attempt.
	CallbackWaiting CallbackState = iota
	// CallbackDelivered: the producer answered 2xx.
	CallbackDelivered
	// CallbackFailed: refused for good, or given up.
	CallbackFailed
)

// String returns the state as the API names it.
func (s CallbackState) String() string {
	switch s {
	case CallbackWaiting:
		return "waiting"
	case CallbackDelivered:
		return "delivered"
	case CallbackFailed:
		return "failed"
	}
	return "unknown"
}

// Callback is a completed update whose producer has not been told yet.
type Callback struct {
	Incident int64
	Sequence int
	URL      incident.CallbackURL
	Attempt  int // attempts made so far
	// What the producer is told.
	Page       string
	IncidentID string
	UpdateID   string
	Status     incident.Status
	Audience   int
	// Outcomes counts deliveries by channel as they were at CompletedAt.
	Outcomes   map[string]map[Outcome]int
	AcceptedAt time.Time
	// PlannedAt is zero if the fan-out was stopped before.
	PlannedAt time.Time
	// CompletedAt is when the last delivery ended.
	CompletedAt time.Time
	ExpiresAt   time.Time
}

// CallbackSettlement is what came of an attempt.
type CallbackSettlement struct {
	Incident int64
	Sequence int
	State    CallbackState
	Attempt  int // attempts made so far
	Detail   string
	DueAt    time.Time // while waiting
	DoneAt   time.Time // afterwards
}

// How long a producer that does not answer is called again.
const (
	// callbackLife counts from the update's expiry.
	callbackLife = 24 * time.Hour
	// callbackLimit counts from its completion: an expires_at of the year 9999
	// doesn't keep a callback until then.
	callbackLimit = 7 * 24 * time.Hour
)

// until is when the last attempt may begin.
func (c *Callback) until() time.Time {
	until := c.ExpiresAt
	if until.Before(c.CompletedAt) { // the engine was down
		until = c.CompletedAt
	}
	until = until.Add(callbackLife)
	if latest := c.CompletedAt.Add(callbackLimit); until.After(latest) {
		until = latest
	}
	return until
}

// settlement decides what an attempt's result means, as for a webhook. wait is the
// backoff drawn for it.
func (c *Callback) settlement(r channels.Result, now time.Time, wait time.Duration) CallbackSettlement {
	s := CallbackSettlement{Incident: c.Incident, Sequence: c.Sequence, Attempt: c.Attempt + 1, Detail: clip(r.Detail)}
	next := now.Add(max(wait, r.RetryAfter))
	switch {
	case r.Class == channels.Delivered:
		s.State, s.DoneAt = CallbackDelivered, now
	case r.Class == channels.Permanent, r.Class == channels.Gone, next.After(c.until()):
		s.State, s.DoneAt = CallbackFailed, now
	default:
		s.DueAt = next
	}
	return s
}

// body is what a producer is told, byte for byte the same at every attempt. Names
// are a contract: add, never rename.
func (c *Callback) body() ([]byte, error) {
	outcomes := make(map[string]map[string]int, len(c.Outcomes))
	for channel, by := range c.Outcomes {
		outcomes[channel] = make(map[string]int, len(by))
		for o, n := range by {
			outcomes[channel][o.String()] = n
		}
	}
	type data struct {
		Page        string                    `json:"page"`
		IncidentID  string                    `json:"incident_id"`
		Sequence    int                       `json:"sequence"`
		UpdateID    string                    `json:"update_id"`
		Status      incident.Status           `json:"status"`
		Audience    int                       `json:"audience"`
		Outcomes    map[string]map[string]int `json:"outcomes"`
		AcceptedAt  time.Time                 `json:"accepted_at"`
		PlannedAt   time.Time                 `json:"planned_at,omitzero"`
		CompletedAt time.Time                 `json:"completed_at"`
	}
	return json.Marshal(struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      data      `json:"data"`
	}{"update.completed", c.CompletedAt.UTC(), data{
		Page: c.Page, IncidentID: c.IncidentID, Sequence: c.Sequence, UpdateID: c.UpdateID, Status: c.Status,
		Audience: c.Audience, Outcomes: outcomes,
		AcceptedAt: c.AcceptedAt.UTC(), PlannedAt: c.PlannedAt.UTC(), CompletedAt: c.CompletedAt.UTC(),
	}})
}

// callbacksAtOnce bounds the callbacks under way.
const callbacksAtOnce = 16

// callBack tells producers of completed updates until ctx ends; calls under way
// then end within the time that sends have, and what came of them is written. All
// of it is in the ledger: a crash before an attempt is settled repeats it, with the
// same id and body.
func (e *Engine) callBack(ctx, core context.Context) error {
	type key struct {
		incident int64
		sequence int
	}
	// The scheduler's generator is its own.
	jitter := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	inFlight := make(map[key]bool)
	ended := make(chan key, callbacksAtOnce)
	var calls sync.WaitGroup
	defer calls.Wait()
	look := time.NewTicker(e.opt.CallbackEvery)
	defer look.Stop()
	for {
		due, err := e.dueCallbacks(ctx, callbacksAtOnce+len(inFlight))
		if err != nil {
			return endOf(ctx, err)
		}
		for _, c := range due {
			k := key{c.Incident, c.Sequence}
			if inFlight[k] || len(inFlight) == callbacksAtOnce {
				continue
			}
			inFlight[k] = true
			wait := e.opt.Backoff.Wait(c.Attempt+1, jitter)
			calls.Go(func() {
				e.call(core, c, wait)
				ended <- k
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case k := <-ended: // there is room for another
			delete(inFlight, k)
		case <-look.C:
			if err := e.complete(ctx); err != nil {
				return endOf(ctx, err)
			}
		}
	}
}

func (e *Engine) complete(ctx context.Context) error {
	var completed int
	err := e.insist(ctx, "complete", func() (err error) {
		completed, err = e.ledger.Complete(ctx, e.now())
		return err
	})
	if err != nil || completed == 0 {
		return err
	}
	return e.fail(FailCompleted)
}

// dueCallbacks are none while everything is paused.
func (e *Engine) dueCallbacks(ctx context.Context, limit int) (due []*Callback, err error) {
	if e.pauses.all() {
		return nil, nil
	}
	err = e.insist(ctx, "callback", func() (err error) {
		due, err = e.ledger.DueCallbacks(ctx, e.now(), limit)
		return err
	})
	return due, err
}

// call makes one attempt and writes down what came of it, however long the store
// needs: until then it is not made again.
func (e *Engine) call(core context.Context, c *Callback, wait time.Duration) {
	r := e.post(c)
	if r.Class == channels.NotSent {
		return // the engine stops; it stays due
	}
	if e.fail(FailCalled) != nil {
		return // as if the process had died here
	}
	s := c.settlement(r, e.now(), wait)
	if e.insist(core, "callback", func() error { return e.ledger.SettleCallback(core, s) }) != nil {
		return // a crash: it will be made again
	}
	told := []any{"page", c.Page, "incident", c.IncidentID, "sequence", c.Sequence, "attempt", s.Attempt, "detail", s.Detail}
	switch s.State {
	case CallbackDelivered:
		e.log.Info("producer told that an update is complete", told...)
	case CallbackFailed:
		e.log.Warn("a producer could not be told that an update is complete; it will not be tried again", told...)
	default:
		e.log.Debug("a producer could not be told that an update is complete; trying again later", told...)
	}
}

func (e *Engine) post(c *Callback) (r channels.Result) {
	defer func() {
		if p := recover(); p != nil {
			e.log.Error("a callback panicked; it ends as failed", "panic", fmt.Sprint(p))
			r = channels.Result{Class: channels.Permanent, Detail: "internal error: the callback panicked"}
		}
	}()
	body, err := c.body()
	if err != nil {
		return channels.Result{Class: channels.Permanent, Detail: clip("not expressible as JSON: " + err.Error())}
	}
	return e.callbacks.Post(e.sending, incident.CallbackID(c.Page, c.IncidentID, c.Sequence), c.URL, body)
}
