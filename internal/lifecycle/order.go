package lifecycle

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/tocsin/tocsin/incident"
)

// Manual is the source of what is said by hand.
const Manual = "manual"

// Bounds of an order.
const (
	// MaxAhead is how far ahead anything is scheduled.
	MaxAhead = 366 * 24 * time.Hour
	// MaxPending is how much waits for its time, of one incident.
	MaxPending = 20

	maxAuthor = 100 // bytes
)

// Order is what an operator says of one incident by hand.
type Order struct {
	Action OrderAction
	Page   string
	// IncidentID may be empty to open or schedule: then the order is given a name.
	IncidentID string
	// UpdateID is the idempotency key, and that of the update; never empty.
	UpdateID string
	// Author is who says it in their own words, Caller whom the engine let in as.
	// Neither ever leaves: they are for the audit log.
	Author, Caller string
	Words          Words
	// At has an update wait for its time; zero is now.
	At time.Time
	// Start and End are of a maintenance, Reminder how long before the start it is
	// told of again, 0 for never. Verify ends it with verifying and not completed.
	Start, End      time.Time
	Reminder        time.Duration
	ReminderMessage string
	Verify          bool
}

// OrderAction is what an order asks for.
type OrderAction string

// The orders.
const (
	OrderOpen     OrderAction = "open"
	OrderUpdate   OrderAction = "update"
	OrderResolve  OrderAction = "resolve"
	OrderSchedule OrderAction = "schedule"
	OrderCancel   OrderAction = "cancel"
)

// Words are what an update is to say; what is absent stays as it was. A message is
// of one update alone.
type Words struct {
	Status incident.Status `json:"status,omitempty"`
	Impact incident.Impact `json:"impact,omitempty"`
	// Components are nil for those it has; none are the whole page.
	Components []string            `json:"components"`
	Visibility incident.Visibility `json:"visibility,omitempty"`
	Title      string              `json:"title,omitempty"`
	Message    string              `json:"message,omitempty"`
	Test       bool                `json:"test,omitempty"`
}

func (w *Words) none() bool {
	return w.Status == "" && w.Impact == "" && w.Components == nil && w.Visibility == "" && w.Title == "" && w.Message == ""
}

// Refused is an order that doesn't fit how its incident stands.
type Refused struct {
	// Unknown says that there is no such incident.
	Unknown bool
	// Reason is a sentence for the operator.
	Reason string
}

// Error is the reason.
func (r *Refused) Error() string { return r.Reason }

// Obeyed is the answer to an order.
type Obeyed struct {
	Page, IncidentID, UpdateID string
	// Duplicate says that the order was known, by its UpdateID: nothing was done.
	Duplicate bool
	// Pending waits for its time, earliest first.
	Pending []Pending
}

// Check makes an order fit to be obeyed, and names its incident if it has to have a
// name. The error is an [*incident.Invalid] of the order's own fields.
func (o *Order) Check(now time.Time) error {
	if err := o.checkAction(); err != nil {
		return err
	}
	if o.IncidentID == "" {
		if o.Action != OrderOpen && o.Action != OrderSchedule {
			return &incident.Invalid{Field: "incident_id", Reason: "is required: which incident?"}
		}
		o.IncidentID = incidentName(o.Page, o.UpdateID)
	}
	if err := o.checkWords(); err != nil {
		return err
	}
	if o.UpdateID == "" {
		return &incident.Invalid{Field: "update_id", Reason: "is required"}
	}
	if err := o.checkAuthor(); err != nil {
		return err
	}
	return o.checkTimes(now)
}

func (o *Order) checkAction() error {
	w := &o.Words
	switch o.Action {
	case OrderOpen, OrderSchedule:
		if o.Action == OrderSchedule && w.Impact == "" {
			w.Impact = incident.ImpactMaintenance
		}
		if w.Impact == "" {
			return &incident.Invalid{Field: "impact", Reason: "is required: one of none, minor, major, critical, maintenance"}
		}
		if w.Components == nil {
			return &incident.Invalid{Field: "affected_components", Reason: "is required; an empty list means the whole page"}
		}
	case OrderUpdate:
		if w.none() {
			return &incident.Invalid{Field: "message", Reason: "is missing, and nothing else changes either; say what is new"}
		}
	case OrderResolve, OrderCancel:
	default:
		return &incident.Invalid{Field: "action", Reason: "must be one of open, update, resolve, schedule, cancel"}
	}
	if w.Test && o.Action != OrderOpen && o.Action != OrderSchedule {
		return &incident.Invalid{Field: "test", Reason: "is said of an incident when it is opened; its updates are tests, too"}
	}
	if w.Status != "" && o.Action != OrderOpen && o.Action != OrderUpdate {
		return &incident.Invalid{Field: "status", Reason: "follows from the action"}
	}
	if w.Status == incident.Scheduled {
		return &incident.Invalid{Field: "status", Reason: "needs a start and an end; use the action schedule"}
	}
	if w.Status.Terminal() && o.Action == OrderOpen {
		return &incident.Invalid{Field: "status", Reason: "must not be the end of what only begins"}
	}
	return nil
}

