package storetest

import (
	"slices"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/queue"
)

var budgetTests = []test{
	{"an incident's messages to a target are bounded in time", testBudgetOfIncident},
	{"what ends an incident comes through", testBudgetLast},
	{"what may be on the wire is waited for", testBudgetUnderWay},
	{"what was not taken does not count", testBudgetFailed},
	{"who heard of what ends is known", testBudgetHeard},
	{"messages are counted by account and hour", testBudgetCounts},
}

// onceInAWhile lets a target hear of an incident once in ten minutes.
func onceInAWhile() (b dispatcher.Budget) {
	b.PerIncident.Messages, b.PerIncident.Every = 1, 10*time.Minute
	return b
}

// budgeted claims a batch with a budget as of a time.
func (k *kit) budgeted(b *queue.Batch, budget dispatcher.Budget, now time.Time) dispatcher.ClaimAnswer {
	k.Helper()
	return k.claims(dispatcher.ClaimRequest{Batch: b, Leased: true, Verify: true, Newer: true, Budget: &budget, Now: now})[0]
}

// told settles a batch's ith delivery as taken by the peer.
func (k *kit) told(b *queue.Batch, i int, at time.Time) {
	k.Helper()
	s := result(b, i, dispatcher.Delivered, channels.Delivered)
	s.SentAt, s.DoneAt = at, at
	k.settle(s)
}

// over are the exceptions of all deliveries of a batch but those named.
func over(b *queue.Batch, detail string, but ...int) []dispatcher.Exception {
	var list []dispatcher.Exception
	for i := range b.Deliveries {
		if len(but) == 0 || but[0] != i {
			list = append(list, dispatcher.Exception{Index: i, Why: dispatcher.WhyBudget, Detail: detail})
		} else {
			but = but[1:]
		}
	}
	return list
}

const overIncident = "over budget: at most 1/10m for each incident and target"

func testBudgetOfIncident(k *kit) {
	k.targets(2)
	first := k.one(event(1))
	k.whys(k.budgeted(first, onceInAWhile(), after(2*hour)))
	k.told(first, 0, after(2*hour))
	k.settle(result(first, 1, dispatcher.Superseded, 0))
	second := k.one(event(2))
	k.reopen()
	k.whys(k.budgeted(second, onceInAWhile(), after(2*hour+9*time.Minute)), over(second, overIncident, 1)...)
	k.whys(k.claim(second)) // without a budget
	k.whys(k.budgeted(second, dispatcher.Budget{}, after(2*hour)))
	k.whys(k.budgeted(second, onceInAWhile(), after(2*hour+10*time.Minute)))
	other := event(1)
	other.IncidentID, other.UpdateID = "INC-2", "other"
	k.whys(k.budgeted(k.one(other), onceInAWhile(), after(2*hour)))
}

func testBudgetLast(k *kit) {
	k.targets(1)
	first := k.one(event(1))
	k.told(first, 0, after(2*hour))
	for n, status := range []incident.Status{incident.Monitoring, incident.Resolved, incident.Completed} {
		e := event(n + 2)
		e.Status = status
		b := k.one(e)
		a := k.budgeted(b, onceInAWhile(), after(2*hour+time.Minute))
		if !status.Terminal() {
			k.whys(a, over(b, overIncident)...)
			continue
		}
		k.whys(a)
		k.told(b, 0, after(2*hour+time.Minute))
	}
}

func testBudgetUnderWay(k *kit) {
	k.targets(1)
	first := k.one(event(1))
	second := k.one(event(2))
	k.whys(k.budgeted(second, onceInAWhile(), after(2*hour))) // nobody has the older one in hand
	answers, err := k.Claim(k.ctx, 7, after(3*hour), []dispatcher.ClaimRequest{{Batch: first}})
	k.must(err)
	equal(k, "state", answers[0].State, dispatcher.Claimed)
	k.whys(k.budgeted(second, onceInAWhile(), after(2*hour)), dispatcher.Exception{Index: 0, Why: dispatcher.WhyBlocked})
	k.told(first, 0, after(2*hour))
	k.whys(k.budgeted(second, onceInAWhile(), after(2*hour)), over(second, overIncident)...)
}

