package gateway

import (
	"net/http"
	"strconv"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/store"
)

type incidentJSON struct {
	Page       string          `json:"page"`
	IncidentID string          `json:"incident_id"`
	Status     incident.Status `json:"status"`
	Impact     incident.Impact `json:"impact"`
	Components []string        `json:"components"`
	StartedAt  *time.Time      `json:"started_at"`
	UpdatedAt  *time.Time      `json:"updated_at"`
	Stopped    bool            `json:"stopped"`
	StatusURL  string          `json:"status_url"`
	Updates    []updateJSON    `json:"updates,omitempty"`
	// Resends are absent if there were none.
	Resends []resendJSON `json:"resends,omitempty"`
}

type updateJSON struct {
	// Sequence is 0 for a stale update, which was kept and not sent.
	Sequence   int                       `json:"sequence"`
	UpdateID   string                    `json:"update_id"`
	Status     incident.Status           `json:"status"`
	Impact     incident.Impact           `json:"impact"`
	Title      string                    `json:"title"`
	Message    string                    `json:"message"`
	UpdatedAt  *time.Time                `json:"updated_at"`
	AcceptedAt *time.Time                `json:"accepted_at"`
	ExpiresAt  *time.Time                `json:"expires_at"`
	PlannedAt  *time.Time                `json:"planned_at"`
	Audience   int                       `json:"audience"`
	Progress   map[string]map[string]int `json:"progress"`
	// Callback is absent if the producer did not ask for one.
	Callback *callbackJSON `json:"callback,omitempty"`
}

type callbackJSON struct {
	State   string     `json:"state"`
	Attempt int        `json:"attempt"`
	Detail  string     `json:"detail"`
	DoneAt  *time.Time `json:"done_at"`
}

type deliveryJSON struct {
	Target   string     `json:"target"`
	Channel  string     `json:"channel"`
	Sequence int        `json:"sequence"`
	Outcome  string     `json:"outcome"`
	Attempt  int        `json:"attempt"`
	Class    string     `json:"class"`
	Detail   string     `json:"detail"`
	DueAt    *time.Time `json:"due_at"`
	SentAt   *time.Time `json:"sent_at"`
	DoneAt   *time.Time `json:"done_at"`
}

func newIncidentJSON(i *store.Incident) incidentJSON {
	components := i.Components
	if components == nil {
		components = []string{}
	}
	return incidentJSON{Page: i.Page, IncidentID: i.IncidentID, Status: i.Status, Impact: i.Impact, Components: components,
		StartedAt: moment(i.StartedAt), UpdatedAt: moment(i.UpdatedAt), Stopped: i.Stopped,
		StatusURL: statusURL(i.Page, i.IncidentID)}
}

func newUpdateJSON(u *store.Update) updateJSON {
	progress := make(map[string]map[string]int, len(u.Progress))
	for channel, outcomes := range u.Progress {
		counts := make(map[string]int, len(outcomes))
		for o, n := range outcomes {
			counts[o.String()] = n
		}
		progress[channel] = counts
	}
	var callback *callbackJSON
	if c := u.Callback; c != nil {
		callback = &callbackJSON{State: c.State.String(), Attempt: c.Attempt, Detail: c.Detail, DoneAt: moment(c.DoneAt)}
	}
	return updateJSON{Sequence: u.Sequence, UpdateID: u.UpdateID, Status: u.Status, Impact: u.Impact, Title: u.Title,
		Message: u.Message, UpdatedAt: moment(u.UpdatedAt), AcceptedAt: moment(u.AcceptedAt), ExpiresAt: moment(u.ExpiresAt),
		PlannedAt: moment(u.PlannedAt), Audience: u.Audience, Progress: progress, Callback: callback}
}

func newDeliveryJSON(d *store.Delivery) deliveryJSON {
	return deliveryJSON{Target: strconv.FormatInt(d.Target, 10), Channel: d.Channel, Sequence: d.Sequence,
		Outcome: d.Outcome.String(), Attempt: d.Attempt, Class: d.Class, Detail: d.Detail,
		DueAt: moment(d.DueAt), SentAt: moment(d.SentAt), DoneAt: moment(d.DoneAt)}
}

