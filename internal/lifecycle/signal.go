package lifecycle

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/tocsin/tocsin/incident"
)

// Bounds of what is kept of a case. What is beyond them is not lost: see each.
const (
	// MaxSignals is how many firing signals a case holds. With more, it concerns
	// the whole page.
	MaxSignals = 10_000
	// MaxComponents is how many components an update names. With more, it
	// concerns the whole page.
	MaxComponents = 1000

	maxGroup    = 100      // bytes: an occurrence's number is added
	maxKey      = 128      // bytes
	maxTitle    = 512      // bytes, so that there are no more characters either
	maxTitles   = 60 << 10 // bytes, over all signals of a case
	maxMessages = 60 << 10 // bytes, over all signals of a case
	maxLinks    = 20       // over all signals of a case
	maxDetailed = 10       // signals with details
	maxDetails  = 16 << 10 // bytes, over all signals of a case
)

// Mark is what a sender says of a signal's audience; "" leaves it to the rules.
type Mark string

// The marks. A marked signal is told to that audience alone, whatever the rules say.
const (
	MarkPublic  Mark = "public"
	MarkPrivate Mark = "private"
	MarkNone    Mark = "none"
)

// Valid reports whether m is empty or one of the marks.
func (m Mark) Valid() bool {
	return m == "" || m == MarkPublic || m == MarkPrivate || m == MarkNone
}

// Signal is one thing that is wrong, or no longer.
type Signal struct {
	// Key tells it from the others of its group [1 to 128 bytes].
	Key    string `json:"key"`
	Firing bool   `json:"-"`
	// Components that are affected, as package incident has them; none means
	// that the sender doesn't know.
	Components []string        `json:"components,omitempty"`
	Impact     incident.Impact `json:"impact"`
	Mark       Mark            `json:"mark,omitempty"`
	// StartedAt is when it began, by the sender's clock; never later than now.
	StartedAt time.Time `json:"started_at"`
	// Reported says that StartedAt is the time of the report rather than of the
	// trouble: a signal that fires already keeps the one it has.
	Reported bool `json:"-"`
	// EndedAt may be zero: then it ended when that was reported.
	EndedAt time.Time `json:"-"`
	// Title and Message are for the public.
	Title   string          `json:"title,omitempty"`
	Message string          `json:"message,omitempty"`
	Links   []incident.Link `json:"links,omitempty"`
	// PublicDetails are for whoever hears of the signal, as package incident has them.
	PublicDetails map[string]string `json:"public_details,omitempty"`
	// Details are for private audiences: any JSON. Those of a few signals are kept.
	Details json.RawMessage `json:"details,omitempty"`
}

// Report is what a sender says at once of one group on one page.
type Report struct {
	// Source names the kind of sender, as "alerts".
	Source string
	Page   string
	// Group names the first incident; later ones of the group are named
	// group-2, group-3 and so on [1 to 100 bytes, printable].
	Group string
	// Whole says that these are all the signals of the group: those it doesn't
	// name have ended.
	Whole   bool
	Signals []Signal
	// Note is an action for the audit log that changes nothing by itself, as
	// [Acknowledged]; "" for none. It is kept only of a case that has an incident.
	Note Action
}

// Answer is what became of a report, for its sender.
type Answer struct {
	// Page and IncidentID name the incident that the report is of; IncidentID is ""
	// as long as nobody is told of the case. UpdateID names its last update: what
	// waits for the window has no name yet.
	Page, IncidentID, UpdateID string
	// Duplicate says that the report changed nothing.
	Duplicate bool
	// HeldBack counts the firing signals of the group that nobody is told of.
	HeldBack int
}

// Check makes r fit to be stepped with: it trims names and cuts texts. What can't be
// made fit is an [*incident.Invalid], whose field is one of an event: page,
// incident_id, affected_components, impact, visibility, started_at, links or
// public_details.
func (r *Report) Check() error {
	probe := incident.Event{
		Page: r.Page, IncidentID: r.Group, Status: incident.Investigating, Impact: incident.ImpactNone,
		AffectedComponents: []string{}, StartedAt: time.Unix(0, 0),
	}
	if err := probe.Validate(); err != nil {
		return err
	}
	if len(probe.IncidentID) > maxGroup {
		return &incident.Invalid{Field: "incident_id", Reason: "must be at most 100 bytes"}
	}
	r.Page, r.Group = probe.Page, probe.IncidentID
	clean := make(map[string]string)
	for i := range r.Signals {
		if err := r.Signals[i].check(clean); err != nil {
			return err
		}
	}
	return nil
}

