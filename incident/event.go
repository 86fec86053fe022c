package incident

import (
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxEventBytes is the largest event taken, in bytes of JSON, as it comes in and
// as [Encode] writes it.
const MaxEventBytes = 1 << 20

// Event is one update of an incident as a producer publishes it. A zero time and
// an empty optional field mean absent. The limits in brackets are checked by
// [Decode] and [Event.Validate].
type Event struct {
	// Page is the status page the incident belongs to; "default" if absent
	// [1 to 64 of a-z A-Z 0-9 . _ -].
	Page string
	// IncidentID names the incident within its page; required [128 bytes, printable].
	IncidentID string
	// Status is required.
	Status Status
	// Impact is required.
	Impact Impact
	// AffectedComponents is required; empty, but not nil, means the whole page.
	// Repeated ids are dropped, the order is kept [1,000 of 128 bytes, printable].
	AffectedComponents []string
	// StartedAt is required. As all times here it is UTC, cut to microseconds,
	// which is what every store keeps, and in the years 1970 to 9999.
	StartedAt time.Time
	// Title is one line [512 characters].
	Title string
	// Message may have line breaks and tabs [64 KiB].
	Message string
	// UpdateID is the idempotency key of this update [255 bytes, printable].
	UpdateID string
	// UpdatedAt orders updates; absent means the order of arrival.
	UpdatedAt  time.Time
	ResolvedAt time.Time
	// ExpiresAt ends all attempts to deliver; absent means 24 h after acceptance.
	ExpiresAt time.Time
	// Components maps component ids to their status, in the producer's own words
	// [1,000; each side 128 bytes, printable].
	Components map[string]string
	// Links are for the reader of the notice [20].
	Links []Link
	// Visibility is public if absent.
	Visibility Visibility
	// Translations maps locales (BCP 47, such as "pt-BR") to texts [50].
	Translations map[string]Translation
	// Targets are told besides those that subscribed, for producers that keep
	// their own subscribers; they have no ID. A target that repeats the channel,
	// address and external id of an earlier one is dropped [1,000].
	Targets []Target
	// CallbackURL is told when every delivery of this update has an outcome: an
	// absolute http or https URL without user or password [2 KiB]. Whether it may be
	// dialled, and whether there is a key to sign with, is not decided here.
	CallbackURL CallbackURL
	// Details is any JSON value for internal audiences, with sorted keys.
	Details json.RawMessage
	// PublicDetails is what everyone may know of the incident's internals besides its
	// texts, for programs above all: error codes, endpoints [32; names of 64 bytes,
	// printable; values of one line, 512 characters].
	PublicDetails map[string]string
	// Test events reach only targets that are marked test.
	Test bool
	// Extra holds the fields Tocsin does not know, by name; they are kept and
	// written back [64 KiB in all].
	Extra map[string]json.RawMessage
}

// CallbackURL is a URL that may carry a token: no verb of fmt shows it.
type CallbackURL string

// String says whether there is one.
func (u CallbackURL) String() string {
	if u == "" {
		return ""
	}
	return "(a callback URL)"
}

// GoString is String.
func (u CallbackURL) GoString() string { return strconv.Quote(u.String()) }

// Link is a place to read more.
type Link struct {
	// Rel says what the link is to the incident, as in RFC 8288, such as "self"
	// [64 bytes, printable].
	Rel string `json:"rel,omitempty"`
	// Title is one line [512 characters].
	Title string `json:"title,omitempty"`
	// URL is absolute, http or https, without user or password [2 KiB].
	URL string `json:"url"`
}

// Translation holds the texts of an event in another locale, under the limits of
// the event's own.
type Translation struct {
	Title   string `json:"title,omitempty"`
	Message string `json:"message,omitempty"`
}

// Decode reads one event from JSON (RFC 8259), normalises and validates it.
//
// Refused besides faulty fields are: more than [MaxEventBytes], invalid UTF-8 or
// unpaired surrogates, nesting deeper than 32, a repeated name in any object,
// anything after the event, and a name that differs from a field only in case.
// A null counts as absent. Unknown names are kept in Extra at the top and
// ignored in links and translations; in targets they are refused.
//
// Every error is an [*Invalid].
func Decode(data []byte) (*Event, error) {
	if len(data) > MaxEventBytes {
		return nil, &Invalid{"event", "must be at most 1 MiB"}
	}
	o, bad := readObject(data, "event")
	if bad != nil {
		return nil, bad
	}
	e := decodeFields(o)
	if o.fault != nil {
		return nil, o.fault
	}
	if bad := e.normalise(); bad != nil {
		return nil, bad
	}
	return e, nil
}

func decodeFields(o *object) *Event {
	e := &Event{}
	o.text("page", &e.Page)
	o.text("incident_id", &e.IncidentID)
	word(o, "status", &e.Status, statuses)
	word(o, "impact", &e.Impact, impacts)
	o.texts("affected_components", &e.AffectedComponents)
	o.when("started_at", &e.StartedAt)
	o.text("title", &e.Title)
	o.text("message", &e.Message)
	o.text("update_id", &e.UpdateID)
	o.when("updated_at", &e.UpdatedAt)
	o.when("resolved_at", &e.ResolvedAt)
	o.when("expires_at", &e.ExpiresAt)
	o.into("components", &e.Components, "an object of component ids and their status")
	word(o, "visibility", &e.Visibility, visibilities)
	o.flag("test", &e.Test)
	o.into("callback_url", &e.CallbackURL, "a string")
	e.Links = decodeLinks(o)
	e.Translations = decodeTranslations(o)
	e.Targets = decodeTargets(o)
	if raw, ok := o.take("details"); ok {
		e.Details = raw
	}
	e.PublicDetails = decodePublicDetails(o)
	e.Extra = o.fields
	return e
}

func decodeLinks(o *object) []Link {
	var links []Link
	for _, l := range o.objects("links", maxLinks) {
		var link Link
		l.text("rel", &link.Rel)
		l.text("title", &link.Title)
		l.text("url", &link.URL)
		o.adopt(l)
		links = append(links, link)
	}
	return links
}

func decodeTranslations(o *object) map[string]Translation {
	var raw map[string]json.RawMessage
	o.into("translations", &raw, "an object of locales and their texts")
	texts := make(map[string]Translation, len(raw))
	for _, locale := range slices.Sorted(maps.Keys(raw)) {
		t, bad := newObject(raw[locale], "translations."+named(locale))
		if bad != nil {
			o.fail(bad)
			return nil
		}
		var text Translation
		t.text("title", &text.Title)
		t.text("message", &text.Message)
		o.adopt(t)
		texts[locale] = text
	}
	return texts
}

// decodePublicDetails takes numbers too, as the text they are written as.
func decodePublicDetails(o *object) map[string]string {
	var raw map[string]json.RawMessage
	o.into("public_details", &raw, "an object of names and their values")
	if len(raw) == 0 {
		return nil
	}
	details := make(map[string]string, len(raw))
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		var value string
		var number json.Number
		switch {
		case json.Unmarshal(raw[name], &value) == nil && string(raw[name]) != "null":
		case raw[name][0] != '"' && json.Unmarshal(raw[name], &number) == nil && number != "":
			value = number.String()
		default:
			o.failAt("public_details."+named(name), "must be a string or a number")
			return nil
		}
		details[name] = value
	}
	return details
}

