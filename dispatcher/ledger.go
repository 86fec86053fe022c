package dispatcher

import (
	"context"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/queue"
)

// Ledger is the durable side of the dispatcher: incidents, updates, batches
// and one row per delivery.
//
// Every method that changes something is one transaction: when it returns nil
// the change is durable, when it returns an error nothing of it happened, or
// (commit outcome unknown) all of it: each is therefore safe to repeat.
// Errors are retryable unless they wrap [ErrLedgerRefused]. Implementations
// are safe for concurrent use.
type Ledger interface {
	// Register announces a worker and returns its epoch: a number that grows
	// with every registration in the deployment. Lease holders and batch ids
	// are made of it.
	Register(ctx context.Context, worker string, now time.Time) (epoch int64, err error)

	// Accept takes events in the given order. For each, decide is called
	// inside the transaction with the incident's state and says what becomes
	// of it. len(result) == len(arrivals).
	Accept(ctx context.Context, arrivals []*Arrival, decide DecideFunc) ([]Acceptance, error)

	// Unplanned returns the updates whose plan is not finished, oldest first,
	// at most limit; none of stopped incidents.
	Unplanned(ctx context.Context, limit int) ([]*Plan, error)

	// Audience reads the next page of a plan's audience after its cursor, in
	// plan order: (stripe, provider, id), where a stripe holds at most a few
	// targets of one provider, so that no provider fills a window. With
	// p.Recheck, targets that have a row for this sequence already are left
	// out. It changes nothing.
	Audience(ctx context.Context, p *Plan, limit int) (*AudiencePage, error)

	// CommitPage writes one page of a plan: a row for every delivery of the
	// batches, the batches, the waiting rows of the unserved, the superseded
	// rows and the cursor; with page.Last, planned_at. If the incident was stopped meanwhile it writes
	// nothing and returns [ErrStopped].
	CommitPage(ctx context.Context, p *Plan, page *PlannedPage) error

	// Published notes that the broker confirmed the batches.
	Published(ctx context.Context, batches []int64, now time.Time) error

	// Claim takes batches for the worker of this epoch until the given time
	// and says what must not be sent. len(result) == len(requests).
	Claim(ctx context.Context, epoch int64, until time.Time, requests []ClaimRequest) ([]ClaimAnswer, error)

	// NoteStart writes down that a delivery is sent next, though processes died that
	// had its batch: its starts without an end are so many now. The note ends with the
	// row's next Settlement that is Noted.
	NoteStart(ctx context.Context, row Row, starts int) error

	// Content returns an update with its timeline, as channels render it.
	Content(ctx context.Context, incident int64, sequence int) (*channels.Update, error)

	// Settle writes a group of results and removes the finished batches.
	//
	// A Delivered settlement always lands, whatever the row says. Every other
	// one lands only if the row is open and still belongs to the settlement's
	// batch; otherwise it is silently without effect (the row has moved on),
	// but that a row which expired untried keeps what came of an attempt that
	// was under way.
	Settle(ctx context.Context, rows []Settlement, finished []int64) error

	// Counted returns the messages that settlements counted on their accounts, by
	// account and hour, from the hour of since on.
	Counted(ctx context.Context, since time.Time) ([]HourCount, error)

	// Due returns waiting rows that are due, oldest due first, at most limit.
	Due(ctx context.Context, now time.Time, limit int) ([]DueRow, error)

	// Rebatch gives due rows to new batches and postpones or closes others. Rows
	// that no longer wait, or wait again for a later time, are left alone, and
	// left out of their batch by Verify at the claim.
	Rebatch(ctx context.Context, now time.Time, batches []*queue.Batch, postponed []Postponement, closed []Settlement) error

	// Lapsed returns batches that nobody works on: not published though
	// written before unpublishedBefore, or with a lease that ended before
	// now, or published before unclaimedBefore and never claimed. At most
	// limit.
	Lapsed(ctx context.Context, now, unpublishedBefore, unclaimedBefore time.Time, limit int) ([]LapsedBatch, error)

	// Replace moves the open rows of a lapsed batch to a new one with a new
	// id and removes the old, if nobody claimed or removed the old one since.
	// It returns nil if there was nothing to move.
	Replace(ctx context.Context, old LapsedBatch, id int64, now time.Time) (*queue.Batch, error)

	// Expire closes open rows of updates past their expires_at, wherever
	// their batches are, in one bounded transaction, and says how many by
	// channel and whether there are more.
	Expire(ctx context.Context, now time.Time) (closed map[string]int, more bool, err error)

	// Stop ends the fan-out of an incident's updates so far: no further plan,
	// claim or retry of them, their open rows suppressed. It says up to which
	// sequence, and how many rows by channel. Updates accepted later go out
	// as usual: whoever heard of the incident hears its end.
	Stop(ctx context.Context, incident int64, now time.Time, asked ...Asked) (upTo int, closed map[string]int, err error)

	// Paused returns the providers that operators paused; "" stands for all.
	Paused(ctx context.Context) ([]string, error)

	// SetPaused begins or ends a pause.
	SetPaused(ctx context.Context, provider string, paused bool, asked ...Asked) error

	// Backlog measures the ledger: rows waiting and due, and the age of the
	// oldest due one. It is for metrics and may be approximate.
	Backlog(ctx context.Context, now time.Time) (Backlog, error)

	CallbackLedger
	ResendLedger
}