func (g *gateway) listIncidents(w http.ResponseWriter, r *http.Request) error {
	status := incident.Status(param(r, "status"))
	if status != "" && !status.Valid() {
		return refuseField("status", "must be one of the statuses of an incident, such as investigating or resolved")
	}
	limit, err := limitOf(r, 100)
	if err != nil {
		return err
	}
	before, _, err := cursorOf(r, "i", 1)
	if err != nil {
		return err
	}
	found, err := g.History.Incidents(r.Context(), param(r, "page"), status, before[0], limit+1)
	if err != nil {
		return err
	}
	page := pageOf(found, limit, func(last store.Incident) string { return encodeCursor("i", last.Key) })
	return writeJSON(w, http.StatusOK, mapped(page, newIncidentJSON))
}

func mapped[From, To any](page listing[From], one func(*From) To) listing[To] {
	out := listing[To]{Items: make([]To, len(page.Items)), Next: page.Next}
	for i := range page.Items {
		out.Items[i] = one(&page.Items[i])
	}
	return out
}

func (g *gateway) getIncident(w http.ResponseWriter, r *http.Request) error {
	found, updates, err := g.History.Incident(r.Context(), pageName(r), r.PathValue("id"))
	if err != nil {
		return err
	}
	answer := newIncidentJSON(found)
	answer.Updates = make([]updateJSON, len(updates))
	for i := range updates {
		answer.Updates[i] = newUpdateJSON(&updates[i])
	}
	resends, err := g.History.Resends(r.Context(), found.Key, resendsShown)
	if err != nil {
		return err
	}
	for i := range resends {
		answer.Resends = append(answer.Resends, newResendJSON(&resends[i]))
	}
	return writeJSON(w, http.StatusOK, answer)
}

// listDeliveries keeps the incident's key in the cursor, so that only the first
// page looks it up.
func (g *gateway) listDeliveries(w http.ResponseWriter, r *http.Request) error {
	filter, err := deliveryFilter(r)
	if err != nil {
		return err
	}
	limit := filter.Limit
	at, ok, err := cursorOf(r, "d", 3)
	if err != nil {
		return err
	}
	key := at[0]
	if ok {
		filter.After = dispatcher.Row{Incident: key, Target: at[1], Sequence: int(at[2])}
	} else {
		found, err := g.History.FindIncident(r.Context(), pageName(r), r.PathValue("id"))
		if err != nil {
			return err
		}
		key = found.Key
	}
	filter.Limit = limit + 1
	rows, err := g.History.Deliveries(r.Context(), key, filter)
	if err != nil {
		return err
	}
	page := pageOf(rows, limit, func(last store.Delivery) string {
		return encodeCursor("d", key, last.Target, int64(last.Sequence))
	})
	return writeJSON(w, http.StatusOK, mapped(page, newDeliveryJSON))
}

func deliveryFilter(r *http.Request) (f store.DeliveryFilter, err error) {
	if f.Limit, err = limitOf(r, maxLimit); err != nil {
		return f, err
	}
	name, known := param(r, "outcome"), false
	if f.Standing, known = standingOf(name); !known && name != "" {
		for _, o := range dispatcher.Outcomes() {
			if o.String() == name {
				f.Outcome = &o
			}
		}
		if f.Outcome == nil {
			return f, refuseField("outcome", "must be open, delivered, superseded, suppressed, expired, dead, retrying, none or unheard")
		}
	}
	if text := param(r, "target"); text != "" {
		if f.Target, err = strconv.ParseInt(text, 10, 64); err != nil || f.Target < 1 {
			return f, refuseField("target", "must be the id of a target")
		}
	}
	if text := param(r, "sequence"); text != "" {
		if f.Sequence, err = strconv.Atoi(text); err != nil || f.Sequence < 1 {
			return f, refuseField("sequence", "must be a number from 1")
		}
	}
	return f, nil
}

func (g *gateway) stopIncident(w http.ResponseWriter, r *http.Request) error {
	found, err := g.History.FindIncident(r.Context(), pageName(r), r.PathValue("id"))
	if err != nil {
		return err
	}
	if err := g.Engine.Stop(r.Context(), found.Key, g.askedBy(r, "an operator ended the fan-out of the updates so far")); err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, map[string]any{
		"page": found.Page, "incident_id": found.IncidentID, "stopped": true, "status_url": statusURL(found.Page, found.IncidentID)})
}
