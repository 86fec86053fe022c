package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

type resendCommand struct {
	apiFlag
	Incident  string   `required:"" placeholder:"ID" help:"The incident."`
	Page      string   `default:"default" placeholder:"NAME" help:"Its status page (default)."`
	Target    []string `placeholder:"ID" help:"To these targets, whatever came of their deliveries; separated by commas, or given again."`
	Outcome   string   `enum:",dead,suppressed,delivered,unheard" default:"" placeholder:"OUTCOME" help:"To all with this outcome: dead, suppressed, delivered, or unheard for all that were not delivered."`
	Sequence  int      `placeholder:"N" help:"Only if the newest update is still this one."`
	AsNew     bool     `name:"as-new" help:"With another idempotency key, for receivers that drop what they had before."`
	DryRun    bool     `name:"dry-run" help:"Count, and send nothing."`
	RequestID string   `name:"request-id" placeholder:"TEXT" help:"A name for this request: given again, it is done once."`
	JSON      bool     `name:"json" help:"The engine's answer, as JSON."`
}

// Help is shown by --help.
func (*resendCommand) Help() string {
	return `Sends the newest update of an incident again, with the timeline of those before, to targets that say they have not heard:

    tocsin deliveries --incident INC-8892 --outcome unheard
    tocsin resend --incident INC-8892 --outcome dead --dry-run
    tocsin resend --incident INC-8892 --outcome dead
    tocsin resend --incident INC-8892 --target 7 --as-new

The deliveries go the way of every retry. Targets that are paused, disabled or unsubscribed stay untold, and are counted. ` +
		`The same request within a minute is done once. Who asked, when, and how many stands in the history of the incident ` +
		`(GET /v1/incidents/ID).`
}

// resendView is the answer to a resend.
type resendView struct {
	Sequence int            `json:"sequence"`
	AsNew    bool           `json:"as_new"`
	DryRun   bool           `json:"dry_run"`
	Repeated bool           `json:"repeated"`
	At       string         `json:"at"`
	By       string         `json:"by"`
	Resent   int            `json:"resent"`
	UnderWay int            `json:"under_way"`
	Absent   int            `json:"absent"`
	Untold   map[string]int `json:"untold"`
	Ended    string         `json:"ended"`
	DoneAt   *string        `json:"done_at"`
}

// Run asks the engine and says what came of it.
func (c *resendCommand) Run(ctx context.Context, p *program) error {
	if (len(c.Target) == 0) == (c.Outcome == "") {
		return usageError(errors.New("whose deliveries? give --target or --outcome, and not both; see tocsin resend --help"))
	}
	engine, err := newClient(c.API, p)
	if err != nil {
		return err
	}
	defer engine.close()
	body, err := json.Marshal(struct {
		Targets   []string `json:"targets,omitempty"`
		Outcome   string   `json:"outcome,omitempty"`
		Sequence  int      `json:"sequence,omitempty"`
		AsNew     bool     `json:"as_new"`
		DryRun    bool     `json:"dry_run"`
		RequestID string   `json:"request_id,omitempty"`
	}{c.Target, c.Outcome, c.Sequence, c.AsNew, c.DryRun, c.RequestID})
	if err != nil {
		return err
	}
	var raw json.RawMessage
	path := "/v1/incidents/" + url.PathEscape(c.Incident) + "/resend"
	if err := engine.call(ctx, http.MethodPost, path, url.Values{"page": {c.Page}}, "application/json", bytes.NewReader(body), &raw); err != nil {
		return err
	}
	if c.JSON {
		_, err := fmt.Fprintf(p.stdout, "%s\n", raw)
		return err
	}
	var r resendView
	if err := json.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("the answer can't be read: %w", err)
	}
	_, err = fmt.Fprint(p.stdout, r.text(c.Incident))
	return err
}

// text says it in sentences.
func (r *resendView) text(id string) string {
	var b strings.Builder
	will := "sent again"
	if r.DryRun {
		will = "would be sent again"
	}
	fmt.Fprintf(&b, "%s, sequence %d: %d %s", id, r.Sequence, r.Resent, will)
	if r.UnderWay > 0 {
		fmt.Fprintf(&b, ", %d on their way already", r.UnderWay)
	}
	for _, why := range slices.Sorted(maps.Keys(r.Untold)) {
		fmt.Fprintf(&b, ", %d stay untold (%s)", r.Untold[why], why)
	}
	if r.Absent > 0 {
		fmt.Fprintf(&b, ", %d without a delivery of this update", r.Absent)
	}
	b.WriteString(".\n")
	switch {
	case r.Repeated:
		fmt.Fprintf(&b, "That was asked for at %s by %s; nothing was done again.\n", r.At, r.By)
	case r.Ended != "":
		fmt.Fprintf(&b, "It ended early: %s.\n", r.Ended)
	case !r.DryRun && r.DoneAt == nil:
		b.WriteString("More follow.\n")
	}
	return b.String()
}
