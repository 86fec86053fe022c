// Package storetest is the contract suite of a store: everything that implements
// dispatcher.Ledger and the ports of package store on one database passes it.
//
// Promise: a store that passes keeps every transition of the ledger's state
// machine, its guards included, whatever is repeated or comes too late, and still
// knows all of it after being reopened.
//
// Words: a fixture is one opened store over a fresh database; to reopen is what
// the next process does.
package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/store"
	"github.com/tocsin/tocsin/queue"
)

// Store is all that a store is.
type Store interface {
	dispatcher.Ledger
	store.Targets
	store.History
	store.Subscribers
	store.Receipts
	store.Routes
	store.Health
	store.Cases
	store.Audit
	store.Probes
	store.Replays
	feedStore
}

// Fixture is one opened store.
type Fixture struct {
	Store Store
	// Step is how many rows Expire closes at most at a time; small, so that the
	// suite needs few.
	Step int
	// Reopen closes the store as the end of its process would and opens it again
	// over the same database. The fixture closes what it opened when the test ends.
	Reopen func(t *testing.T) Fixture
}

// Open returns a fixture over a fresh database, whose targets are routed by route.
type Open func(t *testing.T, route store.Route) Fixture

// Run runs the suite.
func Run(t *testing.T, open Open) {
	for _, part := range []struct {
		name  string
		tests []test
	}{
		{"Targets", targetTests}, {"Accept", acceptTests}, {"Plan", planTests}, {"Claim", claimTests}, {"Budgets", budgetTests},
		{"Settle", settleTests}, {"Retry", retryTests}, {"Sweep", sweepTests}, {"History", historyTests},
		{"Feeds", feedTests}, {"Replies", replyTests}, {"Reroute", rerouteTests}, {"Callbacks", callbackTests},
		{"Resends", resendTests}, {"Cases", caseTests}, {"Audit", auditTests}, {"Suspects", suspectTests}, {"Probes", probeTests},
		{"Replays", replayTests},
	} {
		t.Run(part.name, func(t *testing.T) {
			for _, c := range part.tests {
				t.Run(c.name, func(t *testing.T) { c.run(newKit(t, open)) })
			}
		})
	}
}

type test struct {
	name string
	run  func(k *kit)
}

// start is the time at which the suite's stories begin.
var start = time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)

// after returns a time of the story.
func after(d time.Duration) time.Time { return start.Add(d) }

// patience bounds every call; nothing takes that long unless it is broken.
const patience = time.Minute

// kit is a fixture with what the tests' stories are told in.
type kit struct {
	*testing.T
	Store
	fixture Fixture
	batch   int64 // last id given
	ctx     context.Context
}

func newKit(t *testing.T, open Open) *kit {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	f := open(t, route)
	return &kit{T: t, Store: f.Store, fixture: f, batch: 1000, ctx: ctx}
}

// route sends webhooks to one pool, each host its own provider, and mail to the
// relay named by the address' domain.
func route(t *incident.Target) (group, provider string, err error) {
	if t.Channel == incident.ChannelWebhook {
		host, _, _ := strings.Cut(strings.TrimPrefix(t.Address, "https://"), "/")
		return "webhook", host + ":443", nil
	}
	_, domain, _ := strings.Cut(t.Address, "@")
	if domain == "nowhere.example" {
		return "", "", &incident.Invalid{Field: "address", Reason: "has no relay"}
	}
	return "smtp:" + domain, domain, nil
}

func (k *kit) reopen() {
	k.Helper()
	k.fixture = k.fixture.Reopen(k.T)
	k.Store = k.fixture.Store
}

func (k *kit) must(err error) {
	k.Helper()
	if err != nil {
		k.Fatal(err)
	}
}

