package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/incident"
)

// formatTocsin is the only format so far; a target without one has it.
const formatTocsin = "tocsin"

const (
	// maxUpdates and maxTimeline bound the timeline in a body: its newest entries,
	// in number and in bytes of their messages.
	maxUpdates  = 100
	maxTimeline = 256 << 10
)

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
// translation, internal details for private targets only, and the newest 100
// entries of the timeline.
func (c *Channel) Render(u *channels.Update, v channels.Variant) (channels.Payload, error) {
	if v.Format != "" && v.Format != formatTocsin {
		return nil, fmt.Errorf("the webhook format %q is not known; use %q", v.Format, formatTocsin)
	}
	text := translate(incident.Translation{Title: u.Title, Message: u.Message}, u.Translations, v.Locale)
	b := body{
		Type:      typeOf(u),
		Timestamp: updatedAt(u),
		Data: data{
			Page: u.Page, IncidentID: u.IncidentID, Sequence: u.Sequence,
			Status: u.Status, Impact: u.Impact,
			Title: text.Title, Message: text.Message,
			Affected: orEmpty(u.AffectedComponents), Components: u.Components,
			StartedAt: u.StartedAt.UTC(), UpdatedAt: updatedAt(u), ResolvedAt: u.ResolvedAt.UTC(),
			Updates: timeline(u.Timeline, v.Locale), Links: orEmpty(u.Links),
			Test: u.Test,
		},
	}
	if v.Visibility == incident.Private {
		b.Data.Details = u.Details
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

// updatedAt is when the producer says the update happened, or when it came in.
func updatedAt(u *channels.Update) time.Time {
	if u.UpdatedAt.IsZero() {
		return u.AcceptedAt.UTC()
	}
	return u.UpdatedAt.UTC()
}

func timeline(all []channels.TimelineEntry, locale string) []entry {
	entries := []entry{}
	size := 0
	for _, t := range all[:min(len(all), maxUpdates)] {
		text := translate(incident.Translation{Title: t.Title, Message: t.Message}, t.Translations, locale)
		if size += len(text.Message); size > maxTimeline && len(entries) > 0 {
			break
		}
		entries = append(entries, entry{t.Sequence, t.Status, text.Message, t.UpdatedAt.UTC()})
	}
	return entries
}

// translate takes title and message from the closest translation that has them: of
// "pt-BR", then "pt", then the update's own.
func translate(own incident.Translation, all map[string]incident.Translation, locale string) incident.Translation {
	var out incident.Translation
	for locale != "" && (out.Title == "" || out.Message == "") {
		t := all[locale]
		if out.Title == "" {
			out.Title = t.Title
		}
		if out.Message == "" {
			out.Message = t.Message
		}
		locale = locale[:max(strings.LastIndexByte(locale, '-'), 0)]
	}
	if out.Title == "" {
		out.Title = own.Title
	}
	if out.Message == "" {
		out.Message = own.Message
	}
	return out
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
