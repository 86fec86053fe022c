package storetest

import (
	"slices"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/queue"
)

var retryTests = []test{
	{"waiting rows come when they are due, oldest first", testDueOrder},
	{"a due row tells all that sending needs", testDueFields},
	{"a due row tells of newer and older ones", testDueNewer},
	{"a due row tells why its target may not be told", testDueInactive},
	{"rebatching moves waiting rows and no others", testRebatch},
	{"rebatching again changes nothing", testRebatchTwice},
	{"rebatching leaves alone what waits again for later", testRebatchLate},
	{"a postponed row is due later", testPostpone},
	{"the backlog counts what waits", testBacklog},
}

// wait sends a batch's ith delivery to wait for a time after the story's begin.
func (k *kit) wait(b *queue.Batch, i int, d time.Duration) {
	k.Helper()
	s := result(b, i, dispatcher.Open, channels.Temporary)
	s.DueAt = after(d)
	k.settle(s)
}

// due returns the rows due at a time after the story's begin.
func (k *kit) due(d time.Duration, limit int) []dispatcher.DueRow {
	k.Helper()
	rows, err := k.Due(k.ctx, after(d), limit)
	k.must(err)
	return rows
}

// dueTargets names the targets due at a time.
func (k *kit) dueTargets(d time.Duration, limit int) []int64 {
	k.Helper()
	var ids []int64
	for _, r := range k.due(d, limit) {
		ids = append(ids, r.Row.Target)
	}
	return ids
}

