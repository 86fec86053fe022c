package storetest

import (
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
)

var sweepTests = []test{
	{"a batch lapses unpublished, unclaimed, or with its lease", testLapsed},
	{"a lapsed batch is read whole", testLapsedWhole},
	{"replacing moves what is open to a new batch", testReplace},
	{"a batch claimed meanwhile is not replaced", testReplaceClaimed},
	{"a batch with nothing open is only removed", testReplaceNothing},
	{"expiry closes open rows wherever they are, in bounded steps", testExpire},
	{"expiry waits for the plan's end before it is done with an update", testExpirePlanning},
	{"what was under way at the expiry says why", testExpireLate},
	{"a stop suppresses what is open and ends the plan", testStop},
	{"an update after a stop goes out", testStopThenUpdate},
}

// lapsed returns the ids of what lapsed; zero times leave a kind out.
func (k *kit) lapsed(now, unpublished, unclaimed time.Time) []int64 {
	k.Helper()
	list, err := k.Lapsed(k.ctx, now, unpublished, unclaimed, 10)
	k.must(err)
	var ids []int64
	for _, l := range list {
		ids = append(ids, l.ID)
	}
	return ids
}

func testLapsed(k *kit) {
	k.targets(1)
	var none time.Time
	b := k.one(event(1)) // written an hour into the story
	k.wantIDs("just written", k.lapsed(none, after(hour), none))
	k.wantIDs("unpublished", k.lapsed(none, after(hour+1e6), none), b.ID)
	k.must(k.Published(k.ctx, []int64{b.ID}, after(2*hour)))
	k.must(k.Published(k.ctx, []int64{b.ID}, after(9*hour))) // the first time counts
	k.wantIDs("published", k.lapsed(none, after(99*hour), after(2*hour)))
	k.wantIDs("unclaimed", k.lapsed(none, none, after(2*hour+1e6)), b.ID)
	k.claims(dispatcher.ClaimRequest{Batch: b}) // until 2 h
	k.wantIDs("claimed", k.lapsed(after(2*hour), after(99*hour), after(99*hour)))
	k.reopen()
	k.wantIDs("lease over", k.lapsed(after(2*hour+1e6), none, none), b.ID)
	k.must(k.Settle(k.ctx, nil, []int64{b.ID}))
	k.wantIDs("finished", k.lapsed(after(99*hour), after(99*hour), after(99*hour)))
}

// oneLapsed returns the one lapsed batch.
func (k *kit) oneLapsed() dispatcher.LapsedBatch {
	k.Helper()
	list, err := k.Lapsed(k.ctx, after(99*hour), after(99*hour), after(99*hour), 10)
	k.must(err)
	if len(list) != 1 {
		k.Fatalf("%d batches lapsed, want 1", len(list))
	}
	return list[0]
}

func testLapsedWhole(k *kit) {
	k.targets(3)
	b := k.one(event(1))
	equal(k, "published", k.oneLapsed().Published, false)
	k.must(k.Published(k.ctx, []int64{b.ID}, after(2*hour)))
	k.claims(dispatcher.ClaimRequest{Batch: b})
	k.claims(dispatcher.ClaimRequest{Batch: b})
	l := k.oneLapsed()
	equal(k, "published", l.Published, true)
	equal(k, "holder", l.Holder, 1)
	equal(k, "lease", l.LeaseUntil, after(2*hour))
	equal(k, "takes", l.Takes, 2)
	equal(k, "deliveries", len(l.Deliveries), 3)
	equal(k, "address", l.Deliveries[2].Address, b.Deliveries[2].Address)
}

