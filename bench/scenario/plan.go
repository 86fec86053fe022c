package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/tocsin/tocsin/bench/floor"
	"github.com/tocsin/tocsin/bench/result"
	"github.com/tocsin/tocsin/bench/run"
)

// planning is p1: an event is accepted and its audience planned, rows and batches
// durable, while sending is paused so that nothing else is measured.
func planning() Scenario {
	return Scenario{
		ID: "p1", Title: "accept and plan an audience, sending paused (SQLite)",
		Full: Size{Targets: 1_000_000, Hosts: 1_000}, Quick: Size{Targets: 30_000, Hosts: 300}, FullS: 9, QuickS: 0.8,
		Engine: plan,
		Results: []Result{{ID: "p1", Goals: []result.Goal{
			{Of: result.PerS, Must: 100_000, Aim: 200_000},
			{Of: result.PeakRSSMB, AtMost: true, Must: 200, Aim: 200},
		}}},
	}
}

// planPatience is how long a plan may take.
const planPatience = 5 * time.Minute

func plan(ctx context.Context, r *Rig, size Size) (_ Found, err error) {
	folder, _, err := r.prepare(ctx, population{targets: size.Targets, hosts: size.Hosts, scheme: "http"})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.clear(folder)) }()
	e, err := r.startEngine(ctx, engineOptions{data: folder, queue: "sqlite", port: r.port, config: unlimited})
	if err != nil {
		return nil, err
	}
	m, err := measurePlan(ctx, e, size)
	if stopped := e.Shut(); err == nil {
		err = stopped
	}
	return Found{"p1": m}, err
}

func measurePlan(ctx context.Context, e *engine, size Size) (*result.Measurement, error) {
	if err := e.ask(ctx, http.MethodPost, "/v1/pause", nil); err != nil {
		return nil, err
	}
	story, err := newStory("PLAN-1")
	if err != nil {
		return nil, err
	}
	event, err := eventOf(&story, floor.Page, 1)
	if err != nil {
		return nil, err
	}
	const plans = "tocsin_updates_planned_total"
	watch := run.Observe(e.Process)
	accepted, err := e.publish(ctx, event)
	var planned time.Time
	done := false
	if err == nil {
		planned, done, err = e.await(ctx, plans, 1, planPatience)
	}
	cost := watch.End()
	if err != nil {
		return nil, err
	}
	if !done {
		return nil, fmt.Errorf("the plan was not finished within %v", planPatience)
	}
	v, err := e.incident(ctx, floor.Page, story.Incident)
	if err != nil {
		return nil, err
	}
	m := &result.Measurement{Deliveries: size.Targets}
	// The store's own word is finer than our asking.
	if len(v.Updates) == 1 && v.Updates[0].PlannedAt != nil && v.Updates[0].PlannedAt.Before(planned) {
		planned = *v.Updates[0].PlannedAt
	}
	m.Lost = size.Targets - v.progress()["open"]
	m.WallS = planned.Sub(accepted).Seconds()
	m.PerS = float64(size.Targets) / m.WallS
	m.Cost(cost, "engine")
	return m, nil
}
