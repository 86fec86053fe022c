package gateway

import (
	"context"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/internal/store"
)

const (
	// liveIncidents is how many incidents are shown, liveUpdates how many updates
	// of each, and liveMessage how much of a message, in characters.
	liveIncidents = 10
	liveUpdates   = 5
	liveMessage   = 280
	// recountEvery is how often a finished fan-out is counted again: an outcome
	// may still become delivered by an answer that comes late.
	recountEvery = time.Minute
	// countingShare is the part of the time that may go into counting: the
	// engine has better things to do.
	countingShare = 0.05
	// countingSavings is how much of it may be saved up.
	countingSavings = 100 * time.Millisecond
)

// liveIncidentJSON is an incident with its newest updates.
type liveIncidentJSON struct {
	Incident incidentJSON `json:"incident"`
	// CountedAt is when the updates and their progress were read, null if they
	// have not been. EarlierUpdates counts those that are left out.
	CountedAt      *time.Time `json:"counted_at"`
	EarlierUpdates int        `json:"earlier_updates"`
}

// chronicle remembers how far the fan-outs of the newest incidents are. To count
// that reads every row of an incident's ledger, some 35 ms for 30,000: it is done
// for those that are not finished, the one that waited longest first, within an
// allowance.
type chronicle struct {
	accounts  map[int64]*account // by the store's key
	allowance allowance
}

// account is an incident as it was when its rows were counted.
type account struct {
	at       time.Time
	of       store.Incident
	updates  []store.Update // the newest
	earlier  int
	finished bool // all is planned, and every delivery has its outcome
}

func newChronicle() *chronicle { return &chronicle{accounts: make(map[int64]*account)} }

// read returns the newest incidents, counting as many anew as it may.
func (c *chronicle) read(ctx context.Context, h History, clock func() time.Time) ([]liveIncidentJSON, error) {
	list, err := h.Incidents(ctx, "", "", 0, liveIncidents)
	if err != nil {
		return nil, fmt.Errorf("list incidents: %w", err)
	}
	for key := range c.accounts {
		if !slices.ContainsFunc(list, func(i store.Incident) bool { return i.Key == key }) {
			delete(c.accounts, key)
		}
	}
	for _, i := range c.due(list, clock()) {
		begun := clock()
		if !c.allowance.has(begun) {
			break
		}
		found, updates, err := h.Incident(ctx, i.Page, i.IncidentID)
		c.allowance.spend(clock().Sub(begun))
		if err != nil {
			break // and shown as it was before
		}
		c.accounts[i.Key] = newAccount(found, updates, begun)
	}
	shown := make([]liveIncidentJSON, len(list))
	for n := range list {
		shown[n] = newLiveIncidentJSON(&list[n], c.accounts[list[n].Key])
	}
	return shown, nil
}

// due returns the incidents whose rows are worth counting, in that order.
func (c *chronicle) due(list []store.Incident, now time.Time) []store.Incident {
	var due []store.Incident
	for _, i := range list {
		a := c.accounts[i.Key]
		if a == nil || !a.finished || a.of.Sequence != i.Sequence || a.of.Stopped != i.Stopped || now.Sub(a.at) >= recountEvery {
			due = append(due, i)
		}
	}
	countedAt := func(i store.Incident) time.Time {
		if a := c.accounts[i.Key]; a != nil {
			return a.at
		}
		return time.Time{}
	}
	slices.SortStableFunc(due, func(a, b store.Incident) int { return countedAt(a).Compare(countedAt(b)) })
	return due
}

func newAccount(found *store.Incident, updates []store.Update, at time.Time) *account {
	a := &account{at: at, of: *found, updates: updates, finished: true}
	for _, u := range updates {
		planned := u.Sequence == 0 || !u.PlannedAt.IsZero() || found.Stopped
		a.finished = a.finished && planned
		for _, outcomes := range u.Progress {
			a.finished = a.finished && outcomes[dispatcher.Open] == 0
		}
	}
	if len(updates) > liveUpdates {
		a.updates, a.earlier = slices.Clone(updates[:liveUpdates]), len(updates)-liveUpdates
	}
	for n := range a.updates {
		a.updates[n].Message = beginning(a.updates[n].Message, liveMessage)
	}
	return a
}

// beginning cuts text after so many characters.
func beginning(text string, most int) string {
	if len(text) <= most || utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most]) + "…"
}

func newLiveIncidentJSON(i *store.Incident, a *account) liveIncidentJSON {
	shown := liveIncidentJSON{Incident: newIncidentJSON(i)}
	if a == nil {
		return shown
	}
	shown.CountedAt, shown.EarlierUpdates = moment(a.at), a.earlier
	for n := range a.updates {
		shown.Incident.Updates = append(shown.Incident.Updates, newUpdateJSON(&a.updates[n]))
	}
	return shown
}

// allowance is time that may be spent: it grows with a share of the time that
// passes, up to some savings, and may be overdrawn once.
type allowance struct {
	left time.Duration
	at   time.Time // zero at the beginning, with all of the savings
}

func (a *allowance) has(now time.Time) bool {
	earned := countingSavings
	if !a.at.IsZero() {
		earned = time.Duration(countingShare * float64(now.Sub(a.at)))
	}
	a.left, a.at = min(a.left+max(earned, 0), countingSavings), now
	return a.left > 0
}

func (a *allowance) spend(d time.Duration) { a.left -= d }
