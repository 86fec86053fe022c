package storetest

import (
	"fmt"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/store"
	"github.com/tocsin/tocsin/queue"
)

var settleTests = []test{
	{"the state machine, row by row", testStateMachine},
	{"a row shows its last attempt", testSettleFields},
	{"finished batches are removed with the results", testSettleFinished},
	{"a success ends the row of failures", testStreakReset},
	{"ten updates in a row without success disable a target", testStreakFailed},
	{"a gone address disables its target", testStreakGone},
	{"a result that doesn't land says nothing of the target", testStreakMissed},
	{"a big group settles whole", testSettleMany},
}

// all chooses every row.
var all = store.DeliveryFilter{}

// batches makes a list of its arguments.
func batches(list ...*queue.Batch) []*queue.Batch { return list }

// testStateMachine puts a row into each state, lets each event happen to it, twice,
// and compares with the table in docs/decisions/ledger.md.
func testStateMachine(k *kit) {
	type state struct {
		name  string
		reach func(b *queue.Batch) // from queued
		open  bool
	}
	states := []state{
		{"queued", func(*queue.Batch) {}, true},
		{"waiting", func(b *queue.Batch) { k.settle(result(b, 0, dispatcher.Open, channels.Temporary)) }, true},
		{"delivered", func(b *queue.Batch) { k.settle(result(b, 0, dispatcher.Delivered, channels.Delivered)) }, false},
		{"dead", func(b *queue.Batch) { k.settle(result(b, 0, dispatcher.Dead, channels.Permanent)) }, false},
		{"superseded", func(b *queue.Batch) { k.settle(result(b, 0, dispatcher.Superseded, 0)) }, false},
		{"suppressed", func(b *queue.Batch) { k.settle(result(b, 0, dispatcher.Suppressed, 0)) }, false},
		{"expired", func(b *queue.Batch) { k.settle(result(b, 0, dispatcher.Expired, 0)) }, false},
	}
	foreign := func(b *queue.Batch, o dispatcher.Outcome, c channels.Class) dispatcher.Settlement {
		s := result(b, 0, o, c)
		s.Batch = b.ID + 1_000_000
		return s
	}
	events := []struct {
		name   string
		happen func(b *queue.Batch)
		// to is what an open row of the batch becomes; whatever: also one that isn't.
		to       dispatcher.Outcome
		whatever bool
		// from restricts the event to a state; "" is any open one.
		from string
	}{
		{"peer accepted", func(b *queue.Batch) { k.settle(result(b, 0, dispatcher.Delivered, channels.Delivered)) }, dispatcher.Delivered, true, ""},
		{"peer accepted, told by a zombie", func(b *queue.Batch) { k.settle(foreign(b, dispatcher.Delivered, channels.Delivered)) }, dispatcher.Delivered, true, ""},
		{"permanent", func(b *queue.Batch) { k.settle(result(b, 0, dispatcher.Dead, channels.Permanent)) }, dispatcher.Dead, false, "queued"},
		{"permanent, told by a zombie", func(b *queue.Batch) { k.settle(foreign(b, dispatcher.Dead, channels.Permanent)) }, dispatcher.Dead, false, "none"},
		{"temporary", func(b *queue.Batch) { k.settle(result(b, 0, dispatcher.Open, channels.Temporary)) }, dispatcher.Open, false, "queued"},
		{"can't start soon", func(b *queue.Batch) { k.settle(result(b, 0, dispatcher.Open, 0)) }, dispatcher.Open, false, "queued"},
		{"newer row", func(b *queue.Batch) { k.settle(result(b, 0, dispatcher.Superseded, 0)) }, dispatcher.Superseded, false, "queued"},
		{"opt-out", func(b *queue.Batch) { k.settle(result(b, 0, dispatcher.Suppressed, 0)) }, dispatcher.Suppressed, false, "queued"},
		{"expiry", func(b *queue.Batch) { _, _, err := k.Expire(k.ctx, after(48*hour)); k.must(err) }, dispatcher.Expired, false, ""},
		{"stop", func(b *queue.Batch) { k.stop(b.Incident, 1) }, dispatcher.Suppressed, false, ""},
		{"due, and found superseded", func(b *queue.Batch) {
			s := result(b, 0, dispatcher.Superseded, 0)
			s.Batch = 0
			k.must(k.Rebatch(k.ctx, after(4*hour), nil, nil, []dispatcher.Settlement{s}))
		}, dispatcher.Superseded, false, "waiting"},
	}
	k.targets(1)
	n := 0
	for _, s := range states {
		for _, e := range events {
			n++
			ev := event(1)
			ev.IncidentID = fmt.Sprint("INC-", n)
			b := k.one(ev)
			s.reach(b)
			before := k.stored(row(b, 0))
			want := before.Outcome
			if e.whatever || s.open && (e.from == "" || e.from == s.name) {
				want = e.to
			}
			for range 2 {
				e.happen(b)
				got := k.stored(row(b, 0))
				if got.Outcome != want {
					k.Errorf("%s, %s: became %v, want %v", s.name, e.name, got.Outcome, want)
				}
				if s.name == "expired" && e.name == "temporary" { // says why it expired
					before.Class, before.Detail, before.SentAt = got.Class, got.Detail, got.SentAt
				}
				if want == before.Outcome && want != dispatcher.Open && want != e.to && got != before {
					k.Errorf("%s, %s: changed from %+v to %+v", s.name, e.name, before, got)
				}
			}
		}
	}
}

