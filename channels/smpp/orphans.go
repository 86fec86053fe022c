package smpp

import (
	"sync"
	"time"
)

const (
	// orphanTime is how long a receipt of an unknown message is put off: far longer
	// than a submit's result takes to the ledger, and not for ever, since a centre
	// may keep others back behind it. Such receipts are of messages whose response
	// was lost, or that somebody else sent by the same account.
	orphanTime = 10 * time.Minute
	// maxOrphans is how many are remembered; with more, all get their time anew.
	// Most receipts that are put off are of messages whose result is on its way to
	// the ledger: were these not forgotten once they are found, they would fill it.
	maxOrphans = 10_000
)

// orphans remembers since when receipts of unknown messages come.
type orphans struct {
	mu    sync.Mutex
	since map[string]time.Time // by message id
}

// giveUp reports whether a receipt was put off for long enough.
func (o *orphans) giveUp(id string, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	since, known := o.since[id]
	switch {
	case !known && len(o.since) < maxOrphans && o.since != nil:
		o.since[id] = now
	case !known:
		o.since = map[string]time.Time{id: now}
	case now.Sub(since) >= orphanTime:
		delete(o.since, id)
		return true
	}
	return false
}

// found forgets a receipt that was put off and whose message is known by now.
func (o *orphans) found(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.since, id)
}
