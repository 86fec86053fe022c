package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tocsin/tocsin/incident"
)

type incidentCommand struct {
	Open     openCommand     `cmd:"" help:"Open an incident by hand."`
	Update   updateCommand   `cmd:"" help:"Say what is new of one."`
	Resolve  resolveCommand  `cmd:"" help:"Say that one is over."`
	Schedule scheduleCommand `cmd:"" help:"Announce a maintenance, whose start and end are told in their time."`
	Cancel   cancelCommand   `cmd:"" help:"Cancel a maintenance, and all that waits for its time."`
	Pending  pendingCommand  `cmd:"" help:"Show what waits for its time."`
}

// orderFlags are those of every order.
type orderFlags struct {
	apiFlag
	Page           string `default:"default" placeholder:"NAME" help:"Its status page (default)."`
	Message        string `short:"m" placeholder:"TEXT" help:"What subscribers read; - reads it from stdin."`
	IdempotencyKey string `name:"idempotency-key" placeholder:"TEXT" help:"A name for this order: given again, it is obeyed once, and nobody is told twice."`
	Author         string `placeholder:"NAME" help:"Who says it, for the audit log; no address. USER of the environment if absent. Subscribers never see it."`
	JSON           bool   `name:"json" help:"The engine's answer, as JSON."`
}

// wordFlags are those of orders that change what an incident says.
type wordFlags struct {
	Title      string `placeholder:"TEXT" help:"One line that says what it is."`
	Visibility string `enum:",public,private" default:"" placeholder:"WHO" help:"public, or private for targets that are private too."`
}

// componentFlags say what is affected by what begins.
type componentFlags struct {
	Component []string `placeholder:"ID" help:"What is affected; separated by commas, or given again."`
	WholePage bool     `name:"whole-page" help:"Everything on the page is, in place of --component."`
	Test      bool     `help:"A test: only targets marked test hear of it, to the end."`
}

func (f *componentFlags) list() ([]string, error) {
	if f.WholePage == (len(f.Component) > 0) {
		return nil, usageError(errors.New("what is affected? give --component or --whole-page, and not both"))
	}
	return append([]string{}, f.Component...), nil
}

// order is the body of POST /v1/orders.
type order struct {
	Action          string   `json:"action"`
	Page            string   `json:"page"`
	IncidentID      string   `json:"incident_id,omitempty"`
	UpdateID        string   `json:"update_id"`
	Author          string   `json:"author,omitempty"`
	Status          string   `json:"status,omitempty"`
	Impact          string   `json:"impact,omitempty"`
	Components      []string `json:"affected_components,omitzero"` // empty is not absent
	Visibility      string   `json:"visibility,omitempty"`
	Title           string   `json:"title,omitempty"`
	Message         string   `json:"message,omitempty"`
	Test            bool     `json:"test,omitempty"`
	At              string   `json:"at,omitempty"`
	Start           string   `json:"start,omitempty"`
	End             string   `json:"end,omitempty"`
	Reminder        string   `json:"reminder,omitempty"`
	ReminderMessage string   `json:"reminder_message,omitempty"`
	Verify          bool     `json:"verify,omitempty"`
}

// pendingView is an update that waits for its time.
type pendingView struct {
	At       *time.Time `json:"at"`
	Step     string     `json:"step"`
	UpdateID string     `json:"update_id"`
	By       string     `json:"by"`
}

// give sends an order to the engine and prints what came of it.
func (f *orderFlags) give(ctx context.Context, p *program, o *order) error {
	var err error
	if o.Message, err = readMessage(f.Message, p.stdin); err != nil {
		return err
	}
	o.Page, o.UpdateID, o.Author = f.Page, f.IdempotencyKey, f.Author
	if o.UpdateID == "" {
		o.UpdateID = newID("cli")
	}
	if o.Author == "" {
		o.Author, _ = p.lookup("USER")
	}
	engine, err := newClient(f.API, p)
	if err != nil {
		return err
	}
	defer engine.close()
	body, err := json.Marshal(o)
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := engine.call(ctx, http.MethodPost, "/v1/orders", nil, "application/json", bytes.NewReader(body), &raw); err != nil {
		if refused, ok := errors.AsType[*problem](err); !ok || refused.Status >= http.StatusInternalServerError {
			fmt.Fprintf(p.stderr, "Whether it was obeyed is not known. Give it again with --idempotency-key %s, and it is obeyed once.\n", o.UpdateID)
		}
		return err
	}
	if f.JSON {
		_, err := fmt.Fprintf(p.stdout, "%s\n", raw)
		return err
	}
	return printObeyed(p, engine, raw)
}

// printObeyed prints the incident and where to ask for it; all else is for people.
func printObeyed(p *program, engine *client, raw []byte) error {
	var done struct {
		published
		StatusURL string        `json:"status_url"`
		Pending   []pendingView `json:"pending"`
	}
	if err := json.Unmarshal(raw, &done); err != nil {
		return fmt.Errorf("the answer can't be read: %w", err)
	}
	if done.Duplicate {
		fmt.Fprintln(p.stderr, "It was ordered before; nothing was done again.")
	}
	for _, w := range done.Pending {
		fmt.Fprintf(p.stderr, "Waits until %s UTC: %s\n", stamp(w.At), w.Step)
	}
	_, err := fmt.Fprintf(p.stdout, "%s %s%s\n", done.IncidentID, strings.TrimRight(engine.base.String(), "/"), done.StatusURL)
	return err
}

