package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tocsin/tocsin/internal/config"
	"github.com/tocsin/tocsin/queue"
	"github.com/tocsin/tocsin/queue/rabbitmq"
)

type parkedCommand struct {
	List   parkedListCommand   `cmd:"" help:"List what was given up."`
	Show   parkedShowCommand   `cmd:"" help:"Show one of them."`
	Return parkedReturnCommand `cmd:"" help:"Have them tried again."`
}

// parkedPatience bounds each word with the broker.
const parkedPatience = 15 * time.Second

// parkedFlags are a configuration's, and where its engine is.
type parkedFlags struct {
	configFlags
	API string `name:"api" placeholder:"URL" help:"The engine's API, where it is not the configuration's listen. With a token set there, put the same into TOCSIN_TOKEN."`
}

// parked is something that was given up: a delivery in the ledger, or a message on the
// broker.
type parked struct {
	id, from, why, what string
	at                  time.Time
	bytes               int // 0: not known
	show                func(io.Writer)
	back                func(context.Context) error
}

// look calls see for everything parked until it says stop.
func (f *parkedFlags) look(ctx context.Context, p *program, see func(context.Context, *parked) (stop bool, err error)) error {
	cfg, err := f.load(p)
	if err != nil {
		return err
	}
	stop, err := f.lookInLedger(ctx, p, cfg, see)
	if cfg.Queue != config.Embedded && exitCode(ctx, err) == exitUnavailable {
		// The broker's part can be seen, and mended, without an engine.
		fmt.Fprintf(p.stderr, "deliveries that were given up are not among these: %v\n", err)
		stop, err = false, nil
	}
	if stop || err != nil || cfg.Queue == config.Embedded {
		return err
	}
	return lookOnBroker(ctx, cfg, see)
}

func lookOnBroker(ctx context.Context, cfg *config.Config, see func(context.Context, *parked) (stop bool, err error)) error {
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
		if stop, err := see(ctx, parkedMessage(lot, m)); stop || err != nil {
			return err
		}
	}
}

func parkedMessage(lot *rabbitmq.Lot, m *rabbitmq.Parked) *parked {
	what := whatIsParked(m)
	return &parked{
		id: m.ID, from: m.Queue, why: m.Reason, at: m.At, bytes: len(m.Body), what: what,
		show: func(w io.Writer) {
			b, err := queue.ParseBatch(m.Body)
			if err != nil {
				fmt.Fprintf(w, "%q\n", m.Body)
				return
			}
			fmt.Fprintf(w, "%s, group %s\n", what, b.Group)
			for _, d := range b.Deliveries {
				fmt.Fprintf(w, "target %d, %d attempts\n", d.Target, d.Attempt)
			}
		},
		back: func(ctx context.Context) error {
			within, cancel := context.WithTimeout(ctx, parkedPatience)
			defer cancel()
			return lot.Return(within, m)
		},
	}
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

type parkedListCommand struct {
	parkedFlags
}

// Help is shown by --help.
func (*parkedListCommand) Help() string {
	return `What was given up, for somebody to look at. Deliveries that the engine died of when it sent them, again and again, are closed ` +
		`in its ledger as dead; it is asked for them. With RabbitMQ, messages that no worker could read, or that came back from twenty workers ` +
		`that died, wait in the queue tocsin.parked: batches of deliveries, and events. Their deliveries are open in the ledger, until they expire.

    tocsin parked list --config tocsin.yaml
    tocsin parked return --config tocsin.yaml 3f9a1c0b77de

WHY is died, of a delivery, or the broker's word: rejected (unreadable for this build), delivery_limit (came back too often).`
}

// Run lists what is parked.
func (c *parkedListCommand) Run(ctx context.Context, p *program) error {
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tFROM\tWHY\tWHEN\tBYTES\tWHAT")
	err := c.look(ctx, p, func(_ context.Context, g *parked) (bool, error) {
		bytes := "-"
		if g.bytes > 0 {
			bytes = fmt.Sprint(g.bytes)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", g.id, g.from, g.why, stamp(&g.at), bytes, g.what)
		return false, nil
	})
	return errors.Join(err, w.Flush())
}

type parkedShowCommand struct {
	parkedFlags
	ID string `arg:"" help:"What to show, as listed."`
}

// Help is shown by --help.
func (*parkedShowCommand) Help() string {
	return `Shows an event as it came, of a batch the targets it is for, without their addresses and secrets, and of a delivery why it was
given up. It stays parked.

    tocsin parked show --config tocsin.yaml 3f9a1c0b77de

Exit code 1 if there is none by this ID.`
}

// Run shows one.
func (c *parkedShowCommand) Run(ctx context.Context, p *program) error {
	found := false
	err := c.look(ctx, p, func(_ context.Context, g *parked) (bool, error) {
		if found = g.id == c.ID; found {
			g.show(p.stdout)
		}
		return found, nil
	})
	if err == nil && !found {
		err = fmt.Errorf("nothing is parked by the ID %q", c.ID)
	}
	return err
}

type parkedReturnCommand struct {
	parkedFlags
	All bool     `help:"Return everything."`
	IDs []string `arg:"" optional:"" name:"id" help:"What to return, as listed."`
}

// Help is shown by --help.
func (*parkedReturnCommand) Help() string {
	return `Puts messages back into the queue they come from, and has deliveries of an incident's newest update sent again. What has ended
meanwhile is recognised and not sent. Do it once what kept them from being handled is mended: otherwise they come back.

    tocsin parked return --config tocsin.yaml --all

Exit code 1 if one of the IDs is not there, or can't be tried again.`
}

// Run returns what was asked for.
func (c *parkedReturnCommand) Run(ctx context.Context, p *program) error {
	if c.All == (len(c.IDs) > 0) {
		return usageError(errors.New("name what to return, or --all"))
	}
	wanted := make(map[string]bool, len(c.IDs))
	for _, id := range c.IDs {
		wanted[id] = true
	}
	returned := 0
	err := c.look(ctx, p, func(ctx context.Context, g *parked) (bool, error) {
		if !c.All && !wanted[g.id] {
			return false, nil
		}
		if err := g.back(ctx); err != nil {
			return true, err
		}
		delete(wanted, g.id)
		returned++
		return false, nil
	})
	if returned > 0 || err == nil {
		fmt.Fprintf(p.stderr, "%d returned\n", returned)
	}
	if err == nil && len(wanted) > 0 {
		err = fmt.Errorf("%d of the IDs are not parked (any more)", len(wanted))
	}
	return err
}
