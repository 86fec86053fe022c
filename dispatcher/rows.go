package dispatcher

import (
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/queue"
)

// Row is the key of a delivery.
type Row struct {
	Incident int64
	Target   int64
	Sequence int
}

// ClaimRequest asks for one batch.
type ClaimRequest struct {
	Batch *queue.Batch
	// Leased: the queue's lease is the claim, no compare-and-set is needed.
	Leased bool
	// Verify: check that every row is open and belongs to the batch.
	Verify bool
	// Newer: look for newer rows of the same (incident, target).
	Newer bool
	// Budget bounds what targets may be told as of Now; nil bounds nothing. Its Bound
	// is not the ledger's to hold.
	Budget *Budget
	Now    time.Time
}

// ClaimState is what a claim came to.
type ClaimState uint8

// The states of a claim.
const (
	// Claimed: the batch is this worker's.
	Claimed ClaimState = iota + 1
	// ClaimGone: the batch is settled or replaced: ack and drop.
	ClaimGone
	// ClaimHeld: another worker holds it: give it back for later.
	ClaimHeld
)

// Why says why a delivery of a claimed batch must not be sent as it is.
type Why uint8

// The reasons.
const (
	// WhyClosed: the row is closed or belongs to another batch: drop it.
	WhyClosed Why = iota + 1
	// WhyNewer: a newer row of the same (incident, target) exists and the
	// target does not want every update.
	WhyNewer
	// WhyBlocked: an older update for an every_update target is open, and not
	// in this batch; or one is with a worker, and counts against the budget if
	// it is sent.
	WhyBlocked
	// WhyInactive: the target is paused, unsubscribed, disabled or deleted.
	WhyInactive
	// WhyChanged: the target's address, secrets or the like changed since the
	// plan: it goes back to the ledger to be batched anew.
	WhyChanged
	// WhyBudget: it would be more than the budget allows.
	WhyBudget
)

// Exception is a delivery of a claimed batch that must not be sent.
type Exception struct {
	Index  int // into Batch.Deliveries
	Why    Why
	Detail string // "target unsubscribed"
}

// ClaimAnswer is what became of a claim request.
type ClaimAnswer struct {
	State      ClaimState
	Exceptions []Exception // by Index, ascending; at most one per delivery
	// Takes is how often the batch was taken, this time included, by processes that
	// did not come to an end with it. One that was replaced counts on.
	Takes int
	// Starts are, for each delivery, those that were noted and have no end; nil where
	// none has any, or Verify wasn't asked for.
	Starts []int
	// Heard says of each delivery's target whether it heard of the incident before;
	// nil where nobody did, the update doesn't end the incident, or the budget counts
	// nothing.
	Heard []Heard
}

// Streak says what an outcome means for the target's row of failures.
type Streak uint8

// What a settlement does to its target.
const (
	StreakKeep Streak = iota
	// StreakReset: a success after failures.
	StreakReset
	// StreakFailed: one more update without success; the tenth in a row
	// disables the target.
	StreakFailed
	// StreakGone: the peer says the address is gone; disables the target.
	StreakGone
)

// Settlement is what becomes of one delivery.
type Settlement struct {
	Row
	Batch int64
	// Outcome closes the row; Open sends it to wait until DueAt.
	Outcome Outcome
	Class   channels.Class
	Detail  string
	Attempt int // attempts made so far
	DueAt   time.Time
	// SentAt is when the last attempt began, zero if there was none.
	SentAt time.Time
	DoneAt time.Time
	Streak Streak
	// Accounts are those that a message which was taken counts on.
	Accounts []string
	// Noted: its start was noted; that ends here. Parked: it was given up, which an
	// operator may want to know of.
	Noted, Parked bool
	// Handle is what the peer calls the message, where it does; Provider is
	// whose name that is.
	Handle   string
	Provider string
}

// DueRow is a waiting delivery whose time has come.
type DueRow struct {
	Row
	Audient
	Attempt    int
	Edition    int
	DueAt      time.Time
	AcceptedAt time.Time
	ExpiresAt  time.Time
	Urgent     bool
	// Newer: a newer row of the same (incident, target) exists; the row can
	// be closed as superseded at once unless EveryUpdate.
	Newer bool
	// Blocked: EveryUpdate, and an older row is open.
	Blocked bool
	// Inactive names why the target may not be told, "" if it may.
	Inactive string
	Revision int64
}

// Postponement moves a waiting row's due time.
type Postponement struct {
	Row
	DueAt time.Time
	// Detail says what it waits for; "" leaves what the row says.
	Detail string
}

// NoProvider is the detail of a delivery that waits until its update expires, or
// until its channel has a provider at the start of an engine.
const NoProvider = "no provider is configured for this channel"

// LapsedBatch is a batch that nobody works on.
type LapsedBatch struct {
	*queue.Batch
	// Published is false if the broker never confirmed it: publish the same
	// batch again instead of replacing it.
	Published bool
	// Holder and LeaseUntil guard the replacement.
	Holder     int64
	LeaseUntil time.Time
	Takes      int
}

// Backlog measures what waits in the ledger.
type Backlog struct {
	Waiting   int // open rows in no batch
	Due       int // of those, due by now
	OldestDue time.Time
}