func testBudgetFailed(k *kit) {
	k.targets(3)
	first := k.one(event(1))
	k.settle(result(first, 0, dispatcher.Open, channels.Temporary), result(first, 1, dispatcher.Dead, channels.Permanent),
		result(first, 2, dispatcher.Expired, channels.Temporary))
	k.whys(k.budgeted(k.one(event(2)), onceInAWhile(), after(2*hour+time.Second)))
}

func testBudgetHeard(k *kit) {
	k.targets(3)
	first := k.one(event(1))
	k.told(first, 0, after(2*hour))
	k.settle(result(first, 1, dispatcher.Dead, channels.Permanent))
	counting := dispatcher.Budget{Bound: dispatcher.Bound{PerDay: 1}}
	heard := func(what string, b *queue.Batch, budget dispatcher.Budget, want ...dispatcher.Heard) {
		k.Helper()
		if a := k.budgeted(b, budget, after(2*hour)); !slices.Equal(a.Heard, want) {
			k.Errorf("%s: heard %v, want %v", what, a.Heard, want)
		}
	}
	heard("the first update", first, counting)
	heard("an update that ends nothing", k.one(event(2)), counting)
	e := event(3)
	e.Status = incident.Resolved
	end := k.one(e)
	heard("the end", end, counting, dispatcher.SurelyHeard, dispatcher.NotHeard, dispatcher.NotHeard)
	heard("where nothing is counted", end, dispatcher.Budget{})
	if _, err := k.Claim(k.ctx, 7, after(3*hour), []dispatcher.ClaimRequest{{Batch: first}}); err != nil {
		k.Fatal(err)
	}
	k.reopen()
	heard("the end, and the first under way", end, counting, dispatcher.SurelyHeard, dispatcher.NotHeard, dispatcher.PerhapsHeard)
	other := event(1)
	other.IncidentID, other.UpdateID, other.Status = "INC-2", "other", incident.Resolved
	heard("an end that is all there is", k.one(other), counting)
}

func testBudgetCounts(k *kit) {
	k.targets(6)
	b := k.one(event(1))
	take := func(i int, o dispatcher.Outcome, at time.Time, accounts ...string) {
		k.Helper()
		s := result(b, i, o, channels.Delivered)
		s.DoneAt, s.Accounts = at, accounts
		k.settle(s)
	}
	counted := func(since time.Time, want ...dispatcher.HourCount) {
		k.Helper()
		got, err := k.Counted(k.ctx, since)
		k.must(err)
		if !slices.Equal(got, want) {
			k.Errorf("counted %v, want %v", got, want)
		}
	}
	at := func(d time.Duration) int64 { return dispatcher.HourOf(after(d)) }
	counted(time.Time{})
	take(0, dispatcher.Delivered, after(2*hour), "mail", "mail:main") // start is on the hour
	take(1, dispatcher.Delivered, after(3*hour-time.Second), "mail", "mail:spare")
	take(2, dispatcher.Delivered, after(3*hour), "mail")
	take(2, dispatcher.Delivered, after(3*hour), "mail") // repeated
	take(3, dispatcher.Delivered, after(3*hour))
	k.reopen()
	k.settle(result(b, 4, dispatcher.Superseded, 0))
	late := result(b, 4, dispatcher.Open, channels.Temporary) // the row has moved on
	late.Accounts = []string{"mail"}
	k.settle(late)
	all := []dispatcher.HourCount{{Account: "mail", Hour: at(2 * hour), Messages: 2}, {Account: "mail", Hour: at(3 * hour), Messages: 1},
		{Account: "mail:main", Hour: at(2 * hour), Messages: 1}, {Account: "mail:spare", Hour: at(2 * hour), Messages: 1}}
	counted(after(2*hour+30*time.Minute), all...)
	counted(after(3*hour), all[1])
	take(5, dispatcher.Delivered, after(51*hour), "mail") // forgets what is older than two days
	counted(time.Time{}, all[1], dispatcher.HourCount{Account: "mail", Hour: at(51 * hour), Messages: 1}, all[2], all[3])
}
