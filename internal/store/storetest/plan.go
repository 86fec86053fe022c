package storetest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/store"
	"github.com/tocsin/tocsin/queue"
)

var planTests = []test{
	{"the audience is what the targets' filters match", testAudienceMatches},
	{"providers interleave, stripe by stripe", testAudienceStripes},
	{"pages join without gap or repetition", testAudiencePages},
	{"a page tells all that sending needs", testAudienceFields},
	{"inline targets hear of every later update they may see", testAudienceInline},
	{"an inline target is known by its address", testAudienceInlineAgain},
	{"a target that has its row is left out", testAudiencePlanned},
	{"a target that moves while a plan runs is planned once", testAudienceMoves},
	{"older open rows are told", testAudienceOlder},
	{"a page is durable with its cursor", testCommitPage},
	{"a page committed twice is there once", testCommitTwice},
	{"a page that doesn't follow is refused and healed", testCommitMovedOn},
	{"a waiting older row is superseded by the page", testCommitSupersedes},
	{"an older row that waits no more is left alone", testCommitSupersedesLate},
	{"a stopped incident takes no page", testCommitStopped},
	{"an empty audience is a finished plan", testCommitEmpty},
	{"readers go on beside the planner", testReadersBeside},
}

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

func testCommitPage(k *kit) {
	ids := k.targets(250)
	p := k.accept(event(1))[0]
	k.page(p, 200)
	k.reopen()
	found, err := k.Unplanned(k.ctx, 10)
	k.must(err)
	k.plan(found[0])
	_, updates, err := k.Incident(k.ctx, "default", "INC-1")
	k.must(err)
	equal(k, "audience", updates[0].Audience, 250)
	equal(k, "open rows", updates[0].Progress["webhook"][dispatcher.Open], len(ids))
	if updates[0].PlannedAt.IsZero() {
		k.Error("a finished plan has no planned_at")
	}
}

func testCommitTwice(k *kit) {
	k.targets(3)
	p := k.accept(event(1))[0]
	audience, err := k.Audience(k.ctx, p, 10)
	k.must(err)
	page := k.planned(p, audience)
	for range 2 {
		k.must(k.CommitPage(k.ctx, p, page))
	}
	p.Cursor = page.Cursor
	k.must(k.CommitPage(k.ctx, p, page))
	_, updates, err := k.Incident(k.ctx, "default", "INC-1")
	k.must(err)
	equal(k, "audience", updates[0].Audience, 3)
}

func testCommitMovedOn(k *kit) {
	k.targets(4)
	p := k.accept(event(1))[0]
	late := *p
	audience, err := k.Audience(k.ctx, &late, 3)
	k.must(err)
	page := k.planned(&late, audience)
	k.page(p, 2)
	err = k.CommitPage(k.ctx, &late, page)
	if err == nil || errors.Is(err, dispatcher.ErrLedgerRefused) {
		k.Fatalf("a page beside the plan: %v", err)
	}
	equal(k, "cursor after it", late.Cursor, p.Cursor)
	equal(k, "what is left", len(k.everyone(&late, 10)), 2)
	k.plan(&late)
	if err := k.CommitPage(k.ctx, p, k.planned(p, audience)); !errors.Is(err, dispatcher.ErrLedgerRefused) {
		k.Errorf("a page after the plan's end: %v", err)
	}
}

func testCommitSupersedes(k *kit) {
	k.targets(2)
	first := k.one(event(1))
	k.settle(result(first, 0, dispatcher.Open, channels.Temporary))
	k.one(event(2))
	k.outcome(row(first, 0), dispatcher.Superseded)
	k.outcome(row(first, 1), dispatcher.Open) // in its batch: the claim's or the lane's
	due, err := k.Due(k.ctx, after(1000*hour), 10)
	k.must(err)
	equal(k, "due rows", len(due), 0)
}

func testCommitSupersedesLate(k *kit) {
	k.targets(3)
	first := k.one(event(1))
	p := k.accept(event(2))[0]
	audience, err := k.Audience(k.ctx, p, 10)
	k.must(err)
	page := k.planned(p, audience)
	for i := range 3 { // as if they had waited when the audience was read
		page.Superseded = append(page.Superseded, row(first, i))
	}
	k.settle(result(first, 0, dispatcher.Delivered, channels.Delivered), result(first, 1, dispatcher.Open, channels.Temporary))
	k.must(k.CommitPage(k.ctx, p, page))
	k.outcome(row(first, 0), dispatcher.Delivered)
	k.outcome(row(first, 1), dispatcher.Superseded)
	k.outcome(row(first, 2), dispatcher.Open)
}

func testCommitStopped(k *kit) {
	k.targets(2)
	p := k.accept(event(1))[0]
	audience, err := k.Audience(k.ctx, p, 10)
	k.must(err)
	k.stop(p.Incident, 1)
	if err := k.CommitPage(k.ctx, p, k.planned(p, audience)); !errors.Is(err, dispatcher.ErrStopped) {
		k.Errorf("a page of a stopped incident: %v", err)
	}
	rows, err := k.Deliveries(k.ctx, p.Incident, all)
	k.must(err)
	equal(k, "rows", len(rows), 0)
	plans, err := k.Unplanned(k.ctx, 10)
	k.must(err)
	equal(k, "unplanned", len(plans), 0)
}

func testCommitEmpty(k *kit) {
	batches := k.plan(k.accept(event(1))[0])
	equal(k, "batches", len(batches), 0)
	plans, err := k.Unplanned(k.ctx, 10)
	k.must(err)
	equal(k, "unplanned", len(plans), 0)
}

func testReadersBeside(k *kit) {
	k.targets(100)
	p := k.accept(event(1))[0]
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		readers.Go(func() {
			for last := 0; ; {
				rows, err := k.Deliveries(k.ctx, p.Incident, all)
				if err != nil || len(rows)%10 != 0 || len(rows) < last {
					k.Errorf("a reader saw %d rows after %d: %v", len(rows), last, err)
					return
				}
				last = len(rows)
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	var batches []*queue.Batch
	for last := false; !last; {
		var more []*queue.Batch
		more, last = k.page(p, 10)
		batches = append(batches, more...)
	}
	close(stop)
	readers.Wait()
	equal(k, "batches", len(batches), 10)
}
