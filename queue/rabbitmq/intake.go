package rabbitmq

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/tocsin/tocsin/queue"
)

// Headers of events. Producers need none of them.
const (
	headerSource     = "tocsin-source"      // as [queue.Event] has it
	headerSender     = "tocsin-sender"      // likewise; only with the routing key offered
	headerReceivedAt = "tocsin-received-at" // ms since 1970
	headerReason     = "tocsin-reason"      // why an event is invalid
	headerField      = "tocsin-field"       // which field of it is at fault, if one is
	headerRoutingKey = "tocsin-routing-key" // what an invalid event was published with
)

// offered is the routing key of what the engine itself publishes. Only then the sender
// in the headers counts: a broker can keep producers off that key.
const offered = "tocsin.offered"

// maxShort is what AMQP allows a short string, such as message_id.
const maxShort = 255

const (
	maxReason = 1024
	maxField  = 256
)

// Offer implements [queue.Intake]. Under the broker's alarm it returns at once: that
// lasts, and those who wait would fill the intake's connections.
func (b *Broker) Offer(ctx context.Context, e *queue.Event) error {
	if len(e.Body) > queue.MaxEventBytes {
		return fmt.Errorf("rabbitmq: the event has %d bytes, at most %d are allowed", len(e.Body), queue.MaxEventBytes)
	}
	if len(e.UpdateID) > maxShort {
		return fmt.Errorf("rabbitmq: the update id has %d bytes, at most %d are allowed", len(e.UpdateID), maxShort)
	}
	if b.Blocked() {
		return unavailable(reason(true, nil))
	}
	now := time.Now()
	return b.send(ctx, 1, func(int) (message, error) {
		return message{
			route{b.names.incidents, offered},
			amqp.Publishing{
				Headers:      amqp.Table{headerSource: e.Source, headerSender: e.Sender, headerReceivedAt: now.UnixMilli()},
				ContentType:  "application/json",
				DeliveryMode: amqp.Persistent,
				MessageId:    e.UpdateID,
				Timestamp:    now,
				Body:         e.Body,
			},
		}, nil
	})
}

// Take implements [queue.Intake]. Events that are too large, or CloudEvents without
// one, are concluded as invalid here.
func (b *Broker) Take(ctx context.Context, limit int) ([]*queue.Event, error) {
	return b.takeBodies(ctx, intake, limit)
}

// TakeProbes is Take for results of probes, which Conclude concludes as well.
func (b *Broker) TakeProbes(ctx context.Context, limit int) ([]*queue.Event, error) {
	return b.takeBodies(ctx, probes, limit)
}

func (b *Broker) takeBodies(ctx context.Context, from string, limit int) ([]*queue.Event, error) {
	for {
		handles, err := b.takeFrom(ctx, from, limit)
		if err != nil {
			return nil, err
		}
		events := make([]*queue.Event, 0, len(handles))
		for i, h := range handles {
			e, bad := b.eventOf(h, from)
			if bad == nil {
				events = append(events, e)
				continue
			}
			err := b.conclude(ctx, []*handle{h}, []queue.Verdict{*bad})
			if err == nil {
				continue
			}
			h.in.putBack(handles[i:])
			if len(events) > 0 {
				return events, nil
			}
			return nil, err
		}
		if len(events) > 0 {
			return events, nil
		}
	}
}

func (h *handle) event() *queue.Event {
	return &queue.Event{Body: h.item.body, UpdateID: h.item.messageID, ReceivedAt: h.item.received, Source: h.item.source, Sender: h.item.sender, Tag: h}
}

// eventOf is what a message of a queue says, or why it is invalid.
func (b *Broker) eventOf(h *handle, from string) (*queue.Event, *queue.Verdict) {
	if n := len(h.item.body); n > queue.MaxEventBytes {
		return nil, &queue.Verdict{
			Result: invalid,
			Reason: fmt.Sprintf("the event has %d bytes, at most %d are allowed: only so many are kept here", n, queue.MaxEventBytes),
		}
	}
	e := h.event()
	if b.opts.Unwrap == nil || from != intake || h.item.attributes == nil && !strings.HasPrefix(h.item.contentType, "application/cloudevents") {
		return e, nil
	}
	if bad := b.opts.Unwrap(e, h.item.contentType, h.item.attributes); bad != nil {
		return nil, bad
	}
	return e, nil
}

// attributes are those of a CloudEvent that a message has in its headers (AMQP protocol
// binding 1.0.2, section 3.1.3); nil if it has none.
func attributes(headers amqp.Table) map[string]string {
	var found map[string]string
	for _, name := range [...]string{"specversion", "id", "source", "type", "time"} {
		for _, before := range [...]string{"cloudEvents:", "cloudEvents_"} {
			var text string
			switch v := headers[before+name].(type) {
			case string:
				text = v
			case time.Time: // AMQP has a type for it
				text = v.UTC().Format(time.RFC3339Nano)
			default:
				continue
			}
			if found == nil {
				found = make(map[string]string)
			}
			found[name] = text
		}
	}
	return found
}

// source keeps to the known words: anybody can publish, and it becomes a label.
func source(headers amqp.Table) string {
	switch s, _ := headers[headerSource].(string); s {
	case "http", "alerts", "probes", "pagerduty", "statuspage", "mapping", "manual":
		return s
	}
	return "amqp"
}

