package soak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/tocsin/tocsin/bench/run"
	"github.com/tocsin/tocsin/incident"
)

// page is the status page that everything is about.
const page = "soak"

// Load counts what the engine was given.
type Load struct {
	Stories int64 `json:"stories"`
	Updates int64 `json:"updates"`
	// Repeats counts events that came once more, each second of them without the
	// id of its update.
	Repeats int64 `json:"repeats"`
	// Retries counts events that the intake did not take at first.
	Retries int64 `json:"retries"`
	// Added and Removed count guests.
	Added   int64 `json:"added"`
	Removed int64 `json:"removed"`
}

// load is Load while it happens.
type load struct{ stories, updates, repeats, retries, added, removed atomic.Int64 }

func (l *load) counts() Load {
	return Load{l.stories.Load(), l.updates.Load(), l.repeats.Load(), l.retries.Load(), l.added.Load(), l.removed.Load()}
}

// chapters are a story's updates.
var chapters = [...]struct {
	status         incident.Status
	title, message string
}{
	{incident.Investigating, "Checkout fails for some customers", "We see errors in checkout and look into it."},
	{incident.Identified, "Checkout fails for some customers", "A database ran out of connections. We move traffic away."},
	{incident.Monitoring, "Checkout recovers", "Traffic is moved. We watch whether it stays well."},
	{incident.Resolved, "Checkout works again", "All checkouts succeed. We are sorry."},
}

const (
	// told is how many stories are told at once, an update of each by turns.
	toldAtOnce = 3
	// repeatEvery is after how many updates one comes again.
	repeatEvery = 5
	// retryAfter is the pause before an event that was not taken is sent again.
	retryAfter = 300 * time.Millisecond
)

// slot is a story that is being told.
type slot struct {
	id      string
	chapter int
	started time.Time
}

// publish publishes an update every so often until it is over, or ctx ends. Those that
// the intake doesn't take are sent until it does, and what would have been due
// meanwhile is left out.
func (s *soak) publish(ctx context.Context, over <-chan struct{}) error {
	tick := time.NewTicker(s.options.Every)
	defer tick.Stop()
	var slots [toldAtOnce]slot
	for n := 0; ; n++ {
		now := &slots[n%toldAtOnce]
		if now.chapter == 0 {
			*now = slot{id: fmt.Sprintf("SOAK-%06d", s.load.stories.Add(1)), started: time.Now().Add(-time.Minute)}
			s.desk.begin(now.id)
		}
		last := now.chapter == len(chapters)-1
		if err := s.tell(ctx, now, last, n%repeatEvery == repeatEvery-1); err != nil {
			return unlessOver(ctx, err)
		}
		if now.chapter++; last {
			now.chapter = 0
		}
		select {
		case <-tick.C:
		case <-over:
			return nil
		}
	}
}

// tell publishes the next chapter of a story, and once more where it is to be repeated.
func (s *soak) tell(ctx context.Context, of *slot, last, again bool) error {
	s.quiet.RLock()
	defer s.quiet.RUnlock()
	body, err := event(of.id, of.chapter, of.started, true)
	if err == nil {
		err = s.offer(ctx, body)
	}
	if err != nil {
		return err
	}
	s.load.updates.Add(1)
	s.desk.accepted(of.id, last)
	if !again {
		return nil
	}
	if body, err = event(of.id, of.chapter, of.started, s.load.repeats.Add(1)%2 == 0); err == nil {
		err = s.offer(ctx, body)
	}
	return err
}

// event is a chapter of a story, with the id of its update or without.
func event(id string, chapter int, started time.Time, named bool) ([]byte, error) {
	c := chapters[chapter]
	e := &incident.Event{Page: page, IncidentID: id, Status: c.status, Impact: incident.ImpactCritical, Title: c.title, Message: c.message,
		AffectedComponents: []string{"checkout", "payments-api"}, StartedAt: started}
	if named {
		e.UpdateID = fmt.Sprintf("%s-%d", id, chapter+1)
	}
	if c.status.Terminal() {
		e.ResolvedAt = started.Add(time.Hour)
	}
	if err := e.Validate(); err != nil {
		return nil, fmt.Errorf("event of the soak: %w", err)
	}
	return incident.Encode(e)
}

// offer sends an event until it is taken. An answer that was lost is no reason to stop:
// the update has an id, or says what was said already.
func (s *soak) offer(ctx context.Context, body []byte) error {
	for {
		err := s.engine.call(ctx, http.MethodPost, "/v1/incidents", body, nil)
		if err == nil {
			return nil
		}
		if refused, ok := errors.AsType[*run.Refusal](err); ok && refused.Status < 500 {
			return fmt.Errorf("an event was refused: %w", err)
		}
		s.load.retries.Add(1)
		if err := run.Sleep(ctx, retryAfter); err != nil {
			return err
		}
	}
}

// unlessOver returns nil for an error that comes of the end of ctx.
func unlessOver(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

const (
	// guestsEvery is how often guests come, guestsStay how many rounds they stay.
	guestsEvery = 2 * time.Second
	guestsStay  = 10
	// firstGuest numbers guests from above everyone else.
	firstGuest = 1_000_000
)

// guestsOf are how many guests come at once. Each webhook is a host of its own, new to
// the engine: what it keeps for hosts has to end.
var guestsOf = []struct {
	channel string
	count   int
}{{incident.ChannelWebhook, 8}, {incident.ChannelSMTP, 1}, {incident.ChannelSMPP, 1}}

// entertain has guests come and go until it is over, or ctx ends.
func (s *soak) entertain(ctx context.Context, over <-chan struct{}) error {
	tick := time.NewTicker(guestsEvery)
	defer tick.Stop()
	var here [][]string // ids, by round
	for n := firstGuest; ; {
		var round []string
		for _, g := range guestsOf {
			for range g.count {
				id, err := s.invite(ctx, g.channel, n)
				if err != nil {
					return unlessOver(ctx, err)
				}
				round = append(round, id)
				n++
			}
		}
		if here = append(here, round); len(here) > guestsStay {
			for _, id := range here[0] {
				err := s.insist(ctx, http.MethodDelete, "/v1/targets/"+id, nil, nil)
				if refused, ok := errors.AsType[*run.Refusal](err); ok && refused.Status == http.StatusNotFound {
					err = nil // gone, though the first answer was lost
				}
				if err != nil {
					return unlessOver(ctx, err)
				}
				s.load.removed.Add(1)
			}
			here = here[1:]
		}
		select {
		case <-tick.C:
		case <-over:
			return nil
		}
	}
}

// invite adds a guest and returns its id.
func (s *soak) invite(ctx context.Context, channel string, n int) (id string, err error) {
	body, err := json.Marshal(target{ExternalID: fmt.Sprintf("guest-%d", n), Channel: channel, Page: page, Address: s.crew.address(channel, n)})
	if err != nil {
		return "", fmt.Errorf("make a target: %w", err)
	}
	var made target
	if err := s.insist(ctx, http.MethodPost, "/v1/targets", body, &made); err != nil {
		return "", err
	}
	s.names.add(made.ID, address{channel, n})
	s.load.added.Add(1)
	return made.ID, nil
}

// insist asks until the engine is able to.
func (s *soak) insist(ctx context.Context, method, path string, body []byte, answer any) error {
	for {
		err := s.engine.call(ctx, method, path, body, answer)
		refused, ok := errors.AsType[*run.Refusal](err)
		switch {
		case err == nil, ok && refused.Status < 500, ctx.Err() != nil:
			return err
		}
		if err := run.Sleep(ctx, retryAfter); err != nil {
			return err
		}
	}
}
