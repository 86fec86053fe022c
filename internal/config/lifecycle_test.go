package config

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/lifecycle"
	"github.com/tocsin/tocsin/internal/probe"
	"github.com/tocsin/tocsin/internal/senders"
)

func TestLifecycleOfAFile(t *testing.T) {
	c := mustLoad(t, `
alerts:
  page: [site, page]
  impact: {P1: critical, ticket: none}
  otherwise: none
  public_details: {ErrorCode: code, endpoint: [endpoint, "${LABEL}"]}
  title: "{{ .Labels.app }} is disturbed"
  incident: site-
lifecycle:
  cooldown: 1h
  window: 0s
  promote:
    - {impact: none}
    - {impact: major, visibility: private, for: 10m, components: 3}
audit: {keep: 0s}
`, envOf("LABEL", "path", "TOCSIN_LIFECYCLE_COOLDOWN", "2h", "TOCSIN_ALERTS_COMPONENT", "app, job"))
	want := lifecycle.Rules{Cooldown: 2 * time.Hour, Promote: []lifecycle.Promotion{
		{Visibility: incident.Public, Impact: incident.ImpactNone, Components: 1},
		{Visibility: incident.Private, Impact: incident.ImpactMajor, For: 10 * time.Minute, Components: 3},
	}}
	if got := c.Lifecycle.Rules(); !reflect.DeepEqual(got, want) {
		t.Errorf("the rules are %+v", got)
	}
	m := senders.DefaultAlertMapping()
	m.Page, m.Component, m.Otherwise, m.Title, m.Prefix = []string{"site", "page"}, []string{"app", "job"}, incident.ImpactNone, "{{ .Labels.app }} is disturbed", "site-"
	m.Public = map[string][]string{"ErrorCode": {"code"}, "endpoint": {"endpoint", "path"}}
	m.Impact["p1"], m.Impact["ticket"] = incident.ImpactCritical, incident.ImpactNone
	if got := c.Alerts.Mapping(); !reflect.DeepEqual(got, m) {
		t.Errorf("the mapping is %+v", got)
	}
	if c.Audit.Keep != 0 {
		t.Errorf("the audit log is kept for %s", c.Audit.Keep)
	}
	if c := mustLoad(t, "lifecycle: {promote: []}", nil); len(c.Lifecycle.Rules().Promote) != 0 {
		t.Error("a list without rules has some")
	}
}

// TestDefaultLifecycle holds the defaults here against those of the packages.
func TestDefaultLifecycle(t *testing.T) {
	want := lifecycle.DefaultRules()
	want.Promote[0].Components = 1 // what 0 means
	if got := Default().Lifecycle.Rules(); !reflect.DeepEqual(got, want) {
		t.Errorf("the rules are %+v", got)
	}
	if got := Default().Alerts.Mapping(); !reflect.DeepEqual(got, senders.DefaultAlertMapping()) {
		t.Errorf("the mapping is %+v", got)
	}
}

func TestFaultyLifecycles(t *testing.T) {
	for yaml, want := range map[string]string{
		"probes: {page: a/b}":                                     "tocsin.yaml:1:16: probes.page: must be 1 to 64",
		"lifecycle: {promote: [{for: 1m}]}":                       "tocsin.yaml:1:24: lifecycle.promote[0].impact: is missing",
		"lifecycle: {promote: [{impact: bad}]}":                   "lifecycle.promote[0].impact: must be one of none,",
		"lifecycle: {promote: [{impact: none, visibility: all}]}": "lifecycle.promote[0].visibility: must be public or private",
		"lifecycle: {promote: [{impact: none, components: 0}]}":   "lifecycle.promote[0].components: must be a whole number",
		"lifecycle: {cooldown: 0s}":                               "lifecycle.cooldown: must be a duration from 1s",
		"alerts: {title: \"{{ .Labels.x\"}":                       "alerts.title: is not a template of an alert",
		"alerts: {message: \"{{ .Label.x }}\"}":                   "alerts.message: is not a template of an alert",
		"alerts: {impact: {page: worst}}":                         "alerts.impact[\"page\"]: must be one of none,",
		"alerts: {otherwise: worst}":                              "alerts.otherwise: must be one of none,",
		"alerts: {incident: \"\"}":                                "alerts.incident: must be 1 to 40 printable characters",
		"alerts: {public_details: {code: [\"\"]}}":                "tocsin.yaml:1:27: alerts.public_details[\"code\"]: must have names of labels",
		"alerts: {public_details: {code: }}":                      "alerts.public_details[\"code\"]: must have names of labels",
		"alerts: {public_details: {code: {a: b}}}":                "alerts.public_details[\"code\"]: must be a single value",
		"alerts: {public_details: {\"a\\nb\": c}}":                "must have a name of 1 to 64 bytes",
		"alerts: {public_details: [code]}":                        "alerts.public_details: must be names, each with",
		"alerts: {component: [\"\"]}":                             "alerts.component: must have names of labels",
		"audit: {keep: -1s}":                                      "audit.keep: must be a duration from 0s",
	} {
		if _, err := load(t, yaml, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", yaml, err)
		}
	}
	if _, err := load(t, "", envOf("TOCSIN_ALERTS_PUBLIC_DETAILS", "x")); err == nil || !strings.Contains(err.Error(), "alerts.public_details can only be set in the file") {
		t.Errorf("a variable for public details: %v", err)
	}
	if _, err := load(t, "", envOf("TOCSIN_LIFECYCLE_PROMOTE", "x")); err == nil || !strings.Contains(err.Error(), "lifecycle.promote can only be set in the file") {
		t.Errorf("a variable for rules: %v", err)
	}
}

func TestProbesOfAFile(t *testing.T) {
	c := mustLoad(t, "probes: {page: api, fail: 1, slow: 0s, settle: 1m}", envOf("TOCSIN_PROBES_STALE_AFTER", "1m"))
	want := probe.DefaultRules()
	want.Fail, want.Slow, want.Settle, want.StaleAfter = 1, 0, time.Minute, time.Minute
	if got := c.Probes.Rules(); got != want || c.Probes.Page != "api" {
		t.Errorf("the rules are %+v, of page %s", got, c.Probes.Page)
	}
	if got := Default().Probes.Rules(); got != probe.DefaultRules() {
		t.Errorf("the defaults are %+v", got)
	}
}
