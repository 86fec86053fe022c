package storetest

import (
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
)

const hour = time.Hour

var claimTests = []test{
	{"a claim is one worker's", testClaimOnce},
	{"a settled batch is gone", testClaimGone},
	{"a row that moved on is dropped", testClaimClosed},
	{"a newer row is told, but not for every_update", testClaimNewer},
	{"every_update waits for the older one", testClaimBlocked},
	{"a target that may not be told is not told", testClaimInactive},
	{"a changed target goes back", testClaimChanged},
	{"a change that doesn't matter for sending is none", testClaimUnchanged},
	{"a stopped fan-out sends nothing", testClaimStopped},
}

func testClaimOnce(k *kit) {
	k.targets(1)
	b := k.one(event(1))
	claim := func(epoch int64) dispatcher.ClaimState {
		k.Helper()
		a, err := k.Claim(k.ctx, epoch, after(2*hour), []dispatcher.ClaimRequest{{Batch: b}})
		k.must(err)
		return a[0].State
	}
	equal(k, "first claim", claim(1), dispatcher.Claimed)
	equal(k, "another worker's", claim(2), dispatcher.ClaimHeld)
	k.reopen()
	equal(k, "the same worker's again", claim(1), dispatcher.Claimed)
	equal(k, "another worker's again", claim(2), dispatcher.ClaimHeld)
}

func testClaimGone(k *kit) {
	k.targets(2)
	b := k.one(event(1))
	other := *b
	other.ID = 1
	k.must(k.Settle(k.ctx, nil, []int64{b.ID}))
	for _, leased := range []bool{true, false} {
		for i, a := range k.claims(dispatcher.ClaimRequest{Batch: b, Leased: leased}, dispatcher.ClaimRequest{Batch: &other, Leased: leased}) {
			if a.State != dispatcher.ClaimGone || a.Exceptions != nil {
				k.Errorf("claim %d, leased %v: %+v", i, leased, a)
			}
		}
	}
}

func testClaimClosed(k *kit) {
	k.targets(4)
	b := k.one(event(1))
	k.settle(result(b, 1, dispatcher.Delivered, channels.Delivered), result(b, 2, dispatcher.Open, channels.Temporary))
	rebatched := *b
	k.batch++
	rebatched.ID, rebatched.Deliveries = k.batch, b.Deliveries[2:3]
	k.must(k.Rebatch(k.ctx, after(4*hour), batches(&rebatched), nil, nil))
	k.whys(k.claim(b), dispatcher.Exception{Index: 1, Why: dispatcher.WhyClosed}, dispatcher.Exception{Index: 2, Why: dispatcher.WhyClosed})
	k.whys(k.claim(&rebatched))
}

func testClaimNewer(k *kit) {
	eager := hook(1)
	eager.EveryUpdate = true
	k.upsert(hook(0), eager)
	first := k.one(event(1))
	k.whys(k.claim(first))
	k.one(event(2))
	k.whys(k.claim(first), dispatcher.Exception{Index: 0, Why: dispatcher.WhyNewer})
	k.whys(k.claims(dispatcher.ClaimRequest{Batch: first, Leased: true})[0]) // not asked
}

func testClaimBlocked(k *kit) {
	eager := hook(1)
	eager.EveryUpdate = true
	k.upsert(hook(0), eager)
	first := k.one(event(1))
	second := k.one(event(2))
	blocked := dispatcher.Exception{Index: 1, Why: dispatcher.WhyBlocked}
	k.whys(k.claim(second), blocked)
	k.whys(k.claims(dispatcher.ClaimRequest{Batch: second, Leased: true})[0], blocked) // always asked
	k.settle(result(first, 1, dispatcher.Open, channels.Temporary))
	k.whys(k.claim(second), blocked)
	k.settle(dispatcher.Settlement{Row: row(first, 1), Outcome: dispatcher.Dead, DoneAt: after(2 * hour)})
	k.whys(k.claim(second))
}

func testClaimInactive(k *kit) {
	ids := k.targets(5)
	b := k.one(event(1))
	k.patch(ids[0], func(t *incident.Target) { t.State = incident.StatePaused })
	k.patch(ids[1], func(t *incident.Target) { t.State = incident.StateUnsubscribed })
	k.patch(ids[2], func(t *incident.Target) { t.State = incident.StateDisabled })
	k.must(k.Delete(k.ctx, ids[3]))
	inactive := func(i int, state string) dispatcher.Exception {
		return dispatcher.Exception{Index: i, Why: dispatcher.WhyInactive, Detail: "target " + state}
	}
	want := []dispatcher.Exception{inactive(0, "paused"), inactive(1, "unsubscribed"), inactive(2, "disabled"), inactive(3, "deleted")}
	k.whys(k.claim(b), want...)
	k.reopen()
	k.whys(k.claims(dispatcher.ClaimRequest{Batch: b, Leased: true})[0], want...)
	k.patch(ids[0], func(t *incident.Target) { t.State = incident.StateActive })
	k.whys(k.claim(b), want[1:]...)
}

func testClaimChanged(k *kit) {
	ids := k.targets(7)
	b := k.one(event(1))
	for i, change := range []func(t *incident.Target){
		func(t *incident.Target) { t.Address = "https://elsewhere.example/" },
		func(t *incident.Target) { t.Secrets = []string{"whsec_new"} },
		func(t *incident.Target) { t.Locale = "de" },
		func(t *incident.Target) { t.Format = "slack" },
		func(t *incident.Target) { t.Visibility = incident.Private },
		func(t *incident.Target) { t.EveryUpdate = true },
	} {
		k.patch(ids[i], change)
	}
	var want []dispatcher.Exception
	for i := range 6 {
		want = append(want, dispatcher.Exception{Index: i, Why: dispatcher.WhyChanged})
	}
	k.whys(k.claim(b), want...)
	// A batch planned afterwards has the new version, and is not measured by the other.
	if second := k.one(event(2)); len(k.claim(second).Exceptions) != 1 { // the one that now wants every update
		k.Errorf("exceptions of a batch planned after the change: %v", k.claim(second).Exceptions)
	} else {
		answers := k.claims(dispatcher.ClaimRequest{Batch: second, Leased: true}, dispatcher.ClaimRequest{Batch: b, Leased: true})
		equal(k, "exceptions of the newer batch beside the older", len(answers[0].Exceptions), 1)
		k.whys(answers[1], want...)
	}
}

func testClaimUnchanged(k *kit) {
	ids := k.targets(2)
	b := k.one(event(1))
	k.patch(ids[0], func(t *incident.Target) { t.MinImpact, t.Components = incident.ImpactCritical, []string{"web"} })
	k.patch(ids[1], func(t *incident.Target) { t.State = incident.StatePaused })
	k.patch(ids[1], func(t *incident.Target) { t.State = incident.StateActive })
	k.whys(k.claim(b))
}

func testClaimStopped(k *kit) {
	k.targets(2)
	b := k.one(event(1))
	k.stop(b.Incident, 1)
	k.whys(k.claims(dispatcher.ClaimRequest{Batch: b, Leased: true})[0],
		dispatcher.Exception{Index: 0, Why: dispatcher.WhyInactive, Detail: "fan-out stopped"},
		dispatcher.Exception{Index: 1, Why: dispatcher.WhyInactive, Detail: "fan-out stopped"})
}
