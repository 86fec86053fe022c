package smtp

import (
	"net/url"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/incident"
)

// Mail is what templates see as the dot. Replace a built-in template by putting a
// file of its name (tocsin.subject.tmpl, tocsin.txt.tmpl, tocsin.html.tmpl) into
// Config.Templates; files of another name before the suffix make a new format, which
// a target asks for with "format". Templates of HTML escape by themselves. Functions:
// when (a time in UTC), label (a status or impact, for people). All templates are
// tried at start.
type Mail struct {
	Page       string
	IncidentID string
	Sequence   int
	// Reply is "Re: " from the second update on, and Stem the same for all updates
	// of the incident: [page] and its first title. Mail readers that look at the
	// subject, too, need both unchanged to keep a thread together.
	Reply, Stem string
	Title       string
	Message     string
	Status      incident.Status
	Impact      incident.Impact
	// Components are the affected ones, with their status where it is known.
	Components []Component
	StartedAt  time.Time
	UpdatedAt  time.Time
	// ResolvedAt is zero (IsZero) while the incident goes on.
	ResolvedAt time.Time
	// Updates is the timeline, newest first; the first is this update.
	Updates []Entry
	// Links lead to http and https only.
	Links []incident.Link
	// PublicDetails are facts for everyone, such as an error code, by their names.
	PublicDetails map[string]string
	// Details are the producer's internal ones, as JSON; "" but for private targets.
	Details string
	// Unsubscribe is the link of this target; "" if there is none. It is to be
	// used as it is, as text or as a whole href.
	Unsubscribe string
	Locale      string
	Test        bool
}

// Component is an affected component.
type Component struct{ Name, Status string }

// Entry is one update of the timeline.
type Entry struct {
	Sequence int
	Status   incident.Status
	Message  string
	At       time.Time
}

// view is the update as templates see it.
func view(u *channels.Update, locale string) *Mail {
	text := u.Text(locale)
	m := &Mail{
		Page: u.Page, IncidentID: u.IncidentID, Sequence: u.Sequence, Title: text.Title, Message: text.Message,
		Stem: "[" + u.Page + "] " + firstTitle(u, locale), Status: u.Status, Impact: u.Impact,
		StartedAt: u.StartedAt, UpdatedAt: u.At(), ResolvedAt: u.ResolvedAt,
		PublicDetails: u.PublicDetails, Details: string(u.Details), Locale: locale, Test: u.Test,
	}
	if m.Title == "" {
		m.Title = u.IncidentID
	}
	if m.Locale == "" {
		m.Locale = "en"
	}
	if u.Sequence > 1 {
		m.Reply = "Re: "
	}
	for _, e := range u.Recent(locale) {
		m.Updates = append(m.Updates, Entry{e.Sequence, e.Status, e.Message, e.UpdatedAt})
	}
	for _, name := range u.AffectedComponents {
		m.Components = append(m.Components, Component{name, u.Components[name]})
	}
	for _, link := range u.Links {
		if webURL(link.URL) {
			if link.Title == "" {
				link.Title = link.URL
			}
			m.Links = append(m.Links, link)
		}
	}
	return m
}

// firstTitle is the title that the incident began with, so that later ones don't
// break the thread; its id if there was none.
func firstTitle(u *channels.Update, locale string) string {
	first := u.Text(locale)
	if n := len(u.Timeline); n > 0 {
		first = u.Timeline[n-1].Text(locale)
	}
	if first.Title != "" {
		return first.Title
	}
	return u.IncidentID
}

// webURL reports whether a link leads to a page.
func webURL(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https")
}

// trialUpdates are an update with everything and one with as little as there can be.
func trialUpdates() []channels.Update {
	at := time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)
	return []channels.Update{{
		Page: "default", IncidentID: "INC-1", Sequence: 2, Status: incident.Resolved, Impact: incident.ImpactMajor,
		Title: "Logins fail", Message: "It is over.", AffectedComponents: []string{"auth-api"},
		Components: map[string]string{"auth-api": "operational"}, StartedAt: at, UpdatedAt: at, ResolvedAt: at, AcceptedAt: at,
		Links:   []incident.Link{{Title: "Status page", URL: "https://status.example.com/"}},
		Details: []byte(`{}`), PublicDetails: map[string]string{"error_code": "E-1"}, Test: true,
		Timeline: []channels.TimelineEntry{
			{Sequence: 2, Status: incident.Resolved, Title: "Logins fail", Message: "It is over.", UpdatedAt: at},
			{Sequence: 1, Status: incident.Investigating, Title: "Logins fail", Message: "We look into it.", UpdatedAt: at},
		},
	}, {Page: "default", IncidentID: "INC-1", Sequence: 1, Status: incident.Investigating, Impact: incident.ImpactNone}}
}
