package gateway

import (
	"crypto/rand"
	"errors"
	"net/http"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/lifecycle"
	"github.com/tocsin/tocsin/internal/senders"
)

// maxOwnBytes bounds what a source sends to its own route.
const maxOwnBytes = senders.MaxBody

// enqueued is PagerDuty's answer.
type enqueued struct {
	Status   string   `json:"status"`
	Message  string   `json:"message"`
	DedupKey string   `json:"dedup_key,omitempty"`
	Errors   []string `json:"errors,omitempty"`
}

// postPagerDuty takes an event of PagerDuty's Events API, whose senders try again
// after a 5xx.
func (g *gateway) postPagerDuty(w http.ResponseWriter, r *http.Request) error {
	body, err := g.readBody(w, r, senders.MaxPagerDuty)
	if err != nil {
		return err
	}
	source := sourceOf(r)
	var reports []*lifecycle.Report
	e, err := senders.ReadPagerDuty(body)
	if err == nil {
		if e.DedupKey == "" {
			e.DedupKey = rand.Text()
		}
		e.Publish(g.PublicOf(source))
		reports, err = e.Reports(source, g.PageOf(source))
	}
	if err != nil {
		g.Meter.EventRefused(senders.SourcePagerDuty, "invalid")
		return refusePagerDuty(w, err)
	}
	digest := digestOf(body, senders.SourcePagerDuty+" "+source+" "+e.DedupKey)
	if _, known := g.Lifecycle.Recall(digest); !known {
		if _, err := g.report(r.Context(), senders.SourcePagerDuty, digest, reports); err != nil {
			return err
		}
	}
	return writeJSON(w, http.StatusAccepted, enqueued{Status: "success", Message: "Event processed", DedupKey: e.DedupKey})
}

// refusePagerDuty answers in the two ways that PagerDuty has for it.
func refusePagerDuty(w http.ResponseWriter, err error) error {
	invalid, ok := errors.AsType[*incident.Invalid](err)
	if !ok {
		return err
	}
	answer := enqueued{Status: "invalid event", Message: "Event object is invalid", Errors: []string{"'" + invalid.Field + "' " + invalid.Reason}}
	if invalid.Field == "body" {
		answer.Status, answer.Message = "Unrecognized object", "Event object format is unrecognized"
	}
	return writeJSON(w, http.StatusBadRequest, answer)
}
