package config

import (
	"errors"
	"fmt"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/lifecycle"
	"github.com/tocsin/tocsin/internal/senders"
)

// Alerts says what of an alert becomes what of an incident. Of several labels the
// first that an alert has counts.
type Alerts struct {
	Page       []string `yaml:"page"`
	Component  []string `yaml:"component"`
	Severity   []string `yaml:"severity"`
	Visibility []string `yaml:"visibility"`
	// Impact maps values of the severity to impacts, besides those built in.
	Impact map[string]Impact `yaml:"impact"`
	// Otherwise is the impact of what is not mapped.
	Otherwise Impact `yaml:"otherwise"`
	// PublicDetails are labels whose values everyone may know, by the names that they
	// are told by.
	PublicDetails map[string]Labels `yaml:"public_details" letters:"kept" list:"or one"`
	// Title and Message are templates over [senders.AlertText]; "" takes the
	// annotations.
	Title   string `yaml:"title"`
	Message string `yaml:"message"`
	// Incident begins the incident_id.
	Incident string `yaml:"incident"`
}

// Labels are names of labels; one alone needs no brackets.
type Labels []string

// Mapping is a as the reader of alerts takes it.
func (a *Alerts) Mapping() senders.AlertMapping {
	m := senders.DefaultAlertMapping()
	m.Page, m.Component, m.Severity, m.Visibility = a.Page, a.Component, a.Severity, a.Visibility
	for value, impact := range a.Impact {
		m.Impact[value] = incident.Impact(impact)
	}
	for name, labels := range a.PublicDetails {
		if m.Public == nil {
			m.Public = make(map[string][]string, len(a.PublicDetails))
		}
		m.Public[name] = labels
	}
	m.Otherwise, m.Title, m.Message, m.Prefix = incident.Impact(a.Otherwise), a.Title, a.Message, a.Incident
	return m
}

// Lifecycle says when signals make an incident, and when it is over.
type Lifecycle struct {
	// Cooldown is how long an incident stays resolved before it is completed.
	Cooldown time.Duration `yaml:"cooldown" min:"1s" max:"168h"`
	// Window is how long updates are collected after the last one.
	Window time.Duration `yaml:"window" min:"0s" max:"5m"`
	// Promote says what is told of, and to whom; empty, only what a label marks.
	Promote []Promotion `yaml:"promote"`
}

// Promotion is a rule; all that it asks for has to hold.
type Promotion struct {
	Visibility Visibility    `yaml:"visibility"`
	Impact     Impact        `yaml:"impact"`
	For        time.Duration `yaml:"for" min:"0s" max:"168h"`
	Components int           `yaml:"components" min:"1" max:"1000"`
}

// Rules are l as package lifecycle takes them.
func (l *Lifecycle) Rules() lifecycle.Rules {
	r := lifecycle.Rules{Cooldown: l.Cooldown, Window: l.Window}
	for _, p := range l.Promote {
		r.Promote = append(r.Promote, lifecycle.Promotion{
			Visibility: incident.Visibility(p.Visibility), Impact: incident.Impact(p.Impact), For: p.For, Components: p.Components,
		})
	}
	return r
}

// Audit says how long the audit log is kept.
type Audit struct {
	// Keep is the age of entries when they are removed; 0 is never.
	Keep time.Duration `yaml:"keep" min:"0s" max:"87600h"`
}

// Impact is an [incident.Impact].
type Impact incident.Impact

// UnmarshalText reads one of the impacts.
func (i *Impact) UnmarshalText(text []byte) error {
	if *i = Impact(text); !incident.Impact(*i).Valid() {
		return errors.New("must be one of none, minor, major, critical, maintenance")
	}
	return nil
}

// Visibility is an [incident.Visibility].
type Visibility incident.Visibility

// UnmarshalText reads public or private.
func (v *Visibility) UnmarshalText(text []byte) error {
	if *v = Visibility(text); !incident.Visibility(*v).Valid() {
		return errors.New("must be public or private")
	}
	return nil
}

func (l *Lifecycle) fill() {
	for i := range l.Promote {
		p := &l.Promote[i]
		orDefault(&p.Visibility, Visibility(incident.Public))
		orDefault(&p.Components, 1)
	}
}

func (c *Config) checkLifecycle(f *faults) {
	if _, err := senders.NewAlertmanager(c.Alerts.Mapping()); err != nil {
		if invalid, ok := errors.AsType[*incident.Invalid](err); ok {
			f.at("alerts."+invalid.Field, "%s", invalid.Reason)
		} else {
			f.at("alerts", "%s", err)
		}
	}
	for i, p := range c.Lifecycle.Promote {
		if p.Impact == "" {
			f.at(fmt.Sprintf("lifecycle.promote[%d].impact", i), "is missing: say the least impact that counts, such as critical, or none for any")
		}
	}
}

func defaultAlerts() Alerts {
	m := senders.DefaultAlertMapping()
	return Alerts{
		Page: m.Page, Component: m.Component, Severity: m.Severity, Visibility: m.Visibility,
		Impact: map[string]Impact{}, PublicDetails: map[string]Labels{}, Otherwise: Impact(m.Otherwise), Incident: m.Prefix,
	}
}

func defaultLifecycle() Lifecycle {
	r := lifecycle.DefaultRules()
	l := Lifecycle{Cooldown: r.Cooldown, Window: r.Window}
	for _, p := range r.Promote {
		l.Promote = append(l.Promote, Promotion{Visibility(p.Visibility), Impact(p.Impact), p.For, p.Components})
	}
	return l
}
