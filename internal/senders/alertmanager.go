package senders

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

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/lifecycle"
)

// SourceAlerts is the source of what Alertmanager and Grafana send.
const SourceAlerts = "alerts"

// maxPages is how many pages one notification may concern: each is a case of its own.
const maxPages = 100

const (
	// maxAlerts is how many alerts one notification may have. Of those that Alertmanager
	// sends a tenth as many are in the bytes that there may be.
	maxAlerts = 100_000
	// leastAlert is less than the bytes of any alert, for its status and start. "{}" in
	// the place of one takes a hundred times its bytes in memory.
	leastAlert = 50
	// fewBytes is what may have so many of them all the same.
	fewBytes = 64 << 10
)

// The versions of the body.
const (
	ofAlertmanager = "4"
	ofGrafana      = "1"
)

// Alertmanager reads what Prometheus' Alertmanager sends to webhooks, version 4, and
// what Grafana does, whose alerting is made of it: version 1, with some more fields. It
// is safe for concurrent use.
type Alertmanager struct {
	m     AlertMapping
	texts texts
}

// NewAlertmanager returns a reader for a mapping. An [*incident.Invalid] names the
// field of the mapping that is at fault.
func NewAlertmanager(m AlertMapping) (*Alertmanager, error) {
	for _, labels := range []struct {
		field string
		names []string
	}{{"page", m.Page}, {"component", m.Component}, {"severity", m.Severity}, {"visibility", m.Visibility}} {
		for _, name := range labels.names {
			if name == "" {
				return nil, &incident.Invalid{Field: labels.field, Reason: "must have names of labels"}
			}
		}
	}
	if err := checkPublic(m.Public); err != nil {
		return nil, err
	}
	probe := lifecycle.Report{Group: groupOf(m.Prefix, "")}
	if err := probe.Check(); err != nil || strings.TrimSpace(m.Prefix) == "" || len(m.Prefix) > 40 {
		return nil, &incident.Invalid{Field: "incident", Reason: "must be 1 to 40 printable characters, such as am-"}
	}
	t, err := newTexts(&m)
	if err != nil {
		return nil, err
	}
	return &Alertmanager{m, t}, nil
}

// notification is the body: one group of alerts. Fields that are not needed are
// ignored, as unknown ones are.
type notification struct {
	Version           string            `json:"version"`
	GroupKey          string            `json:"groupKey"`
	TruncatedAlerts   uint64            `json:"truncatedAlerts"`
	GroupLabels       map[string]string `json:"groupLabels"`
	CommonLabels      map[string]string `json:"commonLabels"`
	CommonAnnotations map[string]string `json:"commonAnnotations"`
	Alerts            []alert           `json:"alerts"`
}

