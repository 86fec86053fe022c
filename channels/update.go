package channels

import (
	"encoding/json"
	"iter"
	"strings"
	"time"

	"github.com/tocsin/tocsin/incident"
)

// Update is what may leave of one update of an incident, as [Project] made it of the
// event, and the incident's timeline so far. It is shared by every delivery of the
// update and must not be changed.
type Update struct {
	Page       string
	IncidentID string
	// Sequence numbers the incident's updates 1, 2, 3 …
	Sequence           int
	Status             incident.Status
	Impact             incident.Impact
	Title              string
	Message            string
	AffectedComponents []string
	Components         map[string]string
	StartedAt          time.Time
	UpdatedAt          time.Time
	ResolvedAt         time.Time // zero while unresolved
	Links              []incident.Link
	Translations       map[string]incident.Translation
	// Details are for private targets. A channel need not look whom it renders for:
	// what it is given has been through [Update.SeenBy].
	Details json.RawMessage
	// PublicDetails are for everyone.
	PublicDetails map[string]string
	// Timeline holds every sent update up to this one, newest first.
	Timeline   []TimelineEntry
	AcceptedAt time.Time
	ExpiresAt  time.Time
	Test       bool
}

// TimelineEntry is one update of the incident's history.
type TimelineEntry struct {
	Sequence     int
	Status       incident.Status
	Impact       incident.Impact
	Title        string
	Message      string
	UpdatedAt    time.Time
	Translations map[string]incident.Translation
}

const (
	// MaxRecent is how many entries a timeline has at most.
	MaxRecent = 50
	// MaxRecentText is how long their messages are together, in bytes.
	MaxRecentText = 256 << 10
)

// At is when the producer says the update happened, or else when it came in, in UTC.
func (u *Update) At() time.Time {
	if u.UpdatedAt.IsZero() {
		return u.AcceptedAt.UTC()
	}
	return u.UpdatedAt.UTC()
}

// Text returns title and message, each from the closest translation that has it: for
// "pt-BR" that of "pt-BR", then of "pt", then the update's own.
func (u *Update) Text(locale string) incident.Translation {
	return translate(incident.Translation{Title: u.Title, Message: u.Message}, u.Translations, locale)
}

// Text is as that of an update.
func (e *TimelineEntry) Text(locale string) incident.Translation {
	return translate(incident.Translation{Title: e.Title, Message: e.Message}, e.Translations, locale)
}

// Recent returns the newest entries of the timeline with the texts of a locale, for
// channels that send the whole of it: at most [MaxRecent] with [MaxRecentText] of
// messages, and always the newest.
func (u *Update) Recent(locale string) []TimelineEntry {
	var recent []TimelineEntry
	size := 0
	for _, e := range u.Timeline[:min(len(u.Timeline), MaxRecent)] {
		text := e.Text(locale)
		if size += len(text.Message); size > MaxRecentText && len(recent) > 0 {
			break
		}
		e.Title, e.Message, e.Translations = text.Title, text.Message, nil
		recent = append(recent, e)
	}
	return recent
}

// Locales yields a locale and those it falls back to (lookup of RFC 4647, section
// 3.4): "pt-BR", "pt". A single letter or digit goes together with what it
// introduces: "de-CH-x-bank", "de-CH", "de".
func Locales(locale string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for locale != "" && yield(locale) {
			locale = locale[:max(strings.LastIndexByte(locale, '-'), 0)]
			if n := len(locale); n > 2 && locale[n-2] == '-' {
				locale = locale[:n-2]
			}
		}
	}
}

func translate(own incident.Translation, all map[string]incident.Translation, locale string) incident.Translation {
	var out incident.Translation
	for tag := range Locales(locale) {
		out = orElse(out, all[tag])
	}
	return orElse(out, own)
}

func orElse(text, other incident.Translation) incident.Translation {
	if text.Title == "" {
		text.Title = other.Title
	}
	if text.Message == "" {
		text.Message = other.Message
	}
	return text
}
