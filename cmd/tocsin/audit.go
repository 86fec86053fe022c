package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

type auditCommand struct {
	Export auditExportCommand `cmd:"" help:"Print who or what changed incidents, producers too, as JSON lines."`
}

type auditExportCommand struct {
	apiFlag
	Page     string `placeholder:"NAME" help:"Of this status page only."`
	Incident string `placeholder:"ID" help:"Of this incident only."`
	From     string `placeholder:"TIME" help:"From this time on: 2026-11-22T02:00:00Z, or \"2026-11-22 02:00\" in UTC."`
	Until    string `placeholder:"TIME" help:"Until before this time."`
	Cursor   string `placeholder:"CURSOR" help:"Go on behind the entry that has this cursor."`
}

// Help is shown by --help.
func (*auditExportCommand) Help() string {
	return `One JSON object a line, oldest first, as the engine streams it.

    tocsin audit export --incident INC-8892 | jq -r '[.at, .actor, .action, .cause] | @tsv'
    tocsin audit export --from 2026-11-01T00:00:00Z --until 2026-12-01T00:00:00Z > november.jsonl

Every line has a cursor: one that is kept lets the next export begin behind it. Exit code 1 if the export was cut.`
}

// Run prints the log as it comes.
func (c *auditExportCommand) Run(ctx context.Context, p *program) error {
	query := url.Values{}
	setIf(query, "page", c.Page)
	setIf(query, "incident", c.Incident)
	setIf(query, "cursor", c.Cursor)
	for flag, text := range map[string]string{"from": c.From, "until": c.Until} {
		at, err := timeOf("--"+flag, text, time.Now())
		if err != nil {
			return err
		}
		setIf(query, flag, at)
	}
	engine, err := newClient(c.API, p)
	if err != nil {
		return err
	}
	defer engine.close()
	answer, err := engine.do(ctx, http.MethodGet, "/v1/audit", query, "", nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(p.stdout, answer.Body); err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return ctx.Err()
		}
		return fmt.Errorf("the export was cut; go on with --cursor of its last whole line: %w", err)
	}
	return nil
}
