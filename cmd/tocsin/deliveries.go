package main

import (
	"context"
	"encoding/json"
	"net/url"
)

type deliveriesCommand struct {
	apiFlag
	Incident string `required:"" placeholder:"ID" help:"The incident."`
	Page     string `default:"default" placeholder:"NAME" help:"Its status page (default)."`
	Outcome  string `enum:",open,delivered,superseded,suppressed,expired,dead,retrying,none,unheard" default:"" placeholder:"OUTCOME" help:"With this outcome only: open (not closed yet), delivered, superseded, suppressed, expired or dead; retrying (open, after an attempt), none (open, without one), unheard (each target's newest, not delivered)."`
	Target   string `placeholder:"ID" help:"To this target only."`
	Sequence string `placeholder:"N" help:"Of this update only."`
	JSON     bool   `name:"json" help:"One JSON object a line."`
}

// Help is shown by --help.
func (*deliveriesCommand) Help() string {
	return `Who was told of an incident, when, who not, and why: a table, or with --json one object a line. Times are UTC.

    tocsin deliveries --incident INC-8892 --outcome dead
    tocsin deliveries --incident INC-8892 --outcome unheard
    tocsin deliveries --incident INC-8892 --json | jq -r 'select(.attempt > 1) | .detail'

WHEN is when it ended, or, of an open one that waits, when it is due. The target's address: tocsin targets list.`
}

// Run prints the ledger page by page.
func (c *deliveriesCommand) Run(ctx context.Context, p *program) error {
	engine, err := newClient(c.API, p)
	if err != nil {
		return err
	}
	defer engine.close()
	query := url.Values{"page": {c.Page}}
	setIf(query, "outcome", c.Outcome)
	setIf(query, "target", c.Target)
	setIf(query, "sequence", c.Sequence)
	rows := list[json.RawMessage](ctx, engine, "/v1/incidents/"+url.PathEscape(c.Incident)+"/deliveries", query)
	return printList(p.stdout, c.JSON, rows, "TARGET\tCHANNEL\tSEQUENCE\tOUTCOME\tATTEMPTS\tWHEN\tWHY", func(d *deliveryView) []any {
		when, why := stamp(d.DoneAt), d.Class
		if d.DoneAt == nil {
			when = stamp(d.DueAt)
		}
		if d.Detail != "" {
			why = d.Detail
		}
		return []any{d.Target, d.Channel, d.Sequence, d.Outcome, d.Attempt, when, why}
	})
}
