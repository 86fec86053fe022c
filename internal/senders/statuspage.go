package senders

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/lifecycle"
)

// SourceStatuspage is the source of what Atlassian Statuspage sends.
const SourceStatuspage = "statuspage"

const (
	maxUpdates    = 200
	maxComponents = 1000
)

// statuspage reads the webhooks of Atlassian Statuspage for one page.
type statuspage struct {
	page       string
	components bool
}

// NewStatuspage reads the webhooks of Atlassian Statuspage, of incidents as their
// updates, which are told on page. With components a component's status is a signal of
// a group of its own; without, nothing comes of it, for incidents name components too.
func NewStatuspage(page string, components bool) (Own, error) {
	s := &statuspage{page, components}
	return Own{Kind: SourceStatuspage, Read: s.read}, nil
}

func (s *statuspage) read(_ context.Context, body []byte) (*Reading, error) {
	o, err := parse(body, MaxBody)
	if err != nil {
		return nil, err
	}
	switch {
	case o.fields["incident"] != nil:
		return s.incident(o.object("incident"))
	case o.fields["component_update"] != nil:
		return s.component(o)
	}
	return nil, &incident.Invalid{Field: "incident", Reason: "is required, or component_update: this is not a webhook of Statuspage"}
}

var (
	statuspageStatus = map[string]incident.Status{
		"investigating": incident.Investigating, "identified": incident.Identified, "monitoring": incident.Monitoring, "resolved": incident.Resolved,
		"scheduled": incident.Scheduled, "in_progress": incident.InProgress, "verifying": incident.Verifying, "completed": incident.Completed,
		"postmortem": "", // follows the end; there is nothing to tell
	}
	statuspageImpact = map[string]incident.Impact{
		"none": incident.ImpactNone, "minor": incident.ImpactMinor, "major": incident.ImpactMajor, "critical": incident.ImpactCritical,
		"maintenance": incident.ImpactMaintenance,
	}
	statuspageComponent = map[string]incident.Impact{
		"operational": incident.ImpactNone, "degraded_performance": incident.ImpactMinor, "partial_outage": incident.ImpactMajor,
		"major_outage": incident.ImpactCritical, "under_maintenance": incident.ImpactMaintenance,
	}
)

// incident makes an event of each of its updates, oldest first: each webhook has all
// of them. Those that were not to be announced are left out, but for the end.
func (s *statuspage) incident(o *object) (*Reading, error) {
	reading := &Reading{}
	id, started := o.required("id"), firstOf(o.when("started_at"), o.when("created_at"))
	impact := oneOf(o, "impact", statuspageImpact, "none, minor, major, critical, maintenance")
	scheduled, resolved := o.when("scheduled_for"), o.when("resolved_at")
	title, link := clean(o.text("name"), false), o.text("shortlink")
	affected, _ := statuses(o, "components", "status")
	updates := o.objects("incident_updates", maxUpdates)
	if started = firstOf(scheduled, started); started.IsZero() {
		o.fail("created_at", "is required")
	}
	backfilled := o.flag("backfilled") // of the past, and nobody's news
	slices.Reverse(updates)
	for _, u := range updates {
		e := &incident.Event{
			Page: s.page, IncidentID: "sp-" + id, UpdateID: "sp-" + u.required("id"), Impact: impact, Title: title, Message: clean(u.text("body"), true),
			Status:    oneOf(u, "status", statuspageStatus, "investigating, identified, monitoring, resolved, scheduled, in_progress, verifying, completed, postmortem"),
			StartedAt: started, UpdatedAt: firstOf(u.when("display_at"), u.when("created_at")),
		}
		e.AffectedComponents, e.Components = statuses(u, "affected_components", "new_status")
		if len(e.AffectedComponents) == 0 {
			e.AffectedComponents = slices.Clone(affected)
		}
		if e.Status.Terminal() {
			e.ResolvedAt = resolved
		}
		if announce, said := u.fields["deliver_notifications"].(bool); e.Status == "" || backfilled || said && !announce && !e.Status.Terminal() {
			continue
		}
		if *o.fault != nil {
			break
		}
		if err := finish(e, link); err != nil {
			return nil, u.named(err)
		}
		reading.Events = append(reading.Events, e)
	}
	slices.SortStableFunc(reading.Events, func(a, b *incident.Event) int { return a.UpdatedAt.Compare(b.UpdatedAt) })
	return reading, o.err()
}