// Asked says who had something done by hand. Where it is given, it goes into the audit
// log in the transaction that does it.
type Asked struct {
	// By is who, as in [Resend], and At when.
	By string
	At time.Time
	// Cause is a sentence; it has no address.
	Cause string
}

// Arrival is a valid event on its way into the ledger.
type Arrival struct {
	Event *incident.Event
	// Sender is the producer, as [queue.Event] says; it is kept with the update.
	Sender string
	// UpdateID is the event's own or, without one, the intake's.
	UpdateID   string
	ReceivedAt time.Time
	Hash       [16]byte
}

// IncidentState is what the ledger knows of an incident before an arrival.
type IncidentState struct {
	// Exists is false for the first event of an incident; the other fields
	// are then zero.
	Exists bool
	// Latest update that was sent: not a stale one.
	Sequence  int
	Hash      [16]byte
	UpdatedAt time.Time
	// Planned is whether the latest update's plan is finished.
	Planned bool
	// Highest is the incident's highest impact so far, Components the union
	// of all affected components, Whole whether some update named none and so
	// meant the whole page.
	Highest    incident.Impact
	Components []string
	Whole      bool
	// Known is the sequence that this arrival's update_id was accepted as, 0
	// if it wasn't; KnownPlanned whether that update's plan is finished (a
	// stale one counts as finished).
	Known        int
	KnownPlanned bool
	// KnownHere is true if the update_id was accepted before, also as stale.
	KnownHere bool
}

// Verdict of accepting one event.
type AcceptResult uint8

// What became of an event.
const (
	AcceptedNew AcceptResult = iota + 1
	AcceptedDuplicate
	AcceptedStale
	AcceptedRefused
)

// Decision says what the ledger has to write for an arrival.
type Decision struct {
	Result AcceptResult
	// Sequence of a new update; of the known one for a duplicate; 0 for stale
	// and refused ones.
	Sequence int
	// UpdateID names a new or stale update: the arrival's, and for a new one
	// that came without any a name of its own.
	UpdateID string
	// UpdatedAt and ExpiresAt of the update as they count from here on.
	UpdatedAt  time.Time
	ExpiresAt  time.Time
	AcceptedAt time.Time
	Highest    incident.Impact
	Components []string
	Whole      bool
	// Resume asks for a duplicate's plan to be finished.
	Resume bool
	// Field and Reason of a refusal.
	Field, Reason string
}

// DecideFunc decides on one arrival; it must be pure, since a transaction may
// run twice.
type DecideFunc func(s IncidentState, a *Arrival) Decision

// Acceptance is what became of an arrival.
type Acceptance struct {
	Decision
	// Plan is set for a new update and for a duplicate to resume.
	Plan *Plan
}

// Plan is an update on its way to being expanded into deliveries.
type Plan struct {
	Incident   int64
	Sequence   int
	Page       string
	IncidentID string
	// The audience: whoever wants one of the components (or Whole, the whole
	// page) at the highest impact so far.
	Components []string
	Whole      bool
	Highest    incident.Impact
	Visibility incident.Visibility
	Test       bool
	AcceptedAt time.Time
	ExpiresAt  time.Time
	// Cursor is the store's; empty at the beginning.
	Cursor string
	// Recheck is set where a page may have been committed though its plan
	// doesn't know: the audience then leaves out who has a row already.
	Recheck bool
	// Audience counts the deliveries planned so far.
	Audience int
}

// Urgent says whether the plan's deliveries go before normal ones.
func (p *Plan) Urgent() bool { return p.Highest.Urgent() }

// Audient is one target of a page of an audience.
type Audient struct {
	Target      int64
	Group       string
	Provider    string
	Address     string
	Locale      string
	Format      string
	Private     bool
	EveryUpdate bool
	Failing     bool
	Secrets     []string
	// Older is set if older updates of the incident are still open for this
	// target: Since is the earliest of their beginnings; Waiting are the
	// sequences of those that wait in the ledger (in no batch).
	Since   time.Time
	Waiting []int
}

// AudiencePage is one page of an audience, in plan order.
type AudiencePage struct {
	Targets []Audient
	// Cursor continues after this page; Last is true if nothing follows.
	Cursor string
	Last   bool
	// Revision of the targets as read.
	Revision int64
}

// PlannedPage is one transaction of a plan.
type PlannedPage struct {
	Batches []*queue.Batch
	// Unserved are targets whose group has no worker, with Since set: their rows
	// wait in no batch, due when the update expires, with the detail [NoProvider].
	Unserved []Audient
	// Superseded are older rows that waited in the ledger; those that are not
	// waiting any more are left alone.
	Superseded []Row
	superseded map[string]int // of those, by channel
	Cursor     string
	Last       bool
	At         time.Time
}
