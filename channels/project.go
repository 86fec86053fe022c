package channels

import (
	"time"

	"github.com/tocsin/tocsin/incident"
)

// Project returns what may leave of an event. It is the one place that says so: what
// it doesn't name stays in, whatever an event may come to hold (inline targets, the
// callback, unknown fields). The caller adds what the engine knows: the sequence, the
// times, the timeline.
func Project(e *incident.Event) *Update {
	return &Update{
		Page: e.Page, IncidentID: e.IncidentID, Status: e.Status, Impact: e.Impact, Title: e.Title, Message: e.Message,
		AffectedComponents: e.AffectedComponents, Components: e.Components, StartedAt: e.StartedAt,
		ResolvedAt: e.ResolvedAt, Links: e.Links, Translations: e.Translations, Details: e.Details,
		PublicDetails: e.PublicDetails, Test: e.Test,
	}
}

// ProjectEntry returns what a timeline shows of an event. Details are told once.
func ProjectEntry(e *incident.Event, sequence int, at time.Time) TimelineEntry {
	return TimelineEntry{
		Sequence: sequence, Status: e.Status, Impact: e.Impact, Title: e.Title, Message: e.Message,
		UpdatedAt: at, Translations: e.Translations,
	}
}

// SeenBy returns the update as targets of a visibility may see it: whoever is not
// private sees no Details. Whoever calls a channel's Render passes it that.
func (u *Update) SeenBy(v incident.Visibility) *Update {
	if v == incident.Private || u.Details == nil {
		return u
	}
	seen := *u
	seen.Details = nil
	return &seen
}