func testSettleFields(k *kit) {
	k.targets(2)
	b := k.one(event(1))
	s := result(b, 0, dispatcher.Open, channels.Temporary)
	s.Attempt, s.Detail = 3, "http 503: maintenance"
	k.settle(s)
	d := k.stored(s.Row)
	equal(k, "attempts", d.Attempt, 3)
	equal(k, "class", d.Class, "temporary")
	equal(k, "detail", d.Detail, "http 503: maintenance")
	equal(k, "due", d.DueAt, s.DueAt)
	equal(k, "sent", d.SentAt, s.SentAt)
	equal(k, "done", d.DoneAt.IsZero(), true)
	equal(k, "channel", d.Channel, "webhook")

	// Closed without another attempt: what is known of the last one stays.
	k.must(k.Rebatch(k.ctx, after(4*hour), nil, nil, []dispatcher.Settlement{{Row: s.Row, Outcome: dispatcher.Expired, Attempt: 3, DoneAt: after(5 * hour)}}))
	k.reopen()
	d = k.stored(s.Row)
	equal(k, "outcome", d.Outcome, dispatcher.Expired)
	equal(k, "detail of the last attempt", d.Detail, "http 503: maintenance")
	equal(k, "last attempt", d.SentAt, s.SentAt)
	equal(k, "done", d.DoneAt, after(5*hour))
	equal(k, "due", d.DueAt.IsZero(), true)

	s = result(b, 1, dispatcher.Delivered, channels.Delivered)
	s.Detail, s.Attempt = "http 204", 2
	k.settle(s)
	d = k.stored(s.Row)
	equal(k, "detail", d.Detail, "http 204")
	equal(k, "attempts", d.Attempt, 2)
	equal(k, "done", d.DoneAt, s.DoneAt)
}

func testSettleFinished(k *kit) {
	k.targets(1)
	b := k.one(event(1))
	for range 2 {
		k.must(k.Settle(k.ctx, []dispatcher.Settlement{result(b, 0, dispatcher.Delivered, channels.Delivered)}, []int64{b.ID}))
		equal(k, "claim of a finished batch", k.claim(b).State, dispatcher.ClaimGone)
	}
	k.outcome(row(b, 0), dispatcher.Delivered)
}

// fail lets a new update of a new incident fail for the one target of the store.
func (k *kit) fail(n int, o dispatcher.Outcome, s dispatcher.Streak) (*queue.Batch, dispatcher.Settlement) {
	k.Helper()
	e := event(1)
	e.IncidentID = fmt.Sprint("INC-", n)
	b := k.one(e)
	r := result(b, 0, o, channels.Permanent)
	r.Streak = s
	k.settle(r)
	return b, r
}

func testStreakReset(k *kit) {
	id := k.targets(1)[0]
	for n := range 9 {
		k.fail(n, dispatcher.Dead, dispatcher.StreakFailed)
	}
	b, _ := k.fail(9, dispatcher.Delivered, dispatcher.StreakReset)
	equal(k, "failing before the success", b.Deliveries[0].Failing, true)
	b, _ = k.fail(10, dispatcher.Dead, dispatcher.StreakFailed)
	equal(k, "failing after it", b.Deliveries[0].Failing, false)
	t, err := k.Target(k.ctx, id)
	k.must(err)
	equal(k, "state", t.State, incident.StateActive)
}

func testStreakFailed(k *kit) {
	id := k.targets(1)[0]
	planned := event(1)
	planned.IncidentID = "planned before"
	before := k.one(planned)
	for n := range 10 {
		t, err := k.Target(k.ctx, id)
		k.must(err)
		equal(k, fmt.Sprint("state after ", n, " failures"), t.State, incident.StateActive)
		_, r := k.fail(n, dispatcher.Expired, dispatcher.StreakFailed)
		k.settle(r, r) // repeated: counts once
	}
	k.reopen()
	t, err := k.Target(k.ctx, id)
	k.must(err)
	equal(k, "state after 10 failures", t.State, incident.StateDisabled)
	k.whys(k.claim(before), dispatcher.Exception{Index: 0, Why: dispatcher.WhyInactive, Detail: "target disabled"})
	k.patch(id, func(t *incident.Target) { t.State = incident.StateActive })
	if b, _ := k.fail(11, dispatcher.Dead, dispatcher.StreakFailed); b.Deliveries[0].Failing {
		k.Error("a reactivated target begins with failures")
	}
}

func testStreakGone(k *kit) {
	id := k.targets(1)[0]
	k.fail(1, dispatcher.Dead, dispatcher.StreakGone)
	t, err := k.Target(k.ctx, id)
	k.must(err)
	equal(k, "state", t.State, incident.StateDisabled)
}

func testStreakMissed(k *kit) {
	id := k.targets(1)[0]
	b, r := k.fail(1, dispatcher.Delivered, dispatcher.StreakReset)
	r.Outcome, r.Streak = dispatcher.Dead, dispatcher.StreakGone
	k.settle(r)
	t, err := k.Target(k.ctx, id)
	k.must(err)
	equal(k, "state", t.State, incident.StateActive)
	k.outcome(row(b, 0), dispatcher.Delivered)
}

func testSettleMany(k *kit) {
	k.targets(600)
	var rows []dispatcher.Settlement
	var finished []int64
	for _, b := range k.plan(k.accept(event(1))[0]) {
		for i := range b.Deliveries {
			rows = append(rows, result(b, i, dispatcher.Delivered, channels.Delivered))
		}
		finished = append(finished, b.ID)
	}
	k.must(k.Settle(k.ctx, rows, finished))
	_, updates, err := k.Incident(k.ctx, "default", "INC-1")
	k.must(err)
	equal(k, "delivered", updates[0].Progress["webhook"][dispatcher.Delivered], 600)
	equal(k, "outcomes", len(updates[0].Progress["webhook"]), 1)
}
