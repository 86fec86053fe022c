package dispatcher

import "errors"

// ErrLedgerRefused marks errors of a [Ledger] that repeating can't heal.
var ErrLedgerRefused = errors.New("the ledger refused the request")

// ErrStopped is returned by [Ledger.CommitPage] for a stopped incident.
var ErrStopped = errors.New("the incident's fan-out was stopped")
