package cases

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/lifecycle"
	"github.com/tocsin/tocsin/internal/store"
)

// agendaPrefix begins the group that stands for an incident's agenda in the store. A
// sender's group is printable, so it is never the same.
const agendaPrefix = "\tmanual\t"

func agendaKey(page, incidentID string) store.CaseKey {
	return store.CaseKey{Page: page, Group: agendaPrefix + incidentID}
}

// ordered returns the incident whose agenda a key is of.
func ordered(key store.CaseKey) (incidentID string, ok bool) {
	return strings.CutPrefix(key.Group, agendaPrefix)
}

// Order does what a checked order asks for and returns once that is durable: what it
// says reaches the intake, and what waits for its time is told then. The error is an
// [*incident.Invalid], a [*lifecycle.Refused] or one of the store.
func (k *Keeper) Order(ctx context.Context, o *lifecycle.Order) (*lifecycle.Obeyed, error) {
	key := agendaKey(o.Page, o.IncidentID)
	known, err := k.store.KnownUpdate(ctx, o.Page, o.IncidentID, o.UpdateID)
	if err != nil {
		return nil, err
	}
	latest, err := k.store.LatestEvent(ctx, o.Page, o.IncidentID)
	if err != nil {
		return nil, err
	}
	answer := &lifecycle.Obeyed{Page: o.Page, IncidentID: o.IncidentID, UpdateID: o.UpdateID}
	var news bool
	var due time.Time
	err = k.store.StepCases(ctx, []store.CaseKey{key}, func(_ int, state []byte) (change store.CaseChange, err error) {
		now := k.opt.Clock()
		a, err := agendaOf(key, state)
		if err != nil {
			return change, err
		}
		var decisions []lifecycle.Decision
		answer.Duplicate = known
		if !known {
			if a, decisions, answer.Duplicate, err = lifecycle.Obey(a, o, latest, now); err != nil {
				return change, err
			}
		}
		answer.Pending = a.Pending
		if answer.Duplicate {
			return change, nil
		}
		change, err = agendaChange(key, state, a, decisions, now)
		news, due = len(change.Events) > 0, change.DueAt
		return change, err
	})
	if err != nil {
		return nil, err
	}
	k.after(news, due)
	return answer, nil
}

// Pending returns what waits for its time, of an incident, earliest first.
func (k *Keeper) Pending(ctx context.Context, page, incidentID string) (pending []lifecycle.Pending, err error) {
	key := agendaKey(page, incidentID)
	err = k.store.StepCases(ctx, []store.CaseKey{key}, func(_ int, state []byte) (change store.CaseChange, err error) {
		a, err := agendaOf(key, state)
		if err != nil {
			return change, err
		}
		pending = a.Pending
		return change, nil
	})
	return pending, err
}

// latest asks the ledger how those incidents stand whose agendas are due. It may be
// behind what the agendas say; they know.
func (k *Keeper) latest(ctx context.Context, keys []store.CaseKey) ([]*incident.Event, error) {
	latest := make([]*incident.Event, len(keys))
	for i, key := range keys {
		if id, ok := ordered(key); ok {
			var err error
			latest[i], err = k.store.LatestEvent(ctx, key.Page, id)
			if damaged, ok := errors.AsType[*incident.Invalid](err); ok {
				// It would hold up all timers for ever; the agenda knows what it said.
				k.opt.Log.Error("the newest update of an incident can't be read", "page", key.Page, "incident", id, "error", damaged)
				continue
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return latest, nil
}

// obeyDue does what is due of an agenda and says what the store has to change.
func obeyDue(key store.CaseKey, state []byte, latest *incident.Event, now time.Time) (change store.CaseChange, err error) {
	a, err := agendaOf(key, state)
	if err != nil {
		return change, err
	}
	a, decisions := lifecycle.ObeyDue(a, latest, now)
	return agendaChange(key, state, a, decisions, now)
}

func agendaOf(key store.CaseKey, state []byte) (*lifecycle.Agenda, error) {
	if state == nil {
		id, _ := ordered(key)
		return lifecycle.NewAgenda(key.Page, id), nil
	}
	return lifecycle.ParseAgenda(state)
}

func agendaChange(key store.CaseKey, state []byte, a *lifecycle.Agenda, decisions []lifecycle.Decision, now time.Time) (change store.CaseChange, err error) {
	after, err := a.Encode()
	if err != nil || bytes.Equal(state, after) {
		return change, err
	}
	change = store.CaseChange{State: after, DueAt: a.DueAt()}
	err = decide(&change, key.Page, a.IncidentID, lifecycle.Manual, decisions, now)
	return change, err
}
