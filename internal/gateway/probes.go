package gateway

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/tocsin/tocsin/internal/probe"
	"github.com/tocsin/tocsin/internal/store"
)

// folded is the answer to results of probes.
type folded struct {
	Accepted int `json:"accepted"`
	Ignored  int `json:"ignored"`
}

func (g *gateway) postProbes(w http.ResponseWriter, r *http.Request) error {
	body, err := g.readBody(w, r, probe.MaxBytes)
	if err != nil {
		return err
	}
	accepted, ignored, err := g.Probes.Take(body)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, folded{accepted, ignored})
}

// seenService is a service as it is answered.
type seenService struct {
	Service  string    `json:"service"`
	Health   string    `json:"health"`
	Flapping bool      `json:"flapping"`
	Failing  int       `json:"failing"`
	Voting   int       `json:"voting"`
	LastAt   time.Time `json:"last_at"`
}

func (g *gateway) listServices(w http.ResponseWriter, _ *http.Request) error {
	all := g.Probes.Services()
	items := make([]seenService, len(all))
	for i, s := range all {
		items[i] = seenService{s.Service, s.Health.String(), s.Flapping, s.Failing, s.Voting, s.Last}
	}
	return writeJSON(w, http.StatusOK, struct {
		Items []seenService `json:"items"`
	}{items})
}

// forgetService ends the watch over a service that is no longer to be probed.
func (g *gateway) forgetService(w http.ResponseWriter, r *http.Request) error {
	service := r.PathValue("service")
	ctx, cancel := context.WithTimeout(r.Context(), g.opt.OfferTimeout)
	defer cancel()
	if _, err := g.Probes.Forget(ctx, service, store.AuditEntry{At: g.opt.Clock(), Source: store.SourceControl, Actor: callerOf(r),
		Action: "forgotten", Cause: fmt.Sprintf("an operator: the service %q is no longer watched", service)}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
