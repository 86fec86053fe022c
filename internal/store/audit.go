package store

import (
	"context"
	"time"

	"github.com/tocsin/tocsin/incident"
)

// Sources of the audit log besides the kinds of senders.
const (
	// SourceEvents is of what producers published.
	SourceEvents = "events"
	// SourceControl is of what operators do besides orders.
	SourceControl = "control"
)

// AuditEntry says who or what changed an incident. It has no secret.
type AuditEntry struct {
	// Cursor is where the entries behind this one begin; the store's.
	Cursor     AuditCursor
	At         time.Time
	Page       string
	IncidentID string
	// Number counts the updates of a monitor's incident, 0 for all others; UpdateID
	// is the name of the update, "" if there was none.
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

// AuditCursor is a place in the log, which is made of two: the entries that were
// written down, and the updates that came from producers. Both only grow.
type AuditCursor struct {
	// Entry and Update are the last ones before the place, by the store's keys.
	Entry, Update int64
}

// AuditFilter chooses entries of the audit log. Zero fields choose all.
type AuditFilter struct {
	Page, IncidentID string
	// From is the first time chosen and Until the first that isn't.
	From, Until time.Time
	// After is the place to begin at.
	After AuditCursor
	Limit int
}

// AuditPart is a part of the log.
type AuditPart struct {
	// Entries may be none though there are More.
	Entries []AuditEntry
	// Next is where the next part begins for the same choice. It may be behind the
	// cursor of the last entry, by what is not chosen.
	Next AuditCursor
	// More says that this was not the end of the log.
	More bool
}

// Audit is the log of what changed incidents. Implementations are safe for concurrent
// use.
type Audit interface {
	// AuditLog returns a part of the log that takes a bounded time to read, oldest
	// first. The entries that were written down and those of producers stand in the
	// order of their writing each, and among each other in that of their times, of the
	// same time those written down first. So whoever goes on from a place gets what
	// follows it, all of it and once, whatever is written meanwhile.
	AuditLog(ctx context.Context, f AuditFilter) (AuditPart, error)
	// ForgetAudit removes the entries from before a time, so many in one call that
	// it takes no longer than a page of a plan, and says whether there are more. Those
	// of producers are a view of the incidents' updates, and stay with them.
	ForgetAudit(ctx context.Context, before time.Time) (more bool, err error)
}
