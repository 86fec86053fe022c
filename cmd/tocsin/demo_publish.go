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
	return producer.publish(ctx, body, d.updateID(n))
}

func (d *demo) publishByCommand(ctx context.Context, body []byte) error {
	command := exec.CommandContext(ctx, "sh", "-c", d.command.Publisher)
	command.Env = append(d.environ(), "TOCSIN_QUEUE="+d.command.Queue)
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