// finish validates an event, with the link if it is one that an event may have.
func finish(e *incident.Event, link string) error {
	if err := e.Validate(); err != nil {
		return err
	}
	linked := *e
	if linked.Links = []incident.Link{{Rel: "alternate", URL: link}}; link != "" && linked.Validate() == nil {
		*e = linked
	}
	return nil
}

// named says where in the webhook an event's field comes from.
func (o *object) named(err error) error {
	invalid, ok := errors.AsType[*incident.Invalid](err)
	if !ok {
		return err
	}
	from := map[string]string{"incident_id": "incident.id", "title": "incident.name", "started_at": "incident.started_at", "page": "page"}[invalid.Field]
	if from == "" {
		field, _, _ := strings.Cut(invalid.Field, "[")
		from = o.at(cmp.Or(map[string]string{"update_id": "id", "message": "body", "components": "affected_components"}[field], field))
	}
	return &incident.Invalid{Field: from, Reason: invalid.Reason}
}

// statuses reads a list of components: their names, and what is said of each.
func statuses(o *object, field, status string) (names []string, by map[string]string) {
	names, by = []string{}, make(map[string]string)
	for _, c := range o.objects(field, maxComponents) {
		name := c.required("name")
		names = append(names, name)
		if is := c.text(status); is != "" {
			by[name] = is
		}
	}
	return names, by
}

// component makes a signal of a component's new status.
func (s *statuspage) component(o *object) (*Reading, error) {
	c, u := o.object("component"), o.object("component_update")
	name, id := c.required("name"), cmp.Or(u.text("component_id"), c.text("id"))
	impact := oneOf(u, "new_status", statuspageComponent, "operational, degraded_performance, partial_outage, major_outage, under_maintenance")
	status := u.text("new_status")
	if id == "" {
		u.fail("component_id", "is required")
	}
	signal := lifecycle.Signal{
		Key: "component", Firing: status != "operational", Components: []string{name}, Impact: impact, Reported: true,
		StartedAt: firstOf(u.when("created_at"), later), Title: clean(name+": "+strings.ReplaceAll(status, "_", " "), false),
	}
	if err := o.err(); err != nil || !s.components {
		return &Reading{}, err
	}
	r := &lifecycle.Report{Source: SourceStatuspage, Page: s.page, Group: "sp-component-" + id, Signals: []lifecycle.Signal{signal}}
	if err := r.Check(); err != nil {
		if invalid, ok := errors.AsType[*incident.Invalid](err); ok && invalid.Field == "incident_id" {
			return nil, &incident.Invalid{Field: "component_update.component_id", Reason: invalid.Reason}
		}
		return nil, &incident.Invalid{Field: "component.name", Reason: err.(*incident.Invalid).Reason}
	}
	return &Reading{Reports: []*lifecycle.Report{r}}, nil
}

func firstOf(times ...time.Time) time.Time {
	for _, t := range times {
		if !t.IsZero() {
			return t
		}
	}
	return time.Time{}
}

// clean makes a text fit for an event: a notice is worth more than its odd characters
// and its tail.
func clean(text string, lines bool) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && !(lines && (r == '\n' || r == '\t')) {
			return ' '
		}
		return r
	}, strings.ReplaceAll(text, "\r\n", "\n"))
	most := 512 // bytes, so that there are no more characters either
	if lines {
		most = 60 << 10
	}
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most-len("…")], "") + "…"
	}
	return text
}