// What a sender may be called in the audit log: a user of the broker, or whom the engine
// let in. No address is among them.
var (
	userName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]{0,63}$`)
	letIn    = regexp.MustCompile(`^(local|token [0-9]{1,6}|source [a-z0-9_-]{1,32})?$`)
)

// sender is who published a message: the user that it names, which the broker has
// compared with that of the connection, or whom the engine let in that offered it.
// "" is for what the engine decided itself.
func sender(d *amqp.Delivery) string {
	if userName.MatchString(d.UserId) {
		return "user " + d.UserId
	}
	name, _ := d.Headers[headerSender].(string)
	if d.UserId != "" || d.RoutingKey != offered || !letIn.MatchString(name) {
		return "amqp"
	}
	return name
}

func receivedAt(headers amqp.Table, now time.Time) time.Time {
	if ms := whole(headers[headerReceivedAt]); ms > 0 && ms <= now.UnixMilli() {
		return time.UnixMilli(ms)
	}
	return now
}

// whole is a header's number, whatever type it came with; 0 if it is none.
func whole(v any) int64 {
	switch n := v.(type) {
	case int64:
		return n
	case int32:
		return int64(n)
	case int16:
		return int64(n)
	case int8:
		return int64(n)
	case byte:
		return int64(n)
	case uint16:
		return int64(n)
	case uint32:
		return int64(n)
	}
	return 0
}

const invalid = "invalid"

// Conclude implements [queue.Intake]. On an error nothing was removed: call it
// again; an invalid event may then be set aside twice. Events of an earlier
// connection are passed over, they come again.
func (b *Broker) Conclude(ctx context.Context, events []*queue.Event, verdicts []queue.Verdict) error {
	if len(events) != len(verdicts) {
		return fmt.Errorf("rabbitmq: %d events were concluded with %d verdicts", len(events), len(verdicts))
	}
	var handles []*handle
	var theirs []queue.Verdict
	for i, e := range events {
		if h, ok := e.Tag.(*handle); ok && h.live() {
			handles = append(handles, h)
			theirs = append(theirs, verdicts[i])
		}
	}
	return b.conclude(ctx, handles, theirs)
}

// conclude sets the invalid ones aside, then replies, then acks. A crash in
// between repeats what came before it: twice aside or replied, never lost.
func (b *Broker) conclude(ctx context.Context, handles []*handle, verdicts []queue.Verdict) error {
	var aside []message
	for i, h := range handles {
		if verdicts[i].Result == invalid {
			aside = append(aside, b.aside(&h.item, verdicts[i]))
		}
	}
	if err := b.send(ctx, len(aside), func(i int) (message, error) { return aside[i], nil }); err != nil {
		return err
	}
	for i, h := range handles {
		if h.live() {
			b.reply(&h.item, verdicts[i])
		}
	}
	for _, h := range handles {
		h.ack()
	}
	return nil
}

// aside is the event for the operator. The producer's own headers don't go
// with it: they may fill a frame, and then ours would break the connection.
func (b *Broker) aside(it *item, v queue.Verdict) message {
	headers := amqp.Table{headerReason: clip(v.Reason, maxReason), headerRoutingKey: it.routingKey, headerSource: it.source}
	if v.Field != "" {
		headers[headerField] = clip(v.Field, maxField)
	}
	return message{
		route{"", b.names.invalid},
		amqp.Publishing{
			Headers:      headers,
			ContentType:  it.contentType,
			DeliveryMode: amqp.Persistent,
			MessageId:    it.messageID,
			Timestamp:    time.Now(),
			Body:         it.body[:min(len(it.body), queue.MaxEventBytes)],
		},
	}
}

func clip(s string, limit int) string {
	return strings.ToValidUTF8(s[:min(len(s), limit)], "")
}

// replyVerdict is the body of a reply; docs/producers.md describes it.
type replyVerdict struct {
	Result     string `json:"result"`
	IncidentID string `json:"incident_id,omitempty"`
	UpdateID   string `json:"update_id,omitempty"`
	Sequence   int    `json:"sequence,omitempty"`
	Field      string `json:"field,omitempty"`
	Reason     string `json:"reason,omitempty"`
}

// replyAllowed keeps producers from making Tocsin write to its own queues.
func replyAllowed(to string) bool {
	return to != "" && !strings.HasPrefix(to, prefix)
}

// reply sends the verdict where the producer asked for one. It is a courtesy:
// nothing waits for it, and it is left out while the broker is under an alarm.
func (b *Broker) reply(it *item, v queue.Verdict) {
	if !replyAllowed(it.replyTo) {
		return
	}
	p, blocked := b.publishing.state()
	if p == nil || blocked {
		return
	}
	body, err := json.Marshal(replyVerdict{
		Result: v.Result, IncidentID: clip(v.IncidentID, maxReason), UpdateID: clip(v.UpdateID, maxReason), Sequence: v.Sequence,
		Field: clip(v.Field, maxField), Reason: clip(v.Reason, maxReason),
	})
	if err != nil {
		return // strings and an int don't fail
	}
	_ = p.replies.Publish("", it.replyTo, false, false, amqp.Publishing{
		ContentType:   "application/json",
		CorrelationId: it.correlationID,
		Timestamp:     time.Now(),
		Body:          body,
	})
}
