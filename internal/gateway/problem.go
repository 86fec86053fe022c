package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/store"
	"github.com/tocsin/tocsin/queue"
)

// retryAfter is what a 503 or 507 asks for, in seconds.
const retryAfter = "5"

// problem is an answer of RFC 9457. As an error it carries itself to the edge.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	// Field is the one at fault, if there is one.
	Field string `json:"field,omitempty"`

	cause error // for the log alone
}

func (p *problem) Error() string {
	if p.cause != nil {
		return p.Detail + ": " + p.cause.Error()
	}
	return p.Detail
}

func refuse(status int, detail string) *problem {
	return &problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail}
}

func refuseField(field, reason string) *problem {
	p := refuse(http.StatusBadRequest, field+" "+reason)
	p.Field = field
	return p
}

// problemOf is the one table from errors to statuses. The text of an error that
// it does not know is for the log alone.
func problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if invalid, ok := errors.AsType[*incident.Invalid](err); ok {
		return refuseField(invalid.Field, invalid.Reason)
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return refuse(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body must be at most %d bytes", tooLarge.Limit))
	}
	for _, known := range []struct {
		err    error
		status int
		detail string
	}{
		{store.ErrNotFound, http.StatusNotFound, "there is nothing by this name"},
		{store.ErrFull, http.StatusInsufficientStorage, "the store is full; free disk space or raise its limit, then send this again"},
		{queue.ErrUnavailable, http.StatusServiceUnavailable, "the queue takes nothing now; send this again later"},
		{queue.ErrClosed, http.StatusServiceUnavailable, "the engine is stopping; send this again later"},
		{os.ErrDeadlineExceeded, http.StatusRequestTimeout, "the body did not come in time; send it faster or in smaller parts"},
		{context.DeadlineExceeded, http.StatusServiceUnavailable, "this took too long; send it again later"},
		{context.Canceled, http.StatusServiceUnavailable, "the request was cancelled; send it again"},
		{io.ErrUnexpectedEOF, http.StatusBadRequest, "the body ended early; send all of it"},
	} {
		if errors.Is(err, known.err) {
			return refuse(known.status, known.detail)
		}
	}
	return refuse(http.StatusInternalServerError, "something failed here; the log has the details")
}

// answer makes a handler of h and turns its error into a problem. One that comes
// after the answer has begun can only be logged.
func (g *gateway) answer(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		if err == nil {
			return
		}
		p := problemOf(err)
		if p.Status >= http.StatusInternalServerError && p.Status != http.StatusServiceUnavailable {
			g.Log.Error("a request failed", "route", r.Pattern, "method", r.Method, "status", p.Status, "error", err)
		}
		writeProblem(w, p)
	})
}

func writeProblem(w http.ResponseWriter, p *problem) {
	if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusInsufficientStorage {
		w.Header().Set("Retry-After", retryAfter)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	body, err := encodeJSON(p)
	if err != nil {
		body = []byte(`{"status":500}`) // a problem is only strings
	}
	writeBody(w, p.Status, body)
}

// writeJSON answers with v. Its error is one of encoding; nothing is written then.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	body, err := encodeJSON(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	writeBody(w, status, body)
	return nil
}

func encodeJSON(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return buf.Bytes(), err
}

// writeBody ignores that the client may be gone: there is nobody to tell.
func writeBody(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
