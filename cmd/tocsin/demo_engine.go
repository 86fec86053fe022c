package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/config"
	"github.com/tocsin/tocsin/internal/peer"
)

// freeAddresses returns loopback addresses that nobody listens on now.
func freeAddresses(n int) (addresses []string, err error) {
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer listener.Close() // after the loop, or it would find the same one again
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses, nil
}

// timeout is what a webhook is given: longer than the slowest that answers, as
// far as the configuration allows.
func (d *demo) timeout() time.Duration {
	var slowest time.Duration
	for _, c := range d.channels {
		slowest = max(slowest, c.mix.Hold)
		for _, s := range c.mix.Shares {
			if s.Kind == peer.Slow {
				slowest = max(slowest, s.Max)
			}
		}
	}
	return min(slowest+3*time.Second, time.Minute)
}

// configuration lets an engine talk to loopback, at rates that are not those of a
// relay or an SMS centre in the world, and with retries short enough to watch.
func (d *demo) configuration() string {
	var b strings.Builder
	fmt.Fprintf(&b, "listen: %s\npublic_listen: %s\ndata: %q\ndeployment: %s\n", d.listen, d.public, filepath.Join(d.folder, "data"), d.deployment())
	b.WriteString("retry: {base: 500ms, cap: 4s, expires_after: 1h}\n")
	var allow []string
	for _, c := range d.channels {
		switch c.name {
		case incident.ChannelWebhook:
			allow = append(allow, fmt.Sprintf("%q", fmt.Sprintf("127.0.0.0/8:%d", c.at.Port)))
			fmt.Fprintf(&b, "webhook: {connect_timeout: 2s, timeout: %s}\n", d.timeout())
		case incident.ChannelSMTP:
			allow = append(allow, fmt.Sprintf("%q", fmt.Sprintf("127.0.0.1/32:%d", c.at.Port))) // for want of TLS
			fmt.Fprintf(&b, "smtp: [{name: relay, url: %q, from: Status <status@status.example>, rate: 5000/s}]\n", c.at.URL)
		case incident.ChannelSMPP:
			fmt.Fprintf(&b, "smpp: [{name: centre, url: %q, source: STATUS, rate: 5000/s}]\n", c.at.URL)
			b.WriteString("budgets: {smpp: {per_incident: 0, per_target: 0, per_day: 0}}\n") // every update within seconds
		}
	}
	fmt.Fprintf(&b, "egress: {allow: [%s], http: true}\n", strings.Join(allow, ", "))
	return b.String()
}

// startEngine runs `serve` as anybody would.
func (d *demo) startEngine(ctx context.Context) (err error) {
	d.config = filepath.Join(d.folder, "tocsin.yaml")
	if err := os.WriteFile(d.config, []byte(d.configuration()), 0o600); err != nil {
		return fmt.Errorf("configuration of the demo: %w", err)
	}
	// The queue's URL may hold a password: it is passed where ps doesn't show it.
	d.engine, err = startChild("engine", d.folder, d.environ("TOCSIN_QUEUE="+d.command.Queue), "serve", "--config", d.config)
	if err != nil {
		return err
	}
	if d.api, err = newClient("http://"+d.listen, &program{}); err != nil {
		return err
	}
	if err := d.engine.awaitReady(ctx, time.Minute, d.api.ready); err != nil {
		return err
	}
	fmt.Fprintf(d.stderr, "Live page: http://%s/\n", d.listen)
	return nil
}

// groups are the delivery queues of the engine.
func (d *demo) groups() ([]string, error) {
	cfg, err := config.Load(d.config, nil)
	if err != nil {
		return nil, fmt.Errorf("configuration of the demo: %w", err)
	}
	return newOutlets(cfg).groupNames(), nil
}

func (d *demo) importTargets(ctx context.Context) error {
	fmt.Fprintf(d.stderr, "Importing %s targets: %s …\n", humanize.Comma(int64(d.command.Targets)), d.parts())
	lines, write := io.Pipe()
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		out := bufio.NewWriterSize(write, 64<<10)
		for _, c := range d.channels {
			for n := 1; n <= c.targets; n++ {
				fmt.Fprintf(out, `{"channel":%q,"address":%q,"external_id":"demo-%s-%d","every_update":%t}`+"\n",
					c.name, c.address(n), c.name, n, c.name == incident.ChannelRSS)
			}
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

// parts says how many targets each channel has.
func (d *demo) parts() string {
	parts := make([]string, len(d.channels))
	for i, c := range d.channels {
		parts[i] = humanize.Comma(int64(c.targets)) + " " + c.plural
	}
	return strings.Join(parts, ", ")
}
