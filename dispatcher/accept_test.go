package dispatcher

import (
	"slices"
	"testing"
	"time"

	"github.com/tocsin/tocsin/incident"
)

func TestDecide(t *testing.T) {
	now := time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)
	ev := func(change ...func(*incident.Event)) *incident.Event {
		e := &incident.Event{
			Page: "default", IncidentID: "INC-1", Status: incident.Identified, Impact: incident.ImpactMinor,
			AffectedComponents: []string{"api"}, StartedAt: now.Add(-time.Hour),
		}
		for _, c := range change {
			c(e)
		}
		return e
	}
	updatedAt := func(at time.Time) func(*incident.Event) { return func(e *incident.Event) { e.UpdatedAt = at } }
	before := IncidentState{
		Exists: true, Sequence: 3, Hash: [16]byte{1}, UpdatedAt: now.Add(-time.Minute), Planned: true,
		Highest: incident.ImpactCritical, Components: []string{"web", "api"},
	}
	with := func(change func(*IncidentState)) IncidentState { s := before; change(&s); return s }

	for name, c := range map[string]struct {
		state IncidentState
		event *incident.Event
		hash  byte
		want  Decision
	}{
		"the first": {IncidentState{}, ev(), 9, Decision{Result: AcceptedNew, Sequence: 1}},
		"the next":  {before, ev(), 9, Decision{Result: AcceptedNew, Sequence: 4}},
		"same update_id, planned": {with(func(s *IncidentState) { s.KnownHere, s.Known, s.KnownPlanned = true, 2, true }), ev(), 9,
			Decision{Result: AcceptedDuplicate, Sequence: 2}},
		"same update_id, its plan unfinished": {with(func(s *IncidentState) { s.KnownHere, s.Known = true, 2 }), ev(), 9,
			Decision{Result: AcceptedDuplicate, Sequence: 2, Resume: true}},
		"same update_id, stale then": {with(func(s *IncidentState) { s.KnownHere = true }), ev(), 9,
			Decision{Result: AcceptedDuplicate}},
		"same content": {before, ev(), 1, Decision{Result: AcceptedDuplicate, Sequence: 3}},
		"same content, its plan unfinished": {with(func(s *IncidentState) { s.Planned = false }), ev(), 1,
			Decision{Result: AcceptedDuplicate, Sequence: 3, Resume: true}},
		"older than the latest":   {before, ev(updatedAt(now.Add(-2 * time.Minute))), 9, Decision{Result: AcceptedStale}},
		"as old as the latest":    {before, ev(updatedAt(before.UpdatedAt)), 9, Decision{Result: AcceptedNew, Sequence: 4}},
		"five minutes ahead":      {before, ev(updatedAt(now.Add(MaxAhead))), 9, Decision{Result: AcceptedNew, Sequence: 4}},
		"more than that":          {before, ev(updatedAt(now.Add(MaxAhead + 1))), 9, Decision{Result: AcceptedRefused}},
		"a stale time, no update": {IncidentState{}, ev(updatedAt(now.Add(-300 * time.Hour))), 9, Decision{Result: AcceptedNew, Sequence: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			got := Decide(now, time.Hour)(c.state, &Arrival{Event: c.event, ReceivedAt: now.Add(-time.Second), Hash: [16]byte{c.hash}})
			if got.Result != c.want.Result || got.Sequence != c.want.Sequence || got.Resume != c.want.Resume {
				t.Fatalf("got %+v, want %+v", got, c.want)
			}
			if (got.Result == AcceptedRefused) != (got.Field == "updated_at" && got.Reason != "") {
				t.Errorf("field %q, reason %q", got.Field, got.Reason)
			}
			if named := got.UpdateID == incident.UpdateID(c.event.Page, c.event.IncidentID, got.Sequence); named != (got.Result == AcceptedNew) {
				t.Errorf("the update that has no name is called %q", got.UpdateID)
			}
			if got.Result == AcceptedNew && !got.ExpiresAt.Equal(now.Add(time.Hour)) {
				t.Errorf("expires at %v", got.ExpiresAt)
			}
		})
	}

	got := Decide(now, time.Hour)(before, &Arrival{Event: ev(), UpdateID: "u", ReceivedAt: now.Add(-2 * time.Hour), Hash: [16]byte{9}})
	if got.UpdateID != "u" {
		t.Errorf("an update's own name became %q", got.UpdateID)
	}
	if got.Highest != incident.ImpactCritical {
		t.Errorf("highest impact fell to %s: whoever heard of the incident may not hear its end", got.Highest)
	}
	if !slices.Equal(got.Components, []string{"web", "api"}) || got.Whole {
		t.Errorf("union of components is %v, whole %v", got.Components, got.Whole)
	}
	if !got.UpdatedAt.Equal(before.UpdatedAt) {
		t.Errorf("an update without a time counts as of %v, before the latest one", got.UpdatedAt)
	}
	whole := Decide(now, time.Hour)(before, &Arrival{Event: ev(func(e *incident.Event) { e.AffectedComponents = nil }), Hash: [16]byte{9}})
	if !whole.Whole {
		t.Error("an update of the whole page keeps to components")
	}
}
