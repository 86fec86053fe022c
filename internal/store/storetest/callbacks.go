package storetest

import (
	"fmt"
	"reflect"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/store"
	"github.com/tocsin/tocsin/queue"
)

var callbackTests = []test{
	{"an update is complete with its plan and its last open row", testComplete},
	{"the order in which rows close doesn't matter", testCompleteAnyOrder},
	{"an empty audience is complete at once", testCompleteEmpty},
	{"superseded and expired updates are complete", testCompleteSuperseded},
	{"a stop completes what it ends", testCompleteStopped},
	{"what comes later doesn't change what is told", testCompleteOnce},
	{"each of many updates is looked at", testCompleteMany},
	{"a callback comes again until it is settled", testSettleCallback},
	{"only updates that were sent have callbacks", testCallbackOfSent},
}

const callbackURL = "https://producer.example/done?token=t"

// called is the nth update of INC-1, with a callback.
func called(n int) *incident.Event {
	e := event(n)
	e.CallbackURL = callbackURL
	return e
}

// complete looks for completed updates and wants that many new ones.
func (k *kit) complete(at time.Time, want int) {
	k.Helper()
	n, err := k.Complete(k.ctx, at)
	k.must(err)
	equal(k, "completed", n, want)
}

func (k *kit) dueCallbacks(at time.Time, want int) []*dispatcher.Callback {
	k.Helper()
	due, err := k.DueCallbacks(k.ctx, at, 10)
	k.must(err)
	if len(due) != want {
		k.Fatalf("%d callbacks are due, want %d", len(due), want)
	}
	return due
}

// settlements close every delivery of the batches.
func settlements(batches []*queue.Batch, o dispatcher.Outcome, c channels.Class) (all []dispatcher.Settlement) {
	for _, b := range batches {
		for i := range b.Deliveries {
			all = append(all, result(b, i, o, c))
		}
	}
	return all
}

func testComplete(k *kit) {
	mail := hook(9)
	mail.Channel, mail.Address = incident.ChannelSMTP, "ops@relay.example"
	k.upsert(hook(0), hook(1), hook(2), mail)
	p := k.accept(called(1))[0]
	k.complete(after(2*hour), 0) // not planned
	first, last := k.page(p, 2)
	if last {
		k.Fatal("the plan has one page")
	}
	k.settle(settlements(first, dispatcher.Delivered, channels.Delivered)...)
	k.complete(after(3*hour), 0) // nothing is open, but the plan runs
	rest := settlements(k.plan(p), dispatcher.Dead, channels.Gone)
	k.complete(after(3*hour), 0)
	rest[0].DoneAt = after(150 * time.Minute)
	k.settle(rest[0])
	k.complete(after(3*hour), 0)
	k.dueCallbacks(after(99*hour), 0)
	k.reopen()
	k.settle(rest[1:]...)
	k.complete(after(3*hour), 1)
	k.complete(after(4*hour), 0)
	k.dueCallbacks(after(3*hour-1e6), 0)
	k.reopen()
	got := k.dueCallbacks(after(3*hour), 1)[0]
	delivered, dead := 0, 0
	for _, by := range got.Outcomes {
		delivered += by[dispatcher.Delivered]
		dead += by[dispatcher.Dead]
	}
	mails, hooks := got.Outcomes["smtp"], got.Outcomes["webhook"]
	if delivered != 2 || dead != 2 || mails[dispatcher.Delivered]+mails[dispatcher.Dead] != 1 || hooks[dispatcher.Open] != 0 {
		k.Errorf("outcomes: %v", got.Outcomes)
	}
	want := &dispatcher.Callback{
		Incident: p.Incident, Sequence: 1, URL: callbackURL, Page: "default", IncidentID: "INC-1", UpdateID: "u-1",
		Status: incident.Identified, Audience: 4, Outcomes: got.Outcomes, AcceptedAt: after(hour), PlannedAt: after(hour),
		CompletedAt: after(150 * time.Minute), ExpiresAt: after(25 * hour),
	}
	if !reflect.DeepEqual(got, want) {
		k.Errorf("the callback is\n%+v\nwant\n%+v", got, want)
	}
}

