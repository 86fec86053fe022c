package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/incident"
)

// formatTocsin is the only format so far; a target without one has it.
const formatTocsin = "tocsin"

// payload is the body, the same bytes for every target of a variant.
type payload struct{ json []byte }

// Prepared is a body of JSON that no update was rendered to, for [Channel.Send]. It
// must not be changed afterwards.
func Prepared(json []byte) channels.Payload { return &payload{json} }

// body is the JSON of a webhook. Names are a contract: add, never rename.
type body struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      data      `json:"data"`
}

type data struct {
	Page       string            `json:"page"`
	IncidentID string            `json:"incident_id"`
	Sequence   int               `json:"sequence"`
	Status     incident.Status   `json:"status"`
	Impact     incident.Impact   `json:"impact"`
	Title      string            `json:"title"`
	Message    string            `json:"message"`
	Affected   []string          `json:"affected_components"`
	Components map[string]string `json:"components,omitempty"`
	StartedAt  time.Time         `json:"started_at"`
	UpdatedAt  time.Time         `json:"updated_at"`
	ResolvedAt time.Time         `json:"resolved_at,omitzero"`
	Updates    []entry           `json:"updates"`
	Links      []incident.Link   `json:"links"`
	Public     map[string]string `json:"public_details,omitempty"`
	Details    json.RawMessage   `json:"details,omitempty"`
	Test       bool              `json:"test,omitempty"`
}

type entry struct {
	Sequence  int             `json:"sequence"`
	Status    incident.Status `json:"status"`
	Message   string          `json:"message"`
	UpdatedAt time.Time       `json:"updated_at"`
}

// Render writes the body: texts in the variant's locale where there is a
// translation, and the timeline as far as [channels.Update.Recent] goes.
func (c *Channel) Render(u *channels.Update, v channels.Variant) (channels.Payload, error) {
	if v.Format != "" && v.Format != formatTocsin {
		return nil, fmt.Errorf("the webhook format %q is not known; use %q", v.Format, formatTocsin)
	}
	text := u.Text(v.Locale)
	b := body{
		Type:      typeOf(u),
		Timestamp: u.At(),
		Data: data{
			Page: u.Page, IncidentID: u.IncidentID, Sequence: u.Sequence,
			Status: u.Status, Impact: u.Impact,
			Title: text.Title, Message: text.Message,
			Affected: orEmpty(u.AffectedComponents), Components: u.Components,
			StartedAt: u.StartedAt.UTC(), UpdatedAt: u.At(), ResolvedAt: u.ResolvedAt.UTC(),
			Updates: timeline(u, v.Locale), Links: orEmpty(u.Links),
			Public: u.PublicDetails, Details: u.Details, Test: u.Test,
		},
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false) // it is no HTML, and would grow sixfold
	if err := enc.Encode(b); err != nil {
		return nil, fmt.Errorf("render update %d of an incident as JSON: %w", u.Sequence, err)
	}
	return &payload{bytes.TrimSuffix(out.Bytes(), []byte("\n"))}, nil
}

func typeOf(u *channels.Update) string {
	switch {
	case u.Sequence == 1:
		return "incident.created"
	case u.Status.Terminal():
		return "incident.resolved"
	}
	return "incident.updated"
}

func timeline(u *channels.Update, locale string) []entry {
	entries := []entry{}
	for _, e := range u.Recent(locale) {
		entries = append(entries, entry{e.Sequence, e.Status, e.Message, e.UpdatedAt.UTC()})
	}
	return entries
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