// checkWords holds all that leaves against the rules of an event.
func (o *Order) checkWords() error {
	w := &o.Words
	probe := incident.Event{
		Page: o.Page, IncidentID: o.IncidentID, UpdateID: o.UpdateID, Status: or(w.Status, incident.Investigating),
		Impact: or(w.Impact, incident.ImpactNone), AffectedComponents: w.Components, Visibility: w.Visibility,
		StartedAt: time.Unix(0, 0), Title: w.Title, Message: w.Message,
	}
	if probe.AffectedComponents == nil {
		probe.AffectedComponents = []string{}
	}
	if err := probe.Validate(); err != nil {
		return err
	}
	o.Page, o.IncidentID, o.UpdateID, w.Title, w.Message = probe.Page, probe.IncidentID, probe.UpdateID, probe.Title, probe.Message
	if w.Components != nil {
		w.Components = probe.AffectedComponents
	}
	probe.Message = o.ReminderMessage
	if err := probe.Validate(); err != nil {
		return &incident.Invalid{Field: "reminder_message", Reason: strings.TrimPrefix(err.Error(), "message ")}
	}
	o.ReminderMessage = probe.Message
	return nil
}

// checkAuthor keeps addresses and numbers out of the audit log.
func (o *Order) checkAuthor() error {
	o.Author = strings.TrimSpace(o.Author)
	switch {
	case len(o.Author) > maxAuthor || o.Author != fit(o.Author, maxAuthor, ""):
		return &incident.Invalid{Field: "author", Reason: "must be one printable line of at most 100 bytes"}
	case strings.Contains(o.Author, "@"), numeric(o.Author):
		return &incident.Invalid{Field: "author", Reason: "must be a name, and no address or number: the audit log keeps it"}
	}
	return nil
}

func numeric(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsDigit(r) && !strings.ContainsRune(" +-/()", r) })
}

func (o *Order) checkTimes(now time.Time) error {
	for _, t := range []*time.Time{&o.At, &o.Start, &o.End} {
		if !t.IsZero() {
			*t = t.UTC().Truncate(time.Microsecond)
		}
	}
	ahead := func(field string, t time.Time) error {
		switch {
		case !t.After(now):
			return &incident.Invalid{Field: field, Reason: "must be in the future; it is " + now.UTC().Format(time.RFC3339) + " here"}
		case t.Sub(now) > MaxAhead:
			return &incident.Invalid{Field: field, Reason: "must be within a year"}
		}
		return nil
	}
	if o.Action != OrderSchedule {
		if !o.Start.IsZero() || !o.End.IsZero() || o.Reminder != 0 || o.ReminderMessage != "" || o.Verify {
			return &incident.Invalid{Field: "start", Reason: "and what goes with it are of the action schedule"}
		}
		if o.At.IsZero() {
			return nil
		}
		if o.Action == OrderCancel {
			return &incident.Invalid{Field: "at", Reason: "is of the actions open, update and resolve"}
		}
		return ahead("at", o.At)
	}
	if !o.At.IsZero() {
		return &incident.Invalid{Field: "at", Reason: "is of the actions open, update and resolve; a maintenance has a start"}
	}
	if err := ahead("start", o.Start); err != nil {
		return err
	}
	if err := ahead("end", o.End); err != nil {
		return err
	}
	if !o.End.After(o.Start) {
		return &incident.Invalid{Field: "end", Reason: "must be after the start"}
	}
	if o.Reminder < 0 || o.Reminder > 0 && !o.Start.Add(-o.Reminder).After(now) {
		return &incident.Invalid{Field: "reminder", Reason: "must be shorter than the time to the start, or left out"}
	}
	if o.Reminder == 0 && o.ReminderMessage != "" {
		return &incident.Invalid{Field: "reminder", Reason: "is missing: how long before the start?"}
	}
	return nil
}

// actor names who gave the order, for the audit log.
func (o *Order) actor() string {
	if o.Author == "" {
		return o.Caller
	}
	return fmt.Sprintf("%s (%s)", o.Author, o.Caller)
}

// incidentName names an incident after the order that begins it, so that the same
// order comes to the same incident.
func incidentName(page, updateID string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "tocsin incident by hand 1\n%q %q", page, updateID))
	return "INC-" + base32.StdEncoding.EncodeToString(sum[:5])
}

// stepID names the update of a step of a maintenance.
func (o *Order) stepID(step PendingStep) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "tocsin maintenance 1\n%q %q %q %q", o.Page, o.IncidentID, o.UpdateID, step))
	return "md-" + hex.EncodeToString(sum[:16])
}

func or[T ~string](value, otherwise T) T {
	if value == "" {
		return otherwise
	}
	return value
}
