package lifecycle

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tocsin/tocsin/incident"
)

// Phase is where a case stands.
type Phase string

// The phases. A completed case is quiet again: nothing is told of it.
const (
	Quiet   Phase = "quiet"
	Open    Phase = "open"
	Cooling Phase = "cooling"
)

// version of the state's form. One that is not known is refused rather than
// misread.
const version = 1

// Case is all that is known of one (page, group). It is durable between steps.
type Case struct {
	Version int    `json:"version"`
	Page    string `json:"page"`
	Group   string `json:"group"`
	// Source is that of the last report.
	Source string `json:"source"`
	Phase  Phase  `json:"phase"`
	// Occurrence counts the incidents so far.
	Occurrence int `json:"occurrence"`
	// Visibility and StartedAt are of the incident that is told of; the first
	// only ever grows from private to public.
	Visibility incident.Visibility `json:"visibility,omitempty"`
	StartedAt  time.Time           `json:"started_at,omitzero"`
	// Firing are the signals that fire, oldest first. Crowded says that there
	// are more than are held.
	Firing  []Signal `json:"firing,omitempty"`
	Crowded bool     `json:"crowded,omitempty"`
	// Ending is what was said by those that ended last.
	Ending Ending `json:"ending,omitzero"`
	// Said is the last update; it is zero before the first.
	Said Said `json:"said,omitzero"`
	// CompleteAt ends the cooling.
	CompleteAt time.Time `json:"complete_at,omitzero"`
	// DueAt is when [Due] is to be called next; zero if nothing waits for a time.
	DueAt time.Time `json:"due_at,omitzero"`
}

// Ending is what the last signals to end left behind.
type Ending struct {
	At      time.Time `json:"at"`
	Message string    `json:"message,omitempty"`
}

// Said is what an update said.
type Said struct {
	IncidentID string `json:"incident_id"`
	UpdateID   string `json:"update_id"`
	// Number counts the updates of the incident.
	Number     int                 `json:"number"`
	Status     incident.Status     `json:"status"`
	Impact     incident.Impact     `json:"impact"`
	Components []string            `json:"components"`
	Visibility incident.Visibility `json:"visibility"`
	Title      string              `json:"title,omitempty"`
	// PublicDetails are told again when it is over, as title and components are.
	PublicDetails map[string]string `json:"public_details,omitempty"`
	At            time.Time         `json:"at"`
}

// NewCase is a case of which nothing is known yet.
func NewCase(page, group string) *Case {
	return &Case{Version: version, Page: page, Group: group, Phase: Quiet}
}

// ParseCase reads what Encode wrote.
func ParseCase(state []byte) (*Case, error) {
	var c Case
	if err := json.Unmarshal(state, &c); err != nil {
		return nil, fmt.Errorf("the state of a case can't be read: %w", err)
	}
	if c.Version != version {
		return nil, fmt.Errorf("the state of a case has version %d, and this is version %d: a newer Tocsin wrote it; run that one", c.Version, version)
	}
	return &c, nil
}

// Encode writes the case; equal cases give equal bytes.
func (c *Case) Encode() ([]byte, error) {
	state, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("write the state of a case: %w", err)
	}
	return state, nil
}

// Forgettable says that nothing is lost if the case is forgotten: nothing fires and
// no incident was ever named after it.
func (c *Case) Forgettable() bool {
	return c.Phase == Quiet && c.Occurrence == 0 && len(c.Firing) == 0
}

// HeldBack counts the firing signals that are not told of.
func (c *Case) HeldBack() int {
	held := 0
	for i := range c.Firing {
		if !c.tells(&c.Firing[i]) {
			held++
		}
	}
	return held
}

// tells says whether a firing signal is for the audience that hears of the case.
func (c *Case) tells(s *Signal) bool {
	switch {
	case c.Visibility == "" || s.Mark == MarkNone:
		return false
	case s.Mark == MarkPrivate:
		return c.Visibility == incident.Private
	}
	return true
}

// telling are the firing signals that the audience hears of.
func (c *Case) telling() []*Signal {
	var list []*Signal
	for i := range c.Firing {
		if c.tells(&c.Firing[i]) {
			list = append(list, &c.Firing[i])
		}
	}
	return list
}

// incidentID names the incident of the present occurrence.
func (c *Case) incidentID() string {
	if c.Occurrence < 2 {
		return c.Group
	}
	return c.Group + "-" + strconv.Itoa(c.Occurrence)
}

// fold brings a report into the case and counts what changed: how many signals fire
// that didn't, and how many ended.
func (c *Case) fold(r *Report, now time.Time) (began, ended int) {
	known := make(map[string]*Signal, len(c.Firing))
	for i := range c.Firing {
		known[c.Firing[i].Key] = &c.Firing[i]
	}
	last := make(map[string]int, len(r.Signals))
	for i := range r.Signals {
		last[r.Signals[i].Key] = i
	}
	firing := make([]Signal, 0, len(r.Signals))
	var gone []*Signal
	for i := range r.Signals {
		s := r.Signals[i]
		old := known[s.Key]
		switch {
		case last[s.Key] != i: // named again further down
		case s.Firing:
			if s.Reported && old != nil {
				s.StartedAt = old.StartedAt
			}
			if s.StartedAt.After(now) {
				s.StartedAt = now
				if old != nil {
					s.StartedAt = old.StartedAt
				}
			}
			if old == nil {
				began++
			}
			firing = append(firing, s)
		case old != nil:
			s.Mark = old.Mark
			gone = append(gone, &s)
		}
	}
	for i := range c.Firing {
		s := &c.Firing[i]
		_, named := last[s.Key]
		switch {
		case named:
		case r.Whole:
			gone = append(gone, s)
		default:
			firing = append(firing, *s)
		}
	}
	c.end(gone, now)
	crowded := c.Crowded && !r.Whole && len(firing) > 0
	c.Firing, c.Crowded = bound(firing)
	c.Crowded = c.Crowded || crowded
	c.Source = r.Source
	return began, len(gone)
}

// end keeps what signals left behind that the audience had heard of.
func (c *Case) end(gone []*Signal, now time.Time) {
	var told []*Signal
	var at time.Time
	for _, s := range gone {
		if !c.tells(s) {
			continue
		}
		told = append(told, s)
		ended := s.EndedAt
		if ended.IsZero() || ended.Year() < 1970 || ended.After(now) {
			ended = now
		}
		if ended.After(at) {
			at = ended
		}
	}
	if len(told) > 0 {
		slices.SortStableFunc(told, func(a, b *Signal) int { return a.StartedAt.Compare(b.StartedAt) })
		c.Ending = Ending{At: at, Message: messages(told)}
	}
}
