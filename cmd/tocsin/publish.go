package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/tocsin/tocsin/incident"
)

type publishCommand struct {
	To       string `default:"http://127.0.0.1:8080" placeholder:"URL" help:"Where to publish: the engine's API (http://127.0.0.1:8080), or a RabbitMQ broker (amqp, amqps)."`
	Exchange string `default:"tocsin.incidents" placeholder:"NAME" help:"With a broker: the exchange of the engine; tocsin.NAME.incidents if its deployment has a name."`
	API      string `name:"api" placeholder:"URL" help:"With a broker: the engine's API, to watch the update go out."`
	NoWait   bool   `help:"Return once it is accepted, without watching."`
	File     string `arg:"" help:"The event as JSON; - reads it from stdin."`
}

// Help is shown by --help.
func (*publishCommand) Help() string {
	return `The smallest event there is:

    tocsin publish - <<END
    {"incident_id": "INC-8892", "status": "investigating", "impact": "critical",
     "affected_components": ["auth-api"], "started_at": "2026-11-21T05:00:00Z"}
    END

It is checked before it is sent. Then the command waits until everyone was told, or it is known why not; Ctrl-C stops ` +
		`the watching, never the fan-out. Publish the next update of the same incident in the same way.

To a broker, as any AMQP client can (exchange tocsin.incidents, any routing key):

    tocsin publish --to amqp://user:password@broker:5672/ --api http://127.0.0.1:8080 event.json

TOCSIN_TOKEN is the token for the API. Exit codes: 0 everything has ended, however it ended; 1 the event is not valid or ` +
		`was refused; 3 the engine or the broker isn't there.`
}

// Run publishes the event and, unless told otherwise, watches it.
func (c *publishCommand) Run(ctx context.Context, p *program) error {
	body, event, err := readEvent(c.File, p.stdin)
	if err != nil {
		return err
	}
	answer, err := c.publish(ctx, p, body, event)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stderr, "Accepted: an update of %s.\n", answer.IncidentID)
	if answer.Duplicate {
		fmt.Fprintln(p.stderr, "It had been accepted before; nobody is told twice.")
	}
	api := c.To
	if overBroker(c.To) {
		api = c.API
	}
	if c.NoWait || api == "" {
		return nil
	}
	engine, err := newClient(api, p)
	if err != nil {
		return err
	}
	defer engine.close()
	return watch(ctx, p, engine, answer, event, unseenFor)
}

func overBroker(to string) bool {
	return strings.HasPrefix(to, "amqp://") || strings.HasPrefix(to, "amqps://")
}

func (c *publishCommand) publish(ctx context.Context, p *program, body []byte, event *incident.Event) (*published, error) {
	if !overBroker(c.To) {
		engine, err := newClient(c.To, p)
		if err != nil {
			return nil, err
		}
		defer engine.close()
		return engine.publish(ctx, body)
	}
	producer, err := dialBroker(ctx, c.To)
	if err != nil {
		return nil, err
	}
	defer producer.close()
	id := cmp.Or(event.UpdateID, newID("cli"))
	if err := producer.publish(ctx, c.Exchange, body, id); err != nil {
		return nil, err
	}
	return &published{Page: event.Page, IncidentID: event.IncidentID, UpdateID: id}, nil
}

// readEvent reads and checks an event; body is what was read.
func readEvent(file string, stdin io.Reader) (body []byte, event *incident.Event, err error) {
	name := "stdin"
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, nil, usageError(err)
		}
		defer f.Close()
		stdin, name = f, file
	}
	if body, err = io.ReadAll(io.LimitReader(stdin, incident.MaxEventBytes+1)); err != nil {
		return nil, nil, usageError(fmt.Errorf("read the event: %w", err))
	}
	if event, err = incident.Decode(body); err != nil {
		return nil, nil, fmt.Errorf("%s is not a valid event, and nothing was sent: %w", name, err)
	}
	return body, event, nil
}

// The pace of asking the engine how far it is.
const (
	firstPoll = 100 * time.Millisecond
	lastPoll  = 2 * time.Second
)

var errTooLate = errors.New("the update is older than the latest one, by its updated_at: it is kept in the history and nobody is told")

// unseenFor is how long an accepted update may be missing from its incident
// before it counts as one that the engine made nothing of.
const unseenFor = 15 * time.Second

// watch shows the progress of an update until all its deliveries are closed, or
// the update has not been seen for so long that it won't be.
func watch(ctx context.Context, p *program, engine *client, what *published, event *incident.Event, unseen time.Duration) error {
	m := newMeter(p.stderr, "told", 0)
	defer m.close()
	accepted := time.Now()
	for pause := firstPoll; ; pause = min(2*pause, lastPoll) {
		view, err := engine.incident(ctx, what.Page, what.IncidentID)
		if err != nil {
			return err
		}
		if view == nil {
			view = &incidentView{}
		}
		if u := view.update(what.UpdateID); u != nil {
			if u.Sequence == 0 {
				return errTooLate
			}
			closed, done := u.closed()
			m.set(closed, u.Audience)
			if done || view.Stopped && u.outcomes()["open"] == 0 {
				m.close()
				fmt.Fprintf(p.stdout, "%s, sequence %d: %s\n", what.IncidentID, u.Sequence, summary(u))
				return nil
			}
		} else if time.Since(accepted) > unseen {
			m.close()
			if !view.says(event) {
				return notTakenUp(what.IncidentID, unseen)
			}
			fmt.Fprintf(p.stdout, "%s says already what this update says, since sequence %d; nobody is told twice. Change its status, "+
				"impact, components, title or message to tell them again.\n", what.IncidentID, view.latest().Sequence)
			return nil
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// notTakenUp says what may have become of an update that can't be seen.
func notTakenUp(incidentID string, unseen time.Duration) error {
	return fmt.Errorf("the update was accepted, and after %s it is not in the history of %s. Either the engine has not come to it "+
		"(its tocsin_queue_depth has the intake), or found something wrong with it that only shows there (its log says so; over a broker "+
		"it is in the queue tocsin.incidents.invalid), or this is not the engine behind that exchange", unseen, incidentID)
}

// summary says how an update's deliveries ended.
func summary(u *updateView) string {
	outcomes := u.outcomes()
	if len(outcomes) == 0 {
		return "nobody subscribed to this."
	}
	var parts []string
	for _, o := range slices.Sorted(maps.Keys(outcomes)) {
		if outcomes[o] > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", humanize.Comma(int64(outcomes[o])), o))
		}
	}
	return strings.Join(parts, ", ") + "."
}

// sleep waits, or returns the error of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
