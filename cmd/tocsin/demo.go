package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/peer"
)

type demoCommand struct {
	Targets   int           `default:"10000" help:"How many targets there are (10,000)."`
	Channels  string        `default:"${channels}" placeholder:"SHARES" help:"Which part of them is on which channel, in percent (${channels})."`
	Queue     string        `default:"sqlite" placeholder:"sqlite|URL" help:"sqlite, embedded, or an amqp:// URL of RabbitMQ, where the demo keeps to names of its own."`
	Mix       string        `default:"${mix}" placeholder:"MIX" help:"Which part of the webhooks fails how, in percent; the others are healthy (${mix})."`
	Hold      time.Duration `help:"Healthy webhooks answer only after this, at most 30s."`
	Pause     time.Duration `default:"2s" help:"Least time between two updates."`
	Linger    time.Duration `help:"Keep the engine for this long after the report, to look at its live page; Ctrl-C ends it."`
	Publisher string        `placeholder:"COMMAND" help:"With a broker: a shell command that publishes the event on its stdin instead of us; $$TOCSIN_QUEUE is the URL, $$TOCSIN_EXCHANGE the exchange."`
	JSON      bool          `name:"json" help:"Print the report as JSON."`
	Keep      bool          `help:"Keep the folder with the data and logs, and what is on the broker."`
}

// Help is shown by --help.
func (*demoCommand) Help() string {
	return `Starts an engine and, in processes of their own, everyone it tells: webhooks on as many loopback addresses, a mail ` +
		`relay with its mailboxes, an SMS centre with its phones, and a reader of its feeds. Most webhooks answer at once, some ` +
		`are slow, some refuse with 429 or 500 at first, some never answer, some are dead; some mailboxes and phones are slow, ` +
		`refuse at first, or are gone. Then it publishes an incident with three updates and reports how everyone heard of it. ` +
		`What counts is what the receivers saw: nothing may be lost, sent twice or sent out of order, and the engine's ledger ` +
		`must say the same. Nothing is left behind.

    tocsin demo
    tocsin demo --targets 1000 --json | jq .p99_ms
    tocsin demo --linger 5m
    tocsin demo --channels webhook=100 --mix silent=5,429=5:1s-2s:x2,500=5
    tocsin demo --channels webhook=100 --mix "" --hold 1s
    tocsin demo --channels smtp=90,smpp=10
    tocsin demo --queue amqp://guest:guest@127.0.0.1:5672/
    tocsin demo --queue amqp://… --publisher 'amqp-publish -u $TOCSIN_QUEUE -e $TOCSIN_EXCHANGE -r any -p'

Channels are webhook, smtp, smpp and rss; their shares are 100 together, and --channels webhook=100 is what to compare with ` +
		`engines that know webhooks alone. Kinds in a mix: slow, 429, 500 (both at first only), silent, dead (500 for good), ` +
		`gone (410), reset. Latency is from the moment the event was accepted (202 or confirm) to the moment the receiver ` +
		`answered, or a reader who looks four times a second saw it in a feed, of healthy targets; deliveries_per_s is what ` +
		`they got, divided by the time in which they got it; wall_s begins with the first event and ends when every delivery ` +
		`is closed.

Exit codes: 0 every promise was kept; 1 one was not; 3 the broker isn't there.`
}

// maxHold leaves room below the longest timeout of a webhook, one minute.
const maxHold = 30 * time.Second

// Run runs the demo and prints its report.
func (c *demoCommand) Run(ctx context.Context, p *program) (err error) {
	d, err := c.prepare(p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.clean(c.Keep)) }()
	report, err := d.run(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		err = json.NewEncoder(p.stdout).Encode(report)
	} else {
		err = report.print(p.stdout, d.channels)
	}
	if err == nil && c.Linger > 0 {
		fmt.Fprintf(d.stderr, "The engine is kept for %v, live page http://%s/. Ctrl-C ends it.\n", c.Linger, d.listen)
		_ = sleep(ctx, c.Linger) // ends early because the user said so
	}
	if err == nil && !report.kept() {
		return errors.New("the demo failed: a promise was not kept; see the report, and the logs with --keep")
	}
	return err
}

// demo is one run: an engine, a peer for each channel, a folder, an incident.
type demo struct {
	*program
	command  *demoCommand
	channels []*demoChannel
	folder   string
	incident string

	listen, public string // where the engine is to be
	config         string // its file; "" before there is one
	engine         *child
	api            *client
}

