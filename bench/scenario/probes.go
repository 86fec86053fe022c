package scenario

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/tocsin/tocsin/bench/result"
)

const (
	// probesRate is a million a minute, in results a second.
	probesRate = 1_000_000.0 / 60
	// probesAtOnce is how many results a request has.
	probesAtOnce  = 500
	probeServices = 4000
	probePlaces   = 5
	// probeClients are fewer than there are different bodies, so that the same results
	// are not under way twice.
	probeClients = 16
)

// intakeProbes is i3: results of many services from a few locations each, all of them
// well.
func intakeProbes() Scenario {
	return Scenario{
		ID: "i3", Title: "results of probes, 500 a request; memory while a million a minute come",
		Full: Size{Events: 400_000}, FullS: 28,
		Engine: func(ctx context.Context, r *Rig, size Size) (Found, error) {
			return r.intake(ctx, "i3", false, func(e *engine, m *result.Measurement) error {
				return driveProbes(ctx, e, size.Events/probesAtOnce, m)
			})
		},
		Results: []Result{{ID: "i3", Goals: []result.Goal{
			{Of: result.PerS, Must: 16_667, Aim: 50_000},
			{Of: result.PeakRSSMB, AtMost: true, Must: 256, Aim: 128},
		}}},
	}
}

const (
	acceptedProbes = `tocsin_probe_results_total{result="accepted"}`
	ignoredProbes  = `tocsin_probe_results_total{result="ignored"}`
)

func driveProbes(ctx context.Context, e *engine, requests int, m *result.Measurement) error {
	bodies, err := probeBodies()
	if err != nil {
		return err
	}
	poster := newPoster(e.Base, "/v1/probes", probeClients, func(n int) ([]byte, error) { return bodies[n%len(bodies)], nil })
	if err := poster.drive(ctx, e, requests, probesRate/probesAtOnce, m); err != nil {
		return err
	}
	// Requests were counted; results are what is asked for.
	m.Deliveries *= probesAtOnce
	m.PerS *= probesAtOnce
	m.More["offered_per_s"] *= probesAtOnce
	m.More["paced_per_s"] *= probesAtOnce
	if series := m.Processes["engine"].Series; len(series) > 0 {
		m.More["begin_rss_mb"], m.More["end_rss_mb"] = series[0].RSSMB, series[len(series)-1].RSSMB
	}
	accepted, err := e.counter(ctx, acceptedProbes)
	if err != nil {
		return err
	}
	ignored, err := e.counter(ctx, ignoredProbes)
	m.More["ignored_percent"] = result.Round(100 * ignored / (accepted + ignored))
	m.Lost = int(poster.sent.Load())*probesAtOnce - int(accepted+ignored)
	return err
}

// probeBodies has a result of each location of each service once. They have no time,
// so that each may be sent again and again.
func probeBodies() (bodies [][]byte, err error) {
	type one struct {
		Service  string  `json:"service"`
		Location string  `json:"location"`
		OK       bool    `json:"ok"`
		Latency  float64 `json:"latency_ms"`
		Weight   float64 `json:"weight"`
	}
	list := make([]one, 0, probesAtOnce)
	for n := range probeServices * probePlaces {
		list = append(list, one{fmt.Sprintf("service-%d", n%probeServices), fmt.Sprintf("location-%d", n/probeServices), true, float64(n%400) + 0.5, 1})
		if len(list) == probesAtOnce {
			body, err := json.Marshal(map[string]any{"results": list})
			if err != nil {
				return nil, fmt.Errorf("write results of probes: %w", err)
			}
			bodies, list = append(bodies, body), list[:0]
		}
	}
	return bodies, nil
}
