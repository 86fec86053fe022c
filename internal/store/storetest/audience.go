package storetest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/store"
)

// testAudienceMatches compares the store's filter, as it plans and as it counts,
// with incident.Target.Matches over random targets and plans.
func testAudienceMatches(k *kit) {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	some := func(list ...string) []string {
		var out []string
		for _, s := range list {
			if r.IntN(3) == 0 {
				out = append(out, s)
			}
		}
		return out
	}
	impacts := []string{"none", "minor", "major", "critical", "maintenance"}
	var targets []*incident.Target
	for i := range 200 {
		t := hook(i % 37)
		t.ExternalID, t.Page = fmt.Sprint("t", i), pick("default", "default", "other")
		t.Components, t.MinImpact = some("api", "web", "db"), incident.Impact(pick(impacts...))
		t.Visibility = incident.Visibility(pick("public", "private"))
		t.State = incident.TargetState(pick("active", "active", "active", "paused", "disabled", "unsubscribed"))
		t.Test = r.IntN(4) == 0
		if i%3 == 0 {
			t.Channel, t.Address = incident.ChannelSMTP, fmt.Sprintf("t%d@relay.example", i)
		}
		targets = append(targets, t)
	}
	k.upsert(targets...)
	for n := range 40 {
		e := event(1)
		e.Page, e.IncidentID = pick("default", "other"), fmt.Sprint("INC-", n)
		e.AffectedComponents = append([]string{}, some("api", "web", "db", "mail")...)
		e.Impact, e.Visibility = incident.Impact(pick(impacts...)), incident.Visibility(pick("public", "private"))
		e.Test = r.IntN(4) == 0
		p := k.accept(e)[0]
		var want []int64
		byChannel := make(map[string]int)
		for _, t := range targets {
			if t.Matches(e.Page, e.AffectedComponents, e.Impact, e.Visibility, e.Test) {
				want = append(want, t.ID)
				byChannel[t.Channel]++
			}
		}
		count, err := k.AudienceCount(k.ctx, store.AudienceQuery{Page: e.Page, Components: e.AffectedComponents,
			Impact: e.Impact, Visibility: e.Visibility, Test: e.Test})
		k.must(err)
		if !maps.Equal(count, byChannel) {
			k.Fatalf("event %d (%v %v %v test=%v): counted %v, want %v", n, e.AffectedComponents, e.Impact, e.Visibility, e.Test, count, byChannel)
		}
		got := targetsOf(k.everyone(p, 50))
		slices.Sort(got)
		if !slices.Equal(got, want) {
			k.Fatalf("event %d (%v %v %v test=%v): audience of %d, want %d", n, e.AffectedComponents, e.Impact, e.Visibility, e.Test, len(got), len(want))
		}
	}
}

// everyone reads a whole audience in pages, planning nothing.
func (k *kit) everyone(p *dispatcher.Plan, limit int) []dispatcher.Audient {
	k.Helper()
	at := *p
	at.Recheck = true
	var all []dispatcher.Audient
	for range 10_000 {
		page, err := k.Audience(k.ctx, &at, limit)
		k.must(err)
		if len(page.Targets) > limit {
			k.Fatalf("a page of %d, limit %d", len(page.Targets), limit)
		}
		all = append(all, page.Targets...)
		if page.Last {
			return all
		}
		if page.Cursor == at.Cursor {
			k.Fatal("a page that is not the last doesn't go on")
		}
		at.Cursor = page.Cursor
	}
	k.Fatal("the audience doesn't end")
	return nil
}

func targetsOf(list []dispatcher.Audient) []int64 {
	ids := make([]int64, len(list))
	for i, a := range list {
		ids[i] = a.Target
	}
	return ids
}

func testAudienceStripes(k *kit) {
	var list []*incident.Target
	for i := range 200 { // one big provider, three small ones after it
		t := hook(0)
		if i >= 170 {
			t = hook(1 + i%3)
		}
		t.ExternalID = fmt.Sprint("t", i)
		list = append(list, t)
	}
	k.upsert(list...)
	all := k.everyone(k.accept(event(1))[0], 1000)
	equal(k, "audience", len(all), 200)
	seen := make(map[string]int)
	for _, a := range all[:100] {
		seen[a.Provider]++
	}
	for n := range 4 {
		if host := fmt.Sprintf("h%d.example:443", n); seen[host] < 10 {
			k.Errorf("the first 100 of the audience hold %d of %s, want at least 10", seen[host], host)
		}
	}
}

func testAudiencePages(k *kit) {
	k.targets(100)
	p := k.accept(event(1))[0]
	whole := targetsOf(k.everyone(p, 1000))
	for _, limit := range []int{1, 7, 50, 99, 100, 101} {
		if got := targetsOf(k.everyone(p, limit)); !slices.Equal(got, whole) {
			k.Errorf("pages of %d give another audience than one page", limit)
		}
	}
}

