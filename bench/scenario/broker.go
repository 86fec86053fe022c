package scenario

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/tocsin/tocsin/bench/result"
	"github.com/tocsin/tocsin/bench/run"
)

// intakeAMQP is i1.amqp: events over RabbitMQ, from the first publish until the
// engine has accepted the last.
func intakeAMQP() Scenario {
	return Scenario{
		ID: "i1.amqp", Title: "events over AMQP, published with confirms, until the engine has accepted all", Broker: true,
		Full: Size{Events: 20_000}, Quick: Size{Events: 5_000}, FullS: 6, QuickS: 2.4,
		Engine: func(ctx context.Context, r *Rig, size Size) (Found, error) {
			return r.intake(ctx, "i1.amqp", true, func(e *engine, m *result.Measurement) error {
				return driveAMQP(ctx, r, e, size.Events, m)
			})
		},
		Results: []Result{{ID: "i1.amqp", Goals: []result.Goal{{Of: result.PerS, Must: intakeRate, Aim: 10_000}}}},
	}
}

func driveAMQP(ctx context.Context, r *Rig, e *engine, events int, m *result.Measurement) error {
	connection, err := amqp.Dial(r.broker.URL())
	if err != nil {
		return errors.New("the broker does not let the benchmark in")
	}
	defer connection.Close()
	channel, err := connection.Channel()
	if err == nil {
		err = channel.Confirm(false)
	}
	if err != nil {
		return fmt.Errorf("publish events: %w", err)
	}
	p := &publisher{channel: channel, exchange: "tocsin." + e.deployment + ".incidents"}
	if err := p.publish(ctx, warmUpRequests); err != nil {
		return err
	}
	if _, _, err := e.await(ctx, acceptedAMQP, warmUpRequests, drainPatience); err != nil {
		return err
	}
	watch := run.Observe(r.withBroker(true, e.Process)...)
	begun := time.Now()
	err = p.publish(ctx, events)
	confirmed := time.Now()
	var last time.Time
	if err == nil {
		last, _, err = e.await(ctx, acceptedAMQP, float64(p.sent), drainPatience)
	}
	m.Cost(watch.End(), "engine")
	if err != nil {
		return err
	}
	accepted, err := e.counter(ctx, acceptedAMQP)
	m.Lost = p.sent - int(accepted)
	m.Deliveries, m.WallS = events, last.Sub(begun).Seconds()
	m.PerS = float64(events) / m.WallS
	m.More["confirmed_per_s"] = result.Round(float64(events) / confirmed.Sub(begun).Seconds())
	return err
}

// publisher publishes events of new incidents.
type publisher struct {
	channel  *amqp.Channel
	exchange string
	sent     int
}

// outstanding is how many events wait for their confirm at once.
const outstanding = 500

// publish returns once n events are confirmed.
func (p *publisher) publish(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, drainPatience)
	defer cancel()
	var waiting []*amqp.DeferredConfirmation
	take := func(most int) error {
		for len(waiting) > most {
			ok, err := waiting[0].WaitContext(ctx)
			if err == nil && !ok {
				err = errors.New("the broker refused one")
			}
			if err != nil {
				return fmt.Errorf("publish events: %w", err)
			}
			waiting = waiting[1:]
		}
		return nil
	}
	for range n {
		body, err := intakeEvent(p.sent)
		if err != nil {
			return err
		}
		confirm, err := p.channel.PublishWithDeferredConfirmWithContext(ctx, p.exchange, "bench", true, false, amqp.Publishing{
			ContentType: "application/json", DeliveryMode: amqp.Persistent, MessageId: "bench-" + strconv.Itoa(p.sent), Body: body})
		if err != nil {
			return fmt.Errorf("publish events: %w", err)
		}
		p.sent++
		waiting = append(waiting, confirm)
		if err := take(outstanding); err != nil {
			return err
		}
	}
	return take(0)
}
