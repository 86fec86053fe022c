package main

import (
	"context"
	"errors"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/channels/webhook"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/egress"
)

// callbacks tells producers that an update is complete: on the way that webhooks
// take, signed with the configured keys instead of a target's. It implements
// dispatcher.Callbacks.
type callbacks struct {
	webhooks channels.Channel
	policy   *egress.Policy
	secrets  []string
}

// Check refuses callbacks where there is no key, and URLs that webhooks may not
// have.
func (c *callbacks) Check(url incident.CallbackURL) error {
	if len(c.secrets) == 0 {
		return &incident.Invalid{Field: "callback_url",
			Reason: "can't be called, for this engine has no key to sign with; set callback.secrets in its configuration, or leave the field out"}
	}
	_, err := c.policy.CheckURL(string(url))
	if invalid, ok := errors.AsType[*incident.Invalid](err); ok {
		return &incident.Invalid{Field: "callback_url", Reason: invalid.Reason}
	}
	return err
}

// Post makes one attempt. What was accepted before the keys were taken out of the
// configuration waits for them.
func (c *callbacks) Post(ctx context.Context, id string, url incident.CallbackURL, body []byte) channels.Result {
	if len(c.secrets) == 0 {
		return channels.Result{Class: channels.Temporary, Detail: "there is no key to sign with; set callback.secrets"}
	}
	return c.webhooks.Send(ctx, &channels.Message{
		ID: id, Provider: egress.ProviderKey(string(url)), Address: string(url), Secrets: c.secrets, Payload: webhook.Prepared(body),
	})
}