func equal[V comparable](k *kit, what string, got, want V) {
	k.Helper()
	if got != want {
		k.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// hook returns a webhook target of its own host.
func hook(n int) *incident.Target {
	return &incident.Target{
		ExternalID: fmt.Sprintf("hook-%d", n), Channel: incident.ChannelWebhook, Page: "default",
		Address: fmt.Sprintf("https://h%d.example/hook", n), MinImpact: incident.ImpactNone, Visibility: incident.Public,
		Locale: "en", State: incident.StateActive, Format: "tocsin",
	}
}

// targets adds n hooks and returns their ids.
func (k *kit) targets(n int) []int64 {
	k.Helper()
	list := make([]*incident.Target, n)
	for i := range list {
		list[i] = hook(i)
	}
	return k.upsert(list...)
}

func (k *kit) upsert(list ...*incident.Target) []int64 {
	k.Helper()
	_, err := k.Upsert(k.ctx, list)
	k.must(err)
	ids := make([]int64, len(list))
	for i, t := range list {
		ids[i] = t.ID
	}
	return ids
}

func (k *kit) patch(id int64, change func(t *incident.Target)) {
	k.Helper()
	_, err := k.Patch(k.ctx, id, func(t *incident.Target) error { change(t); return nil })
	k.must(err)
}

// event returns the nth update of the incident "INC-1", one minute after the last.
func event(n int) *incident.Event {
	return &incident.Event{
		Page: "default", IncidentID: "INC-1", Status: incident.Identified, Impact: incident.ImpactMajor,
		AffectedComponents: []string{"api"}, StartedAt: start, Title: "API down", Message: fmt.Sprintf("update %d", n),
		UpdateID: fmt.Sprintf("u-%d", n), UpdatedAt: after(time.Duration(n) * time.Minute), Visibility: incident.Public,
	}
}

func arrival(e *incident.Event) *dispatcher.Arrival {
	return &dispatcher.Arrival{Event: e, UpdateID: e.UpdateID, ReceivedAt: start, Hash: e.ContentHash()}
}

// accept brings events in, an hour after the story began, and wants them new.
func (k *kit) accept(events ...*incident.Event) []*dispatcher.Plan {
	k.Helper()
	var plans []*dispatcher.Plan
	for i, acc := range k.arrive(events...) {
		if acc.Result != dispatcher.AcceptedNew || acc.Plan == nil {
			k.Fatalf("event %d came to %v with plan %v (%s %s)", i, acc.Result, acc.Plan, acc.Field, acc.Reason)
		}
		plans = append(plans, acc.Plan)
	}
	return plans
}

func (k *kit) arrive(events ...*incident.Event) []dispatcher.Acceptance {
	k.Helper()
	arrivals := make([]*dispatcher.Arrival, len(events))
	for i, e := range events {
		arrivals[i] = arrival(e)
	}
	list, err := k.Accept(k.ctx, arrivals, dispatcher.Decide(after(time.Hour), 24*time.Hour))
	k.must(err)
	if len(list) != len(events) {
		k.Fatalf("%d events came to %d results", len(events), len(list))
	}
	return list
}

// page reads and commits one page of a plan, one batch per group.
func (k *kit) page(p *dispatcher.Plan, limit int) (batches []*queue.Batch, last bool) {
	k.Helper()
	audience, err := k.Audience(k.ctx, p, limit)
	k.must(err)
	page := k.planned(p, audience)
	k.must(k.CommitPage(k.ctx, p, page))
	p.Cursor = page.Cursor
	return page.Batches, page.Last
}

func (k *kit) planned(p *dispatcher.Plan, audience *dispatcher.AudiencePage) *dispatcher.PlannedPage {
	page := &dispatcher.PlannedPage{Cursor: audience.Cursor, Last: audience.Last, At: after(time.Hour)}
	groups := make(map[string]*queue.Batch)
	for _, a := range audience.Targets {
		b := groups[a.Group]
		if b == nil || len(b.Deliveries) == queue.MaxDeliveries {
			k.batch++
			b = &queue.Batch{ID: k.batch, Incident: p.Incident, Sequence: p.Sequence, Group: a.Group, Urgent: p.Urgent(),
				AcceptedAt: p.AcceptedAt, ExpiresAt: p.ExpiresAt, Revision: audience.Revision}
			groups[a.Group] = b
			page.Batches = append(page.Batches, b)
		}
		b.Deliveries = append(b.Deliveries, deliveryTo(a))
		if !a.EveryUpdate {
			for _, s := range a.Waiting {
				page.Superseded = append(page.Superseded, dispatcher.Row{Incident: p.Incident, Target: a.Target, Sequence: s})
			}
		}
	}
	return page
}

func deliveryTo(a dispatcher.Audient) queue.Delivery {
	if a.Since.IsZero() {
		a.Since = after(time.Hour)
	}
	return queue.Delivery{Target: a.Target, Provider: a.Provider, Address: a.Address, Locale: a.Locale, Format: a.Format,
		Private: a.Private, EveryUpdate: a.EveryUpdate, Failing: a.Failing, Since: a.Since, Secrets: a.Secrets}
}

// plan plans an update to its end and returns its batches.
func (k *kit) plan(p *dispatcher.Plan) []*queue.Batch {
	k.Helper()
	var all []*queue.Batch
	for {
		batches, last := k.page(p, 1000)
		all = append(all, batches...)
		if last {
			return all
		}
	}
}

// one accepts and plans an update for targets that fit into one batch.
func (k *kit) one(e *incident.Event) *queue.Batch {
	k.Helper()
	batches := k.plan(k.accept(e)[0])
	if len(batches) != 1 {
		k.Fatalf("the plan has %d batches, want 1", len(batches))
	}
	return batches[0]
}

// stop stops an incident's fan-out and returns how many webhooks it closed.
func (k *kit) stop(id int64, upTo int) int {
	k.Helper()
	got, closed, err := k.Stop(k.ctx, id, after(2*hour))
	k.must(err)
	equal(k, "stopped up to", got, upTo)
	return closed["webhook"]
}

func row(b *queue.Batch, i int) dispatcher.Row {
	return dispatcher.Row{Incident: b.Incident, Target: b.Deliveries[i].Target, Sequence: b.Sequence}
}

// result is the settlement of a batch's ith delivery.
func result(b *queue.Batch, i int, o dispatcher.Outcome, c channels.Class) dispatcher.Settlement {
	s := dispatcher.Settlement{Row: row(b, i), Batch: b.ID, Outcome: o, Class: c, Attempt: 1, SentAt: after(2 * time.Hour)}
	if c != 0 {
		s.Detail = c.String()
	}
	if o == dispatcher.Open {
		s.DueAt = after(3 * time.Hour)
	} else {
		s.DoneAt = after(2*time.Hour + time.Second)
	}
	return s
}

func (k *kit) settle(rows ...dispatcher.Settlement) {
	k.Helper()
	k.must(k.Settle(k.ctx, rows, nil))
}

// claim claims a batch whose lease is the claim, checking everything.
func (k *kit) claim(b *queue.Batch) dispatcher.ClaimAnswer {
	k.Helper()
	return k.claims(dispatcher.ClaimRequest{Batch: b, Leased: true, Verify: true, Newer: true})[0]
}

func (k *kit) claims(requests ...dispatcher.ClaimRequest) []dispatcher.ClaimAnswer {
	k.Helper()
	answers, err := k.Claim(k.ctx, 1, after(2*time.Hour), requests)
	k.must(err)
	if len(answers) != len(requests) {
		k.Fatalf("%d requests got %d answers", len(requests), len(answers))
	}
	return answers
}

func (k *kit) stored(r dispatcher.Row) store.Delivery {
	k.Helper()
	list, err := k.Deliveries(k.ctx, r.Incident, store.DeliveryFilter{Target: r.Target, Sequence: r.Sequence, Limit: 2})
	k.must(err)
	if len(list) != 1 {
		k.Fatalf("%d rows for target %d, sequence %d, want 1", len(list), r.Target, r.Sequence)
	}
	return list[0]
}

// outcome checks a row's outcome.
func (k *kit) outcome(r dispatcher.Row, want dispatcher.Outcome) {
	k.Helper()
	if d := k.stored(r); d.Outcome != want {
		k.Errorf("sequence %d is %v, want %v", r.Sequence, d.Outcome, want)
	}
}

// whys checks the exceptions of a claim, as index and reason.
func (k *kit) whys(a dispatcher.ClaimAnswer, want ...dispatcher.Exception) {
	k.Helper()
	equal(k, "state of the claim", a.State, dispatcher.Claimed)
	if !slices.Equal(a.Exceptions, want) {
		k.Errorf("exceptions: got %v, want %v", a.Exceptions, want)
	}
}