func testReplace(k *kit) {
	k.targets(3)
	b := k.one(event(1))
	k.claims(dispatcher.ClaimRequest{Batch: b})
	k.settle(result(b, 1, dispatcher.Delivered, channels.Delivered))
	l := k.oneLapsed()
	k.batch++
	n, err := k.Replace(k.ctx, l, k.batch, after(50*hour))
	k.must(err)
	if n == nil || n.ID != k.batch || !n.Verify || len(n.Deliveries) != 2 || n.Group != b.Group || !n.AcceptedAt.Equal(b.AcceptedAt) {
		k.Fatalf("the new batch: %+v", n)
	}
	equal(k, "the old one", k.claim(b).State, dispatcher.ClaimGone)
	k.whys(k.claim(n))
	k.wantIDs("not yet missed", k.lapsed(time.Time{}, after(50*hour), time.Time{}))
	k.wantIDs("to be published", k.lapsed(time.Time{}, after(51*hour), time.Time{}), n.ID)
	k.settle(result(b, 0, dispatcher.Dead, channels.Permanent)) // the zombie's failure misses
	k.outcome(row(b, 0), dispatcher.Open)
	k.settle(result(b, 0, dispatcher.Delivered, channels.Delivered)) // its receipt doesn't
	k.whys(k.claim(n), dispatcher.Exception{Index: 0, Why: dispatcher.WhyClosed})
	again, err := k.Replace(k.ctx, l, k.batch+1, after(50*hour))
	k.must(err)
	if again != nil {
		k.Errorf("replaced twice: %+v", again)
	}
}

func testReplaceClaimed(k *kit) {
	k.targets(1)
	b := k.one(event(1))
	l := k.oneLapsed()
	k.claims(dispatcher.ClaimRequest{Batch: b})
	n, err := k.Replace(k.ctx, l, 5000, after(50*hour))
	k.must(err)
	if n != nil {
		k.Fatal("a batch was replaced that had been claimed")
	}
	l = k.oneLapsed()
	_, err = k.Claim(k.ctx, 1, after(7*hour), []dispatcher.ClaimRequest{{Batch: b}}) // the lease is prolonged
	k.must(err)
	n, err = k.Replace(k.ctx, l, 5000, after(50*hour))
	k.must(err)
	if n != nil {
		k.Fatal("a batch was replaced whose lease had been prolonged")
	}
	k.whys(k.claim(b))
}

func testReplaceNothing(k *kit) {
	k.targets(2)
	b := k.one(event(1))
	k.settle(result(b, 0, dispatcher.Delivered, channels.Delivered), result(b, 1, dispatcher.Open, channels.Temporary))
	n, err := k.Replace(k.ctx, k.oneLapsed(), 5000, after(50*hour))
	k.must(err)
	if n != nil {
		k.Errorf("a batch for nothing: %+v", n)
	}
	k.wantIDs("lapsed", k.lapsed(after(99*hour), after(99*hour), after(99*hour)))
	k.wantIDs("waiting", k.dueTargets(9*hour, 10), b.Deliveries[1].Target)
}

// expire repeats Expire until there is no more and returns how many it closed.
func (k *kit) expire(at time.Time) int {
	k.Helper()
	total := 0
	for range 1000 {
		n, more, err := k.Expire(k.ctx, at)
		k.must(err)
		total += n["webhook"]
		if !more {
			return total
		}
	}
	k.Fatal("there is always more to expire")
	return 0
}

func testExpire(k *kit) {
	n := k.fixture.Step * 5 / 2 // targets
	k.targets(n)
	e := event(1)
	e.ExpiresAt = after(2 * hour)
	later := event(1)
	later.IncidentID, later.ExpiresAt = "INC-2", after(3*hour)
	all := k.plan(k.accept(e)[0])
	k.plan(k.accept(later)[0])
	first, second := all[0], all[1]
	k.settle(result(first, 0, dispatcher.Delivered, channels.Delivered), result(first, 1, dispatcher.Open, channels.Temporary))
	equal(k, "too early", k.expire(after(2*hour-1e6)), 0)
	closed, more, err := k.Expire(k.ctx, after(2*hour))
	k.must(err)
	step := closed["webhook"]
	if step == 0 || step > k.fixture.Step || !more {
		k.Errorf("one step closed %d, more %v", step, more)
	}
	k.reopen()
	equal(k, "closed", step+k.expire(after(2*hour)), n-1)
	equal(k, "closed again", k.expire(after(2*hour)), 0)
	k.outcome(row(first, 0), dispatcher.Delivered)
	k.outcome(row(first, 1), dispatcher.Expired)
	k.outcome(row(second, 0), dispatcher.Expired)
	k.wantIDs("waiting", k.dueTargets(99*hour, 10))
	k.settle(result(second, 0, dispatcher.Delivered, channels.Delivered)) // a receipt always lands
	k.outcome(row(second, 0), dispatcher.Delivered)
	equal(k, "the other", k.expire(after(3*hour)), n)
}

