package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/peer"
)

type demoCommand struct {
	Targets   int           `default:"10000" help:"How many webhooks there are, each a host of its own (10,000)."`
	Queue     string        `default:"sqlite" placeholder:"sqlite|URL" help:"sqlite, embedded, or an amqp:// URL of RabbitMQ, where the demo keeps to names of its own."`
	Mix       string        `default:"${mix}" placeholder:"MIX" help:"Which part of the targets fails how, in percent; the others are healthy (${mix})."`
	Hold      time.Duration `help:"Healthy targets answer only after this, at most 30s."`
	Pause     time.Duration `default:"2s" help:"Least time between two updates."`
	Publisher string        `placeholder:"COMMAND" help:"With a broker: a shell command that publishes the event on its stdin instead of us; $$TOCSIN_QUEUE is the URL, $$TOCSIN_EXCHANGE the exchange."`
	JSON      bool          `name:"json" help:"Print the report as JSON."`
	Keep      bool          `help:"Keep the folder with the data and logs, and what is on the broker."`
}

// Help is shown by --help.
func (*demoCommand) Help() string {
	return `Starts an engine and, in a process of their own, webhook receivers on as many loopback addresses: most answer at ` +
		`once, some are slow, some refuse with 429 or 500 at first, some never answer, some are dead. Then it publishes an ` +
		`incident with three updates and reports how everyone heard of it. What counts is what the receivers saw: nothing ` +
		`may be lost, sent twice or sent out of order, and the engine's ledger must say the same. Nothing is left behind.

    tocsin demo
    tocsin demo --targets 1000 --json | jq .p99_ms
    tocsin demo --mix silent=5,429=5:1s-2s:x2,500=5
    tocsin demo --mix "" --hold 1s
    tocsin demo --queue amqp://guest:guest@127.0.0.1:5672/
    tocsin demo --queue amqp://… --publisher 'amqp-publish -u $TOCSIN_QUEUE -e $TOCSIN_EXCHANGE -r any -p'

Kinds in a mix: slow, 429, 500 (both at first only), silent, dead (500 for good), gone (410), reset. Latency is from the ` +
		`moment the event was accepted (202 or confirm) to the moment the receiver answered, of healthy targets; ` +
		`deliveries_per_s is what they got, divided by the time in which they got it; wall_s begins with the first event and ` +
		`ends when every delivery is closed.

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
		err = report.print(p.stdout)
	}
	if err == nil && !report.kept() {
		return errors.New("the demo failed: a promise was not kept; see the report, and the logs with --keep")
	}
	return err
}

// demo is one run: two children, a folder, an incident.
type demo struct {
	*program
	command  *demoCommand
	mix      peer.Mix
	folder   string
	incident string

	peers, engine *child
	receivers     peerAddress
	api           *client
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
	case c.Queue != "sqlite" && !overBroker(c.Queue):
		return nil, usageError(errors.New("--queue must be sqlite or an amqp:// URL"))
	case c.Publisher != "" && c.Queue == "sqlite":
		return nil, usageError(errors.New("--publisher needs a broker to publish to; name it with --queue"))
	}
	mix.Hold = c.Hold
	parent, _ := p.lookup("TMPDIR")
	folder, err := os.MkdirTemp(parent, "tocsin-demo-")
	if err != nil {
		return nil, fmt.Errorf("folder of the demo: %w", err)
	}
	return &demo{program: p, command: c, mix: mix, folder: folder, incident: newID("DEMO")[:12]}, nil
}

// clean ends what still runs and removes the folder. It is called once, however
// the demo ended.
func (d *demo) clean(keep bool) error {
	if d.api != nil {
		d.api.close()
	}
	for _, c := range []*child{d.engine, d.peers} {
		if c != nil {
			_ = c.stop(5 * time.Second) // how it ended was told where it mattered
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
	peak := d.engine.peakMB()
	if err := d.engine.stop(30 * time.Second); err != nil {
		return nil, err
	}
	// With the engine gone all its requests have ended: the receipts are whole.
	if err := w.untilQuiet(ctx, d.timeout()); err != nil {
		return nil, err
	}
	received, err := w.peersReport(ctx)
	if err != nil {
		return nil, err
	}
	return w.report(ledger, received, peak), nil
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

func (d *demo) startPeers(ctx context.Context) (err error) {
	d.peers, err = startChild("peers", d.folder, d.environ(), "peer", "webhook", "--mix", d.mix.String(), "--hold", d.mix.Hold.String(),
		"--receipts", filepath.Join(d.folder, "receipts"))
	if err != nil {
		return err
	}
	line, err := bufio.NewReader(d.peers.stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &d.receivers)
	}
	if err != nil {
		return fmt.Errorf("the peers did not say where they listen (%w): %w", err, cmp.Or(d.peers.stop(time.Second), errors.New("no reason given")))
	}
	return ctx.Err()
}

// timeout is what a webhook is given: longer than the slowest that answers, as
// far as the configuration allows.
func (d *demo) timeout() time.Duration {
	longest := d.mix.Hold
	for _, s := range d.mix.Shares {
		if s.Kind == peer.Slow {
			longest = max(longest, s.Max)
		}
	}
	return min(longest+3*time.Second, time.Minute)
}

// startEngine runs `serve` as anybody would, with a configuration that lets it
// talk to loopback, and with retries short enough to watch.
func (d *demo) startEngine(ctx context.Context) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("find a free port: %w", err)
	}
	address := listener.Addr().String()
	listener.Close()
	config := fmt.Sprintf(`listen: %s
data: %q
deployment: %s
egress: {allow: ["127.0.0.0/8:%d"], http: true}
webhook: {connect_timeout: 2s, timeout: %s}
retry: {base: 500ms, cap: 4s, expires_after: 1h}
`, address, filepath.Join(d.folder, "data"), d.deployment(), d.receivers.Port, d.timeout())
	file := filepath.Join(d.folder, "tocsin.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return fmt.Errorf("configuration of the demo: %w", err)
	}
	// The queue's URL may hold a password: it is passed where ps doesn't show it.
	d.engine, err = startChild("engine", d.folder, d.environ("TOCSIN_QUEUE="+d.command.Queue), "serve", "--config", file)
	if err != nil {
		return err
	}
	if d.api, err = newClient("http://"+address, &program{}); err != nil {
		return err
	}
	return d.engine.awaitReady(ctx, time.Minute, d.api.ready)
}

func (d *demo) importTargets(ctx context.Context) error {
	fmt.Fprintf(d.stderr, "Importing %s targets …\n", humanize.Comma(int64(d.command.Targets)))
	lines, write := io.Pipe()
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		out := bufio.NewWriterSize(write, 64<<10)
		for n := 1; n <= d.command.Targets; n++ {
			fmt.Fprintf(out, `{"channel":"webhook","address":%q,"external_id":"demo-%d"}`+"\n", peer.TargetURL(n, d.receivers.Port), n)
		}
		write.CloseWithError(out.Flush())
	}()
	result, err := d.api.importTargets(ctx, "application/x-ndjson", lines)
	lines.Close() // frees the writer if the engine stopped reading
	<-wrote
	if err != nil {
		return err
	}
	if result.Accepted != d.command.Targets {
		var b bytes.Buffer
		err := result.report(&program{stdout: &b, stderr: &b})
		return fmt.Errorf("the engine did not take all targets: %w\n%s", err, b.String())
	}
	return nil
}

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
