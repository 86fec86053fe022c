package storetest

import (
	"fmt"
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
	{"a group's messages are bounded by hour and day", testBudgetOfGroup},
	{"counts are by group, and of what is asked for alone", testBudgetCounts},
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
	s.SentAt, s.DoneAt, s.Counts = at, at, b.Group
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
	full := onceInAWhile()
	full.PerDay = 1
	for n, status := range []incident.Status{incident.Monitoring, incident.Resolved, incident.Completed} {
		e := event(n + 2)
		e.Status = status
		b := k.one(e)
		a := k.budgeted(b, full, after(2*hour+time.Minute))
		if !status.Terminal() {
			k.whys(a, over(b, "over budget: at most 1 a day on this channel")...)
			continue
		}
		k.whys(a)
		k.told(b, 0, after(2*hour+time.Minute))
	}
	// Who was told of nothing need not hear of the end.
	never := event(1)
	never.IncidentID, never.UpdateID, never.Status = "INC-2", "other", incident.Resolved
	b := k.one(never)
	k.whys(k.budgeted(b, full, after(2*hour+time.Minute)), over(b, "over budget: at most 1 a day on this channel")...)
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

func testBudgetOfGroup(k *kit) {
	k.targets(6)
	b := k.one(event(1))
	hourly, daily := dispatcher.Budget{PerHour: 3}, dispatcher.Budget{PerDay: 4}
	const overHour, overDay = "over budget: at most 3 an hour on this channel", "over budget: at most 4 a day on this channel"
	k.whys(k.budgeted(b, hourly, after(2*hour)), over(b, overHour, 0, 1, 2)...) // start is on the hour
	k.told(b, 0, after(2*hour))
	k.told(b, 1, after(2*hour+59*time.Minute))
	k.reopen()
	rest := *b
	rest.Deliveries = b.Deliveries[2:]
	k.whys(k.budgeted(&rest, hourly, after(2*hour+59*time.Minute)), over(&rest, overHour, 0)...)
	k.whys(k.budgeted(&rest, hourly, after(3*hour)), over(&rest, overHour, 0, 1, 2)...)
	k.whys(k.budgeted(&rest, daily, after(18*hour)), over(&rest, overDay, 0, 1)...) // 23:00
	k.whys(k.budgeted(&rest, daily, after(19*hour)))                                // the next day
}

func testBudgetCounts(k *kit) {
	mail := hook(7)
	mail.Channel, mail.Address = incident.ChannelSMTP, "a@relay.example"
	k.upsert(hook(0), hook(1), mail)
	var hooks, mails *queue.Batch
	for _, b := range k.plan(k.accept(event(1))[0]) {
		if b.Group == "webhook" {
			hooks = b
		} else {
			mails = b
		}
	}
	k.settle(result(hooks, 0, dispatcher.Delivered, channels.Delivered)) // a group that is not counted
	k.told(mails, 0, after(2*hour))
	rest := *hooks
	rest.Deliveries = hooks.Deliveries[1:]
	once := dispatcher.Budget{PerDay: 1}
	k.whys(k.budgeted(&rest, once, after(2*hour)))
	again := k.plan(k.accept(event(2))[0])
	for _, b := range again {
		want := over(b, fmt.Sprintf("over budget: at most %d a day on this channel", once.PerDay), 0)
		if b.Group == mails.Group {
			want = over(b, "over budget: at most 1 a day on this channel")
		}
		k.whys(k.budgeted(b, once, after(2*hour)), want...)
	}
}
