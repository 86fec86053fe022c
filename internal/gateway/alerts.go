package gateway

import (
	"net/http"

	"github.com/tocsin/tocsin/incident"
)

// maxAlertsBytes bounds a notification of Alertmanager. It is larger than an
// event, since a bad outage makes a large group, and no part of it gets far.
const maxAlertsBytes = 4 << 20

// postAlerts takes a notification as one event for each page it concerns. If the
// queue fails between two, Alertmanager sends all again and the first is known
// by its update_id.
func (g *gateway) postAlerts(w http.ResponseWriter, r *http.Request) error {
	body, err := g.readBody(w, r, maxAlertsBytes)
	if err != nil {
		return err
	}
	events, err := eventsOfAlerts(body)
	if err != nil {
		g.Meter.EventRefused(sourceAlerts, "invalid")
		return err
	}
	answers := make([]*receipt, 0, len(events))
	for _, e := range events {
		native, err := incident.Encode(e)
		if err != nil {
			return err
		}
		answer, err := g.offer(r.Context(), e, native, sourceAlerts)
		if err != nil {
			return err
		}
		answers = append(answers, answer)
	}
	return writeJSON(w, http.StatusAccepted, map[string]any{"incidents": answers})
}
