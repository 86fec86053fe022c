package gateway

import (
	"context"
	"net/http"

	"github.com/tocsin/tocsin/incident"
)

// postOwn takes what a source sends to its own route, in its own words: reports of
// what is wrong, or updates of incidents. Updates that are known are not offered
// again: whoever sends them tells all of an incident each time.
func (g *gateway) postOwn(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	own, ok := g.Own[name]
	if !ok {
		return refuse(http.StatusNotFound, "there is no source by this name")
	}
	body, err := g.readBody(w, r, maxOwnBytes)
	if err != nil {
		return err
	}
	digest := digestOf(body, "own "+name)
	if answers, known := g.Lifecycle.Recall(digest); known {
		return writeJSON(w, http.StatusAccepted, reportedOf(answers))
	}
	reading, err := own.Read(r.Context(), body)
	if err == nil {
		for _, e := range reading.Events {
			if err = g.checkEvent(e); err != nil {
				break
			}
		}
	}
	if err != nil {
		g.Meter.EventRefused(own.Kind, "invalid")
		return err
	}
	all := reported{Incidents: []*receipt{}}
	if len(reading.Reports) > 0 {
		answers, err := g.report(r.Context(), own.Kind, digest, reading.Reports)
		if err != nil {
			return err
		}
		all = reportedOf(answers)
	}
	for _, e := range reading.Events {
		told, err := g.offerOnce(r.Context(), e, own.Kind)
		if err != nil {
			return err
		}
		all.Incidents = append(all.Incidents, told)
	}
	return writeJSON(w, http.StatusAccepted, all)
}

// offerOnce offers an update that has a name, unless that is known.
func (g *gateway) offerOnce(ctx context.Context, e *incident.Event, source string) (*receipt, error) {
	if g.known(ctx, e) {
		return &receipt{Page: e.Page, IncidentID: e.IncidentID, UpdateID: e.UpdateID, StatusURL: statusURL(e.Page, e.IncidentID), Duplicate: true}, nil
	}
	body, err := incident.Encode(e)
	if err != nil {
		return nil, err
	}
	return g.offer(ctx, e, body, source)
}
