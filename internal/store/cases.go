package store

import (
	"context"
	"time"

	"github.com/tocsin/tocsin/incident"
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

// AuditEntry says who or what changed an incident. It has no secret.
type AuditEntry struct {
	ID         int64 // the store's
	At         time.Time
	Page       string
	IncidentID string
	// Number is that of the update within its incident, UpdateID its name; 0 and ""
	// if there was none.
	Number   int
	UpdateID string
	// Source is the kind of sender and Actor who it was, where that is known.
	Source, Actor string
	// Action is one word, as "opened"; Cause is a sentence.
	Action, Cause string
	// Status and Impact are those that the update told.
	Status incident.Status
	Impact incident.Impact
}

// AuditFilter chooses entries of the audit log. Zero fields choose all.
type AuditFilter struct {
	Page, IncidentID string
	// From is the first time chosen and Until the first that isn't.
	From, Until time.Time
	// After is the ID of the last entry of the previous answer.
	After int64
	Limit int
}

// Audit is the log of what changed incidents. Implementations are safe for concurrent
// use.
type Audit interface {
	// AuditLog returns entries, oldest first.
	AuditLog(ctx context.Context, f AuditFilter) ([]AuditEntry, error)
	// ForgetAudit removes the entries from before a time, so many in one call that
	// it takes no longer than a page of a plan, and says whether there are more.
	ForgetAudit(ctx context.Context, before time.Time) (more bool, err error)
}