func decodeTargets(o *object) []Target {
	var targets []Target
	for _, t := range o.objects("targets", maxTargets) {
		target := newTarget()
		target.decodeFields(t)
		o.adopt(t)
		targets = append(targets, target)
	}
	return targets
}

// wireEvent is an Event as JSON, without Extra.
type wireEvent struct {
	Page         string                 `json:"page,omitempty"`
	IncidentID   string                 `json:"incident_id"`
	Status       Status                 `json:"status"`
	Impact       Impact                 `json:"impact"`
	Affected     []string               `json:"affected_components"`
	StartedAt    time.Time              `json:"started_at,omitzero"`
	Title        string                 `json:"title,omitempty"`
	Message      string                 `json:"message,omitempty"`
	UpdateID     string                 `json:"update_id,omitempty"`
	UpdatedAt    time.Time              `json:"updated_at,omitzero"`
	ResolvedAt   time.Time              `json:"resolved_at,omitzero"`
	ExpiresAt    time.Time              `json:"expires_at,omitzero"`
	Components   map[string]string      `json:"components,omitempty"`
	Links        []Link                 `json:"links,omitempty"`
	Visibility   Visibility             `json:"visibility,omitempty"`
	Translations map[string]Translation `json:"translations,omitempty"`
	Targets      []wireTarget           `json:"targets,omitempty"`
	CallbackURL  CallbackURL            `json:"callback_url,omitempty"`
	Details      json.RawMessage        `json:"details,omitempty"`
	Public       map[string]string      `json:"public_details,omitempty"`
	Test         bool                   `json:"test,omitempty"`
}

// fieldNames are the names an event's JSON may have, besides Extra.
const fieldNames = "page incident_id status impact affected_components started_at title message update_id " +
	"updated_at resolved_at expires_at components links visibility translations targets callback_url details public_details test"

// knownField returns the field name is, or is but for the case of its letters.
// Readers that fold case would take the one for the other.
func knownField(name string) (string, bool) {
	for known := range strings.FieldsSeq(fieldNames) {
		if strings.EqualFold(known, name) {
			return known, true
		}
	}
	return "", false
}

// Encode writes e as JSON with the secrets of its inline targets and the callback
// URL: for queues and stores only, never for an answer or a log. Decode(Encode(e)) equals a valid e.
func Encode(e *Event) ([]byte, error) { return e.encode(true) }

// MarshalJSON writes e as JSON with Extra, and without the secrets of its inline
// targets and the callback URL.
func (e Event) MarshalJSON() ([]byte, error) { return e.encode(false) }

// UnmarshalJSON is [Decode].
func (e *Event) UnmarshalJSON(data []byte) error {
	decoded, err := Decode(data)
	if err != nil {
		return err
	}
	*e = *decoded
	return nil
}

// LogValue keeps texts and inline addresses out of logs.
func (e Event) LogValue() slog.Value {
	return slog.GroupValue(slog.String("page", e.Page), slog.String("incident_id", e.IncidentID),
		slog.String("status", string(e.Status)))
}

func (e *Event) encode(secrets bool) ([]byte, error) {
	affected := e.AffectedComponents
	if affected == nil {
		affected = []string{}
	}
	var callback CallbackURL
	if secrets {
		callback = e.CallbackURL
	}
	out, err := compactJSON(wireEvent{e.Page, e.IncidentID, e.Status, e.Impact, affected, e.StartedAt,
		e.Title, e.Message, e.UpdateID, e.UpdatedAt, e.ResolvedAt, e.ExpiresAt, e.Components, e.Links,
		e.Visibility, e.Translations, wireTargets(e.Targets, secrets), callback, e.Details, e.PublicDetails, e.Test})
	if err != nil || len(e.Extra) == 0 {
		return out, err
	}
	extra, err := compactJSON(e.Extra)
	if err != nil {
		return nil, err
	}
	out[len(out)-1] = ','
	return append(out, extra[1:]...), nil
}
