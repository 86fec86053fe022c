package storetest

import (
	"context"
	"fmt"
	"slices"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/store"
	"github.com/tocsin/tocsin/queue"
)

var rerouteTests = []test{
	{"a channel's targets go to its provider, and no others", testReroute},
	{"those written later stand behind those that moved", testRerouteLines},
	{"a plan in progress misses nobody", testReroutePlanning},
	{"batches that nobody serves end, their open rows wait", testRerouteBatches},
	{"what was interrupted is done at the next call", testRerouteInterrupted},
	{"without a provider targets are counted, and their rows wait", testUnserved},
	{"with a provider again they are due", testResumed},
	{"rows that wait for something else keep waiting", testResumedOthers},
}

// mailbox returns a mail target that route gives to the relay "old".
func mailbox(n int) *incident.Target {
	t := hook(n)
	t.ExternalID, t.Channel, t.Address = fmt.Sprint("box-", n), incident.ChannelSMTP, fmt.Sprintf("box-%d@old", n)
	return t
}

func (k *kit) mailboxes(n int) []int64 {
	k.Helper()
	list := make([]*incident.Target, n)
	for i := range list {
		list[i] = mailbox(i)
	}
	return k.upsert(list...)
}

// relay is the route of mail to a relay; "" is none.
func relay(name string) store.ChannelRoute {
	if name == "" {
		return store.ChannelRoute{Channel: incident.ChannelSMTP}
	}
	return store.ChannelRoute{Channel: incident.ChannelSMTP, Group: "smtp:" + name, Provider: name}
}

func (k *kit) reroute(name string, want store.Rerouted) {
	k.Helper()
	got, err := k.Reroute(k.ctx, relay(name), after(2*hour))
	k.must(err)
	equal(k, "rerouted to "+name, got, want)
}

// groups counts the targets that an update would be for, by group and provider.
func (k *kit) groups(p *dispatcher.Plan) map[string]int {
	k.Helper()
	counts := make(map[string]int)
	for _, a := range k.everyone(p, 1000) {
		counts[a.Group+" "+a.Provider]++
	}
	return counts
}

func testReroute(k *kit) {
	n := k.fixture.Step*2 + 7
	k.mailboxes(n)
	k.targets(3)
	e := event(1)
	e.Targets = []incident.Target{*mailbox(n)}
	e.Targets[0].ExternalID = ""
	p := k.accept(e)[0]
	k.reroute("old", store.Rerouted{})
	k.reroute("new", store.Rerouted{Targets: n + 1})
	k.reopen()
	k.reroute("new", store.Rerouted{})
	counts := k.groups(p)
	equal(k, "at the new relay", counts["smtp:new new"], n+1)
	equal(k, "groups", len(counts), 1+3)
	k.reroute("old", store.Rerouted{Targets: n + 1})
	equal(k, "back", k.groups(p)["smtp:old old"], n+1)
}

func testRerouteLines(k *kit) {
	k.mailboxes(200)
	k.reroute("new", store.Rerouted{Targets: 200})
	first := mailbox(0)
	first.ExternalID, first.Address = "late", "late@new"
	late := k.upsert(first)[0]
	all := targetsOf(k.everyone(k.accept(event(1))[0], 1000))
	equal(k, "audience", len(all), 201)
	equal(k, "the last in line", all[200], late)
}

// The new name stands before the old one and behind it in plan order.
func testReroutePlanning(k *kit) {
	ids := k.mailboxes(100)
	k.targets(40)
	p := k.accept(event(1))[0]
	batches, _ := k.page(p, 37)
	told := make(map[int64]int)
	note := func(list []dispatcher.Audient) {
		for _, a := range list {
			told[a.Target]++
		}
	}
	for _, b := range batches {
		for _, d := range b.Deliveries {
			told[d.Target]++
		}
	}
	for i, name := range []string{"a", "z"} {
		_, err := k.Reroute(k.ctx, relay(name), after(2*hour))
		k.must(err)
		p.Recheck = true
		audience, err := k.Audience(k.ctx, p, 30)
		k.must(err)
		note(audience.Targets)
		page := k.planned(p, audience)
		k.must(k.CommitPage(k.ctx, p, page))
		p.Cursor = page.Cursor
		if i == 1 {
			note(k.everyone(p, 50))
		}
	}
	equal(k, "told", len(told), len(ids)+40)
	for id, n := range told {
		if n != 1 {
			k.Errorf("target %d is planned %d times", id, n)
		}
	}
}

