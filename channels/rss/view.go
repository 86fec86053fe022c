package rss

import (
	"fmt"
	"html"
	"strings"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/feeds"
)

// site is what all feeds have in common.
type site struct {
	title, link, base, authority, generator, version string
}

// view is a feed as every format shows it. All texts are clean, all URLs safe.
type view struct {
	site
	id, title, lang string
	self            [feeds.Formats]string
	// updated is the newest date of an entry, acceptedAt when the engine took it.
	updated, acceptedAt time.Time
	private             bool
	entries             []entry
}

// entry is one update.
type entry struct {
	id     string
	thread string // the incident's id
	url    string // "" for none
	others []incident.Link
	title  string
	text   string
	html   string
	at     time.Time
	words  []string // status, impact, components
	update *channels.Update
}

const (
	defaultPage = "default"
	// maxNamed is how many components a reader is told of one by one.
	maxNamed = 20
)

// view shows updates, newest first. now dates a feed without any.
func (s site) view(k key, t *incident.Target, updates []*channels.Update, now time.Time) *view {
	v := &view{
		site: s, id: s.tag("feed", k.page, k.name), title: s.title, lang: t.Locale,
		private: t.Visibility == incident.Private, updated: now.UTC().Truncate(time.Second),
	}
	for f := range feeds.Formats {
		v.self[f] = s.base + feeds.Prefix + k.path() + f.Extension()
	}
	switch {
	case v.private:
		v.title += " – private"
	case !k.own():
		v.title += " – " + k.name
	case k.page != defaultPage:
		v.title += " – " + k.page
	}
	for i, u := range updates {
		e := s.entry(u.SeenBy(t.Visibility), t.Locale)
		if i == 0 {
			v.acceptedAt = u.AcceptedAt
		}
		if i == 0 || e.at.After(v.updated) {
			v.updated = e.at
		}
		v.entries = append(v.entries, e)
	}
	return v
}

func (s *site) entry(u *channels.Update, locale string) entry {
	text := u.Text(locale)
	status := clean(strings.ReplaceAll(string(u.Status), "_", " "))
	e := entry{
		id: s.updateID(u.Page, u.IncidentID, u.Sequence), thread: s.incidentID(u.Page, u.IncidentID),
		at: u.At().Truncate(time.Second), words: []string{status, clean(string(u.Impact))}, update: u,
	}
	title := clean(text.Title)
	if title == "" {
		title = clean(u.IncidentID)
	}
	e.title = fmt.Sprintf("%s [%s]", title, status)
	if u.Test {
		e.title = "[test] " + e.title
	}
	for _, c := range u.AffectedComponents[:min(len(u.AffectedComponents), maxNamed)] {
		e.words = append(e.words, clean(c))
	}
	summary := e.words
	if more := len(u.AffectedComponents) - maxNamed; more > 0 {
		summary = append(summary[:len(summary):len(summary)], fmt.Sprintf("and %d more", more))
	}
	e.links(u.Links)
	e.text, e.html = bodies(strings.Join(summary, " · "), clean(text.Message), e.others)
	return e
}

// links takes the first link to the incident itself as the entry's, the others as
// further reading. What is not safe to follow is left out.
func (e *entry) links(all []incident.Link) {
	for _, l := range all {
		href := webURL(l.URL)
		switch {
		case href == "":
		case e.url == "" && (l.Rel == "" || l.Rel == "self" || l.Rel == "alternate" || l.Rel == "canonical"):
			e.url = href
		default:
			title := clean(l.Title)
			if title == "" {
				title = href
			}
			e.others = append(e.others, incident.Link{Title: title, URL: href})
		}
	}
}

// bodies writes an entry's content as text and as HTML: a line of facts, the message
// with its paragraphs and lines, links. A message is text, whatever it looks like.
func bodies(summary, message string, links []incident.Link) (text, markup string) {
	var plain, rich strings.Builder
	plain.WriteString(summary)
	rich.WriteString("<p><strong>" + html.EscapeString(summary) + "</strong></p>")
	for paragraph := range strings.SplitSeq(message, "\n\n") {
		if paragraph = strings.Trim(paragraph, "\n"); paragraph != "" {
			plain.WriteString("\n\n" + paragraph)
			rich.WriteString("\n<p>" + strings.ReplaceAll(html.EscapeString(paragraph), "\n", "<br>\n") + "</p>")
		}
	}
	for _, l := range links {
		plain.WriteString("\n\n" + l.Title + ": " + l.URL)
		rich.WriteString("\n<p><a href=\"" + html.EscapeString(l.URL) + "\">" + html.EscapeString(l.Title) + "</a></p>")
	}
	return plain.String(), rich.String()
}