type alert struct {
	Status      string            `json:"status"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    stamp             `json:"startsAt"`
	EndsAt      stamp             `json:"endsAt"` // zero while it fires
	Fingerprint string            `json:"fingerprint"`
}

// stamp is a time, or that what was sent as one is none: package encoding/json doesn't
// say of which field that is.
type stamp struct {
	time.Time
	odd bool
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *stamp) UnmarshalJSON(b []byte) error {
	s.odd = s.Time.UnmarshalJSON(b) != nil
	return nil
}

// entries is how many a list has, one at least, which is not read for it.
type entries int

// UnmarshalJSON implements json.Unmarshaler.
func (n *entries) UnmarshalJSON(list []byte) error {
	depth, count := 0, 1
	for i := 0; i < len(list); i++ {
		switch list[i] {
		case '"':
			for i++; list[i] != '"'; i++ {
				if list[i] == '\\' {
					i++
				}
			}
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case ',':
			if depth == 1 {
				count++
			}
		}
	}
	*n = max(*n, entries(count))
	return nil
}

// checkCount refuses a body, which is JSON, before it is read if it has more alerts
// than there may be, or such as can be none.
func checkCount(body []byte) error {
	if len(body) < fewBytes {
		return nil
	}
	var n struct {
		Alerts entries `json:"alerts"`
	}
	switch err := json.Unmarshal(body, &n); {
	case err != nil:
		return unreadable(err)
	case n.Alerts > maxAlerts:
		return &incident.Invalid{Field: "alerts", Reason: fmt.Sprintf("must have at most %d alerts; set max_alerts", maxAlerts)}
	case int(n.Alerts)*leastAlert > len(body):
		return &incident.Invalid{Field: "alerts", Reason: "must have alerts alone, each with status and startsAt"}
	}
	return nil
}

// Reports reads a notification: one report for each page that its alerts concern.
// Without truncated alerts each has the whole of the group. There are none of what
// Grafana sends to have a contact point tested: nobody ever says that it ended. What
// it refuses is an [*incident.Invalid].
func (a *Alertmanager) Reports(body []byte) ([]*lifecycle.Report, error) {
	if err := incident.CheckJSON(body, "body"); err != nil {
		return nil, err
	}
	if err := checkCount(body); err != nil {
		return nil, err
	}
	var n notification
	if err := json.Unmarshal(body, &n); err != nil {
		return nil, unreadable(err)
	}
	if err := n.check(); err != nil {
		return nil, err
	}
	if n.test() {
		return nil, nil
	}
	byPage := make(map[string]*lifecycle.Report)
	var reports []*lifecycle.Report
	for i := range n.Alerts {
		alert := &n.Alerts[i]
		page := n.label(alert, a.m.Page)
		r := byPage[page]
		if r == nil {
			if len(reports) == maxPages {
				return nil, &incident.Invalid{Field: a.field(a.m.Page), Reason: fmt.Sprintf("must name at most %d pages in one group; group by page", maxPages)}
			}
			r = &lifecycle.Report{Source: SourceAlerts, Page: page, Group: groupOf(a.m.Prefix, n.GroupKey), Whole: n.TruncatedAlerts == 0}
			byPage[page] = r
			reports = append(reports, r)
		}
		r.Signals = append(r.Signals, a.signal(&n, alert))
	}
	for _, r := range reports {
		if err := r.Check(); err != nil {
			return nil, a.inAlerts(err)
		}
	}
	reports = merged(reports)
	slices.SortFunc(reports, func(a, b *lifecycle.Report) int { return cmp.Compare(a.Page, b.Page) })
	return reports, nil
}

// merged brings reports together whose pages are written differently and are one.
func merged(reports []*lifecycle.Report) []*lifecycle.Report {
	byPage := make(map[string]*lifecycle.Report)
	return slices.DeleteFunc(reports, func(r *lifecycle.Report) bool {
		first := byPage[r.Page]
		if first == nil {
			byPage[r.Page] = r
			return false
		}
		first.Signals = append(first.Signals, r.Signals...)
		return true
	})
}

func (a *Alertmanager) signal(n *notification, from *alert) lifecycle.Signal {
	s := lifecycle.Signal{
		Key: keyOf(from), Firing: from.Status == "firing", Mark: lifecycle.Mark(strings.ToLower(n.label(from, a.m.Visibility))),
		StartedAt: from.StartsAt.Time, EndedAt: from.EndsAt.Time, Impact: a.m.Otherwise,
	}
	if impact, ok := a.m.Impact[strings.ToLower(n.label(from, a.m.Severity))]; ok {
		s.Impact = impact
	}
	if c := n.label(from, a.m.Component); c != "" {
		s.Components = []string{c}
	}
	for name, labels := range a.m.Public {
		if value := n.label(from, labels); value != "" {
			if s.PublicDetails == nil {
				s.PublicDetails = make(map[string]string, len(a.m.Public))
			}
			s.PublicDetails[name] = value
		}
	}
	if a.texts.title != nil || a.texts.message != nil {
		of := &AlertText{
			Status: from.Status, Labels: from.Labels, Annotations: from.Annotations, GroupLabels: n.GroupLabels,
			CommonLabels: n.CommonLabels, CommonAnnotations: n.CommonAnnotations, StartsAt: from.StartsAt.Time, EndsAt: from.EndsAt.Time,
		}
		s.Title, s.Message = run(a.texts.title, of), run(a.texts.message, of)
	}
	s.Title = cmp.Or(s.Title, from.Annotations["summary"], n.CommonAnnotations["summary"], from.Labels["alertname"], n.CommonLabels["alertname"])
	s.Message = cmp.Or(s.Message, from.Annotations["description"], n.CommonAnnotations["description"])
	return s
}

// groupOf names the incident of a group.
func groupOf(prefix, groupKey string) string {
	sum := sha256.Sum256([]byte(groupKey))
	return prefix + hex.EncodeToString(sum[:6])
}

// keyOf tells alerts of a group apart: by their labels, of which Alertmanager's
// fingerprint is a hash.
func keyOf(a *alert) string {
	if a.Fingerprint != "" && len(a.Fingerprint) <= 64 {
		return a.Fingerprint
	}
	labels, _ := json.Marshal(a.Labels) // of strings, sorted
	sum := sha256.Sum256(labels)
	return hex.EncodeToString(sum[:16])
}

// unreadable says what is wrong with the JSON without repeating any of it.
func unreadable(err error) *incident.Invalid {
	field := "alerts"
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" && len(wrong.Field) <= 64 {
		field = wrong.Field
	}
	return &incident.Invalid{Field: field, Reason: "must be the JSON that Alertmanager (version 4) or Grafana (version 1) sends to webhooks"}
}

func (n *notification) check() error {
	switch {
	case n.Version != ofAlertmanager && n.Version != ofGrafana:
		return &incident.Invalid{Field: "version", Reason: `must be "4", the webhook payload of Alertmanager, or "1", that of Grafana`}
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
		for _, at := range []struct {
			field string
			stamp
		}{{"startsAt", a.StartsAt}, {"endsAt", a.EndsAt}} {
			if at.odd {
				return &incident.Invalid{Field: fmt.Sprintf("alerts[%d].%s", i, at.field), Reason: "must be an RFC 3339 time, such as 2026-11-21T05:00:00Z"}
			}
		}
		if a.StartsAt.IsZero() {
			return &incident.Invalid{Field: fmt.Sprintf("alerts[%d].startsAt", i), Reason: "is required"}
		}
	}
	return nil
}

// test says that the notification is one that Grafana makes up to have a contact point
// tested: its labels and texts are whatever the tester likes, and in place of the key of
// a group, which begins with the matchers of a route, it has the name of the contact
// point, the fingerprint of its one alert and the Unix time.
func (n *notification) test() bool {
	if n.Version != ofGrafana || len(n.Alerts) != 1 || n.Alerts[0].Fingerprint == "" || strings.HasPrefix(n.GroupKey, "{") {
		return false
	}
	_, since, found := strings.Cut(n.GroupKey, "-"+n.Alerts[0].Fingerprint+"-")
	return found && since != "" && strings.Trim(since, "0123456789") == ""
}

// inAlerts names the part of an alert where a report's field is at fault.
func (a *Alertmanager) inAlerts(err error) error {
	invalid, ok := errors.AsType[*incident.Invalid](err)
	if !ok {
		return err
	}
	field := invalid.Field
	switch {
	case field == "page":
		field = a.field(a.m.Page)
	case strings.HasPrefix(field, "affected_components"):
		field = a.field(a.m.Component)
	case field == "visibility":
		field = a.field(a.m.Visibility)
	case field == "started_at":
		field = "alerts.startsAt"
	}
	return &incident.Invalid{Field: field, Reason: invalid.Reason}
}

// field names the label that is looked for first.
func (a *Alertmanager) field(labels []string) string { return "alerts.labels." + labels[0] }
