package crash

import (
	"context"
	"fmt"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/peer"
)

// update is one update on its way.
type update struct {
	incident string
	sequence int
	id       string
	body     []byte
}

// is says whether a request was about the update.
func (u *update) is(r peer.Receipt) bool { return r.Incident == u.incident && r.Sequence == u.sequence }

// publishNext publishes the next update, again and again until it is accepted.
func (tr *trial) publishNext() (accepted <-chan error) {
	u, done := tr.next(), make(chan error, 1)
	tr.publishing.Go(func() {
		ctx, cancel := context.WithTimeout(tr.t.Context(), patience)
		defer cancel()
		done <- tr.publish(ctx, u)
	})
	return done
}

// next makes up the next update. An incident gets two to four of them, of which
// the last resolves it.
func (tr *trial) next() *update {
	u := &update{sequence: 1}
	if tr.coming == 0 {
		tr.coming = 2 + tr.rng.IntN(3)
		u.incident = fmt.Sprintf("CRASH-%d", len(tr.incidents())+1)
	} else {
		last := tr.updates[len(tr.updates)-1]
		u.incident, u.sequence = last.incident, last.sequence+1
	}
	tr.coming--
	tr.updates = append(tr.updates, u)
	u.id = fmt.Sprintf("%s-%d", u.incident, u.sequence)
	status := incident.Identified
	switch {
	case u.sequence == 1:
		status = incident.Investigating
	case tr.coming == 0:
		status = incident.Resolved
	}
	now := time.Now()
	event := &incident.Event{IncidentID: u.incident, UpdateID: u.id, Status: status, Impact: incident.ImpactMajor,
		AffectedComponents: []string{"checkout"}, StartedAt: now, ExpiresAt: now.Add(tr.expiry),
		CallbackURL: incident.CallbackURL(tr.calls.server.URL + "/done"),
		Title:       "Checkout fails", Message: fmt.Sprintf("This is update %d.", u.sequence)}
	var err error
	if u.body, err = incident.Encode(event); err != nil {
		tr.t.Fatal(err)
	}
	return u
}

// incidents lists the incidents so far.
func (tr *trial) incidents() (ids []string) {
	for _, u := range tr.updates {
		if u.sequence == 1 {
			ids = append(ids, u.incident)
		}
	}
	return ids
}
