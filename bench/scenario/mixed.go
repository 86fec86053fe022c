package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/tocsin/tocsin/bench/result"
	"github.com/tocsin/tocsin/bench/run"
)

// mixed is x1: the demo, with everything that it can go through, over RabbitMQ.
func mixed() Scenario {
	return Scenario{
		ID: "x1", Title: "the mixed demo over RabbitMQ: the healthy ones", Broker: true,
		Full: Size{Targets: 10_000, Updates: 3}, FullS: 45,
		Engine: func(ctx context.Context, r *Rig, size Size) (Found, error) {
			m, err := demo(ctx, r, size)
			return Found{"x1": m}, err
		},
		Results: []Result{{ID: "x1", Goals: []result.Goal{{Of: result.P99MS, AtMost: true, Must: 2000, Aim: 1000}}}},
	}
}

// demoPatience is a little more than the demo promises to take.
const demoPatience = 4 * time.Minute

// demo runs `tocsin demo --json` and reads its report.
func demo(ctx context.Context, r *Rig, size Size) (*result.Measurement, error) {
	queue, err := r.queue(ctx, true)
	if err != nil {
		return nil, err
	}
	process, err := run.Start(run.Command{Name: "demo", Path: r.Tocsin, Env: r.Environ, Logs: r.Logs,
		Args: []string{"demo", "--json", "--targets", strconv.Itoa(size.Targets), "--queue", queue}})
	if err != nil {
		return nil, err
	}
	defer process.Stop(time.Minute) // if it has not ended by then: it ends its own processes
	bound, cancel := context.WithTimeoutCause(ctx, demoPatience, fmt.Errorf("the demo did not end within %v", demoPatience))
	defer cancel()
	line, err := process.Line(bound)
	if err != nil {
		return nil, cause(bound, err)
	}
	var report struct {
		WallS           float64 `json:"wall_s"`
		Lost            int     `json:"lost"`
		Duplicates      int     `json:"duplicates"`
		OrderViolations int     `json:"order_violations"`
		P50MS           float64 `json:"p50_ms"`
		P99MS           float64 `json:"p99_ms"`
		PerS            float64 `json:"deliveries_per_s"`
		PeakRSSMB       float64 `json:"peak_rss_mb"`
		Healthy         struct {
			Delivered int `json:"delivered"`
		} `json:"healthy"`
	}
	if err := json.Unmarshal(line, &report); err != nil {
		return nil, fmt.Errorf("the demo printed no report: %w", err)
	}
	return &result.Measurement{Deliveries: report.Healthy.Delivered, Lost: report.Lost, Duplicates: report.Duplicates, OrderViolations: report.OrderViolations,
		Figures: result.Figures{PerS: report.PerS, WallS: report.WallS, P50MS: report.P50MS, P99MS: report.P99MS, PeakRSSMB: report.PeakRSSMB}}, nil
}