// testCompleteAnyOrder looks between any two rows that close: a look that passed
// over an open one would be early, one that stuck would never end.
func testCompleteAnyOrder(k *kit) {
	k.targets(7)
	k.one(event(1)) // rows of other updates stand between, and stay open
	b := k.one(called(2))
	k.one(event(3))
	for n, i := range []int{3, 0, 6, 1, 2, 5} {
		k.settle(result(b, i, dispatcher.Delivered, channels.Delivered))
		if n%2 == 0 {
			k.reopen()
		}
		k.complete(after(3*hour), 0)
	}
	k.settle(result(b, 4, dispatcher.Open, channels.Temporary)) // waits, and is open
	k.complete(after(3*hour), 0)
	end := result(b, 4, dispatcher.Superseded, 0)
	end.Batch = 0
	k.settle(end)
	k.complete(after(3*hour), 1)
}

func testCompleteEmpty(k *kit) {
	k.plan(k.accept(called(1))[0])
	k.complete(after(2*hour), 1)
	c := k.dueCallbacks(after(2*hour), 1)[0]
	equal(k, "audience", c.Audience, 0)
	equal(k, "outcomes", len(c.Outcomes), 0)
	equal(k, "completed", c.CompletedAt, after(hour)) // when it was planned
}

func testCompleteSuperseded(k *kit) {
	k.targets(2)
	e := called(1)
	e.ExpiresAt = after(2 * hour)
	b := k.one(e)
	k.settle(result(b, 0, dispatcher.Open, channels.Temporary))
	k.complete(after(hour), 0)
	k.plan(k.accept(event(2))[0]) // supersedes the one that waits
	k.complete(after(hour), 0)
	equal(k, "expired", k.expire(after(2*hour)), 1)
	k.complete(after(2*hour), 1)
	c := k.dueCallbacks(after(2*hour), 1)[0]
	by := c.Outcomes["webhook"]
	if by[dispatcher.Superseded] != 1 || by[dispatcher.Expired] != 1 || len(by) != 2 || c.Sequence != 1 {
		k.Errorf("the callback is %+v", c)
	}
}

func testCompleteStopped(k *kit) {
	k.targets(6)
	first := k.plan(k.accept(called(1))[0])
	second := k.accept(called(2))[0]
	k.page(second, 4)
	third := k.accept(called(3))[0] // not begun
	k.settle(result(first[0], 0, dispatcher.Delivered, channels.Delivered))
	equal(k, "suppressed", k.stop(third.Incident, 3), 9)
	k.complete(after(3*hour), 3)
	for i, c := range k.dueCallbacks(after(3*hour), 3) {
		by := c.Outcomes["webhook"]
		equal(k, "suppressed", by[dispatcher.Suppressed], []int{5, 4, 0}[i])
		equal(k, "audience", c.Audience, []int{6, 4, 0}[i])
		equal(k, "unfinished", c.PlannedAt.IsZero(), i > 0)
		equal(k, "completed", c.CompletedAt, after([]time.Duration{2*hour + time.Second, 2 * hour, 3 * hour}[i]))
	}
}

func testCompleteOnce(k *kit) {
	k.targets(1)
	e := called(1)
	e.ExpiresAt = after(2 * hour)
	b := k.one(e)
	equal(k, "expired", k.expire(after(2*hour)), 1)
	k.complete(after(2*hour), 1)
	k.settle(result(b, 0, dispatcher.Delivered, channels.Delivered)) // a receipt always lands
	k.complete(after(3*hour), 0)
	c := k.dueCallbacks(after(3*hour), 1)[0]
	equal(k, "expired", c.Outcomes["webhook"][dispatcher.Expired], 1)
	equal(k, "completed", c.CompletedAt, after(2*hour))
}

