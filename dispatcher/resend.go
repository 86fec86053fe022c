package dispatcher

import (
	"context"
	"errors"
	"time"
)

// Choice says whose deliveries of an update are sent again: exactly one of its
// fields is set.
type Choice struct {
	// Targets by id, whatever came of their deliveries so far; at most
	// [MaxChosen].
	Targets []int64 `json:"targets,omitempty"`
	// Outcome is that of the deliveries chosen: Delivered, Suppressed or Dead.
	Outcome Outcome `json:"outcome,omitempty"`
	// Unheard are all deliveries that were not delivered.
	Unheard bool `json:"unheard,omitempty"`
}

// MaxChosen bounds the targets that one resend names.
const MaxChosen = 1000

// Resend asks for deliveries of an incident's newest update to be sent again.
type Resend struct {
	// Name is the caller's own for this request: with the same name it is the same
	// resend. Without one, the same request within [ResendRepeat] is.
	Name     string
	Incident int64 // the store's key
	// Sequence has to be that of the incident's newest update, or 0 for it.
	Sequence int
	Choice   Choice
	// AsNew gives the deliveries another idempotency key, for peers that drop
	// what they had before.
	AsNew bool
	// DryRun counts, and changes nothing.
	DryRun bool
	// By is who asked, At when.
	By string
	At time.Time
}

// ResendRepeat is how long a request without a name counts as the same one: a
// double click does nothing twice.
const ResendRepeat = time.Minute

// Resent is how far a resend is.
type Resent struct {
	Resend
	Key int64 // the store's; 0 for a dry run
	// Repeated: this request was made before; nothing was done for it now.
	Repeated bool
	// Sent deliveries are back in line. UnderWay were chosen and had not ended.
	// Absent targets have no delivery of the update. Untold ones stay so, by the
	// reason.
	Sent, UnderWay, Absent int
	Untold                 map[string]int
	// Ended is why it ended before it came to its last delivery, "" if it did not.
	Ended string
	// DoneAt is zero as long as it goes on.
	DoneAt time.Time
}

// ResendRefused says why nothing can be sent again, and what to do instead.
type ResendRefused struct{ Reason string }

// Error returns the reason, a sentence.
func (r *ResendRefused) Error() string { return r.Reason }

// ResendLedger is the part of a [Ledger] that sends again.
//
// Order: only the newest update of an incident is sent again, after its plan is
// finished. An older one would have to begin after a newer one; and of the newest,
// whatever is planned later supersedes what waits, as always.
type ResendLedger interface {
	// BeginResend writes down who asked for what, in the audit log too, before any
	// delivery is touched, and returns it; a repetition returns the first one. It refuses with a
	// [*ResendRefused] what was stopped, has expired, is being planned, or is not
	// the newest update. A dry run returns what would come of it, and writes
	// nothing.
	BeginResend(ctx context.Context, r Resend) (*Resent, error)

	// ContinueResend does the next bounded part of a resend in one transaction:
	// closed rows wait again, due now; its counts and its place move on with them.
	// It ends the resend if there is a newer update by now, or the fan-out was
	// stopped. After the end it changes nothing.
	ContinueResend(ctx context.Context, key int64, now time.Time) (*Resent, error)

	// UnfinishedResends returns those begun and not done, oldest first, at most
	// limit.
	UnfinishedResends(ctx context.Context, limit int) ([]int64, error)
}

// Resend sends deliveries again, by the way of all retries. Once it returned
// without an error all of it happens, also if this process dies: what is not done
// yet, as DoneAt says, the retry's next turns do.
func (e *Engine) Resend(ctx context.Context, r Resend) (*Resent, error) {
	r.At = e.now()
	resent, err := e.ledger.BeginResend(ctx, r)
	if err != nil || r.DryRun || resent.Repeated {
		return resent, err
	}
	e.log.Info("an operator has deliveries sent again", "incident_key", r.Incident, "sequence", resent.Sequence, "resend", resent.Key, "by", r.By)
	if e.fail(FailResendBegun) != nil {
		return resent, nil
	}
	for resent.DoneAt.IsZero() {
		further, err := e.ledger.ContinueResend(ctx, resent.Key, e.now())
		if err != nil {
			e.log.Warn("a resend is interrupted; it goes on by itself", "resend", resent.Key, "error", err)
			break
		}
		if resent = further; e.fail(FailResendPage) != nil {
			break
		}
	}
	return resent, nil
}

// unfinishedAtOnce is how many resends one turn of the retry looks at.
const unfinishedAtOnce = 16

// finishResends goes on with resends whose process died, or whose caller left.
// Where the caller is still at it each part is done by one of the two.
func (e *Engine) finishResends(ctx context.Context) error {
	var keys []int64
	err := e.insist(ctx, "resend", func() (err error) {
		keys, err = e.ledger.UnfinishedResends(ctx, unfinishedAtOnce)
		return err
	})
	if err != nil {
		return err
	}
	for _, key := range keys {
		for done := false; !done; {
			err := e.insist(ctx, "resend", func() error {
				r, err := e.ledger.ContinueResend(ctx, key, e.now())
				done = err == nil && !r.DoneAt.IsZero()
				return err
			})
			if errors.Is(err, ErrLedgerRefused) {
				e.log.Error("a resend can't go on", "resend", key, "error", err)
				break
			}
			if err != nil {
				return err
			}
			if err := e.fail(FailResendPage); err != nil {
				return err
			}
		}
	}
	return nil
}
