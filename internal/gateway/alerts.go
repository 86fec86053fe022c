package gateway

import (
	"context"
	"net/http"

	"github.com/tocsin/tocsin/internal/lifecycle"
)

// maxAlertsBytes bounds a notification of Alertmanager or Grafana. It is larger than an
// event, since a bad outage makes a large group, and no part of it gets far.
const maxAlertsBytes = 10 << 20

// postAlerts takes a notification of Alertmanager, which gives up on a 429 and tries
// again on a 503, or of Grafana, which tries again in any case.
func (g *gateway) postAlerts(w http.ResponseWriter, r *http.Request) error {
	return g.takeReports(w, r, sourceAlerts, maxAlertsBytes, g.Alerts)
}

// reported is the answer to what is durable.
type reported struct {
	Incidents []*receipt `json:"incidents"`
	// HeldBack counts the firing signals that nobody is told of.
	HeldBack int `json:"held_back,omitempty"`
	// Test says that the sender only tries whether it is heard.
	Test bool `json:"test,omitempty"`
}

// takeReports takes a body that read turns into reports. One that is the same as the
// last of its groups is answered without being read.
func (g *gateway) takeReports(w http.ResponseWriter, r *http.Request, source string, limit int64, read func([]byte) ([]*lifecycle.Report, error)) error {
	body, err := g.readBody(w, r, limit)
	if err != nil {
		return err
	}
	digest := digestOf(body, source)
	if answers, known := g.Lifecycle.Recall(digest); known {
		return writeJSON(w, http.StatusAccepted, reportedOf(answers))
	}
	reports, err := read(body)
	if err != nil {
		g.Meter.EventRefused(source, "invalid")
		return err
	}
	if len(reports) == 0 {
		return writeJSON(w, http.StatusAccepted, reported{Incidents: []*receipt{}, Test: true})
	}
	answers, err := g.report(r.Context(), source, digest, reports)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, reportedOf(answers))
}

// report returns once what the reports lead to is durable.
func (g *gateway) report(ctx context.Context, source string, digest [32]byte, reports []*lifecycle.Report) ([]lifecycle.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, g.opt.OfferTimeout)
	defer cancel()
	answers, err := g.Lifecycle.Report(ctx, digest, reports)
	if err != nil {
		g.Meter.EventRefused(source, "unavailable")
	}
	return answers, err
}

func reportedOf(answers []lifecycle.Answer) reported {
	all := reported{Incidents: make([]*receipt, 0, len(answers))}
	for _, a := range answers {
		all.HeldBack += a.HeldBack
		if a.IncidentID != "" {
			all.Incidents = append(all.Incidents, &receipt{
				Page: a.Page, IncidentID: a.IncidentID, UpdateID: a.UpdateID, StatusURL: statusURL(a.Page, a.IncidentID), Duplicate: a.Duplicate,
			})
		}
	}
	return all
}
