// Package store names what the engine keeps besides the dispatcher's ledger:
// targets, and the answers to "who was told, when, who not, and why". The
// adapters (store/sqlite; store/postgres) implement both this and
// dispatcher.Ledger on one database, and pass the suite in storetest.
package store

import (
	"context"
	"errors"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
)

// ErrNotFound is returned (wrapped) where the named thing does not exist.
var ErrNotFound = errors.New("not found")

// ErrFull is returned (wrapped) when the disk or the database's size limit
// allows no more writes; over HTTP it becomes 507.
var ErrFull = errors.New("the store is full")

// Route says which group and provider a target's deliveries belong to, as
// ("webhook", "hooks.example.com:443") or ("smtp:main", "main"). An error is an
// *incident.Invalid.
type Route func(t *incident.Target) (group, provider string, err error)

// Targets is the subscription side of a store. Implementations are safe for
// concurrent use.
type Targets interface {
	// Upsert writes targets in one transaction: one with a known ExternalID
	// (within its page) replaces that target, others are added. It sets each
	// ID, and returns for every target whether it existed and changed. An
	// unchanged target is not written and does not count as changed.
	//
	// State active does not reactivate: repeated imports say it of everyone.
	// Patch does, and so does a new address of a disabled target. A target
	// whose address opted out becomes unsubscribed whatever its State says;
	// each State is set to what was written.
	Upsert(ctx context.Context, targets []*incident.Target) ([]Upserted, error)
	// Target returns one target, secrets included; ErrNotFound.
	Target(ctx context.Context, id int64) (*incident.Target, error)
	// ListTargets returns up to limit targets with an ID above after, by ID.
	ListTargets(ctx context.Context, after int64, limit int) ([]*incident.Target, error)
	// Patch applies change to the stored target in one transaction and
	// returns the result. To make a target active that was not lifts the
	// suppression of its address; an active one that gets a suppressed
	// address becomes unsubscribed.
	//
	// Where somebody asked for it, the audit log has the new state, if it is another
	// one, or "deleted".
	Patch(ctx context.Context, id int64, change func(*incident.Target) error, asked ...dispatcher.Asked) (*incident.Target, error)
	// Delete removes a target; its ledger rows stay. ErrNotFound.
	Delete(ctx context.Context, id int64, asked ...dispatcher.Asked) error
}

// Routes is what a changed configuration means for targets that are there.
type Routes interface {
	// Reroute brings the targets of one channel, inline ones too, in line with who
	// serves it now. Before anything is sent: no engine may run. Batches of other
	// groups of the channel end, and their open deliveries wait, due now; so do
	// those that waited for the channel to have a provider
	// ([dispatcher.NoProvider]). Where nothing changed since the last call it only
	// looks that up. It works in bounded transactions; after an error, or a crash
	// half-way, the next call does the rest.
	Reroute(ctx context.Context, r ChannelRoute, now time.Time) (Rerouted, error)
}

// ChannelRoute says who serves a channel of named providers: what Route answers for
// its targets. Without a provider Group and Provider are "".
type ChannelRoute struct {
	Channel, Group, Provider string
}

// Rerouted counts what Reroute found and did.
type Rerouted struct {
	// Targets moved to the provider.
	Targets int
	// Freed are deliveries taken out of batches that nobody serves, Resumed those
	// that had waited for a provider.
	Freed, Resumed int
	// Unserved are targets that have no provider: not unsubscribed, not deleted.
	Unserved int
}

// Subscribers is what those who are told may say themselves. Implementations are
// safe for concurrent use; every method may be repeated.
type Subscribers interface {
	// Unsubscribe makes one target unsubscribed and says whether it was not so
	// before; ErrNotFound. The address of an inline target stays unsubscribed
	// as an inline target of later incidents of the page.
	Unsubscribe(ctx context.Context, id int64) (changed bool, err error)
	// OptOut suppresses an address of channel smtp or smpp: all targets that
	// have it, on every page, become unsubscribed, and so will those that are
	// written later. Only a Patch to active lifts that again. It returns which
	// targets it changed. Another channel is an *incident.Invalid.
	OptOut(ctx context.Context, channel, address string) (ids []int64, err error)
}

// Receipts is what peers say of messages that they accepted before.
type Receipts interface {
	// Receipt writes into the ledger what became of the message that the
	// provider calls messageID: the outcome stays delivered, the detail becomes
	// "receipt: " and the given one, with the time of it unless that is zero.
	// After a receipt of delivery, one that says otherwise changes nothing.
	// ErrNotFound if no such message is known: its settlement may be about to
	// be written, or it is older than seven days.
	Receipt(ctx context.Context, provider, messageID string, delivered bool, detail string, at time.Time) error
}

