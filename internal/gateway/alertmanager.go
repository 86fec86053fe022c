package gateway

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/tocsin/tocsin/incident"
)

// notification is the webhook payload of Alertmanager, version 4: one group of
// alerts. Fields that are not needed are ignored.
type notification struct {
	Version           string            `json:"version"`
	GroupKey          string            `json:"groupKey"`
	CommonLabels      map[string]string `json:"commonLabels"`
	CommonAnnotations map[string]string `json:"commonAnnotations"`
	Alerts            []alert           `json:"alerts"`
}

type alert struct {
	Status      string            `json:"status"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    time.Time         `json:"startsAt"`
	EndsAt      time.Time         `json:"endsAt"`
}

func (a *alert) firing() bool { return a.Status == "firing" }

// eventsOfAlerts maps a notification to events by the default mapping: one for
// each page that the alerts' labels name. It is pure; the same notification gives
// the same events. Its error is an [*incident.Invalid].
func eventsOfAlerts(body []byte) ([]*incident.Event, error) {
	var n notification
	if err := json.Unmarshal(body, &n); err != nil {
		return nil, unreadable(err)
	}
	if bad := n.check(); bad != nil {
		return nil, bad
	}
	byPage := make(map[string][]alert)
	var pages []string
	for _, a := range n.Alerts {
		page := cmp.Or(n.label(&a, "page"), "default")
		if byPage[page] == nil {
			pages = append(pages, page)
		}
		byPage[page] = append(byPage[page], a)
	}
	slices.Sort(pages)
	events := make([]*incident.Event, 0, len(pages))
	for _, page := range pages {
		e, err := n.event(page, byPage[page])
		if err != nil {
			return nil, err
		}
		events = append(events, e)
	}
	return events, nil
}

// unreadable says what is wrong with the JSON without repeating any of it.
func unreadable(err error) *incident.Invalid {
	field := "alerts"
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" && len(wrong.Field) <= 64 {
		field = wrong.Field
	}
	return &incident.Invalid{Field: field, Reason: "must be the JSON that Alertmanager sends to webhooks (version 4)"}
}

func (n *notification) check() error {
	switch {
	case n.Version != "4":
		return &incident.Invalid{Field: "version", Reason: `must be "4", the webhook payload of Alertmanager`}
	case n.GroupKey == "":
		return &incident.Invalid{Field: "groupKey", Reason: "is required; the incident is named after it"}
	case len(n.Alerts) == 0:
		return &incident.Invalid{Field: "alerts", Reason: "must have at least one alert"}
	}
	for i := range n.Alerts {
		a := &n.Alerts[i]
		if a.Status != "firing" && a.Status != "resolved" {
			return &incident.Invalid{Field: fmt.Sprintf("alerts[%d].status", i), Reason: "must be firing or resolved"}
		}
		if a.StartsAt.IsZero() {
			return &incident.Invalid{Field: fmt.Sprintf("alerts[%d].startsAt", i), Reason: "is required"}
		}
	}
	return nil
}

// label reads a label of an alert, or what all alerts of the group have.
func (n *notification) label(a *alert, name string) string {
	return cmp.Or(a.Labels[name], n.CommonLabels[name])
}

// event maps the alerts of one page. While one fires, the firing ones alone say
// how bad it is and where; once all are resolved, all do.
func (n *notification) event(page string, alerts []alert) (*incident.Event, error) {
	slices.SortFunc(alerts, func(a, b alert) int {
		return cmp.Or(a.StartsAt.Compare(b.StartsAt), cmp.Compare(labelText(a.Labels), labelText(b.Labels)),
			cmp.Compare(a.Status, b.Status))
	})
	e := &incident.Event{
		Page: page, IncidentID: incidentOfGroup(n.GroupKey), Status: incident.Investigating,
		StartedAt: alerts[0].StartsAt,
	}
	telling := slices.DeleteFunc(slices.Clone(alerts), func(a alert) bool { return !a.firing() })
	if len(telling) == 0 {
		telling = alerts
		e.Status = incident.Resolved
		for i := range alerts {
			if alerts[i].EndsAt.After(e.ResolvedAt) {
				e.ResolvedAt = alerts[i].EndsAt
			}
		}
	}
	e.AffectedComponents = n.components(telling)
	for i := range telling {
		e.Impact = incident.Highest(e.Impact, impactOf(n.label(&telling[i], "severity")))
	}
	e.Title, e.Message = n.texts(telling)
	e.UpdateID = updateOf(e, alerts)
	if err := e.Validate(); err != nil {
		return nil, inLabels(err)
	}
	return e, nil
}

// inLabels names the label where an event's field is at fault.
func inLabels(err error) error {
	invalid, ok := errors.AsType[*incident.Invalid](err)
	if !ok {
		return err
	}
	field := invalid.Field
	switch {
	case field == "page":
		field = "alerts.labels.page"
	case strings.HasPrefix(field, "affected_components"):
		field = "alerts.labels.component"
	case field == "started_at":
		field = "alerts.startsAt"
	case field == "resolved_at":
		field = "alerts.endsAt"
	}
	return &incident.Invalid{Field: field, Reason: invalid.Reason}
}

func incidentOfGroup(groupKey string) string {
	sum := sha256.Sum256([]byte(groupKey))
	return "am-" + hex.EncodeToString(sum[:6])
}

func impactOf(severity string) incident.Impact {
	switch strings.ToLower(severity) {
	case "critical":
		return incident.ImpactCritical
	case "error", "major":
		return incident.ImpactMajor
	case "info", "none":
		return incident.ImpactNone
	}
	return incident.ImpactMinor // warning, and what nobody mapped
}

// maxComponents is what an event may name; more than that is the whole page.
const maxComponents = 1000

func (n *notification) components(alerts []alert) []string {
	seen := make(map[string]bool)
	for i := range alerts {
		if c := cmp.Or(n.label(&alerts[i], "component"), n.label(&alerts[i], "service")); c != "" {
			seen[c] = true
		}
	}
	if len(seen) > maxComponents {
		return []string{}
	}
	components := make([]string, 0, len(seen))
	for c := range seen {
		components = append(components, c)
	}
	slices.Sort(components)
	return components
}

const (
	maxTitle   = 512
	maxMessage = 60 << 10 // in bytes; an event may have 64 KiB
)

// texts takes what the group has in common, or else the title of its oldest
// alert, and each message once.
func (n *notification) texts(alerts []alert) (title, message string) {
	title = n.CommonAnnotations["summary"]
	message = n.CommonAnnotations["description"]
	seen := map[string]bool{"": true}
	var messages []string
	for i := range alerts {
		title = cmp.Or(title, alerts[i].Annotations["summary"])
		if text := alerts[i].Annotations["description"]; !seen[text] {
			seen[text] = true
			messages = append(messages, text)
		}
	}
	for i := range alerts {
		title = cmp.Or(title, n.label(&alerts[i], "alertname"))
	}
	if message == "" {
		message = strings.Join(messages, "\n")
	}
	return clean(title, maxTitle, ""), clean(message, maxMessage, "\n\t")
}

// clean makes a text fit for an event: in at most so many bytes and without
// control characters but those to keep. A notice is worth more than its tail.
func clean(text string, most int, keep string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && !strings.ContainsRune(keep, r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(strings.ReplaceAll(text, "\r\n", "\n"), "�"))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most-len("…")], "") + "…"
	}
	return strings.TrimSpace(text)
}

// updateOf names the update by its content and by when each alert began. So
// Alertmanager's repeats, and the same notification from its twin, are known
// updates, while an alert that fires anew makes a new one. The end of an alert is
// left out: Alertmanager moves it with every repeat.
func updateOf(e *incident.Event, alerts []alert) string {
	type began struct {
		Status string
		Labels map[string]string
		At     int64
	}
	content := struct {
		Page, Incident string
		Status         incident.Status
		Impact         incident.Impact
		Components     []string
		Title, Message string
		Alerts         []began
	}{e.Page, e.IncidentID, e.Status, e.Impact, e.AffectedComponents, e.Title, e.Message, nil}
	for _, a := range alerts {
		content.Alerts = append(content.Alerts, began{a.Status, a.Labels, a.StartsAt.UnixNano()})
	}
	sum := sha256.Sum256(mustJSON(content))
	return "am-" + hex.EncodeToString(sum[:16])
}

// labelText is the same for the same labels.
func labelText(labels map[string]string) string { return string(mustJSON(labels)) }

// mustJSON encodes what always can be: strings and numbers; maps by sorted keys.
func mustJSON(v any) []byte {
	out, err := json.Marshal(v)
	if err != nil {
		panic("gateway: encoding strings: " + err.Error())
	}
	return out
}
