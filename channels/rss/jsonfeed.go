package rss

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/feeds"
)

// jsonFeed is a feed of JSON Feed 1.1 (https://www.jsonfeed.org/version/1.1/).
type jsonFeed struct {
	Version  string       `json:"version"`
	Title    string       `json:"title"`
	HomePage string       `json:"home_page_url"`
	FeedURL  string       `json:"feed_url"`
	Language string       `json:"language"`
	Authors  []jsonAuthor `json:"authors"`
	Items    []jsonItem   `json:"items"`
}

type jsonAuthor struct {
	Name string `json:"name"`
}

type jsonItem struct {
	ID        string        `json:"id"`
	URL       string        `json:"url,omitempty"`
	Title     string        `json:"title"`
	HTML      string        `json:"content_html"`
	Text      string        `json:"content_text"`
	Published time.Time     `json:"date_published"`
	Modified  time.Time     `json:"date_modified"`
	Tags      []string      `json:"tags"`
	Tocsin    jsonExtension `json:"_tocsin"`
}

// jsonExtension is the update for programs, in the names that webhooks use. Names are
// a contract: add, never rename.
type jsonExtension struct {
	Page       string            `json:"page"`
	Thread     string            `json:"thread"` // the incident's id, as in Atom
	IncidentID string            `json:"incident_id"`
	Sequence   int               `json:"sequence"`
	Status     incident.Status   `json:"status"`
	Impact     incident.Impact   `json:"impact"`
	Affected   []string          `json:"affected_components"`
	Components map[string]string `json:"components,omitempty"`
	StartedAt  time.Time         `json:"started_at"`
	ResolvedAt time.Time         `json:"resolved_at,omitzero"`
	Links      []incident.Link   `json:"links,omitempty"`
	Public     map[string]string `json:"public_details,omitempty"`
	Details    json.RawMessage   `json:"details,omitempty"` // in private feeds only
	Test       bool              `json:"test,omitempty"`
}

// json writes the feed as JSON Feed 1.1.
func (v *view) json() []byte {
	f := jsonFeed{
		Version: "https://jsonfeed.org/version/1.1", Title: v.title, HomePage: v.link, FeedURL: v.self[feeds.JSON],
		Language: v.lang, Authors: []jsonAuthor{{v.site.title}}, Items: make([]jsonItem, 0, len(v.entries)),
	}
	for i := range v.entries {
		e := &v.entries[i]
		f.Items = append(f.Items, jsonItem{
			ID: e.id, URL: e.url, Title: e.title, HTML: e.html, Text: e.text, Published: e.at, Modified: e.at, Tags: e.words,
			Tocsin: extension(e),
		})
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false) // it is no HTML, and would grow sixfold
	if err := enc.Encode(f); err != nil {
		panic(fmt.Sprintf("rss: encode strings and dates as JSON: %v", err))
	}
	return out.Bytes()
}

func extension(e *entry) jsonExtension {
	u := e.update
	x := jsonExtension{
		Page: u.Page, Thread: e.thread, IncidentID: clean(u.IncidentID), Sequence: u.Sequence, Status: u.Status, Impact: u.Impact,
		Affected: cleanAll(u.AffectedComponents), StartedAt: u.StartedAt.UTC(), ResolvedAt: u.ResolvedAt.UTC(), Test: u.Test,
		Links: e.others,
	}
	if len(u.Components) > 0 {
		x.Components = make(map[string]string, len(u.Components))
		for id, status := range u.Components {
			x.Components[clean(id)] = clean(status)
		}
	}
	if len(u.PublicDetails) > 0 {
		x.Public = make(map[string]string, len(u.PublicDetails))
		for name, value := range u.PublicDetails {
			x.Public[clean(name)] = clean(value)
		}
	}
	if json.Valid(u.Details) {
		x.Details = u.Details
	}
	return x
}

func cleanAll(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = clean(s)
	}
	return out
}
