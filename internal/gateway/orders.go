package gateway

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/lifecycle"
)

// maxOrderBytes has room for a message whose every character is escaped.
const maxOrderBytes = 512 << 10

// orderRequest is what POST /v1/orders takes.
type orderRequest struct {
	Action          lifecycle.OrderAction `json:"action"`
	Page            string                `json:"page"`
	IncidentID      string                `json:"incident_id"`
	UpdateID        string                `json:"update_id"`
	Author          string                `json:"author"`
	Status          incident.Status       `json:"status"`
	Impact          incident.Impact       `json:"impact"`
	Components      []string              `json:"affected_components"`
	Visibility      incident.Visibility   `json:"visibility"`
	Title           string                `json:"title"`
	Message         string                `json:"message"`
	Test            bool                  `json:"test"`
	At              string                `json:"at"`
	Start           string                `json:"start"`
	End             string                `json:"end"`
	Reminder        string                `json:"reminder"`
	ReminderMessage string                `json:"reminder_message"`
	Verify          bool                  `json:"verify"`
}

// obeyedJSON is the answer to an order.
type obeyedJSON struct {
	receipt
	Pending []pendingJSON `json:"pending"`
}

// pendingJSON is an update that waits for its time.
type pendingJSON struct {
	At       *time.Time            `json:"at"`
	Step     lifecycle.PendingStep `json:"step"`
	UpdateID string                `json:"update_id"`
	By       string                `json:"by"`
}

func newPendingJSON(pending []lifecycle.Pending) []pendingJSON {
	list := make([]pendingJSON, len(pending))
	for i, p := range pending {
		list[i] = pendingJSON{At: moment(p.At), Step: p.Step, UpdateID: p.UpdateID, By: p.Actor}
	}
	return list
}

// postOrder takes what an operator says by hand. When it is answered, what is said
// now is on its way and what waits for its time is told then, whatever becomes of
// this process.
func (g *gateway) postOrder(w http.ResponseWriter, r *http.Request) error {
	body, err := g.readBody(w, r, maxOrderBytes)
	if err != nil {
		return err
	}
	o, err := parseOrder(body)
	if err != nil {
		return err
	}
	o.Caller = callerOf(r)
	if o.UpdateID == "" {
		o.UpdateID = rand.Text()
	}
	if err := o.Check(g.opt.Clock()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), g.opt.OfferTimeout)
	defer cancel()
	done, err := g.Lifecycle.Order(ctx, o)
	if refused, ok := errors.AsType[*lifecycle.Refused](err); ok {
		if refused.Unknown {
			return refuse(http.StatusNotFound, refused.Reason)
		}
		return refuse(http.StatusConflict, refused.Reason)
	}
	if err != nil {
		return err
	}
	answer := obeyedJSON{Pending: newPendingJSON(done.Pending), receipt: receipt{
		Page: done.Page, IncidentID: done.IncidentID, UpdateID: done.UpdateID,
		StatusURL: statusURL(done.Page, done.IncidentID), Duplicate: done.Duplicate,
	}}
	w.Header().Set("Location", answer.StatusURL)
	return writeJSON(w, http.StatusAccepted, answer)
}

// getPending shows what waits for its time, of an incident.
func (g *gateway) getPending(w http.ResponseWriter, r *http.Request) error {
	page, id := pageName(r), r.PathValue("id")
	pending, err := g.Lifecycle.Pending(r.Context(), page, id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]any{"page": page, "incident_id": id, "items": newPendingJSON(pending)})
}

// parseOrder is strict: an order with a misspelt word must not be told to everyone.
func parseOrder(body []byte) (*lifecycle.Order, error) {
	if err := incident.CheckJSON(body, "order"); err != nil {
		return nil, err
	}
	var q orderRequest
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
			return nil, refuseField(wrong.Field, "must not be a JSON "+wrong.Value)
		}
		return nil, refuse(http.StatusBadRequest, "the body must be one JSON object with an action and what goes with it; GET /openapi.json has all names")
	}
	o := &lifecycle.Order{
		Action: q.Action, Page: q.Page, IncidentID: q.IncidentID, UpdateID: q.UpdateID, Author: q.Author,
		Words: lifecycle.Words{Status: q.Status, Impact: q.Impact, Components: q.Components, Visibility: q.Visibility,
			Title: q.Title, Message: q.Message, Test: q.Test},
		ReminderMessage: q.ReminderMessage, Verify: q.Verify,
	}
	for _, t := range []struct {
		field, text string
		to          *time.Time
	}{{"at", q.At, &o.At}, {"start", q.Start, &o.Start}, {"end", q.End, &o.End}} {
		if t.text == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, t.text)
		if err != nil {
			return nil, refuseField(t.field, "must be an RFC 3339 time, such as 2026-11-21T05:00:00Z")
		}
		*t.to = at
	}
	if q.Reminder != "" {
		var err error
		if o.Reminder, err = time.ParseDuration(q.Reminder); err != nil || o.Reminder <= 0 {
			return nil, refuseField("reminder", "must be a duration, such as 1h or 30m")
		}
	}
	return o, nil
}