func testAudienceFields(k *kit) {
	t := hook(1)
	t.Locale, t.Format, t.Visibility, t.EveryUpdate = "pt-BR", "slack", incident.Private, true
	t.Secrets = []string{"whsec_one", "whsec_two"}
	id := k.upsert(t)[0]
	p := k.accept(event(1))[0]
	page, err := k.Audience(k.ctx, p, 10)
	k.must(err)
	a := page.Targets[0]
	if a.Target != id || a.Group != "webhook" || a.Provider != "h1.example:443" || a.Address != t.Address ||
		a.Locale != "pt-BR" || a.Format != "slack" || !a.Private || !a.EveryUpdate || a.Failing ||
		!slices.Equal(a.Secrets, t.Secrets) || !a.Since.IsZero() || a.Waiting != nil {
		k.Errorf("audient: %+v", a)
	}
	before := page.Revision
	k.patch(id, func(t *incident.Target) { t.Locale = "de" })
	page, err = k.Audience(k.ctx, p, 10)
	k.must(err)
	if page.Revision <= before {
		k.Errorf("the revision went from %d to %d after a change", before, page.Revision)
	}
}

func testAudienceInline(k *kit) {
	k.targets(2)
	first, second, third := event(1), event(2), event(3)
	quiet, seeing := *hook(11), *hook(12)
	quiet.MinImpact, quiet.Components = incident.ImpactCritical, []string{"something else"}
	seeing.Visibility = incident.Private
	first.Targets = []incident.Target{quiet, seeing}
	second.Impact = incident.ImpactNone
	third.Visibility = incident.Private
	for i, want := range []int{4, 4, 1} {
		p := k.accept([]*incident.Event{first, second, third}[i])[0]
		equal(k, fmt.Sprintf("audience of update %d", i+1), len(k.everyone(p, 3)), want)
	}
	other := event(1)
	other.IncidentID = "INC-2"
	equal(k, "audience of another incident", len(k.everyone(k.accept(other)[0], 3)), 2)
	list, err := k.ListTargets(k.ctx, 0, 100)
	k.must(err)
	equal(k, "listed targets", len(list), 2)
}

func testAudienceInlineAgain(k *kit) {
	first, second := event(1), event(2)
	t := *hook(1)
	first.Targets = []incident.Target{t}
	t.Locale = "de"
	second.Targets = []incident.Target{t, *hook(2)}
	before := k.everyone(k.accept(first)[0], 10)
	again := k.everyone(k.accept(second)[0], 10)
	if len(again) != 2 || again[0].Target != before[0].Target || again[0].Locale != "de" {
		k.Errorf("audience after %v: %v", before, again)
	}
	// One that ended its subscription stays away, even if it is named again.
	k.patch(before[0].Target, func(t *incident.Target) { t.State = incident.StateUnsubscribed })
	third := event(3)
	third.Targets = second.Targets
	equal(k, "audience without it", len(k.everyone(k.accept(third)[0], 10)), 1)
}

func testAudiencePlanned(k *kit) {
	ids := k.targets(4)
	p := k.accept(event(1))[0]
	k.page(p, 2)
	at := *p
	at.Cursor = ""
	all := targetsOf(k.everyone(&at, 10))
	if !slices.Equal(all, ids[2:]) {
		k.Errorf("left to plan: %v, want %v", all, ids[2:])
	}
}

func testAudienceMoves(k *kit) {
	ids := k.targets(6)
	p := k.accept(event(1))[0]
	k.page(p, 3)
	move := func(id int64, host string) {
		k.patch(id, func(t *incident.Target) { t.Address = "https://" + host + "/" })
	}
	move(ids[0], "zz.example") // planned, and to be read again
	move(ids[5], "aa.example") // not yet planned, and to be missed
	planned := k.everyone(p, 2)
	audience, err := k.Audience(k.ctx, p, 10)
	k.must(err)
	if len(audience.Targets) > len(planned) { // the store left it to the commit to notice
		if err := k.CommitPage(k.ctx, p, k.planned(p, audience)); err == nil || errors.Is(err, dispatcher.ErrLedgerRefused) {
			k.Fatalf("a target planned twice: %v", err)
		}
		p.Recheck = true
	}
	k.plan(p)
	rows, err := k.Deliveries(k.ctx, p.Incident, all)
	k.must(err)
	equal(k, "rows", len(rows), 6)
}

func testAudienceOlder(k *kit) {
	k.targets(3)
	first := k.one(event(1))
	// One waits, one is delivered, one is still in its batch.
	k.settle(result(first, 0, dispatcher.Open, channels.Temporary), result(first, 1, dispatcher.Delivered, channels.Delivered))
	all := k.everyone(k.accept(event(2))[0], 10)
	for i, want := range []struct{ since, waiting bool }{{true, true}, {false, false}, {true, false}} {
		since := first.Deliveries[i].Since
		if got := !all[i].Since.IsZero(); got != want.since || want.since && !all[i].Since.Equal(since) {
			k.Errorf("target %d: since %v", i, all[i].Since)
		}
		if got := slices.Equal(all[i].Waiting, []int{1}); got != want.waiting {
			k.Errorf("target %d: waiting %v", i, all[i].Waiting)
		}
	}
}
