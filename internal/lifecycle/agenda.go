package lifecycle

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/tocsin/tocsin/incident"
)

// maxKeys is how many orders of an incident are known again; the ledger knows those
// whose update was accepted for ever.
const maxKeys = 100

// Agenda is what was ordered by hand of one incident: what was said, and what waits
// for its time. It is durable between orders.
type Agenda struct {
	Version    int    `json:"version"`
	Page       string `json:"page"`
	IncidentID string `json:"incident_id"`
	// Said is the last update, without its message; its UpdatedAt is when it was
	// said. The ledger may not have it yet.
	Said *incident.Event `json:"said,omitempty"`
	// Orders are the update ids of the last ones.
	Orders []string `json:"orders,omitempty"`
	// Pending is sorted by time.
	Pending []Pending `json:"pending,omitempty"`
}

// Pending is an update that waits for its time.
type Pending struct {
	At   time.Time   `json:"at"`
	Step PendingStep `json:"step"`
	// UpdateID is that of the update, Actor who ordered it.
	UpdateID string `json:"update_id"`
	Actor    string `json:"actor"`
	Words    Words  `json:"words"`
}

// PendingStep is what a pending update is.
type PendingStep string

// The steps: those of orders with a time, and those of a maintenance.
const (
	StepOpen     PendingStep = "open"
	StepUpdate   PendingStep = "update"
	StepResolve  PendingStep = "resolve"
	StepReminder PendingStep = "reminder"
	StepStart    PendingStep = "start"
	StepEnd      PendingStep = "end"
)

// maintenance says that the step is one of a schedule.
func (s PendingStep) maintenance() bool {
	return s == StepReminder || s == StepStart || s == StepEnd
}

// NewAgenda is that of an incident of which nothing was ordered yet.
func NewAgenda(page, incidentID string) *Agenda {
	return &Agenda{Version: version, Page: page, IncidentID: incidentID}
}

// ParseAgenda reads what Encode wrote.
func ParseAgenda(state []byte) (*Agenda, error) {
	var a Agenda
	if err := json.Unmarshal(state, &a); err != nil {
		return nil, fmt.Errorf("the state of an agenda can't be read: %w", err)
	}
	if a.Version != version {
		return nil, fmt.Errorf("the state of an agenda has version %d, and this is version %d: a newer Tocsin wrote it; run that one", a.Version, version)
	}
	return &a, nil
}

// Encode writes the agenda; equal ones give equal bytes.
func (a *Agenda) Encode() ([]byte, error) {
	state, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("write the state of an agenda: %w", err)
	}
	return state, nil
}

// DueAt is when [ObeyDue] is to be called next; zero if nothing waits.
func (a *Agenda) DueAt() time.Time {
	if len(a.Pending) == 0 {
		return time.Time{}
	}
	return a.Pending[0].At
}

// copied returns an agenda whose slices may be written to.
func (a *Agenda) copied() *Agenda {
	c := *a
	c.Orders, c.Pending = slices.Clone(a.Orders), slices.Clone(a.Pending)
	return &c
}

// stands is how the incident stands, by the later of the ledger's word and ours; nil
// if there is none.
func (a *Agenda) stands(latest *incident.Event) *incident.Event {
	if a.Said != nil && (latest == nil || a.Said.UpdatedAt.After(latest.UpdatedAt)) {
		return a.Said
	}
	return latest
}

// remember keeps that an order was obeyed.
func (a *Agenda) remember(updateID string) {
	a.Orders = append(a.Orders, updateID)
	if over := len(a.Orders) - maxKeys; over > 0 {
		a.Orders = slices.Delete(a.Orders, 0, over)
	}
}

// wait puts an update among those that wait, behind those of its time.
func (a *Agenda) wait(p Pending) {
	at, _ := slices.BinarySearchFunc(a.Pending, p.At, func(q Pending, t time.Time) int {
		if q.At.After(t) {
			return 1
		}
		return -1
	})
	a.Pending = slices.Insert(a.Pending, at, p)
}

// drop removes pending updates and counts them.
func (a *Agenda) drop(which func(PendingStep) bool) int {
	before := len(a.Pending)
	a.Pending = slices.DeleteFunc(a.Pending, func(p Pending) bool { return which(p.Step) })
	return before - len(a.Pending)
}
