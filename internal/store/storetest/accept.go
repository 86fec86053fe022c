package storetest

import (
	"fmt"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
)

var acceptTests = []test{
	{"pauses are kept", testPauses},
	{"workers get growing epochs", testRegister},
	{"a new update gets the next sequence and a plan", testAcceptNew},
	{"a known update id is a duplicate, resumed until planned", testAcceptDuplicate},
	{"equal content is a duplicate under another id", testAcceptSameContent},
	{"a stale update is kept and not sent", testAcceptStale},
	{"a refused event leaves nothing", testAcceptRefused},
	{"events of one call see each other", testAcceptSlice},
	{"impact and components only grow", testAcceptUnion},
	{"updates without an id are told apart", testAcceptNoID},
	{"an inline target without a way is refused by name", testAcceptInlineRefused},
	{"unplanned updates are found after reopening, oldest first", testUnplanned},
}

func testRegister(k *kit) {
	first, err := k.Register(k.ctx, "worker-a", start)
	k.must(err)
	second, err := k.Register(k.ctx, "worker-b", start)
	k.must(err)
	k.reopen()
	third, err := k.Register(k.ctx, "worker-a", start)
	k.must(err)
	if first < 1 || second <= first || third <= second {
		k.Errorf("epochs %d, %d, %d don't grow", first, second, third)
	}
}

func testAcceptNew(k *kit) {
	p := k.accept(event(1))[0]
	equal(k, "sequence", p.Sequence, 1)
	equal(k, "page", p.Page, "default")
	equal(k, "incident", p.IncidentID, "INC-1")
	equal(k, "accepted", p.AcceptedAt, after(time.Hour))
	equal(k, "expires", p.ExpiresAt, after(25*time.Hour))
	equal(k, "highest", p.Highest, incident.ImpactMajor)
	equal(k, "cursor", p.Cursor, "")
	k.reopen()
	next := k.accept(event(2))[0]
	equal(k, "next sequence", next.Sequence, 2)
	equal(k, "same incident", next.Incident, p.Incident)
	other := event(1)
	other.Page = "other"
	if q := k.accept(other)[0]; q.Incident == p.Incident || q.Sequence != 1 {
		k.Errorf("the same name on another page is incident %d, sequence %d", q.Incident, q.Sequence)
	}
}

func testAcceptDuplicate(k *kit) {
	k.targets(1)
	p := k.accept(event(1))[0]
	acc := k.arrive(event(1))[0]
	if acc.Result != dispatcher.AcceptedDuplicate || acc.Sequence != 1 || acc.Plan == nil || acc.Plan.Incident != p.Incident {
		k.Fatalf("an unplanned duplicate came to %+v", acc)
	}
	k.plan(p)
	k.accept(event(2)) // and not only the latest is known
	acc = k.arrive(event(1))[0]
	if acc.Result != dispatcher.AcceptedDuplicate || acc.Sequence != 1 || acc.Plan != nil {
		k.Errorf("a planned duplicate came to %+v", acc)
	}
}

func testAcceptSameContent(k *kit) {
	k.accept(event(1))
	again := event(1)
	again.UpdateID = "another"
	if acc := k.arrive(again)[0]; acc.Result != dispatcher.AcceptedDuplicate || acc.Plan == nil {
		k.Errorf("the same content came to %+v", acc)
	}
}

func testAcceptStale(k *kit) {
	k.accept(event(2))
	for range 2 {
		old := event(1)
		acc := k.arrive(old)[0]
		if acc.Plan != nil || acc.Sequence != 0 {
			k.Fatalf("a stale event came to %+v", acc)
		}
	}
	found, updates, err := k.Incident(k.ctx, "default", "INC-1")
	k.must(err)
	equal(k, "updates", len(updates), 2)
	equal(k, "sequence of the stale one", updates[0].Sequence, 0)
	equal(k, "its id", updates[0].UpdateID, "u-1")
	equal(k, "the incident's time", found.UpdatedAt, after(2*time.Minute))
	k.reopen()
	equal(k, "next sequence", k.accept(event(3))[0].Sequence, 2)
	plans, err := k.Unplanned(k.ctx, 10)
	k.must(err)
	equal(k, "unplanned", len(plans), 2)
}

func testAcceptRefused(k *kit) {
	e := event(1)
	e.UpdatedAt = after(48 * time.Hour)
	acc := k.arrive(e)[0]
	equal(k, "result", acc.Result, dispatcher.AcceptedRefused)
	equal(k, "field", acc.Field, "updated_at")
	list, err := k.Incidents(k.ctx, "", "", 0, 10)
	k.must(err)
	equal(k, "incidents", len(list), 0)
}