func (k *kit) wantIDs(what string, got []int64, want ...int64) {
	k.Helper()
	if !slices.Equal(got, want) {
		k.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func testDueOrder(k *kit) {
	k.targets(4)
	b := k.one(event(1))
	target := func(i int) int64 { return b.Deliveries[i].Target }
	k.wait(b, 0, 4*hour)
	k.wait(b, 1, 3*hour)
	k.wait(b, 2, 5*hour)
	k.wantIDs("nothing yet", k.dueTargets(3*hour-time.Millisecond, 10))
	k.wantIDs("the first", k.dueTargets(3*hour, 10), target(1))
	k.reopen()
	k.wantIDs("all", k.dueTargets(5*hour, 10), target(1), target(0), target(2))
	k.wantIDs("limited", k.dueTargets(5*hour, 2), target(1), target(0))
}

func testDueFields(k *kit) {
	t := hook(1)
	t.EveryUpdate, t.Visibility, t.Locale, t.Secrets = true, incident.Private, "de", []string{"whsec_one"}
	id := k.upsert(t)[0]
	b := k.one(event(1))
	s := result(b, 0, dispatcher.Open, channels.Throttled)
	s.Attempt = 4
	k.settle(s)
	k.patch(id, func(t *incident.Target) { t.Address = "https://h2.example/new" })
	second := k.one(event(2))
	d := k.due(4*hour, 10)[0]
	equal(k, "row", d.Row, row(b, 0))
	equal(k, "attempt", d.Attempt, 4)
	equal(k, "due", d.DueAt, s.DueAt)
	equal(k, "since", d.Since, b.Deliveries[0].Since)
	equal(k, "accepted", d.AcceptedAt, b.AcceptedAt)
	equal(k, "expires", d.ExpiresAt, b.ExpiresAt)
	equal(k, "urgent", d.Urgent, true)
	equal(k, "group", d.Group, "webhook")
	equal(k, "provider", d.Provider, "h2.example:443") // as the target is now
	equal(k, "address", d.Address, "https://h2.example/new")
	equal(k, "private", d.Private, true)
	equal(k, "every update", d.EveryUpdate, true)
	equal(k, "locale", d.Locale, "de")
	equal(k, "secrets", len(d.Secrets), 1)
	equal(k, "inactive", d.Inactive, "")
	equal(k, "revision", d.Revision, second.Revision)
}

func testDueNewer(k *kit) {
	eager := hook(1)
	eager.EveryUpdate = true
	k.upsert(hook(0), eager)
	first := k.one(event(1))
	second := k.one(event(2))
	third := k.one(event(3))
	k.wait(second, 0, 3*hour)
	k.wait(second, 1, 3*hour)
	k.wait(third, 0, 4*hour)
	k.settle(result(first, 0, dispatcher.Delivered, channels.Delivered))
	rows := k.due(5*hour, 10)
	equal(k, "rows", len(rows), 3)
	for i, want := range []struct{ newer, blocked bool }{{true, false}, {true, true}, {false, false}} {
		if rows[i].Newer != want.newer || rows[i].Blocked != want.blocked {
			k.Errorf("row %d: newer %v, blocked %v", i, rows[i].Newer, rows[i].Blocked)
		}
	}
	k.settle(result(first, 1, dispatcher.Dead, channels.Permanent))
	equal(k, "blocked after the older one closed", k.due(5*hour, 10)[1].Blocked, false)
}

func testDueInactive(k *kit) {
	ids := k.targets(3)
	b := k.one(event(1))
	for i := range ids {
		k.wait(b, i, 3*hour)
	}
	k.patch(ids[0], func(t *incident.Target) { t.State = incident.StateUnsubscribed })
	k.must(k.Delete(k.ctx, ids[1]))
	rows := k.due(4*hour, 10)
	for i, want := range []string{"target unsubscribed", "target deleted", ""} {
		equal(k, "inactive", rows[i].Inactive, want)
	}
}

// again returns a batch for the ith rows of another.
func (k *kit) again(b *queue.Batch, rows ...int) *queue.Batch {
	k.batch++
	n := *b
	n.ID, n.Verify, n.Deliveries = k.batch, true, nil
	for _, i := range rows {
		n.Deliveries = append(n.Deliveries, b.Deliveries[i])
	}
	return &n
}

func testRebatch(k *kit) {
	k.targets(4)
	b := k.one(event(1))
	k.wait(b, 0, 3*hour)
	k.wait(b, 1, 3*hour)
	k.settle(result(b, 2, dispatcher.Delivered, channels.Delivered))
	n := k.again(b, 0, 1, 2, 3)
	k.must(k.Rebatch(k.ctx, after(4*hour), batches(n), nil, nil))
	k.wantIDs("still due", k.dueTargets(5*hour, 10))
	k.wantIDs("to be published", k.lapsed(time.Time{}, after(4*hour), time.Time{}), b.ID) // the new one later
	k.whys(k.claim(n), dispatcher.Exception{Index: 2, Why: dispatcher.WhyClosed}, dispatcher.Exception{Index: 3, Why: dispatcher.WhyClosed})
	k.settle(result(b, 0, dispatcher.Dead, channels.Permanent)) // the old batch's results miss
	k.outcome(row(b, 0), dispatcher.Open)
	k.settle(result(n, 0, dispatcher.Dead, channels.Permanent))
	k.outcome(row(b, 0), dispatcher.Dead)
}

func testRebatchTwice(k *kit) {
	k.targets(2)
	b := k.one(event(1))
	k.wait(b, 0, 3*hour)
	n := k.again(b, 0)
	for range 2 {
		k.must(k.Rebatch(k.ctx, after(4*hour), batches(n), nil, nil))
		k.whys(k.claim(n))
	}
	k.must(k.Settle(k.ctx, []dispatcher.Settlement{result(n, 0, dispatcher.Delivered, channels.Delivered)}, []int64{n.ID}))
	k.must(k.Rebatch(k.ctx, after(4*hour), batches(n), nil, nil))
	if a := k.claim(n); a.State == dispatcher.Claimed && len(a.Exceptions) != 1 {
		k.Errorf("a settled batch can be sent again: %+v", a)
	}
}

// The answer to a Rebatch may be lost, and the batch sent and settled before it is
// repeated.
func testRebatchLate(k *kit) {
	k.targets(1)
	b := k.one(event(1))
	k.wait(b, 0, 3*hour)
	n := k.again(b, 0)
	k.must(k.Rebatch(k.ctx, after(4*hour), batches(n), nil, nil))
	failed := result(n, 0, dispatcher.Open, channels.Temporary)
	failed.DueAt = after(6 * hour)
	k.must(k.Settle(k.ctx, []dispatcher.Settlement{failed}, []int64{n.ID}))
	k.must(k.Rebatch(k.ctx, after(5*hour), batches(k.again(b, 0)), nil, nil))
	k.wantIDs("waits still", k.dueTargets(6*hour, 10), b.Deliveries[0].Target)
}

func testPostpone(k *kit) {
	k.targets(2)
	b := k.one(event(1))
	k.wait(b, 0, 3*hour)
	postponed := []dispatcher.Postponement{{Row: row(b, 0), DueAt: after(6 * hour)}, {Row: row(b, 1), DueAt: after(6 * hour)}}
	for range 2 {
		k.must(k.Rebatch(k.ctx, after(4*hour), nil, postponed, nil))
	}
	k.wantIDs("before", k.dueTargets(5*hour, 10))
	k.wantIDs("then", k.dueTargets(6*hour, 10), b.Deliveries[0].Target) // the other is in its batch
}

func testBacklog(k *kit) {
	k.targets(5)
	b := k.one(event(1))
	empty, err := k.Backlog(k.ctx, after(9*hour))
	k.must(err)
	equal(k, "nothing waits", empty, dispatcher.Backlog{})
	k.wait(b, 0, 3*hour)
	k.wait(b, 1, 4*hour)
	k.wait(b, 2, 5*hour)
	got, err := k.Backlog(k.ctx, after(4*hour))
	k.must(err)
	equal(k, "backlog", got, dispatcher.Backlog{Waiting: 3, Due: 2, OldestDue: after(3 * hour)})
}
