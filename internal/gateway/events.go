package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/senders"
	"github.com/tocsin/tocsin/queue"
)

// Sources, as the queue and the metrics name them.
const (
	sourceHTTP   = "http"
	sourceAlerts = "alerts"
)

// receipt is the answer to an event that is durable.
type receipt struct {
	Page       string `json:"page"`
	IncidentID string `json:"incident_id"`
	UpdateID   string `json:"update_id"`
	// StatusURL is relative to the request's.
	StatusURL string `json:"status_url"`
	// Duplicate is true if the update_id is known; the event changes nothing
	// then, but has an unfinished plan go on.
	Duplicate bool `json:"duplicate,omitempty"`
}

func (g *gateway) postIncident(w http.ResponseWriter, r *http.Request) error {
	body, err := g.readBody(w, r, incident.MaxEventBytes, mediaCloudEvent, mediaCloudEvents)
	if err != nil {
		return err
	}
	media, err := mediaType(r, mediaJSON, mediaCloudEvent, mediaCloudEvents)
	if err != nil {
		return err
	}
	if media == mediaCloudEvents {
		return g.postBatch(w, r, body)
	}
	e, err := readEvent(media, r.Header, body)
	if err == nil {
		err = g.checkEvent(e)
	}
	if err == nil && (media == mediaCloudEvent || senders.InCloudEvent(r.Header)) {
		body, err = incident.Encode(e) // what is kept is the event alone
	}
	if err != nil {
		g.Meter.EventRefused(sourceHTTP, "invalid")
		return err
	}
	answer, err := g.offer(r.Context(), e, body, sourceHTTP)
	if err != nil {
		return err
	}
	w.Header().Set("Location", answer.StatusURL)
	return writeJSON(w, http.StatusAccepted, answer)
}

// checkEvent refuses what the acceptor would: who posts an event learns of it
// only here. It checks the addresses of targets that come with the event, too.
func (g *gateway) checkEvent(e *incident.Event) error {
	if e.UpdatedAt.After(g.opt.Clock().Add(dispatcher.MaxAhead)) {
		return &incident.Invalid{Field: "updated_at", Reason: "is more than " + dispatcher.MaxAhead.String() + " ahead of this engine's clock; check the producer's clock"}
	}
	if e.CallbackURL != "" {
		if err := g.CheckCallback(e.CallbackURL); err != nil {
			return err
		}
	}
	for i := range e.Targets {
		if err := g.CheckTarget(&e.Targets[i]); err != nil {
			if invalid, ok := errors.AsType[*incident.Invalid](err); ok {
				return &incident.Invalid{Field: "targets[" + strconv.Itoa(i) + "]." + invalid.Field, Reason: invalid.Reason}
			}
			return err
		}
	}
	return nil
}

// offer makes a valid event durable in the intake; body is its JSON. A crash
// before it returns leaves the producer without an answer, so it sends again, and
// the update_id, if it gave one, keeps that from counting twice.
func (g *gateway) offer(ctx context.Context, e *incident.Event, body []byte, source string) (*receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, g.opt.OfferTimeout)
	defer cancel()
	answer := &receipt{Page: e.Page, IncidentID: e.IncidentID, UpdateID: e.UpdateID, StatusURL: statusURL(e.Page, e.IncidentID)}
	if answer.UpdateID == "" {
		answer.UpdateID = rand.Text()
	} else {
		answer.Duplicate = g.known(ctx, e)
	}
	err := g.Intake.Offer(ctx, &queue.Event{Body: body, UpdateID: answer.UpdateID, ReceivedAt: g.opt.Clock(), Source: source, Sender: callerIn(ctx)})
	if err != nil {
		g.Meter.EventRefused(source, "unavailable")
		return nil, err
	}
	g.recent.add(updateKey{e.Page, e.IncidentID, answer.UpdateID})
	return answer, nil
}

// knownTimeout bounds the question whether an update_id is known: the answer is
// a courtesy, which the acceptor does not rely on.
const knownTimeout = time.Second

func (g *gateway) known(ctx context.Context, e *incident.Event) bool {
	if g.recent.has(updateKey{e.Page, e.IncidentID, e.UpdateID}) {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, knownTimeout)
	defer cancel()
	known, err := g.History.KnownUpdate(ctx, e.Page, e.IncidentID, e.UpdateID)
	if err != nil {
		g.Log.Debug("whether an update_id is known can't be said now", "error", err)
	}
	return err == nil && known
}

// statusURL is a reference (RFC 3986, section 4.2) to the incident. Dots alone
// are escaped, since a path of dots means another path.
func statusURL(page, incidentID string) string {
	segment := url.PathEscape(incidentID)
	if strings.Trim(segment, ".") == "" {
		segment = strings.ReplaceAll(segment, ".", "%2E")
	}
	return "/v1/incidents/" + segment + "?page=" + url.QueryEscape(page)
}

type updateKey struct{ page, incidentID, updateID string }

// recent remembers the latest updates offered here, since the acceptor may not
// have got to them when the same one comes again.
type recent struct {
	mu   sync.Mutex
	seen map[updateKey]struct{}
	ring [1024]updateKey
	next int
}

func newRecent() *recent {
	r := new(recent)
	r.seen = make(map[updateKey]struct{}, len(r.ring))
	return r
}

func (r *recent) has(k updateKey) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.seen[k]
	return ok
}

func (r *recent) add(k updateKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.seen[k]; ok {
		return
	}
	delete(r.seen, r.ring[r.next])
	r.ring[r.next] = k
	r.seen[k] = struct{}{}
	r.next = (r.next + 1) % len(r.ring)
}