func testAcceptSlice(k *kit) {
	list := k.arrive(event(1), event(2), event(2), event(1))
	for i, want := range []struct {
		result   dispatcher.AcceptResult
		sequence int
	}{{dispatcher.AcceptedNew, 1}, {dispatcher.AcceptedNew, 2}, {dispatcher.AcceptedDuplicate, 2}, {dispatcher.AcceptedDuplicate, 1}} {
		if list[i].Result != want.result || list[i].Sequence != want.sequence {
			k.Errorf("event %d came to %v with sequence %d, want %v with %d", i, list[i].Result, list[i].Sequence, want.result, want.sequence)
		}
	}
}

func testAcceptUnion(k *kit) {
	first, second, third := event(1), event(2), event(3)
	first.Impact = incident.ImpactCritical
	second.Impact, second.AffectedComponents = incident.ImpactMinor, []string{"web", "api"}
	third.Impact, third.AffectedComponents = incident.ImpactMinor, []string{}
	k.accept(first)
	p := k.accept(second)[0]
	equal(k, "highest", p.Highest, incident.ImpactCritical)
	if len(p.Components) != 2 || p.Components[0] != "api" || p.Components[1] != "web" || p.Whole {
		k.Errorf("components %v, whole %v", p.Components, p.Whole)
	}
	k.reopen()
	if p := k.accept(third)[0]; !p.Whole || len(p.Components) != 2 {
		k.Errorf("after an update for the whole page: components %v, whole %v", p.Components, p.Whole)
	}
}

func testAcceptNoID(k *kit) {
	first, second := event(1), event(2)
	first.UpdateID, second.UpdateID = "", ""
	first.UpdatedAt, second.UpdatedAt = time.Time{}, time.Time{} // in order of arrival
	plans := k.accept(first, second)
	equal(k, "sequence", plans[1].Sequence, 2)
	// The first says the same again: news, since something else was said between.
	acc := k.arrive(first)[0]
	equal(k, "the third", acc.Sequence, 3)
	_, updates, err := k.Incident(k.ctx, first.Page, first.IncidentID)
	k.must(err)
	for _, u := range updates {
		equal(k, "the name of what has none", u.UpdateID, incident.UpdateID(first.Page, first.IncidentID, u.Sequence))
	}
	equal(k, "updates", len(updates), 3)
	equal(k, "it is told", acc.UpdateID, incident.UpdateID(first.Page, first.IncidentID, 3))
}

func testAcceptInlineRefused(k *kit) {
	e := event(1)
	e.Targets = []incident.Target{*hook(1), {Channel: incident.ChannelSMTP, Address: "a@nowhere.example"}}
	acc := k.arrive(e)[0]
	equal(k, "result", acc.Result, dispatcher.AcceptedRefused)
	equal(k, "field", acc.Field, "targets[1].address")
	equal(k, "a good one after it", k.accept(event(1))[0].Sequence, 1)
}

func testUnplanned(k *kit) {
	k.targets(3)
	plans := k.accept(event(1), event(2), event(3))
	k.page(plans[0], 1)
	k.plan(plans[1])
	k.reopen()
	found, err := k.Unplanned(k.ctx, 10)
	k.must(err)
	if len(found) != 2 || found[0].Sequence != 1 || found[1].Sequence != 3 {
		k.Fatalf("unplanned: %d plans", len(found))
	}
	equal(k, "cursor", found[0].Cursor, plans[0].Cursor)
	equal(k, "audience so far", found[0].Audience, 1)
	equal(k, "rest of the plan", len(k.plan(found[0])[0].Deliveries), 2)
	limited, err := k.Unplanned(k.ctx, 1)
	k.must(err)
	equal(k, "limited", len(limited), 1)
}

func testPauses(k *kit) {
	for range 2 {
		k.must(k.SetPaused(k.ctx, "", true))
		k.must(k.SetPaused(k.ctx, "hooks.example.com:443", true))
		k.must(k.SetPaused(k.ctx, "main", true))
		k.must(k.SetPaused(k.ctx, "main", false))
	}
	k.reopen()
	got, err := k.Paused(k.ctx)
	k.must(err)
	equal(k, "paused", fmt.Sprintf("%q", got), `["" "hooks.example.com:443"]`)
}
