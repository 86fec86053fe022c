package scenario

import (
	"fmt"
	"strings"
	"time"

	"github.com/tocsin/tocsin/incident"
)

// story is an incident with so many updates as are asked for, in webhook bodies of
// about 1 KB at first.
type story struct {
	incident string
	page     string
	started  time.Time
}

func newStory(id, page string) story {
	return story{incident: id, page: page, started: time.Now().Add(-time.Hour).UTC().Truncate(time.Second)}
}

// event is the nth update, from 1.
func (s story) event(n int) ([]byte, error) {
	at := s.started.Add(time.Duration(n) * time.Second)
	e := &incident.Event{IncidentID: s.incident, Page: s.page, Status: incident.Investigating, Impact: incident.ImpactCritical,
		Title: "Logins fail", Message: fmt.Sprintf("Step %04d: we are looking into it. %s", n, strings.Repeat("x", filler)),
		AffectedComponents: []string{"auth-api"}, StartedAt: s.started, UpdatedAt: at, ExpiresAt: time.Now().Add(time.Hour),
		UpdateID: fmt.Sprintf("%s-%d", s.incident, n)}
	if err := e.Validate(); err != nil {
		return nil, fmt.Errorf("event of the benchmark: %w", err)
	}
	return incident.Encode(e)
}

// filler makes a body of about 1 KB: a message is in it twice, as the update's and
// in the timeline.
const filler = 290