func testRerouteBatches(k *kit) {
	k.mailboxes(k.fixture.Step * 3)
	k.targets(2)
	all := k.plan(k.accept(event(1))[0])
	i := slices.IndexFunc(all, func(b *queue.Batch) bool { return b.Group == "smtp:old" })
	j := slices.IndexFunc(all, func(b *queue.Batch) bool { return b.Group == "webhook" })
	mail, hooks := all[i], all[j]
	k.settle(result(mail, 0, dispatcher.Delivered, channels.Delivered), result(mail, 1, dispatcher.Open, channels.Temporary))
	k.claims(dispatcher.ClaimRequest{Batch: mail})
	n := k.fixture.Step * 3
	k.reroute("new", store.Rerouted{Targets: n, Freed: n - 2})
	k.reopen()
	equal(k, "the claim", k.claim(mail).State, dispatcher.ClaimGone)
	k.whys(k.claim(hooks))
	rows := k.due(2*hour, n)
	equal(k, "due", len(rows), n-2)
	for _, r := range rows {
		if r.Group != "smtp:new" || r.Provider != "new" {
			k.Fatalf("a due row goes to %s at %s", r.Provider, r.Group)
		}
	}
	equal(k, "due later", len(k.due(3*hour, 2*n)), n-1)
	k.settle(result(mail, 2, dispatcher.Dead, channels.Permanent)) // the old batch's failure misses
	k.outcome(row(mail, 2), dispatcher.Open)
	k.settle(result(mail, 3, dispatcher.Delivered, channels.Delivered)) // its receipt doesn't
	k.outcome(row(mail, 3), dispatcher.Delivered)
}

// cut is a context that ends when it is asked for the nth time.
type cut struct {
	context.Context
	left *int
}

func (c cut) Err() error {
	if *c.left--; *c.left < 0 {
		return context.Canceled
	}
	return c.Context.Err()
}

func (c cut) Done() <-chan struct{} { return nil }

func testRerouteInterrupted(k *kit) {
	n := k.fixture.Step * 3
	k.mailboxes(n)
	p := k.accept(event(1))[0]
	k.reroute("old", store.Rerouted{})
	failed := 0
	for left := 0; ; left++ {
		rest := left
		_, err := k.Reroute(cut{k.ctx, &rest}, relay("new"), after(2*hour))
		if err == nil {
			break
		}
		failed++
		_, err = k.Reroute(k.ctx, relay("old"), after(2*hour))
		k.must(err)
		if counts := k.groups(p); counts["smtp:old old"] != n {
			k.Fatalf("interrupted after %d steps and taken back: %v", left, counts)
		}
	}
	equal(k, "at the new relay", k.groups(p)["smtp:new new"], n)
	if failed < 3 {
		k.Errorf("it was interrupted %d times, want at least one for each of its transactions", failed)
	}
}

// unserved plans an update for targets that nobody serves.
func (k *kit) unserved(e *incident.Event) (*dispatcher.Plan, []dispatcher.Audient) {
	k.Helper()
	p := k.accept(e)[0]
	audience, err := k.Audience(k.ctx, p, 1000)
	k.must(err)
	for i := range audience.Targets {
		audience.Targets[i].Since = after(hour)
	}
	k.must(k.CommitPage(k.ctx, p, &dispatcher.PlannedPage{
		Unserved: audience.Targets, Cursor: audience.Cursor, Last: true, At: after(hour),
	}))
	return p, audience.Targets
}

