package scenario

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/tocsin/tocsin/bench/result"
)

const (
	// alertsRate is what must be borne, in notifications a second.
	alertsRate = 1000
	// alertsOfGroup is how many alerts a notification has.
	alertsOfGroup = 50
	// alertsLag is how many groups are between one notification of a group and its
	// next, so that they aren't under way at once.
	alertsLag = 64
)

// intakeAlerts is i2: of five notifications one is the first of its group and opens an
// incident, two have a change (one alert more has ended), and two say the same as the
// one before. All alerts are critical, so that all of it is told of.
func intakeAlerts() Scenario {
	return Scenario{
		ID: "i2", Title: "notifications of Alertmanager with 50 alerts, durable before the 202; p99 at 1,000/s",
		Full: Size{Events: 10 * alertsRate}, FullS: 18,
		Engine: func(ctx context.Context, r *Rig, size Size) (Found, error) {
			return r.intake(ctx, "i2", false, func(e *engine, m *result.Measurement) error {
				return driveAlerts(ctx, e, size.Events, m)
			})
		},
		Results: []Result{{ID: "i2", Goals: []result.Goal{
			{Of: result.PerS, Must: alertsRate, Aim: 2 * alertsRate},
			{Of: result.P99MS, AtMost: true, Must: 50, Aim: 50},
		}}},
	}
}

const acceptedAlerts = `tocsin_events_received_total{result="accepted",source="alerts"}`

func driveAlerts(ctx context.Context, e *engine, requests int, m *result.Measurement) error {
	poster := newPoster(e.Base, "/v1/alerts", clients, alertsBody)
	if err := poster.drive(ctx, e, requests, alertsRate, m); err != nil {
		return err
	}
	// Each group has become an incident; what changed later may be one with it.
	groups := 0
	for n := range int(poster.sent.Load()) {
		if _, part := alertsPart(n); part == 0 {
			groups++
		}
	}
	if _, all, err := e.await(ctx, acceptedAlerts, float64(groups), drainPatience); err != nil || all {
		return err
	}
	counted, err := e.counter(ctx, acceptedAlerts)
	m.Lost = groups - int(counted)
	return err
}

// alertsPart says of which group the n-th notification is, and the how manieth of five.
// Where that group would be before the first one, another begins.
func alertsPart(n int) (group string, part int) {
	if of := n/5 - n%5*alertsLag; of >= 0 {
		return fmt.Sprint(of), n % 5
	}
	return fmt.Sprintf("early-%d", n), 0
}

// alertsBody is the n-th notification.
func alertsBody(n int) ([]byte, error) {
	group, part := alertsPart(n)
	ended := (part + 1) / 2 // changes at 1 and 3, repeats at 2 and 4
	type alert struct {
		Status      string            `json:"status"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
		StartsAt    string            `json:"startsAt"`
		EndsAt      string            `json:"endsAt"`
		Generator   string            `json:"generatorURL"`
		Fingerprint string            `json:"fingerprint"`
	}
	alerts := make([]alert, alertsOfGroup)
	for i := range alerts {
		a := alert{
			Status: "firing", StartsAt: "2026-01-02T03:04:05Z", EndsAt: "0001-01-01T00:00:00Z",
			Labels: map[string]string{"alertname": "HighErrorRate", "severity": "critical", "component": fmt.Sprintf("service-%d", i),
				"instance": fmt.Sprintf("10.0.0.%d:9100", i), "job": "api", "cluster": "eu-1"},
			Annotations: map[string]string{"summary": "Requests fail", "description": "More than 5 % of the requests end in an error."},
			Generator:   fmt.Sprintf("http://prometheus:9090/graph?g0.expr=errors%%7Binstance%%3D%%2210.0.0.%d%%3A9100%%22%%7D&g0.tab=1", i),
			Fingerprint: fmt.Sprintf("%016x", 0x9e3779b97f4a7c15*uint64(i+1)),
		}
		if i < ended {
			a.Status, a.EndsAt = "resolved", "2026-01-02T03:14:05Z"
		}
		alerts[i] = a
	}
	return json.Marshal(map[string]any{
		"version": "4", "groupKey": fmt.Sprintf("{}:{group=%q}", group), "status": "firing", "receiver": "tocsin", "alerts": alerts,
		"groupLabels": map[string]string{}, "commonLabels": map[string]string{}, "commonAnnotations": map[string]string{},
		"externalURL": "http://alertmanager:9093", "truncatedAlerts": 0,
	})
}