func testExpireLate(k *kit) {
	k.targets(2)
	e := event(1)
	e.ExpiresAt = after(2 * hour)
	b := k.plan(k.accept(e)[0])[0]
	equal(k, "expired", k.expire(after(2*hour)), 2)
	late := result(b, 0, dispatcher.Open, channels.Temporary)
	late.Detail = "timeout: no answer in time"
	zombie := result(b, 1, dispatcher.Open, channels.Temporary)
	zombie.Batch++
	k.settle(late, zombie)
	got := k.stored(row(b, 0))
	equal(k, "outcome", got.Outcome, dispatcher.Expired)
	equal(k, "detail", got.Detail, late.Detail)
	equal(k, "class", got.Class, "temporary")
	equal(k, "another batch's", k.stored(row(b, 1)).Detail, "")
}

func testExpirePlanning(k *kit) {
	k.targets(10)
	e := event(1)
	e.ExpiresAt = after(2 * hour)
	p := k.accept(e)[0]
	k.page(p, 4)
	equal(k, "the first page", k.expire(after(3*hour)), 4)
	k.plan(p)
	equal(k, "the rest", k.expire(after(3*hour)), 6)
	equal(k, "nothing", k.expire(after(3*hour)), 0)
}

func testStop(k *kit) {
	n := k.fixture.Step * 3 / 2 // targets
	k.targets(n)
	first := k.plan(k.accept(event(1))[0])
	p := k.accept(event(2))[0]
	k.page(p, n/2)
	other := event(1)
	other.IncidentID = "INC-2"
	untouched := k.plan(k.accept(other)[0])[0]
	k.settle(result(first[0], 0, dispatcher.Delivered, channels.Delivered), result(first[0], 1, dispatcher.Open, channels.Temporary))
	equal(k, "suppressed", k.stop(p.Incident, 2), n+n/2-1)
	equal(k, "suppressed again", k.stop(p.Incident, 2), 0)
	k.reopen()
	found, updates, err := k.Incident(k.ctx, "default", "INC-1")
	k.must(err)
	equal(k, "stopped", found.Stopped, true)
	equal(k, "planned", updates[0].PlannedAt.IsZero(), true)
	equal(k, "suppressed of 2", updates[0].Progress["webhook"][dispatcher.Suppressed], n/2)
	equal(k, "suppressed of 1", updates[1].Progress["webhook"][dispatcher.Suppressed], n-1)
	equal(k, "delivered of 1", updates[1].Progress["webhook"][dispatcher.Delivered], 1)
	equal(k, "detail", k.stored(row(first[0], 2)).Detail, "fan-out stopped")
	plans, err := k.Unplanned(k.ctx, 10)
	k.must(err)
	equal(k, "unplanned", len(plans), 0)
	k.outcome(row(untouched, 0), dispatcher.Open)
	if _, _, err := k.Stop(k.ctx, 999_999, after(2*hour)); err == nil {
		k.Error("an unknown incident could be stopped")
	}
}

func testStopThenUpdate(k *kit) {
	k.targets(2)
	first := k.one(event(1))
	k.stop(first.Incident, 1)
	second := k.one(event(2))
	k.whys(k.claim(second))
	k.settle(result(second, 0, dispatcher.Open, channels.Temporary))
	equal(k, "inactive", k.due(9*hour, 10)[0].Inactive, "")
	found, _, err := k.Incident(k.ctx, "default", "INC-1")
	k.must(err)
	equal(k, "stopped", found.Stopped, false)
}
