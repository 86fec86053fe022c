package gateway

import (
	"errors"
	"net/http"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/senders"
)

// The types of CloudEvents 1.0 in structured and in batched mode; in binary mode the
// type is that of the event itself.
const (
	mediaCloudEvent  = "application/cloudevents+json"
	mediaCloudEvents = "application/cloudevents-batch+json"
)

// readEvent reads an event as it is, or as a CloudEvent.
func readEvent(media string, header http.Header, body []byte) (*incident.Event, error) {
	switch {
	case media == mediaCloudEvent:
		return senders.StructuredCloudEvent(body)
	case senders.InCloudEvent(header):
		return senders.BinaryCloudEvent(header, body)
	}
	return incident.Decode(body)
}

// outcome is what became of one event of a batch: a receipt, or what is wrong with it.
type outcome struct {
	Status int `json:"status"`
	*receipt
	Field  string `json:"field,omitempty"`
	Detail string `json:"detail,omitempty"`
}

type outcomes struct {
	Events []outcome `json:"events"`
}

// postBatch takes the events of a batch one by one: one that is refused keeps back no
// other. Where none can be taken any more the whole is refused; what was taken is a
// known duplicate when it comes again, for each event has a name.
func (g *gateway) postBatch(w http.ResponseWriter, r *http.Request, body []byte) error {
	batch, err := senders.CloudEvents(body)
	if err != nil {
		g.Meter.EventRefused(sourceHTTP, "invalid")
		return err
	}
	all := outcomes{Events: make([]outcome, 0, len(batch))}
	for _, one := range batch {
		err := one.Err
		if err == nil {
			err = one.Under(g.checkEvent(one.Event))
		}
		if invalid, ok := errors.AsType[*incident.Invalid](err); ok {
			g.Meter.EventRefused(sourceHTTP, "invalid")
			all.Events = append(all.Events, outcome{Status: http.StatusBadRequest, Field: invalid.Field, Detail: invalid.Reason})
			continue
		}
		if err != nil {
			return err
		}
		native, err := incident.Encode(one.Event)
		if err != nil {
			return err
		}
		told, err := g.offer(r.Context(), one.Event, native, sourceHTTP)
		if err != nil {
			return err
		}
		all.Events = append(all.Events, outcome{Status: http.StatusAccepted, receipt: told})
	}
	return writeJSON(w, http.StatusMultiStatus, all)
}
