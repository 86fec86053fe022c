package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tocsin/tocsin/internal/config"
	"github.com/tocsin/tocsin/queue"
	"github.com/tocsin/tocsin/queue/rabbitmq"
)

type parkedCommand struct {
	List   parkedListCommand   `cmd:"" help:"List what was given up."`
	Show   parkedShowCommand   `cmd:"" help:"Show one message."`
	Return parkedReturnCommand `cmd:"" help:"Have messages tried again."`
}

// parkedPatience bounds each word with the broker.
const parkedPatience = 15 * time.Second

// look calls see for every parked message until it says stop.
func (f *configFlags) look(ctx context.Context, p *program, see func(context.Context, *rabbitmq.Lot, *rabbitmq.Parked) (stop bool, err error)) error {
	cfg, err := f.load(p)
	if err != nil {
		return err
	}
	if cfg.Queue == config.Embedded {
		return usageError(errors.New("the embedded queue parks nothing; name the broker's with --queue or a configuration"))
	}
	opening, cancel := context.WithTimeout(ctx, parkedPatience)
	defer cancel()
	lot, err := rabbitmq.OpenLot(opening, rabbitmq.Options{URL: cfg.Queue, Deployment: cfg.Deployment})
	if err != nil {
		return unavailableError(err)
	}
	defer lot.Close()
	for {
		m, ok, err := lot.Next(ctx)
		if err != nil {
			return unavailableError(err)
		}
		if !ok {
			return nil
		}
		if stop, err := see(ctx, lot, m); stop || err != nil {
			return err
		}
	}
}

type parkedListCommand struct {
	configFlags
}

// Help is shown by --help.
func (*parkedListCommand) Help() string {
	return `With RabbitMQ, messages that no worker could read, or that came back from twenty workers that died, wait in the queue
tocsin.parked: batches of deliveries, and events. The ledger still has the deliveries as open, until they expire.

    tocsin parked list --config tocsin.yaml
    tocsin parked return --config tocsin.yaml 3f9a1c0b77de

WHY is the broker's word: rejected (unreadable for this build), delivery_limit (came back too often).`
}

// Run lists the messages.
func (c *parkedListCommand) Run(ctx context.Context, p *program) error {
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tFROM\tWHY\tWHEN\tBYTES\tWHAT")
	err := c.look(ctx, p, func(_ context.Context, _ *rabbitmq.Lot, m *rabbitmq.Parked) (bool, error) {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", m.ID, m.Queue, m.Reason, stamp(&m.At), len(m.Body), whatIsParked(m))
		return false, nil
	})
	return errors.Join(err, w.Flush())
}

func whatIsParked(m *rabbitmq.Parked) string {
	if b, err := queue.ParseBatch(m.Body); err == nil {
		return fmt.Sprintf("batch %d: %d deliveries of sequence %d", b.ID, len(b.Deliveries), b.Sequence)
	}
	if strings.HasSuffix(m.Queue, ".incidents") {
		return "event " + m.MessageID
	}
	return "unreadable " + m.MessageID
}

type parkedShowCommand struct {
	configFlags
	ID string `arg:"" help:"The message, as listed."`
}

// Help is shown by --help.
func (*parkedShowCommand) Help() string {
	return `Shows an event as it came, and of a batch the targets it is for, without their addresses and secrets. It stays parked.

    tocsin parked show --config tocsin.yaml 3f9a1c0b77de

Exit code 1 if there is none by this ID.`
}

// Run shows one message.
func (c *parkedShowCommand) Run(ctx context.Context, p *program) error {
	found := false
	err := c.look(ctx, p, func(_ context.Context, _ *rabbitmq.Lot, m *rabbitmq.Parked) (bool, error) {
		if m.ID != c.ID {
			return false, nil
		}
		found = true
		b, err := queue.ParseBatch(m.Body)
		if err != nil {
			fmt.Fprintf(p.stdout, "%q\n", m.Body)
			return true, nil
		}
		fmt.Fprintf(p.stdout, "%s, group %s\n", whatIsParked(m), b.Group)
		for _, d := range b.Deliveries {
			fmt.Fprintf(p.stdout, "target %d, %d attempts\n", d.Target, d.Attempt)
		}
		return true, nil
	})
	if err == nil && !found {
		err = fmt.Errorf("nothing is parked by the ID %q", c.ID)
	}
	return err
}

type parkedReturnCommand struct {
	configFlags
	All bool     `help:"Return everything."`
	IDs []string `arg:"" optional:"" name:"id" help:"The messages, as listed."`
}

// Help is shown by --help.
func (*parkedReturnCommand) Help() string {
	return `Puts messages back into the queue they come from, to be tried again. What has ended meanwhile is recognised and not sent.
Do it once what kept them from being handled is mended: otherwise they come back.

    tocsin parked return --config tocsin.yaml --all

Exit code 1 if one of the IDs is not there.`
}

// Run returns messages.
func (c *parkedReturnCommand) Run(ctx context.Context, p *program) error {
	if c.All == (len(c.IDs) > 0) {
		return usageError(errors.New("name the messages to return, or --all"))
	}
	wanted := make(map[string]bool, len(c.IDs))
	for _, id := range c.IDs {
		wanted[id] = true
	}
	returned := 0
	err := c.look(ctx, p, func(ctx context.Context, lot *rabbitmq.Lot, m *rabbitmq.Parked) (bool, error) {
		if !c.All && !wanted[m.ID] {
			return false, nil
		}
		within, cancel := context.WithTimeout(ctx, parkedPatience)
		defer cancel()
		if err := lot.Return(within, m); err != nil {
			return true, err
		}
		delete(wanted, m.ID)
		returned++
		return false, nil
	})
	fmt.Fprintf(p.stderr, "%d returned\n", returned)
	if err == nil && len(wanted) > 0 {
		err = fmt.Errorf("%d of the IDs are not parked (any more)", len(wanted))
	}
	return err
}
