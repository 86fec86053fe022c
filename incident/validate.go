package incident

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	defaultPage   = "default"
	defaultLocale = "en"
	defaultFormat = "tocsin"

	maxIncidentID   = 128      // bytes
	maxUpdateID     = 255      // bytes
	maxExternalID   = 255      // bytes
	maxComponentID  = 128      // bytes
	maxTitle        = 512      // characters
	maxMessage      = 64 << 10 // bytes
	maxURL          = 2 << 10  // bytes
	maxExtra        = 64 << 10 // bytes, names included
	maxComponents   = 1000
	maxLinks        = 20
	maxTranslations = 50
	maxPublic       = 32
	maxTargets      = 1000
	maxSecrets      = 5
)

// Validate normalises e in place, as [Decode] does, and checks it by the same
// rules: texts are trimmed, defaults supplied, repeats dropped, times set to UTC.
// Elements of Targets are changed where they are. AffectedComponents that are nil
// count as missing. The error is an [*Invalid]; after one, e is half normalised
// and of no use.
func (e *Event) Validate() error {
	if bad := e.normalise(); bad != nil {
		return bad
	}
	return nil
}

func (e *Event) normalise() *Invalid {
	for _, step := range []func() *Invalid{
		e.normaliseExtra, e.normaliseNames, e.normaliseTimes, e.normaliseTexts,
		e.normaliseComponents, e.normaliseLinks, e.normaliseCallback, e.normaliseTranslations, e.normalisePublicDetails, e.normaliseTargets, e.checkSize,
	} {
		if bad := step(); bad != nil {
			return bad
		}
	}
	return nil
}

// normaliseExtra comes first: a field whose name is spelt in capitals is better
// reported as that than as missing.
func (e *Event) normaliseExtra() *Invalid {
	extra := make(map[string]json.RawMessage, len(e.Extra))
	size := 0
	for _, name := range slices.Sorted(maps.Keys(e.Extra)) {
		if known, ok := knownField(name); ok {
			return &Invalid{named(name), fmt.Sprintf("is too much like the field %q; use that one, in lower case", known)}
		}
		if !utf8.ValidString(name) {
			return &Invalid{named(name), notUTF8}
		}
		value, bad := canonical(e.Extra[name], named(name))
		if bad != nil {
			return bad
		}
		if size += len(name) + len(value); size > maxExtra {
			return &Invalid{"event", "must have at most 64 KiB of fields that Tocsin does not know; put them in details"}
		}
		extra[name] = value
	}
	e.Extra = nilIfEmpty(extra)
	if len(e.Details) == 0 {
		e.Details = nil
		return nil
	}
	details, bad := canonical(e.Details, "details")
	if string(details) == "null" {
		details = nil
	}
	e.Details = details
	return bad
}

func (e *Event) normaliseNames() *Invalid {
	var bad *Invalid
	if e.Page, bad = page(e.Page); bad != nil {
		return bad
	}
	if e.IncidentID, bad = cleanID("incident_id", e.IncidentID, maxIncidentID); bad != nil {
		return bad
	}
	if e.IncidentID == "" {
		return &Invalid{"incident_id", required}
	}
	if e.UpdateID, bad = cleanID("update_id", e.UpdateID, maxUpdateID); bad != nil {
		return bad
	}
	if e.Visibility == "" {
		e.Visibility = Public
	}
	if bad := oneOf("status", e.Status, statuses); bad != nil {
		return bad
	}
	if bad := oneOf("impact", e.Impact, impacts); bad != nil {
		return bad
	}
	return oneOf("visibility", e.Visibility, visibilities)
}

func (e *Event) normaliseTimes() *Invalid {
	for _, f := range []struct {
		field string
		t     *time.Time
	}{
		{"started_at", &e.StartedAt}, {"updated_at", &e.UpdatedAt},
		{"resolved_at", &e.ResolvedAt}, {"expires_at", &e.ExpiresAt},
	} {
		// Producers written in Go send year 1 for absent.
		if f.t.IsZero() {
			*f.t = time.Time{}
			continue
		}
		*f.t = f.t.UTC().Truncate(time.Microsecond)
		if year := f.t.Year(); year < 1970 || year > 9999 {
			return &Invalid{f.field, "must be in the years 1970 to 9999"}
		}
	}
	if e.StartedAt.IsZero() {
		return &Invalid{"started_at", required}
	}
	return nil
}

func (e *Event) normaliseTexts() *Invalid {
	text := Translation{e.Title, e.Message}
	if field, reason := text.normalise(); reason != "" {
		return &Invalid{field, reason}
	}
	e.Title, e.Message = text.Title, text.Message
	return nil
}

func (t *Translation) normalise() (field, reason string) {
	if t.Title, reason = line(t.Title, maxTitle); reason != "" {
		return "title", reason
	}
	t.Message, reason = prose(t.Message, maxMessage)
	return "message", reason
}