func testCompleteMany(k *kit) {
	const n = 600
	events := make([]*incident.Event, n)
	for i := range events {
		events[i] = called(1)
		events[i].IncidentID = fmt.Sprint("INC-", i)
	}
	plans := k.accept(events...)
	for _, p := range plans[1:] {
		k.plan(p)
	}
	k.complete(after(2*hour), n-1)
	k.plan(plans[0])
	k.complete(after(2*hour), 1)
}

func (k *kit) callback(sequence int) *store.Callback {
	k.Helper()
	_, updates, err := k.Incident(k.ctx, "default", "INC-1")
	k.must(err)
	for _, u := range updates {
		if u.Sequence == sequence {
			return u.Callback
		}
	}
	k.Fatalf("there is no update %d", sequence)
	return nil
}

func testSettleCallback(k *kit) {
	k.plan(k.accept(called(1))[0])
	k.plan(k.accept(called(2))[0])
	equal(k, "before", *k.callback(1), store.Callback{})
	k.complete(after(2*hour), 2)
	due := k.dueCallbacks(after(2*hour), 2)
	list, err := k.DueCallbacks(k.ctx, after(2*hour), 1)
	k.must(err)
	equal(k, "at most", len(list), 1)
	again := dispatcher.CallbackSettlement{Incident: due[0].Incident, Sequence: 1, Attempt: 1, Detail: "http 503", DueAt: after(3 * hour)}
	k.must(k.SettleCallback(k.ctx, again))
	equal(k, "the other", k.dueCallbacks(after(3*hour-1e6), 1)[0].Sequence, 2)
	equal(k, "waiting", *k.callback(1), store.Callback{Attempt: 1, Detail: "http 503"})
	k.reopen()
	due = k.dueCallbacks(after(3*hour), 2)
	equal(k, "oldest due first", due[0].Sequence, 2)
	equal(k, "attempt", due[1].Attempt, 1)
	equal(k, "url", due[1].URL, callbackURL)
	done := dispatcher.CallbackSettlement{Incident: due[0].Incident, Sequence: 1, State: dispatcher.CallbackDelivered, Attempt: 2, DoneAt: after(3 * hour)}
	failed := dispatcher.CallbackSettlement{Incident: due[0].Incident, Sequence: 2, State: dispatcher.CallbackFailed, Attempt: 1, Detail: "http 404", DoneAt: after(3 * hour)}
	k.must(k.SettleCallback(k.ctx, done))
	k.must(k.SettleCallback(k.ctx, failed))
	k.must(k.SettleCallback(k.ctx, again)) // too late
	k.reopen()
	k.dueCallbacks(after(999*hour), 0)
	k.complete(after(999*hour), 0)
	equal(k, "delivered", *k.callback(1), store.Callback{State: dispatcher.CallbackDelivered, Attempt: 2, DoneAt: after(3 * hour)})
	equal(k, "failed", *k.callback(2), store.Callback{State: dispatcher.CallbackFailed, Attempt: 1, Detail: "http 404", DoneAt: after(3 * hour)})
}

func testCallbackOfSent(k *kit) {
	k.plan(k.accept(event(1))[0]) // asks for none
	k.plan(k.accept(called(3))[0])
	again, stale := called(3), called(2)
	again.CallbackURL = "https://other.example/"
	results := k.arrive(again, stale)
	equal(k, "repeated", results[0].Result, dispatcher.AcceptedDuplicate)
	equal(k, "late", results[1].Result, dispatcher.AcceptedStale)
	k.complete(after(2*hour), 1)
	c := k.dueCallbacks(after(2*hour), 1)[0]
	equal(k, "sequence", c.Sequence, 2)
	equal(k, "url", c.URL, callbackURL)
	if k.callback(1) != nil || k.callback(0) != nil {
		k.Error("an update that asked for none has a callback")
	}
}
