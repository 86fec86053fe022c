package main

import (
	"context"
	"encoding/json"
	"net/url"
	"time"
)

type incidentsCommand struct {
	apiFlag
	Page   string `placeholder:"NAME" help:"Of this status page only."`
	Status string `enum:",investigating,identified,monitoring,resolved,scheduled,in_progress,verifying,completed" default:"" placeholder:"STATUS" help:"With this status only, such as investigating or resolved."`
	JSON   bool   `name:"json" help:"One JSON object a line."`
}

// Help is shown by --help.
func (*incidentsCommand) Help() string {
	return `A table, newest first, or with --json one object a line. Times are UTC.

    tocsin incidents --status investigating
    tocsin incidents --json | jq -r .incident_id

Who was told of one: tocsin deliveries --incident ID.`
}

// Run lists the incidents page by page.
func (c *incidentsCommand) Run(ctx context.Context, p *program) error {
	engine, err := newClient(c.API, p)
	if err != nil {
		return err
	}
	defer engine.close()
	query := url.Values{}
	setIf(query, "page", c.Page)
	setIf(query, "status", c.Status)
	type view struct {
		Page       string     `json:"page"`
		IncidentID string     `json:"incident_id"`
		Status     string     `json:"status"`
		Impact     string     `json:"impact"`
		Components []string   `json:"components"`
		UpdatedAt  *time.Time `json:"updated_at"`
		Stopped    bool       `json:"stopped"`
	}
	return printList(p.stdout, c.JSON, list[json.RawMessage](ctx, engine, "/v1/incidents", query),
		"INCIDENT\tPAGE\tSTATUS\tIMPACT\tUPDATED\tCOMPONENTS", func(v *view) []any {
			status := v.Status
			if v.Stopped {
				status += " (stopped)"
			}
			return []any{v.IncidentID, v.Page, status, v.Impact, stamp(v.UpdatedAt), orAll(v.Components)}
		})
}

// setIf sets a parameter that was given.
func setIf(query url.Values, name, value string) {
	if value != "" {
		query.Set(name, value)
	}
}