func testUnserved(k *kit) {
	ids := k.mailboxes(5)
	k.reroute("old", store.Rerouted{})
	b := k.one(event(1))
	k.must(k.Delete(k.ctx, ids[4]))
	k.reroute("", store.Rerouted{Freed: 5, Unserved: 4})
	k.reroute("", store.Rerouted{Unserved: 4})
	k.reopen()
	equal(k, "freed rows due", len(k.due(2*hour, 10)), 5)
	k.must(k.Rebatch(k.ctx, after(2*hour), nil, []dispatcher.Postponement{
		{Row: row(b, 0), DueAt: b.ExpiresAt, Detail: dispatcher.NoProvider}, {Row: row(b, 1), DueAt: after(9 * hour)},
	}, nil))
	equal(k, "postponed", k.stored(row(b, 0)).Detail, dispatcher.NoProvider)
	equal(k, "postponed without a word", k.stored(row(b, 1)).Detail, "")

	other := event(1)
	other.IncidentID, other.ExpiresAt = "INC-2", after(5*hour)
	p, told := k.unserved(other)
	equal(k, "planned", len(told), 4)
	key := dispatcher.Row{Incident: p.Incident, Target: told[0].Target, Sequence: 1}
	d := k.stored(key)
	equal(k, "detail", d.Detail, dispatcher.NoProvider)
	equal(k, "due", d.DueAt.Equal(p.ExpiresAt), true)
	_, updates, err := k.Incident(k.ctx, "default", "INC-2")
	k.must(err)
	equal(k, "audience", updates[0].Audience, 4)
	equal(k, "open", updates[0].Progress["smtp"][dispatcher.Open], 4)
	_, _, err = k.Expire(k.ctx, after(5*hour))
	k.must(err)
	d = k.stored(key)
	equal(k, "outcome", d.Outcome, dispatcher.Expired)
	equal(k, "detail", d.Detail, dispatcher.NoProvider)
}

func testResumed(k *kit) {
	n := k.fixture.Step * 2
	k.mailboxes(n)
	k.reroute("old", store.Rerouted{})
	k.reroute("", store.Rerouted{Unserved: n})
	p, _ := k.unserved(event(1))
	equal(k, "due", len(k.due(3*hour, 2*n)), 0)
	k.reopen()
	k.reroute("new", store.Rerouted{Targets: n, Resumed: n})
	rows := k.due(2*hour, 2*n)
	equal(k, "due", len(rows), n)
	if len(rows) == 0 {
		return
	}
	equal(k, "group", rows[0].Group, "smtp:new")
	equal(k, "since", rows[0].Since.Equal(after(hour)), true)
	equal(k, "detail", k.stored(rows[0].Row).Detail, "")
	equal(k, "expires", rows[0].ExpiresAt.Equal(p.ExpiresAt), true)
	k.reroute("new", store.Rerouted{})

	k.reroute("", store.Rerouted{Unserved: n})
	k.unserved(event(2))
	k.reroute("new", store.Rerouted{Resumed: n}) // by the same name: no target moves
}

func testResumedOthers(k *kit) {
	k.mailboxes(2)
	k.reroute("old", store.Rerouted{})
	b := k.one(event(1))
	k.wait(b, 0, 3*hour)
	phone := hook(9)
	phone.Channel, phone.Address = incident.ChannelSMPP, "+4915100000000@none"
	k.upsert(phone)
	k.reroute("", store.Rerouted{Freed: 1, Unserved: 2})
	_, told := k.unserved(event(2)) // mailboxes and phones
	equal(k, "told", len(told), 3)
	k.reroute("old", store.Rerouted{Resumed: 2})
	equal(k, "due", len(k.due(2*hour, 10)), 1+2)
	d := k.stored(row(b, 0))
	equal(k, "waits on", d.DueAt.Equal(after(3*hour)), true)
	equal(k, "with its reason", d.Detail, "temporary")
}
