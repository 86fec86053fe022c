package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/internal/store"
)

const (
	// maxResendBytes has room for the most targets that one resend names.
	maxResendBytes = 64 << 10
	maxRequestID   = 128
	// resendsShown is how many the history of an incident has, newest first.
	resendsShown = 100
)

// resendRequest is what POST /v1/incidents/{id}/resend takes.
type resendRequest struct {
	Targets   []string `json:"targets"`
	Outcome   string   `json:"outcome"`
	Sequence  int      `json:"sequence"`
	AsNew     bool     `json:"as_new"`
	DryRun    bool     `json:"dry_run"`
	RequestID string   `json:"request_id"`
}

// resendJSON is a resend, as answered and as shown in an incident's history.
type resendJSON struct {
	// ID is null for a dry run.
	ID        *string  `json:"id"`
	RequestID *string  `json:"request_id"`
	Sequence  int      `json:"sequence"`
	Outcome   *string  `json:"outcome"`
	Targets   []string `json:"targets"`
	AsNew     bool     `json:"as_new"`
	DryRun    bool     `json:"dry_run"`
	// Repeated: it was asked for before; nothing was done for this request.
	Repeated bool       `json:"repeated"`
	By       string     `json:"by"`
	At       *time.Time `json:"at"`
	// Resent are back in line, UnderWay had not ended, Absent have no delivery of
	// the update, Untold may not be told, by the reason.
	Resent   int            `json:"resent"`
	UnderWay int            `json:"under_way"`
	Absent   int            `json:"absent"`
	Untold   map[string]int `json:"untold"`
	Ended    string         `json:"ended"`
	DoneAt   *time.Time     `json:"done_at"`
}

func newResendJSON(r *dispatcher.Resent) resendJSON {
	j := resendJSON{Sequence: r.Sequence, Targets: []string{}, AsNew: r.AsNew, DryRun: r.DryRun, Repeated: r.Repeated, By: r.By,
		At: moment(r.At), Resent: r.Sent, UnderWay: r.UnderWay, Absent: r.Absent, Untold: r.Untold, Ended: r.Ended, DoneAt: moment(r.DoneAt)}
	if r.Key != 0 {
		j.ID = new(strconv.FormatInt(r.Key, 10))
	}
	if r.Name != "" {
		j.RequestID = &r.Name
	}
	switch {
	case r.Choice.Unheard:
		j.Outcome = new("unheard")
	case r.Choice.Targets == nil:
		j.Outcome = new(r.Choice.Outcome.String())
	}
	for _, target := range r.Choice.Targets {
		j.Targets = append(j.Targets, strconv.FormatInt(target, 10))
	}
	if j.Untold == nil {
		j.Untold = map[string]int{}
	}
	return j
}

// resendIncident has deliveries of an incident's newest update sent again. When it
// is answered that is durable, whatever becomes of this process.
func (g *gateway) resendIncident(w http.ResponseWriter, r *http.Request) error {
	body, err := g.readBody(w, r, maxResendBytes)
	if err != nil {
		return err
	}
	ask, err := parseResend(body)
	if err != nil {
		return err
	}
	found, err := g.History.FindIncident(r.Context(), pageName(r), r.PathValue("id"))
	if err != nil {
		return err
	}
	ask.Incident, ask.By = found.Key, callerOf(r)
	resent, err := g.Engine.Resend(r.Context(), ask)
	if refused, ok := errors.AsType[*dispatcher.ResendRefused](err); ok {
		return refuse(http.StatusConflict, refused.Reason)
	}
	if err != nil {
		return err
	}
	status := http.StatusAccepted
	if ask.DryRun {
		status = http.StatusOK
	}
	return writeJSON(w, status, newResendJSON(resent))
}

// parseResend is strict: a dry_run that is misspelt must not send.
func parseResend(body []byte) (ask dispatcher.Resend, err error) {
	var r resendRequest
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return ask, refuse(http.StatusBadRequest, "the body must be one JSON object with targets or outcome, and maybe sequence, as_new, dry_run, request_id")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return ask, refuse(http.StatusBadRequest, "the body must be one JSON object and nothing after it")
	}
	ask = dispatcher.Resend{Name: r.RequestID, Sequence: r.Sequence, AsNew: r.AsNew, DryRun: r.DryRun}
	switch {
	case (len(r.Targets) == 0) == (r.Outcome == ""):
		return ask, refuseField("targets", "or outcome is required, and not both")
	case len(r.Targets) > dispatcher.MaxChosen:
		return ask, refuseField("targets", "must be at most "+strconv.Itoa(dispatcher.MaxChosen)+"; for more choose by outcome")
	case r.Sequence < 0:
		return ask, refuseField("sequence", "must be a number from 1, or left out for the newest update")
	case len(r.RequestID) > maxRequestID:
		return ask, refuseField("request_id", "must have at most "+strconv.Itoa(maxRequestID)+" bytes")
	}
	for _, text := range r.Targets {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil || id < 1 {
			return ask, refuseField("targets", "must be ids of targets")
		}
		ask.Choice.Targets = append(ask.Choice.Targets, id)
	}
	switch r.Outcome {
	case "":
	case "dead":
		ask.Choice.Outcome = dispatcher.Dead
	case "suppressed":
		ask.Choice.Outcome = dispatcher.Suppressed
	case "delivered":
		ask.Choice.Outcome = dispatcher.Delivered
	case "unheard":
		ask.Choice.Unheard = true
	case "open", "retrying", "none":
		return ask, refuseField("outcome", "must be dead, suppressed, delivered or unheard: what has not ended goes on by itself")
	default:
		return ask, refuseField("outcome", "must be dead, suppressed, delivered or unheard")
	}
	return ask, nil
}

// standingOf reads those words of ?outcome= that are no outcome.
func standingOf(word string) (s store.Standing, ok bool) {
	switch word {
	case "retrying":
		return store.Retrying, true
	case "none":
		return store.Untried, true
	case "unheard":
		return store.Unheard, true
	}
	return s, false
}
