package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

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
	producer, err := dialBroker(ctx, d.command.Queue)
	if err != nil {
		return err
	}
	defer producer.close()
	var exchanges, queues []string
	for _, x := range []string{"incidents", "deliver", "updates", "parked"} {
		exchanges = append(exchanges, d.brokerName(x))
	}
	for _, q := range []string{"incidents", "incidents.invalid", "deliver.webhook.urgent", "deliver.webhook.normal", "parked"} {
		queues = append(queues, d.brokerName(q))
	}
	if err := producer.remove(exchanges, queues); err != nil {
		return fmt.Errorf("what the demo made on the broker, named %s, could not be removed: %w", d.brokerName("*"), err)
	}
	return nil
}
