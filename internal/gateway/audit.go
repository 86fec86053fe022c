package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/store"
)

const (
	mediaLines = "application/x-ndjson"
	// auditAtOnce is how many entries are in memory.
	auditAtOnce = 500
	// auditTimeout bounds writing an entry of what is done already.
	auditTimeout = 5 * time.Second
)

// Audit is the log of who or what changed incidents, as [store.Audit] says.
type Audit interface {
	AuditLog(ctx context.Context, f store.AuditFilter) ([]store.AuditEntry, error)
	WriteAudit(ctx context.Context, entries ...store.AuditEntry) error
}

// auditJSON is an entry of the audit log.
type auditJSON struct {
	// Cursor is where the entries behind this one begin.
	Cursor     string          `json:"cursor"`
	At         *time.Time      `json:"at"`
	Page       string          `json:"page"`
	IncidentID string          `json:"incident_id"`
	UpdateID   string          `json:"update_id"`
	Source     string          `json:"source"`
	Actor      string          `json:"actor"`
	Action     string          `json:"action"`
	Cause      string          `json:"cause"`
	Status     incident.Status `json:"status"`
	Impact     incident.Impact `json:"impact"`
}

// getAudit streams the entries that are chosen, oldest first, one JSON object a
// line. What is written while it runs may be among them. A stream that is cut ends
// without the end of the answer; the cursor of its last line goes on.
func (g *gateway) getAudit(w http.ResponseWriter, r *http.Request) error {
	f := store.AuditFilter{Page: param(r, "page"), IncidentID: param(r, "incident"), Limit: auditAtOnce}
	for _, t := range []struct {
		field string
		to    *time.Time
	}{{"from", &f.From}, {"until", &f.Until}} {
		text := param(r, t.field)
		if text == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return refuseField(t.field, "must be an RFC 3339 time, such as 2026-11-21T05:00:00Z")
		}
		*t.to = at
	}
	after, _, err := cursorOf(r, "a", 1)
	if err != nil {
		return err
	}
	f.After = after[0]
	entries, err := g.Audit.AuditLog(r.Context(), f)
	if err != nil {
		return err
	}
	header := w.Header()
	header.Set("Content-Type", mediaLines)
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	control, lines := http.NewResponseController(w), json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	for r.Method != http.MethodHead && len(entries) > 0 {
		_ = control.SetWriteDeadline(time.Now().Add(answerTimeout))
		for i := range entries {
			if lines.Encode(newAuditJSON(&entries[i])) != nil {
				panic(http.ErrAbortHandler) // the client is gone
			}
		}
		if len(entries) < auditAtOnce {
			break
		}
		f.After = entries[len(entries)-1].ID
		if entries, err = g.Audit.AuditLog(r.Context(), f); err != nil {
			g.Log.Warn("an export of the audit log was cut", "error", err)
			panic(http.ErrAbortHandler) // half an answer must not look whole
		}
	}
	return nil
}

func newAuditJSON(e *store.AuditEntry) auditJSON {
	return auditJSON{Cursor: encodeCursor("a", e.ID), At: moment(e.At), Page: e.Page, IncidentID: e.IncidentID, UpdateID: e.UpdateID,
		Source: e.Source, Actor: e.Actor, Action: e.Action, Cause: e.Cause, Status: e.Status, Impact: e.Impact}
}

// sourceControl is the source of what operators do besides orders.
const sourceControl = "control"

// audited writes down what an operator has done. It is done already, so that a store
// that can't write it is for the log.
func (g *gateway) audited(r *http.Request, page, incidentID, action, cause string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), auditTimeout)
	defer cancel()
	entry := store.AuditEntry{At: g.opt.Clock(), Page: page, IncidentID: incidentID, Source: sourceControl, Actor: callerOf(r), Action: action, Cause: cause}
	if err := g.Audit.WriteAudit(ctx, entry); err != nil {
		g.Log.Error("the audit log lacks what an operator did", "action", action, "error", err)
	}
}

// auditTarget writes down what became of a target's state; never its address.
func (g *gateway) auditTarget(r *http.Request, page string, id int64, action string) {
	g.audited(r, page, "", action, fmt.Sprintf("an operator: target %d", id))
}
