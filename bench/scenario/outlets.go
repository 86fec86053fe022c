package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tocsin/tocsin/bench/floor"
	"github.com/tocsin/tocsin/bench/result"
	"github.com/tocsin/tocsin/bench/run"
)

// outlet is work for an engine that tells everyone through one relay or account.
type outlet struct {
	// channel is that of the targets.
	channel string
	// config names the relay or account, at its address.
	config string
	story  floor.Story
	// arrived says how many messages the far side has accepted, warm ones included;
	// nil asks the engine, where the far side's times are asked for afterwards.
	arrived func() (int, error)
	// beside is the far side's process.
	beside *run.Process
}

// outletPatience is how long one update may take.
const outletPatience = 3 * time.Minute

// tell runs an engine, warms it up, publishes the story once, and returns what that
// took: to the last arrival, or to the last outcome in the ledger. accepted is when the
// event was.
func (o *outlet) tell(ctx context.Context, r *Rig, targets int) (m *result.Measurement, accepted time.Time, err error) {
	folder, _, err := r.prepare(ctx, population{targets: targets, hosts: targets, scheme: o.channel})
	if err != nil {
		return nil, accepted, err
	}
	defer func() { err = errors.Join(err, r.clear(folder)) }()
	e, err := r.startEngine(ctx, engineOptions{data: folder, queue: "sqlite", port: r.port, config: o.config})
	if err != nil {
		return nil, accepted, err
	}
	warm := o.story
	warm.Incident = "WARM-1"
	_, err = o.publish(ctx, e, &warm, warmPage, warmTargets)
	var last time.Time
	watch := run.Observe(e.Process, o.beside)
	if err == nil {
		accepted, err = o.publish(ctx, e, &o.story, floor.Page, warmTargets+targets)
		last = time.Now()
	}
	cost := watch.End()
	if stopped := e.Shut(); err == nil {
		err = stopped
	}
	if err != nil {
		return nil, accepted, err
	}
	m = &result.Measurement{Deliveries: targets}
	m.WallS = last.Sub(accepted).Seconds()
	m.PerS = float64(targets) / m.WallS
	m.Cost(cost, "engine")
	return m, accepted, nil
}

// publish publishes the first update of a story and waits until so many messages have
// arrived in all, or patience ends.
func (o *outlet) publish(ctx context.Context, e *engine, s *floor.Story, page string, want int) (accepted time.Time, err error) {
	event, err := eventOf(s, page, 1)
	if err != nil {
		return accepted, err
	}
	accepted, err = e.publish(ctx, event)
	if err != nil {
		return accepted, err
	}
	if o.arrived == nil {
		_, _, err = e.await(ctx, fmt.Sprintf("tocsin_deliveries_total{channel=%q,outcome=\"delivered\"}", o.channel), float64(want), outletPatience)
		return accepted, err
	}
	for deadline := time.Now().Add(outletPatience); ; {
		got, err := o.arrived()
		if err != nil || got >= want || time.Now().After(deadline) {
			return accepted, errors.Join(err, e.Died())
		}
		e.rig.Progress(fmt.Sprintf("%d of %d", got, want))
		if err := run.Sleep(ctx, 2*time.Millisecond); err != nil {
			return accepted, err
		}
	}
}
