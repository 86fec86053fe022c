package lifecycle

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/incident"
)

// maxSkew is how far ahead of our clock an update's time may be, after the clock was
// set back. Further ahead the engine would refuse it in the end; without a time,
// updates are ordered as they arrive.
const maxSkew = time.Minute

// content is what makes an update news. Texts and details alone don't: those of
// monitors hold figures that always move.
type content struct {
	impact     incident.Impact
	components []string
	visibility incident.Visibility
}

func (s *Said) content() content { return content{s.Impact, s.Components, s.Visibility} }

func (c content) same(s Said) bool {
	return c.impact == s.Impact && c.visibility == s.Visibility && slices.Equal(c.components, s.Components)
}

// content is that of the signals that are told of.
func (c *Case) content() content {
	is := content{impact: incident.ImpactNone, components: []string{}, visibility: c.Visibility}
	for _, s := range c.telling() {
		if is.impact == incident.ImpactNone || s.Impact.Rank() > is.impact.Rank() {
			is.impact = s.Impact
		}
		is.components = append(is.components, s.Components...)
	}
	slices.Sort(is.components)
	is.components = slices.Compact(is.components)
	if c.Crowded || len(is.components) > MaxComponents {
		is.components = []string{}
	}
	return is
}

// say adds an update to the decisions and remembers it.
func (s *step) say(action Action, status incident.Status, is content, cause string) {
	e := &incident.Event{
		Page: s.Page, IncidentID: s.incidentID(), Status: status, Impact: is.impact, AffectedComponents: is.components,
		StartedAt: s.StartedAt, Visibility: is.visibility, Title: s.Said.Title, PublicDetails: s.Said.PublicDetails,
	}
	switch status {
	case incident.Resolved:
		e.Message = s.Ending.Message
		e.ResolvedAt = s.Ending.At
	case incident.Completed:
		e.ResolvedAt = s.Ending.At
	default:
		s.describe(e)
	}
	at := s.now
	if !at.After(s.Said.At) {
		at = s.Said.At.Add(time.Microsecond)
	}
	if at.Sub(s.now) > maxSkew {
		at = s.now
	} else {
		e.UpdatedAt = at
	}
	number := s.Said.Number + 1
	e.UpdateID = updateID(e, number)
	s.Said = Said{
		IncidentID: e.IncidentID, UpdateID: e.UpdateID, Number: number, Status: status, Impact: is.impact,
		Components: is.components, Visibility: is.visibility, Title: e.Title, PublicDetails: e.PublicDetails, At: at,
	}
	s.decisions = append(s.decisions, Decision{Action: action, Cause: cause, Number: number, Event: e})
}

// describe puts together what the signals say, each text once, oldest first. This is
// all of them that leaves: the details go to private audiences alone.
func (s *step) describe(e *incident.Event) {
	telling := s.telling()
	e.Title = ""
	var details []json.RawMessage
	for _, t := range telling {
		if e.Title == "" {
			e.Title = t.Title
		}
		for _, l := range t.Links {
			if len(e.Links) < maxLinks && !slices.Contains(e.Links, l) {
				e.Links = append(e.Links, l)
			}
		}
		if len(t.Details) > 0 {
			details = append(details, t.Details)
		}
	}
	e.Message, e.PublicDetails = messages(telling), publicOf(telling)
	if len(details) > 0 {
		// Each was valid by itself, so that together they are.
		e.Details, _ = json.Marshal(map[string]any{"signals": details})
	}
}

func messages(signals []*Signal) string {
	said := map[string]bool{"": true}
	var list []string
	for _, s := range signals {
		if !said[s.Message] {
			said[s.Message] = true
			list = append(list, s.Message)
		}
	}
	return fit(strings.Join(list, "\n"), maxMessages, "\n\t")
}

// updateID names an update by its place and its content.
func updateID(e *incident.Event, number int) string {
	hash := e.ContentHash()
	sum := sha256.Sum256(fmt.Appendf(nil, "tocsin lifecycle 1\n%q %q %d %x", e.Page, e.IncidentID, number, hash))
	return "lc-" + hex.EncodeToString(sum[:16])
}
