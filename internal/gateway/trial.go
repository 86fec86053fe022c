package gateway

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"time"

	"github.com/tocsin/tocsin/incident"
)

// trialFor is how long a test message is tried.
const trialFor = time.Minute

// testTarget sends a message marked as a test to one target, in the way of every
// other message: as an incident of its own, whose page nobody subscribed to and
// whose one inline target is a copy of this one. What comes of it is in that
// incident's ledger, and the copy alone is disabled if its address is gone.
//
// A paused or disabled target is tested too, as that shows whether it may be told
// again; one that unsubscribed is left in peace.
func (g *gateway) testTarget(w http.ResponseWriter, r *http.Request) error {
	id, err := idOf(r.PathValue("id"))
	if err != nil {
		return err
	}
	t, err := g.Targets.Target(r.Context(), id)
	if err != nil {
		return err
	}
	switch {
	case t.State == incident.StateUnsubscribed:
		return refuse(http.StatusConflict, "this target has unsubscribed; nothing is sent to it")
	case t.Channel == incident.ChannelRSS || t.Channel == incident.ChannelWebSub:
		return refuse(http.StatusConflict, "this is a feed, which publishes the incidents of its page alone; read it to see that it works")
	}
	e := trial(t, g.opt.Clock())
	if err := g.CheckTarget(&e.Targets[0]); err != nil {
		return err
	}
	if err := e.Validate(); err != nil {
		return err
	}
	body, err := incident.Encode(e)
	if err != nil {
		return fmt.Errorf("encode a test event: %w", err)
	}
	answer, err := g.offer(r.Context(), e, body, sourceHTTP)
	if err != nil {
		return err
	}
	w.Header().Set("Location", answer.StatusURL)
	return writeJSON(w, http.StatusAccepted, answer)
}

// trial is the event of a test. It is resolved, so that a receiver that keeps
// incidents is left with no open one.
func trial(t *incident.Target, now time.Time) *incident.Event {
	name := "TEST-" + rand.Text()
	inline := *t
	inline.ID, inline.ExternalID = 0, ""
	inline.Page, inline.Components, inline.MinImpact = name, nil, incident.ImpactNone
	inline.State, inline.Test, inline.Visibility = incident.StateActive, true, incident.Private
	return &incident.Event{
		Page: name, IncidentID: name, Status: incident.Resolved, Impact: incident.ImpactNone,
		AffectedComponents: []string{}, StartedAt: now, ResolvedAt: now, ExpiresAt: now.Add(trialFor),
		Title:      "Test message",
		Message:    "Somebody checks that notices of incidents arrive here. Nothing is wrong, and nothing has to be done.",
		Visibility: incident.Private, Test: true, Targets: []incident.Target{inline},
	}
}
