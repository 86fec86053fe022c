package senders

import (
	"errors"
	"time"
	"unicode/utf8"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/lifecycle"
)

// SourcePagerDuty is the source of what is sent to PagerDuty's Events API.
const SourcePagerDuty = "pagerduty"

// MaxPagerDuty is the largest event that PagerDuty takes, in bytes.
const MaxPagerDuty = 512 << 10

const maxDedupKey = 255 // characters

// later is a start that the lifecycle takes for the time of the report.
var later = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

// PagerDuty is an event of PagerDuty's Events API, version 2.
type PagerDuty struct {
	// RoutingKey is what the sender shows; it is a secret.
	RoutingKey string
	// DedupKey names the alert; "" if the sender leaves that to the receiver, as a
	// trigger may.
	DedupKey string

	action  string
	trouble lifecycle.Signal
	custom  map[string]any // details, any of them
}

var pagerDutyImpact = map[string]incident.Impact{
	"critical": incident.ImpactCritical, "error": incident.ImpactMajor, "warning": incident.ImpactMinor, "info": incident.ImpactNone,
}

// ReadPagerDuty reads an event. What it refuses is an [*incident.Invalid].
func ReadPagerDuty(body []byte) (*PagerDuty, error) {
	o, err := parse(body, MaxPagerDuty)
	if err != nil {
		return nil, err
	}
	actions := map[string]string{"trigger": "trigger", "acknowledge": "acknowledge", "resolve": "resolve"}
	e := &PagerDuty{
		RoutingKey: o.required("routing_key"), action: oneOf(o, "event_action", actions, "trigger, acknowledge, resolve"), DedupKey: o.text("dedup_key"),
	}
	switch {
	case utf8.RuneCountInString(e.DedupKey) > maxDedupKey:
		o.fail("dedup_key", "must be at most 255 characters")
	case e.DedupKey == "" && e.action != "trigger":
		o.fail("dedup_key", "is required, for it names the alert")
	}
	if e.action == "trigger" {
		e.trouble = triggered(o)
		e.custom, _ = o.object("payload").fields["custom_details"].(map[string]any)
	}
	return e, o.err()
}

// triggered is what is wrong. Whoever repeats a trigger gives it the time of the
// repetition.
func triggered(o *object) lifecycle.Signal {
	p := o.object("payload")
	p.required("source") // of the alert, as a host; it stays here
	s := lifecycle.Signal{
		Firing: true, Title: p.required("summary"), Impact: oneOf(p, "severity", pagerDutyImpact, "critical, error, warning, info"),
		StartedAt: p.when("timestamp"), Reported: true,
	}
	if s.StartedAt.IsZero() {
		s.StartedAt = later
	}
	if component := p.text("component"); component != "" {
		s.Components = []string{component}
	}
	return s
}

// Publish has everyone told of those of a trigger's custom_details that have these
// names, as [CheckPublicName] wants them, and are strings or numbers.
func (e *PagerDuty) Publish(names []string) {
	for _, name := range names {
		value, ok := plainText(e.custom[name])
		if !ok {
			continue
		}
		if e.trouble.PublicDetails == nil {
			e.trouble.PublicDetails = make(map[string]string, len(names))
		}
		e.trouble.PublicDetails[name] = value
	}
}

// Reports says what the event means on a page. source tells apart the senders whose
// dedup keys are different ones; "" is a sender that isn't configured.
func (e *PagerDuty) Reports(source, page string) ([]*lifecycle.Report, error) {
	r := &lifecycle.Report{Source: SourcePagerDuty, Page: page, Group: groupOf("pd-", source+"\n"+e.DedupKey)}
	switch e.action {
	case "trigger":
		r.Signals = []lifecycle.Signal{e.trouble}
	case "resolve":
		r.Signals = []lifecycle.Signal{{Impact: incident.ImpactNone, StartedAt: later}}
	default:
		r.Note = lifecycle.Acknowledged
	}
	for i := range r.Signals {
		r.Signals[i].Key = "alert" // a group has only one
	}
	if err := r.Check(); err != nil {
		if invalid, ok := errors.AsType[*incident.Invalid](err); ok && invalid.Field != "page" {
			return nil, &incident.Invalid{Field: "payload.component", Reason: invalid.Reason}
		}
		return nil, err
	}
	return []*lifecycle.Report{r}, nil
}

// RoutingKey is the key of an event that may be anything; "" if it has none.
func RoutingKey(body []byte) string {
	o, err := parse(body, MaxPagerDuty)
	if err != nil {
		return ""
	}
	return o.text("routing_key")
}
