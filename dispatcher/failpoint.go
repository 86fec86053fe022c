package dispatcher

// Failpoint names a place on the way of the data where a crash means something
// of its own. Tests make the process die there, or an engine stop as if it had.
type Failpoint string

// The failpoints, in the order of the way.
const (
	FailBeforeAccept  Failpoint = "accept.before"    // event taken, not in the ledger
	FailAccepted      Failpoint = "accept.committed" // in the ledger, intake not concluded, not planned
	FailBeforePage    Failpoint = "plan.before"      // before a page's transaction
	FailPagePlanned   Failpoint = "plan.committed"   // page durable, its batches not published
	FailPagePublished Failpoint = "plan.published"   // batches with the queue
	FailClaimed       Failpoint = "claim.committed"  // claimed, nothing sent
	FailSent          Failpoint = "send.answered"    // the peer answered, nothing settled
	FailSettled       Failpoint = "settle.committed" // in the ledger, lease not acked
	FailRebatched     Failpoint = "retry.committed"  // due rows have a batch, not published
	FailReplaced      Failpoint = "sweep.committed"  // lapsed batch replaced, not published

	FailResendBegun Failpoint = "resend.begun" // a resend is written down, no delivery is in line again
	FailResendPage  Failpoint = "resend.page"  // some are

	FailCompleted Failpoint = "callback.completed" // an update's end is durable, its producer not told
	FailCalled    Failpoint = "callback.answered"  // the producer answered, that is not settled
)

// Failpoints lists every failpoint.
func Failpoints() []Failpoint {
	return []Failpoint{
		FailBeforeAccept, FailAccepted, FailBeforePage, FailPagePlanned, FailPagePublished,
		FailClaimed, FailSent, FailSettled, FailRebatched, FailReplaced,
		FailResendBegun, FailResendPage, FailCompleted, FailCalled,
	}
}