// readMessage returns a message, or what stdin has for "-".
func readMessage(message string, stdin io.Reader) (string, error) {
	if message != "-" {
		return message, nil
	}
	text, err := io.ReadAll(io.LimitReader(stdin, incident.MaxEventBytes))
	if err != nil {
		return "", usageError(fmt.Errorf("read the message: %w", err))
	}
	return strings.TrimSpace(string(text)), nil
}

// timeOf reads a time as people give it: RFC 3339, "2026-11-22 02:00" in UTC, or
// "+90m" after another. "" stays "".
func timeOf(flag, text string, after time.Time) (string, error) {
	if text == "" {
		return "", nil
	}
	if rest, ok := strings.CutPrefix(text, "+"); ok {
		if d, err := time.ParseDuration(rest); err == nil {
			return after.Add(d).UTC().Format(time.RFC3339Nano), nil
		}
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04", "2006-01-02T15:04"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC().Format(time.RFC3339Nano), nil
		}
	}
	return "", usageError(fmt.Errorf("%s %q is no time; write 2026-11-22T02:00:00Z, \"2026-11-22 02:00\" for UTC, or +90m", flag, text))
}

type openCommand struct {
	orderFlags
	wordFlags
	componentFlags
	Incident string `placeholder:"ID" help:"Its name; the engine gives it one if absent."`
	Impact   string `required:"" enum:"none,minor,major,critical,maintenance" placeholder:"IMPACT" help:"none, minor, major, critical or maintenance."`
	Status   string `enum:",investigating,identified,monitoring,in_progress,verifying" default:"" placeholder:"STATUS" help:"investigating (if absent), identified, monitoring."`
	At       string `placeholder:"TIME" help:"Not now, but then: 2026-11-22T02:00:00Z, \"2026-11-22 02:00\" in UTC, or +90m."`
}

// Help is shown by --help.
func (*openCommand) Help() string {
	return `Prints the incident's name and where to ask for it:

    tocsin incident open --impact major --component auth-api --title "Sign-in fails" --message "We are looking into it."
    tocsin incident update INC-6Q2M4FXA --status identified --message "A disk is full."
    tocsin incident resolve INC-6Q2M4FXA --message "Sign-in works again."

Try it on those who are marked test, with a key so that a second try opens no second one:

    tocsin incident open --test --impact minor --whole-page --title "A test" --idempotency-key drill-1

Exit codes: 0 it is durable; 1 the engine refused; 3 it isn't there.`
}

// Run opens an incident.
func (c *openCommand) Run(ctx context.Context, p *program) error {
	components, err := c.list()
	if err != nil {
		return err
	}
	at, err := timeOf("--at", c.At, time.Now())
	if err != nil {
		return err
	}
	return c.give(ctx, p, &order{Action: "open", IncidentID: c.Incident, Impact: c.Impact, Status: c.Status, Components: components,
		Visibility: c.Visibility, Title: c.Title, Test: c.Test, At: at})
}

type updateCommand struct {
	orderFlags
	wordFlags
	Incident  string   `arg:"" help:"The incident."`
	Impact    string   `enum:",none,minor,major,critical,maintenance" default:"" placeholder:"IMPACT" help:"none, minor, major, critical or maintenance."`
	Status    string   `enum:",investigating,identified,monitoring,resolved,in_progress,verifying,completed" default:"" placeholder:"STATUS" help:"investigating, identified, monitoring or resolved; of a maintenance in_progress, verifying or completed."`
	Component []string `placeholder:"ID" help:"What is affected now, all of it."`
	WholePage bool     `name:"whole-page" help:"Everything on the page is affected now."`
	At        string   `placeholder:"TIME" help:"Not now, but then: 2026-11-22T02:00:00Z, \"2026-11-22 02:00\" in UTC, or +90m."`
}

// Help is shown by --help.
func (*updateCommand) Help() string {
	return `What is not given stays as it is, but for the message, which is of one update alone.

    tocsin incident update INC-8892 --status monitoring --message "We replaced the disk."
    tocsin incident update INC-8892 --impact minor --component auth-api
    git log -1 --format=%B | tocsin incident update INC-8892 --message -
    tocsin incident update INC-8892 --message "The next update follows at 10:00." --at +1h`
}

// Run updates an incident.
func (c *updateCommand) Run(ctx context.Context, p *program) error {
	if c.WholePage && len(c.Component) > 0 {
		return usageError(errors.New("give --component or --whole-page, and not both"))
	}
	components := c.Component
	if c.WholePage {
		components = []string{}
	}
	at, err := timeOf("--at", c.At, time.Now())
	if err != nil {
		return err
	}
	return c.give(ctx, p, &order{Action: "update", IncidentID: c.Incident, Impact: c.Impact, Status: c.Status, Components: components,
		Visibility: c.Visibility, Title: c.Title, At: at})
}