// check is given the component ids that are known to be good, as they are to be
// written.
func (s *Signal) check(clean map[string]string) error {
	if s.Key == "" || len(s.Key) > maxKey {
		return &incident.Invalid{Field: "key", Reason: "must be 1 to 128 bytes"}
	}
	if !s.Impact.Valid() {
		return &incident.Invalid{Field: "impact", Reason: "must be one of none, minor, major, critical, maintenance"}
	}
	if !s.Mark.Valid() {
		return &incident.Invalid{Field: "visibility", Reason: "must be one of public, private, none"}
	}
	if year := s.StartedAt.UTC().Year(); year < 1970 || year > 9999 {
		return &incident.Invalid{Field: "started_at", Reason: "must be in the years 1970 to 9999"}
	}
	s.StartedAt, s.EndedAt = s.StartedAt.UTC().Truncate(time.Microsecond), s.EndedAt.UTC().Truncate(time.Microsecond)
	for i, id := range s.Components {
		known, ok := clean[id]
		if !ok {
			var err error
			if known, err = incident.ComponentID(id); err != nil {
				return err
			}
			clean[id] = known
		}
		s.Components[i] = known
	}
	s.Title = fit(s.Title, maxTitle, "")
	s.Message = fit(s.Message, maxMessages, "\n\t")
	var err error
	if s.PublicDetails, err = checkPublic(s.PublicDetails); err != nil {
		return err
	}
	if len(s.Links) > 0 {
		probe := incident.Event{
			IncidentID: "i", Status: incident.Investigating, Impact: incident.ImpactNone,
			AffectedComponents: []string{}, StartedAt: s.StartedAt, Links: s.Links,
		}
		if err := probe.Validate(); err != nil {
			return err
		}
		s.Links = probe.Links
	}
	if len(s.Details) > maxDetails || !json.Valid(s.Details) {
		s.Details = nil // a notice is worth more than what goes with it
	}
	return nil
}

// fit makes a text fit for an event: in at most so many bytes and without control
// characters but those to keep; where none is, it is one line. A notice is worth more
// than its tail.
func fit(text string, most int, keep string) string {
	breaks := func(r rune) bool {
		return unicode.IsControl(r) && !strings.ContainsRune(keep, r) || keep == "" && (r == '\u2028' || r == '\u2029')
	}
	bad := func(r rune) bool { return breaks(r) || r == unicode.ReplacementChar }
	if strings.ContainsFunc(text, bad) {
		text = strings.Map(func(r rune) rune {
			if breaks(r) {
				return ' '
			}
			return r
		}, strings.ToValidUTF8(strings.ReplaceAll(text, "\r\n", "\n"), "�"))
	}
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most-len("…")], "") + "…"
	}
	return strings.TrimSpace(text)
}

// bound sorts firing signals, oldest first, and cuts what a case doesn't hold.
func bound(firing []Signal) (kept []Signal, crowded bool) {
	slices.SortFunc(firing, func(a, b Signal) int {
		return cmp.Or(a.StartedAt.Compare(b.StartedAt), cmp.Compare(a.Key, b.Key))
	})
	if crowded = len(firing) > MaxSignals; crowded {
		firing = slices.Clip(firing[:MaxSignals])
	}
	said := make(map[string]bool)
	titles, text, links, public, detailed, details := 0, 0, 0, 0, 0, 0
	for i := range firing {
		s := &firing[i]
		if titles += len(s.Title); titles > maxTitles {
			s.Title = ""
		}
		if !said[s.Message] {
			if text += len(s.Message) + 1; text > maxMessages {
				s.Message = ""
			}
			said[s.Message] = true
		}
		if links += len(s.Links); links > maxLinks {
			s.Links = nil
		}
		if public += publicSize(s.PublicDetails); public > maxPublic {
			s.PublicDetails = nil
		}
		if len(s.Details) > 0 {
			detailed++
			if details += len(s.Details); detailed > maxDetailed || details > maxDetails {
				s.Details = nil
			}
		}
	}
	return firing, crowded
}
