package store

import (
	"context"
	"time"
)

// Cases keeps where the lifecycle of each (page, group) stands, what it has decided
// and not yet published, and why. Implementations are safe for concurrent use.
type Cases interface {
	// StepCases changes cases in one transaction. For each key step is called with
	// the state as it is, nil for none, one case after the other in the order in
	// which the changes are committed; it is quick and pure, for it may be called
	// again. Its error ends everything without a change. What a change has is durable
	// when StepCases returns nil.
	StepCases(ctx context.Context, keys []CaseKey, step func(i int, state []byte) (CaseChange, error)) error
	// DueCases returns the cases that are due, longest due first, at most limit.
	DueCases(ctx context.Context, now time.Time, limit int) ([]CaseKey, error)
	// NextDue returns when the next case is due, zero for none.
	NextDue(ctx context.Context) (time.Time, error)
	// Outbox returns events that are to be published, in the order of their
	// decisions, at most limit.
	Outbox(ctx context.Context, limit int) ([]OutboxEvent, error)
	// Offered removes events from the outbox. Those that aren't there are no error.
	Offered(ctx context.Context, ids []int64) error
}

// CaseKey names a case.
type CaseKey struct {
	Page, Group string
}

// CaseChange is what becomes of a case. The zero value changes nothing.
type CaseChange struct {
	// State is the new one; nil keeps it, unless Forget removes the case.
	State  []byte
	Forget bool
	// DueAt is when the case is due with this state; zero for never.
	DueAt time.Time
	// Events go to the outbox, Audit to the audit log, both in order.
	Events []OutboxEvent
	Audit  []AuditEntry
}

// OutboxEvent is an event on its way to the intake.
type OutboxEvent struct {
	ID         int64 // the store's
	Page       string
	IncidentID string
	UpdateID   string
	Source     string
	// At is when it was decided.
	At time.Time
	// Body is the native JSON event of package incident.
	Body []byte
}
