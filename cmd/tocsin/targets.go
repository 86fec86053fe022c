package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

type targetsCommand struct {
	Import importCommand     `cmd:"" help:"Add or update targets from a file."`
	List   listCommand       `cmd:"" help:"List all targets."`
	Test   targetTestCommand `cmd:"" help:"Send a message marked as a test to one target."`
}

type importCommand struct {
	apiFlag
	Format string `enum:"auto,ndjson,csv" default:"auto" help:"ndjson, csv, or auto: by the file's name, else ndjson."`
	File   string `arg:"" help:"The file; - reads stdin."`
}

// Help is shown by --help.
func (*importCommand) Help() string {
	return `One target a line, as JSON:

    {"channel": "webhook", "address": "https://example.com/hook", "external_id": "cust-1"}
    {"channel": "webhook", "address": "https://example.org/hook", "components": ["auth-api"], "min_impact": "major"}

or as CSV with a header row of the same names, lists separated by ";":

    channel,address,external_id,components
    webhook,https://example.com/hook,cust-1,auth-api;payments

A line with a known external_id updates that target, so that the same file can be imported again. Lines at fault are ` +
		`reported by their number; the others are kept. Files of any length are streamed.

    tocsin targets import subscribers.ndjson
    psql -c "copy (…) to stdout csv header" | tocsin targets import --format csv -

Exit codes: 0 all lines were taken; 1 some were not; 3 the engine isn't there.`
}

// Run streams the file to the engine.
func (c *importCommand) Run(ctx context.Context, p *program) error {
	engine, err := newClient(c.API, p)
	if err != nil {
		return err
	}
	defer engine.close()
	in, size := p.stdin, 0
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return usageError(err)
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			size = int(info.Size())
		}
		in = f
	}
	m := newMeter(p.stderr, "bytes sent", size)
	result, err := engine.importTargets(ctx, c.contentType(), &metered{Reader: in, m: m})
	m.close()
	if err != nil {
		return err
	}
	return result.report(p)
}

func (c *importCommand) contentType() string {
	if c.Format == "csv" || c.Format == "auto" && strings.HasSuffix(strings.ToLower(c.File), ".csv") {
		return "text/csv"
	}
	return "application/x-ndjson"
}

// report tells what was taken; its error is that something was not.
func (r *imported) report(p *program) error {
	for _, e := range r.Errors {
		at := fmt.Sprintf("line %d: ", e.Line)
		if e.Field != "" {
			at += e.Field + ": "
		}
		fmt.Fprintln(p.stderr, at+e.Reason)
	}
	if more := r.Rejected - len(r.Errors); more > 0 {
		fmt.Fprintf(p.stderr, "and %s more\n", humanize.Comma(int64(more)))
	}
	fmt.Fprintf(p.stdout, "%s accepted, %s rejected\n", humanize.Comma(int64(r.Accepted)), humanize.Comma(int64(r.Rejected)))
	if r.Rejected > 0 {
		return fmt.Errorf("some lines were not taken; correct them and import the file again")
	}
	return nil
}

type listCommand struct {
	apiFlag
	JSON bool `name:"json" help:"One JSON object a line."`
}

// Help is shown by --help.
func (*listCommand) Help() string {
	return `A table, or with --json one object a line. Secrets are never shown.

    tocsin targets list
    tocsin targets list --json | jq -r 'select(.state == "disabled") | .address'`
}

// Run lists the targets page by page.
func (c *listCommand) Run(ctx context.Context, p *program) error {
	engine, err := newClient(c.API, p)
	if err != nil {
		return err
	}
	defer engine.close()
	return printList(p.stdout, c.JSON, engine.targets(ctx), "ID\tEXTERNAL ID\tCHANNEL\tSTATE\tPAGE\tIMPACT\tCOMPONENTS\tADDRESS",
		func(t *targetView) []any {
			return []any{t.ID, t.ExternalID, t.Channel, t.State, t.Page, t.MinImpact, orAll(t.Components), t.Address}
		})
}

type targetTestCommand struct {
	apiFlag
	ID string `arg:"" help:"The target's id, as targets list shows it."`
}

// Help is shown by --help.
func (*targetTestCommand) Help() string {
	return `Sends a message that is marked as a test to this target alone, in the way of every other message, and waits for what ` +
		`comes of it, at most a minute. The target stays as it is, whatever comes.

    tocsin targets test 7

Exit codes: 0 it was delivered; 1 it was not; 3 the engine isn't there.`
}

// testPatience is longer than a test message lives, and shows in the end that the
// engine made nothing of it.
const testPatience = 90 * time.Second

// Run sends the test and waits for its outcome.
func (c *targetTestCommand) Run(ctx context.Context, p *program) error {
	engine, err := newClient(c.API, p)
	if err != nil {
		return err
	}
	defer engine.close()
	var sent published
	if err := engine.call(ctx, http.MethodPost, "/v1/targets/"+url.PathEscape(c.ID)+"/test", nil, "", nil, &sent); err != nil {
		return err
	}
	patience, cancel := context.WithTimeout(ctx, testPatience)
	defer cancel()
	told := 0
	for pause := firstPoll; ; pause = min(2*pause, lastPoll) {
		row, err := engine.onlyDelivery(patience, &sent)
		if err != nil {
			return err
		}
		if row != nil && row.Outcome != "open" {
			return row.report(p)
		}
		if row != nil && row.Attempt > told {
			told = row.Attempt
			fmt.Fprintf(p.stderr, "Attempt %d: %s; trying again.\n", told, row.reason())
		}
		if err := sleep(patience, pause); err != nil {
			if ctx.Err() != nil {
				return err
			}
			return fmt.Errorf("nothing is known of the test message yet; see tocsin deliveries --page %s --incident %s", sent.Page, sent.IncidentID)
		}
	}
}

// onlyDelivery is the delivery of an update that has one; nil if it isn't planned.
func (c *client) onlyDelivery(ctx context.Context, of *published) (*deliveryView, error) {
	for row, err := range c.deliveries(ctx, of.Page, of.IncidentID) {
		if p, ok := errors.AsType[*problem](err); ok && p.Status == http.StatusNotFound {
			return nil, nil
		}
		return &row, err
	}
	return nil, nil
}

// reason is why the delivery is as it is.
func (d *deliveryView) reason() string { return cmp.Or(d.Detail, d.Class, "no attempt was made") }

// report says how a test ended; it is an error unless the test was delivered.
func (d *deliveryView) report(p *program) error {
	if d.Outcome != "delivered" {
		return fmt.Errorf("%s: %s, attempts: %d: %s", d.Channel, d.Outcome, d.Attempt, d.reason())
	}
	answer := ""
	if d.Detail != "" {
		answer = " (" + d.Detail + ")"
	}
	fmt.Fprintf(p.stdout, "%s: delivered%s\n", d.Channel, answer)
	return nil
}