func (c *demoCommand) prepare(p *program) (*demo, error) {
	mix, err := peer.ParseMix(c.Mix)
	if err != nil {
		return nil, usageError(err)
	}
	switch {
	case c.Targets < 1 || c.Targets > peer.MaxTargets:
		return nil, usageError(fmt.Errorf("--targets must be from 1 to %d", peer.MaxTargets))
	case c.Hold < 0 || c.Hold > maxHold:
		return nil, usageError(fmt.Errorf("--hold must be from 0s to %v", maxHold))
	case c.Linger < 0:
		return nil, usageError(errors.New("--linger must not be negative"))
	case c.Queue != "sqlite" && !overBroker(c.Queue):
		return nil, usageError(errors.New("--queue must be sqlite or an amqp:// URL"))
	case c.Publisher != "" && c.Queue == "sqlite":
		return nil, usageError(errors.New("--publisher needs a broker to publish to; name it with --queue"))
	}
	channels, err := parseChannels(c.Channels, c.Targets)
	if err != nil {
		return nil, usageError(err)
	}
	mix.Hold = c.Hold
	for _, channel := range channels {
		if channel.name == incident.ChannelWebhook {
			channel.mix = mix
		}
	}
	addresses, err := freeAddresses(2)
	if err != nil {
		return nil, err
	}
	parent, _ := p.lookup("TMPDIR")
	folder, err := os.MkdirTemp(parent, "tocsin-demo-")
	if err != nil {
		return nil, fmt.Errorf("folder of the demo: %w", err)
	}
	return &demo{program: p, command: c, channels: channels, folder: folder, incident: newID("DEMO")[:12],
		listen: addresses[0], public: addresses[1]}, nil
}

// clean ends what still runs and removes the folder. It is called once, however
// the demo ended.
func (d *demo) clean(keep bool) error {
	if d.api != nil {
		d.api.close()
	}
	if d.engine != nil {
		_ = d.engine.stop(5 * time.Second) // how it ended was told where it mattered
	}
	for _, c := range d.channels {
		if c.peers != nil {
			_ = c.peers.stop(5 * time.Second)
		}
	}
	var err error
	if d.engine != nil && overBroker(d.command.Queue) && !keep {
		err = d.cleanBroker()
	}
	if keep {
		fmt.Fprintf(d.stderr, "Kept: %s\n", d.folder)
		return nil
	}
	return errors.Join(err, os.RemoveAll(d.folder))
}

// deployment is what the engine calls itself on a broker.
func (d *demo) deployment() string { return strings.ToLower(d.incident) }

func (d *demo) run(ctx context.Context) (*demoReport, error) {
	if err := d.startPeers(ctx); err != nil {
		return nil, err
	}
	if err := d.startEngine(ctx); err != nil {
		return nil, err
	}
	if err := d.importTargets(ctx); err != nil {
		return nil, err
	}
	w := newDemoWatch(d)
	if err := w.untilClosed(ctx); err != nil {
		return nil, err
	}
	// A row may expire while its last request is under way, and become
	// delivered after all: the ledger is final once the peers are quiet.
	if err := w.untilQuiet(ctx, d.timeout()+settled); err != nil {
		return nil, err
	}
	ledger, err := w.readLedger(ctx)
	if err != nil {
		return nil, err
	}
	// Feeds can be read only while the engine is there.
	if err := w.collect(ctx); err != nil {
		return nil, err
	}
	peak := d.engine.peakMB()
	if d.command.Linger == 0 {
		if err := d.engine.stop(30 * time.Second); err != nil {
			return nil, err
		}
		// With the engine gone all its requests have ended: the receipts are whole.
		if err := w.untilQuiet(ctx, d.timeout()); err != nil {
			return nil, err
		}
	}
	if err := w.askForReports(ctx); err != nil {
		return nil, err
	}
	return w.report(ledger, peak), nil
}

// environ is ours without what would change the engine's configuration.
func (d *demo) environ(more ...string) []string {
	var kept []string
	for _, entry := range d.program.environ {
		if !strings.HasPrefix(entry, "TOCSIN_") {
			kept = append(kept, entry)
		}
	}
	return append(kept, more...)
}
