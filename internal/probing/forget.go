package probing

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/lifecycle"
	"github.com/tocsin/tocsin/internal/store"
)

// Forget ends the watch over a service: what is told of it is resolved, and then it is
// one that nobody probed. A result that comes later begins it anew. The answer names its
// incident, if it has one; so do the entries, which go into the audit log when the service
// is forgotten for good. The error wraps [store.ErrNotFound] for a service that isn't
// watched; after any other the service still is, and Forget does the rest when it is
// called again.
//
// The end is reported first: a crash then leaves a service that can be forgotten again,
// and the other way round an incident that nothing ends.
func (w *Watch) Forget(ctx context.Context, service string, audit ...store.AuditEntry) (lifecycle.Answer, error) {
	if err := w.begin(ctx); err != nil {
		return lifecycle.Answer{}, err
	}
	defer w.end()
	if !w.panel.Knows(service) {
		return lifecycle.Answer{}, fmt.Errorf("forget a service: %w", store.ErrNotFound)
	}
	now := w.opt.Clock()
	report := endOf(service, w.opt.Page, now)
	if err := report.Check(); err != nil {
		return lifecycle.Answer{}, fmt.Errorf("report that a service is forgotten: %w", err) // a name that can't be told isn't taken
	}
	digest := sha256.Sum256(fmt.Appendf(nil, "tocsin probes forgotten 1\n%q %d", service, now.UnixNano()))
	answers, err := w.lifecycle.Report(ctx, digest, []*lifecycle.Report{report})
	if err != nil {
		return lifecycle.Answer{}, fmt.Errorf("report that a service is forgotten: %w", err)
	}
	audit = slices.Clone(audit)
	for i := range audit {
		audit[i].Page, audit[i].IncidentID = answers[0].Page, answers[0].IncidentID
	}
	if err := w.store.SaveServices(ctx, map[string][]byte{service: nil}, audit...); err != nil {
		return lifecycle.Answer{}, fmt.Errorf("forget a service: %w", err)
	}
	w.panel.Forget(service)
	return answers[0], nil
}

// endOf says that nothing is known to be wrong with a service any more.
func endOf(service, page string, now time.Time) *lifecycle.Report {
	s := lifecycle.Signal{
		Key: signalKey, Components: []string{service}, Impact: incident.ImpactNone, StartedAt: now, EndedAt: now, Message: "It is no longer watched.",
	}
	return &lifecycle.Report{Source: Source, Page: page, Group: groupOf(service), Whole: true, Signals: []lifecycle.Signal{s}}
}