type resolveCommand struct {
	orderFlags
	Incident string `arg:"" help:"The incident."`
	At       string `placeholder:"TIME" help:"Not now, but then: 2026-11-22T02:00:00Z, \"2026-11-22 02:00\" in UTC, or +90m."`
}

// Help is shown by --help.
func (*resolveCommand) Help() string {
	return `An incident becomes resolved, a maintenance completed; what waited of the maintenance waits no more.

    tocsin incident resolve INC-8892 --message "Sign-in works again."`
}

// Run resolves an incident.
func (c *resolveCommand) Run(ctx context.Context, p *program) error {
	at, err := timeOf("--at", c.At, time.Now())
	if err != nil {
		return err
	}
	return c.give(ctx, p, &order{Action: "resolve", IncidentID: c.Incident, At: at})
}

type scheduleCommand struct {
	orderFlags
	wordFlags
	componentFlags
	Incident        string        `placeholder:"ID" help:"Its name; the engine gives it one if absent. One that has not begun gets these times."`
	Impact          string        `enum:",none,minor,major,critical,maintenance" default:"" placeholder:"IMPACT" help:"maintenance if absent."`
	Start           string        `required:"" placeholder:"TIME" help:"2026-11-22T02:00:00Z, \"2026-11-22 02:00\" in UTC, or +90m from now."`
	End             string        `required:"" placeholder:"TIME" help:"The same; +2h is after the start."`
	Reminder        time.Duration `placeholder:"DURATION" help:"Tell of it again so long before the start, as 1h."`
	ReminderMessage string        `name:"reminder-message" placeholder:"TEXT" help:"What is said then; when it begins, if absent."`
	Verify          bool          `help:"At the end say verifying, and not completed: resolve it by hand."`
}

// Help is shown by --help.
func (*scheduleCommand) Help() string {
	return `Tells everyone now (scheduled), before the start if there is a --reminder, at the start (in_progress) and at the end
(completed). The times outlive restarts; what is missed while the engine is down is told late.

    tocsin incident schedule --component db --title "Database works" --start "2026-11-22 02:00" --end +2h --reminder 1h
    tocsin incident pending INC-6Q2M4FXA
    tocsin incident cancel INC-6Q2M4FXA --message "We do it next week."

To give it other times, schedule it again with --incident. It is over earlier: tocsin incident resolve. It takes longer: ` +
		`tocsin incident cancel ends what waits, and tells nobody once it has begun.`
}

// Run schedules a maintenance.
func (c *scheduleCommand) Run(ctx context.Context, p *program) error {
	components, err := c.list()
	if err != nil {
		return err
	}
	start, err := timeOf("--start", c.Start, time.Now())
	if err != nil {
		return err
	}
	begins, err := time.Parse(time.RFC3339, start)
	if err != nil {
		return usageError(errors.New("--start must not be empty"))
	}
	end, err := timeOf("--end", c.End, begins)
	if err != nil {
		return err
	}
	o := &order{Action: "schedule", IncidentID: c.Incident, Impact: c.Impact, Components: components, Visibility: c.Visibility, Title: c.Title,
		Test: c.Test, Start: start, End: end, ReminderMessage: c.ReminderMessage, Verify: c.Verify}
	if c.Reminder != 0 {
		o.Reminder = c.Reminder.String()
	}
	return c.give(ctx, p, o)
}

type cancelCommand struct {
	orderFlags
	Incident string `arg:"" help:"The incident."`
}

// Help is shown by --help.
func (*cancelCommand) Help() string {
	return `Ends all that waits for its time. Of a maintenance that was announced and has not begun, everyone hears that it is
cancelled (completed, with the message "Cancelled." or yours); of all else nobody does.

    tocsin incident cancel INC-6Q2M4FXA --message "We do it next week."`
}

// Run cancels what waits.
func (c *cancelCommand) Run(ctx context.Context, p *program) error {
	return c.give(ctx, p, &order{Action: "cancel", IncidentID: c.Incident})
}

type pendingCommand struct {
	apiFlag
	Page     string `default:"default" placeholder:"NAME" help:"Its status page (default)."`
	Incident string `arg:"" help:"The incident."`
	JSON     bool   `name:"json" help:"One JSON object a line."`
}

// Help is shown by --help.
func (*pendingCommand) Help() string {
	return `What of an incident waits for its time, and who ordered it, earliest first. Times are UTC.

    tocsin incident pending INC-6Q2M4FXA`
}

// Run lists what waits.
func (c *pendingCommand) Run(ctx context.Context, p *program) error {
	engine, err := newClient(c.API, p)
	if err != nil {
		return err
	}
	defer engine.close()
	items := list[json.RawMessage](ctx, engine, "/v1/incidents/"+url.PathEscape(c.Incident)+"/pending", url.Values{"page": {c.Page}})
	return printList(p.stdout, c.JSON, items, "AT\tSTEP\tBY", func(v *pendingView) []any { return []any{stamp(v.At), v.Step, v.By} })
}
