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
	{"all incidents' messages to a target are bounded in time", testBudgetOfTarget},
	{"what others have in hand for a target counts", testBudgetOfTargetUnderWay},
	{"two that are in each other's way take turns", testBudgetOfTargetTurns},
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

// twoADay lets a target hear twice in 24 hours.
func twoADay() (b dispatcher.Budget) {
	b.PerTarget.Messages, b.PerTarget.Every = 2, 24*hour
	return b
}

const overTarget = "over budget: at most 2/24h for each target"

// of accepts and plans an update of any incident.
func (k *kit) of(id string, n int, status incident.Status) *queue.Batch {
	k.Helper()
	e := event(n)
	e.IncidentID, e.UpdateID, e.Status = id, id+e.UpdateID, status
	return k.one(e)
}

func testBudgetOfTarget(k *kit) {
	k.targets(2)
	for n, id := range []string{"A", "B"} {
		b := k.of(id, 1, incident.Identified)
		at := after(time.Duration(n+2) * hour)
		k.whys(k.budgeted(b, twoADay(), at))
		k.told(b, 0, at)
		k.settle(result(b, 1, dispatcher.Dead, channels.Permanent))
	}
	third := k.of("C", 1, incident.Identified)
	k.reopen()
	k.whys(k.budgeted(third, twoADay(), after(4*hour)), over(third, overTarget, 1)...)
	k.whys(k.budgeted(third, dispatcher.Budget{}, after(4*hour)))
	k.settle(result(third, 0, dispatcher.Suppressed, 0), result(third, 1, dispatcher.Suppressed, 0))

	k.whys(k.budgeted(k.of("A", 2, incident.Resolved), twoADay(), after(4*hour))) // it heard of A
	unheard := k.of("C", 2, incident.Resolved)
	k.whys(k.budgeted(unheard, twoADay(), after(4*hour)), over(unheard, overTarget, 1)...)

	fourth := k.of("D", 1, incident.Identified)
	k.whys(k.budgeted(fourth, twoADay(), after(26*hour-time.Second)), over(fourth, overTarget, 1)...)
	k.whys(k.budgeted(fourth, twoADay(), after(26*hour)))
}

// claimed claims batches for a worker in one transaction, with a budget.
func (k *kit) claimed(epoch int64, budget dispatcher.Budget, list ...*queue.Batch) []dispatcher.ClaimAnswer {
	k.Helper()
	requests := make([]dispatcher.ClaimRequest, len(list))
	for i, b := range list {
		requests[i] = dispatcher.ClaimRequest{Batch: b, Verify: true, Newer: true, Budget: &budget, Now: after(2 * hour)}
	}
	answers, err := k.Claim(k.ctx, epoch, after(3*hour), requests)
	k.must(err)
	return answers
}

func testBudgetOfTargetUnderWay(k *kit) {
	k.targets(1)
	a, b, c := k.of("A", 1, incident.Identified), k.of("B", 1, incident.Identified), k.of("C", 1, incident.Identified)
	blocked := dispatcher.Exception{Index: 0, Why: dispatcher.WhyBlocked}
	answers := k.claimed(7, twoADay(), a, b, c)
	k.whys(answers[0])
	k.whys(answers[1])
	k.whys(answers[2], blocked)
	k.whys(k.claimed(7, twoADay(), c)[0], blocked)
	k.whys(k.claimed(7, twoADay(), a, b)[1]) // its own place is not in its way
	k.told(a, 0, after(2*hour))
	k.whys(k.claimed(7, twoADay(), c)[0], blocked)
	k.settle(result(b, 0, dispatcher.Open, channels.Temporary)) // goes back: its place is free
	k.whys(k.claimed(7, twoADay(), c)[0])
	k.told(c, 0, after(2*hour))
	again := *b
	k.batch++
	again.ID = k.batch
	k.must(k.Rebatch(k.ctx, after(4*hour), batches(&again), nil, nil))
	k.whys(k.claimed(7, twoADay(), &again)[0], over(&again, overTarget)...)
}

func testBudgetOfTargetTurns(k *kit) {
	k.targets(1)
	a, b := k.of("A", 1, incident.Identified), k.of("B", 1, incident.Identified)
	for _, answer := range k.claimed(7, twoADay(), a, b) {
		k.whys(answer)
	}
	// Each finds the other in hand: if both kept their places, both would wait for ever.
	one := twoADay()
	one.PerTarget.Messages = 1
	k.reopen()
	answers := k.claimed(7, one, a, b)
	k.whys(answers[0], dispatcher.Exception{Index: 0, Why: dispatcher.WhyBlocked})
	k.whys(answers[1])
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
