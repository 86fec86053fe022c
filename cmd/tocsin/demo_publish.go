package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/tocsin/tocsin/incident"
)

// updates is the story the demo tells.
var updates = [...]struct {
	status         incident.Status
	title, message string
}{
	{incident.Investigating, "Checkout fails for some customers", "We see errors in checkout and look into it."},
	{incident.Identified, "Checkout fails for some customers", "A database ran out of connections. We move traffic away."},
	{incident.Resolved, "Checkout works again", "All checkouts succeed since 05:12 UTC. We are sorry."},
}

// event is the nth update, from 1.
func (d *demo) event(n int, started, now time.Time) ([]byte, error) {
	u := updates[n-1]
	e := &incident.Event{IncidentID: d.incident, Status: u.status, Impact: incident.ImpactCritical, Title: u.title, Message: u.message,
		AffectedComponents: []string{"checkout", "payments-api"}, StartedAt: started, UpdatedAt: now, ExpiresAt: now.Add(d.expiry()),
		UpdateID: d.updateID(n)}
	if u.status.Terminal() {
		e.ResolvedAt = now
	}
	if err := e.Validate(); err != nil {
		return nil, fmt.Errorf("event of the demo: %w", err)
	}
	return incident.Encode(e)
}

func (d *demo) updateID(n int) string { return fmt.Sprintf("%s-%d", d.incident, n) }

// expiry is when attempts on dead targets end: soon enough to wait for, late
// enough for a slow machine to reach everyone else.
func (d *demo) expiry() time.Duration {
	return 15*time.Second + d.timeout() + time.Duration(d.command.Targets)*time.Millisecond
}

// publish sends the nth update and returns when it was accepted: the moment the
// 202 or the broker's confirm was in hand or, with a command, when that ended.
// What a receiver answered before counts as a latency of zero.
func (d *demo) publish(ctx context.Context, n int, started time.Time) (accepted time.Time, err error) {
	body, err := d.event(n, started, time.Now())
	if err != nil {
		return time.Time{}, err
	}
	switch {
	case d.command.Publisher != "":
		err = d.publishByCommand(ctx, body)
	case overBroker(d.command.Queue):
		err = d.publishToBroker(ctx, body, n)
	default:
		_, err = d.api.publish(ctx, body)
	}
	return time.Now(), err
}

func (d *demo) publishToBroker(ctx context.Context, body []byte, n int) error {
	producer, err := dialBroker(ctx, d.command.Queue)
	if err != nil {
		return err
	}
	defer producer.close()
	return producer.publish(ctx, d.brokerName("incidents"), body, d.updateID(n))
}

func (d *demo) publishByCommand(ctx context.Context, body []byte) error {
	command := exec.CommandContext(ctx, "sh", "-c", d.command.Publisher)
	command.Env = append(d.environ(), "TOCSIN_QUEUE="+d.command.Queue, "TOCSIN_EXCHANGE="+d.brokerName("incidents"))
	command.Stdin = bytes.NewReader(body)
	command.WaitDelay = 5 * time.Second
	if out, err := command.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("the publisher command failed (%w): %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// brokerName names what the engine has on the broker: the demo is a deployment
// of its own and shares nothing with others there.
func (d *demo) brokerName(what string) string { return "tocsin." + d.deployment() + "." + what }

// cleanBroker removes what the engine left on the broker, which is made to last.
func (d *demo) cleanBroker() error {
	ctx, cancel := context.WithTimeout(context.Background(), producerPatience) // also after Ctrl-C
	defer cancel()
	groups, err := d.groups()
	if err != nil {
		return err
	}
	producer, err := dialBroker(ctx, d.command.Queue)
	if err != nil {
		return err
	}
	defer producer.close()
	var exchanges, queues []string
	for _, x := range []string{"incidents", "deliver", "updates", "parked"} {
		exchanges = append(exchanges, d.brokerName(x))
	}
	for _, q := range []string{"incidents", "incidents.invalid", "parked"} {
		queues = append(queues, d.brokerName(q))
	}
	for _, group := range groups {
		queues = append(queues, d.brokerName("deliver."+group+".urgent"), d.brokerName("deliver."+group+".normal"))
	}
	if err := producer.remove(exchanges, queues); err != nil {
		return fmt.Errorf("what the demo made on the broker, named %s, could not be removed: %w", d.brokerName("*"), err)
	}
	return nil
}
