package scenario

import (
	"fmt"
	"time"

	"github.com/tocsin/tocsin/bench/floor"
	"github.com/tocsin/tocsin/incident"
)

// bodySize is that of the first update's webhook, in bytes, for the engine and for
// floors.
const bodySize = 1024

// newStory is an incident whose updates have the words that floors send, so that
// both send the same bytes.
func newStory(id string) (floor.Story, error) { return floor.NewStory(id, bodySize) }

// eventOf is the nth update of a story, from 1, for the targets of a page.
func eventOf(s *floor.Story, page string, n int) ([]byte, error) {
	e := &incident.Event{IncidentID: s.Incident, Page: page, Status: floor.Status, Impact: floor.Impact, Title: s.Title, Message: s.Message(n),
		AffectedComponents: []string{floor.Component}, StartedAt: s.StartedAt, UpdatedAt: s.UpdatedAt(n), ExpiresAt: time.Now().Add(time.Hour),
		UpdateID: fmt.Sprintf("%s-%d", s.Incident, n)}
	if err := e.Validate(); err != nil {
		return nil, fmt.Errorf("event of the benchmark: %w", err)
	}
	return incident.Encode(e)
}
