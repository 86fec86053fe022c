package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
)

type targetsCommand struct {
	Import importCommand `cmd:"" help:"Add or update targets from a file."`
	List   listCommand   `cmd:"" help:"List all targets."`
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
	out := bufio.NewWriter(p.stdout)
	print, end := printTable(out)
	if c.JSON {
		print, end = printLines(out)
	}
	for target, err := range engine.targets(ctx) {
		if err == nil {
			err = print(target)
		}
		if err != nil {
			out.Flush()
			return err
		}
	}
	if err := end(); err != nil {
		return err
	}
	return out.Flush()
}

func printLines(w io.Writer) (print func(json.RawMessage) error, end func() error) {
	print = func(target json.RawMessage) error {
		_, err := fmt.Fprintf(w, "%s\n", target)
		return err
	}
	return print, func() error { return nil }
}

func printTable(w io.Writer) (print func(json.RawMessage) error, end func() error) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tEXTERNAL ID\tCHANNEL\tSTATE\tPAGE\tIMPACT\tCOMPONENTS\tADDRESS")
	print = func(target json.RawMessage) error {
		var t targetView
		if err := json.Unmarshal(target, &t); err != nil {
			return fmt.Errorf("a target of the list can't be read: %w", err)
		}
		components := "all"
		if len(t.Components) > 0 {
			components = strings.Join(t.Components, ",")
		}
		_, err := fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", t.ID, t.ExternalID, t.Channel, t.State, t.Page, t.MinImpact, components, t.Address)
		return err
	}
	return print, table.Flush
}