func (e *Event) normaliseComponents() *Invalid {
	if e.AffectedComponents == nil {
		return &Invalid{"affected_components", required + "; an empty list means the whole page"}
	}
	var bad *Invalid
	if e.AffectedComponents, bad = componentIDs("affected_components", e.AffectedComponents); bad != nil {
		return bad
	}
	if len(e.Components) > maxComponents {
		return tooMany("components", maxComponents)
	}
	components := make(map[string]string, len(e.Components))
	for _, id := range slices.Sorted(maps.Keys(e.Components)) {
		field := "components." + named(id)
		key, bad := cleanID(field, id, maxComponentID)
		if bad != nil {
			return bad
		}
		status, bad := cleanID(field, e.Components[id], maxComponentID)
		if bad != nil {
			return bad
		}
		if key == "" || status == "" {
			return &Invalid{field, "must have both an id and a status"}
		}
		if _, twice := components[key]; twice {
			return &Invalid{field, "must be given only once"}
		}
		components[key] = status
	}
	e.Components = nilIfEmpty(components)
	return nil
}

func (e *Event) normaliseLinks() *Invalid {
	if len(e.Links) > maxLinks {
		return tooMany("links", maxLinks)
	}
	links := make([]Link, 0, len(e.Links))
	for i, l := range e.Links {
		field := at("links", i)
		var bad *Invalid
		var reason string
		if l.Rel, bad = cleanID(field+".rel", l.Rel, maxNameLen); bad != nil {
			return bad
		}
		if l.Title, reason = line(l.Title, maxTitle); reason != "" {
			return &Invalid{field + ".title", reason}
		}
		if l.URL, reason = linkURL(l.URL); reason != "" {
			return &Invalid{field + ".url", reason}
		}
		links = append(links, l)
	}
	e.Links = links
	if len(links) == 0 {
		e.Links = nil
	}
	return nil
}

func (e *Event) normaliseCallback() *Invalid {
	given := strings.TrimFunc(string(e.CallbackURL), blank)
	if e.CallbackURL = ""; given == "" {
		return nil
	}
	clean, reason := linkURL(given)
	if reason != "" {
		return &Invalid{"callback_url", reason}
	}
	e.CallbackURL = CallbackURL(clean)
	return nil
}

func (e *Event) normaliseTranslations() *Invalid {
	if len(e.Translations) > maxTranslations {
		return tooMany("translations", maxTranslations)
	}
	texts := make(map[string]Translation, len(e.Translations))
	for _, key := range slices.Sorted(maps.Keys(e.Translations)) {
		parent := "translations." + named(key)
		locale, reason := localeTag(key)
		if reason != "" {
			return &Invalid{parent, reason}
		}
		if _, twice := texts[locale]; twice {
			return &Invalid{parent, "must be given only once, in one spelling"}
		}
		text := e.Translations[key]
		if field, reason := text.normalise(); reason != "" {
			return &Invalid{parent + "." + field, reason}
		}
		texts[locale] = text
	}
	e.Translations = nilIfEmpty(texts)
	return nil
}

func (e *Event) normalisePublicDetails() *Invalid {
	if len(e.PublicDetails) > maxPublic {
		return tooMany("public_details", maxPublic)
	}
	details := make(map[string]string, len(e.PublicDetails))
	for _, name := range slices.Sorted(maps.Keys(e.PublicDetails)) {
		field := "public_details." + named(name)
		key, bad := cleanID(field, name, maxNameLen)
		if bad != nil {
			return bad
		}
		value, reason := line(e.PublicDetails[name], maxTitle)
		if _, twice := details[key]; twice {
			reason = "must be given only once"
		}
		if reason == "" && (key == "" || value == "") {
			reason = "must have both a name and a value"
		}
		if reason != "" {
			return &Invalid{field, reason}
		}
		details[key] = value
	}
	e.PublicDetails = nilIfEmpty(details)
	return nil
}

func (e *Event) normaliseTargets() *Invalid {
	if len(e.Targets) > maxTargets {
		return tooMany("targets", maxTargets)
	}
	type key struct{ channel, address, externalID string }
	seen := make(map[key]struct{}, len(e.Targets))
	var targets []Target
	for i := range e.Targets {
		t := &e.Targets[i]
		if bad := t.normalise(); bad != nil {
			return bad.under(at("targets", i), "target")
		}
		if t.ID != 0 {
			return &Invalid{at("targets", i) + ".id", "must be absent from an inline target; use external_id"}
		}
		k := key{t.Channel, t.Address, t.ExternalID}
		if _, twice := seen[k]; !twice {
			seen[k] = struct{}{}
			targets = append(targets, *t)
		}
	}
	e.Targets = targets
	return nil
}

// checkSize comes last: defaults make an event longer, and what was accepted once
// must be readable from the queue afterwards.
func (e *Event) checkSize() *Invalid {
	data, err := Encode(e)
	if err != nil {
		return &Invalid{"event", "must be expressible as JSON"}
	}
	if len(data) > MaxEventBytes {
		return &Invalid{"event", "must be at most 1 MiB, defaults included"}
	}
	return nil
}
