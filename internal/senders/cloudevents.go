package senders

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/tocsin/tocsin/incident"
)

// maxBatch is how many events one batch may have.
const maxBatch = 1000

// attributes are those of CloudEvents 1.0 that are looked at (section 3.1); others, and
// extensions, are for those in between.
type attributes struct {
	specVersion, id, source, kind, time, contentType string
}

// InCloudEvent says whether a header has a CloudEvent in binary mode (HTTP protocol
// binding 1.0.2, section 3.1).
func InCloudEvent(h http.Header) bool { return h.Get("ce-specversion") != "" || h.Get("ce-id") != "" }

// BinaryCloudEvent reads an event whose attributes are in the header.
func BinaryCloudEvent(h http.Header, body []byte) (*incident.Event, error) {
	var a attributes
	for _, to := range []struct {
		name string
		text *string
	}{{"specversion", &a.specVersion}, {"id", &a.id}, {"source", &a.source}, {"type", &a.kind}, {"time", &a.time}} {
		text, err := url.PathUnescape(h.Get("ce-" + to.name))
		if err != nil {
			return nil, &incident.Invalid{Field: "ce-" + to.name, Reason: "must be percent-encoded as CloudEvents says"}
		}
		*to.text = text
	}
	a.contentType = h.Get("Content-Type")
	return a.event("ce-", "", body)
}

// MessageCloudEvent reads an event that came through a broker: structured, if its content
// type says so, or with its attributes beside it (AMQP protocol binding 1.0.2, section 3),
// by their names.
func MessageCloudEvent(contentType string, named map[string]string, body []byte) (*incident.Event, error) {
	if media, _, err := mime.ParseMediaType(contentType); err == nil && strings.HasPrefix(media, "application/cloudevents") {
		if media != "application/cloudevents+json" {
			return nil, &incident.Invalid{Field: "content_type", Reason: "must be application/cloudevents+json; one message has one event"}
		}
		return StructuredCloudEvent(body)
	}
	a := attributes{named["specversion"], named["id"], named["source"], named["type"], named["time"], contentType}
	return a.event("cloudEvents:", "", body)
}

// StructuredCloudEvent reads an event in the JSON format of CloudEvents (1.0.2), as its
// data or data_base64. Fields of its data are named as data.impact.
func StructuredCloudEvent(body []byte) (*incident.Event, error) {
	if err := incident.CheckJSON(body, "event"); err != nil {
		return nil, err
	}
	return structured(body)
}

// Batched is one event of a batch, or what is wrong with it: its field begins with the
// index, as [1].data.impact.
type Batched struct {
	Event *incident.Event
	Err   error

	index int
}

// Under names the place in the batch of what is wrong with the event.
func (b Batched) Under(err error) error {
	if err == nil {
		return nil
	}
	return under(fmt.Sprintf("[%d].data.", b.index), err)
}

// CloudEvents reads a batch in the JSON batch format of CloudEvents (1.0.2). Each event
// is right or wrong by itself; an error is that there is no batch.
func CloudEvents(body []byte) ([]Batched, error) {
	if err := incident.CheckJSON(body, "batch"); err != nil {
		return nil, err
	}
	var list []json.RawMessage
	if err := json.Unmarshal(body, &list); err != nil || list == nil {
		return nil, &incident.Invalid{Field: "batch", Reason: "must be a list of events"}
	}
	if len(list) > maxBatch {
		return nil, &incident.Invalid{Field: "batch", Reason: fmt.Sprintf("must have at most %d events", maxBatch)}
	}
	batch := make([]Batched, len(list))
	for i, raw := range list {
		e, err := structured(raw)
		batch[i] = Batched{Event: e, index: i}
		if err != nil {
			batch[i].Err = under(fmt.Sprintf("[%d].", i), err)
		}
	}
	return batch, nil
}

func under(parent string, err error) error {
	if invalid, ok := errors.AsType[*incident.Invalid](err); ok {
		return &incident.Invalid{Field: strings.TrimSuffix(parent+invalid.Field, ".event"), Reason: invalid.Reason}
	}
	return err
}

// structured reads JSON that has been checked.
func structured(body []byte) (*incident.Event, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil || fields == nil {
		return nil, &incident.Invalid{Field: "event", Reason: "must be a JSON object"}
	}
	var a attributes
	var encoded string
	for _, to := range []struct {
		name string
		text *string
	}{{"specversion", &a.specVersion}, {"id", &a.id}, {"source", &a.source}, {"type", &a.kind}, {"time", &a.time},
		{"datacontenttype", &a.contentType}, {"data_base64", &encoded}} {
		if raw, ok := fields[to.name]; ok && json.Unmarshal(raw, to.text) != nil {
			return nil, &incident.Invalid{Field: to.name, Reason: "must be a string"}
		}
	}
	data := fields["data"]
	switch {
	case encoded != "" && data != nil:
		return nil, &incident.Invalid{Field: "data_base64", Reason: "must be left out where there is data"}
	case encoded != "":
		var err error
		if data, err = base64.StdEncoding.DecodeString(encoded); err != nil {
			return nil, &incident.Invalid{Field: "data_base64", Reason: "must be base64 (RFC 4648, section 4)"}
		}
	case data == nil:
		return nil, &incident.Invalid{Field: "data", Reason: "is required: the event, as it would be published by itself"}
	}
	return a.event("", "data.", data)
}

// event reads the data and gives the update a name and a time, where it has none, that
// repeats of the CloudEvent have too.
func (a *attributes) event(prefix, path string, data []byte) (*incident.Event, error) {
	bad := func(name, reason string) error { return &incident.Invalid{Field: prefix + name, Reason: reason} }
	media, _, err := mime.ParseMediaType(cmp.Or(a.contentType, "application/json"))
	switch {
	case a.specVersion != "1.0":
		return nil, bad("specversion", "must be 1.0")
	case a.id == "":
		return nil, bad("id", "is required")
	case a.source == "":
		return nil, bad("source", "is required")
	case a.kind == "":
		return nil, bad("type", "is required")
	case err != nil || media != "application/json" && !strings.HasSuffix(media, "+json"):
		return nil, bad("datacontenttype", "must be application/json, or end in +json")
	}
	at, ok := moment(a.time)
	if a.time != "" && !ok {
		return nil, bad("time", "must be an RFC 3339 time, such as 2026-11-21T05:00:00Z")
	}
	e, err := incident.Decode(data)
	if err != nil {
		return nil, under(path, err)
	}
	if e.UpdateID == "" {
		sum := sha256.Sum256([]byte(a.source + "\n" + a.id))
		e.UpdateID = "ce-" + hex.EncodeToString(sum[:16])
	}
	if e.UpdatedAt.IsZero() && ok {
		e.UpdatedAt = at
	}
	if err := e.Validate(); err != nil {
		return nil, under(path, err)
	}
	return e, nil
}
