package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/store"
)

const (
	mediaLines = "application/x-ndjson"
	// auditAtOnce is how many entries of each kind are in memory.
	auditAtOnce = 500
)

// Audit is the log of who or what changed incidents, as [store.Audit] says.
type Audit interface {
	AuditLog(ctx context.Context, f store.AuditFilter) (store.AuditPart, error)
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
	after, _, err := cursorOf(r, "a", 2)
	if err != nil {
		return err
	}
	f.After = store.AuditCursor{Entry: after[0], Update: after[1]}
	part, err := g.Audit.AuditLog(r.Context(), f)
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
	for r.Method != http.MethodHead {
		_ = control.SetWriteDeadline(time.Now().Add(answerTimeout))
		for i := range part.Entries {
			if lines.Encode(newAuditJSON(&part.Entries[i])) != nil {
				panic(http.ErrAbortHandler) // the client is gone
			}
		}
		if !part.More {
			break
		}
		f.After = part.Next
		if part, err = g.Audit.AuditLog(r.Context(), f); err != nil {
			g.Log.Warn("an export of the audit log was cut", "error", err)
			panic(http.ErrAbortHandler) // half an answer must not look whole
		}
	}
	return nil
}

func newAuditJSON(e *store.AuditEntry) auditJSON {
	return auditJSON{Cursor: encodeCursor("a", e.Cursor.Entry, e.Cursor.Update), At: moment(e.At), Page: e.Page, IncidentID: e.IncidentID, UpdateID: e.UpdateID,
		Source: e.Source, Actor: e.Actor, Action: e.Action, Cause: e.Cause, Status: e.Status, Impact: e.Impact}
}

// askedBy is who sent a request, for what it has done: the store writes it down with
// that, so that no crash comes between.
func (g *gateway) askedBy(r *http.Request, cause string) dispatcher.Asked {
	return dispatcher.Asked{By: callerOf(r), At: g.opt.Clock(), Cause: cause}
}