// Upserted is what became of one target.
type Upserted struct {
	ID      int64
	Existed bool
	Changed bool
}

// Incident is an incident as listed.
type Incident struct {
	Key        int64 // the store's
	Page       string
	IncidentID string
	Status     incident.Status
	Impact     incident.Impact // of the latest update
	Components []string        // of the latest update
	Sequence   int             // of the latest update
	StartedAt  time.Time
	UpdatedAt  time.Time
	Stopped    bool
}

// Update is one update of an incident's history.
type Update struct {
	Sequence   int // 0 for a stale one, which was kept and not sent
	UpdateID   string
	Status     incident.Status
	Impact     incident.Impact
	Title      string
	Message    string
	UpdatedAt  time.Time
	AcceptedAt time.Time
	ExpiresAt  time.Time
	PlannedAt  time.Time // zero while the plan runs
	Audience   int       // deliveries planned so far
	// Progress counts deliveries by channel and outcome.
	Progress map[string]map[dispatcher.Outcome]int
	// Callback is nil if the producer did not ask for one.
	Callback *Callback
}

// Callback is how far a producer has been told of an update's completion.
type Callback struct {
	State   dispatcher.CallbackState
	Attempt int    // attempts made so far
	Detail  string // of the last one, "" for a success
	DoneAt  time.Time
}

// Delivery is one row of the ledger, as shown.
type Delivery struct {
	Target   int64
	Channel  string
	Sequence int
	Outcome  dispatcher.Outcome
	Attempt  int
	Class    string
	Detail   string
	DueAt    time.Time
	SentAt   time.Time
	DoneAt   time.Time
}

// Parked is a delivery that was given up because processes died of it.
type Parked struct {
	Page, IncidentID string
	Target           int64
	Channel          string
	Sequence         int
	Detail           string
	At               time.Time
}

// Standing chooses deliveries by more than their outcome.
type Standing uint8

// The standings.
const (
	// AnyStanding chooses all.
	AnyStanding Standing = iota
	// Retrying: not ended, after at least one attempt.
	Retrying
	// Untried: not ended, without any.
	Untried
	// Unheard: the newest of the target's deliveries, not delivered; so every
	// target that has not heard how the incident stands appears once.
	Unheard
)

// DeliveryFilter chooses ledger rows of one incident. Zero fields choose all.
type DeliveryFilter struct {
	Outcome  *dispatcher.Outcome
	Standing Standing
	Target   int64
	Sequence int
	After    dispatcher.Row // keyset cursor: rows after this one
	Limit    int
}

// AudienceQuery describes the first update of an incident that might be published.
type AudienceQuery struct {
	Page       string
	Components []string // empty for the whole page
	Impact     incident.Impact
	Visibility incident.Visibility
	Test       bool
}

// History answers questions about incidents. Implementations are safe for
// concurrent use and never hold up the ledger's writer.
type History interface {
	// Incidents lists incidents of a page ("" for all) with a status ("" for
	// any), newest first; before is the Key of the last one of the previous
	// answer, 0 at the beginning.
	Incidents(ctx context.Context, page string, status incident.Status, before int64, limit int) ([]Incident, error)
	// Incident returns one incident with its updates, newest first, and
	// their progress; ErrNotFound.
	Incident(ctx context.Context, page, incidentID string) (*Incident, []Update, error)
	// FindIncident returns one incident alone, whatever the size of its ledger;
	// ErrNotFound.
	FindIncident(ctx context.Context, page, incidentID string) (*Incident, error)
	// Resends returns what was sent again of an incident, newest first.
	Resends(ctx context.Context, incident int64, limit int) ([]dispatcher.Resent, error)
	// Deliveries returns ledger rows of an incident by (target, sequence).
	Deliveries(ctx context.Context, incident int64, f DeliveryFilter) ([]Delivery, error)
	// Parked returns what was given up because processes died of it, latest first,
	// as long as nobody has it sent again.
	Parked(ctx context.Context, limit int) ([]Parked, error)
	// KnownUpdate says whether this update_id was accepted before for the
	// incident, stale ones included; false for an unknown incident.
	KnownUpdate(ctx context.Context, page, incidentID, updateID string) (bool, error)
	// LatestEvent returns the newest update of an incident that was sent, with its
	// time in UpdatedAt and without inline secrets, nil for an unknown incident. It
	// is a test only if all updates of the incident were.
	LatestEvent(ctx context.Context, page, incidentID string) (*incident.Event, error)
	// AudienceCount counts by channel the targets that such an update would be
	// planned for now, inline ones left out; channels without any are absent.
	AudienceCount(ctx context.Context, q AudienceQuery) (map[string]int, error)
}

// Health is what a store can say of itself.
type Health interface {
	// Ping returns nil if the store can be read and written now.
	Ping(ctx context.Context) error
}
