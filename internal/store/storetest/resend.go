package storetest

import (
	"errors"
	"reflect"
	"strings"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/store"
	"github.com/tocsin/tocsin/queue"
)

var resendTests = []test{
	{"chosen deliveries wait again, the others stay", testResendOutcome},
	{"named targets are sent again, whatever came of them", testResendTargets},
	{"another idempotency key only as new", testResendAsNew},
	{"who may not be told stays untold", testResendUntold},
	{"a repeated request does nothing", testResendRepeated},
	{"only the newest update is sent again", testResendOlder},
	{"no plan under way, stopped or expired update is sent again", testResendRefused},
	{"it goes on where it was after a reopening", testResendGoesOn},
	{"a newer update ends it", testResendEnded},
	{"a dry run counts and changes nothing", testResendDryRun},
	{"an update's end waits for what was opened again", testResendCompletes},
	{"late results of before don't touch what was opened again", testResendZombie},
	{"who has not heard", testUnheard},
}

// asked is a request for the dead of an incident, three hours into the story.
func asked(id int64) dispatcher.Resend {
	return dispatcher.Resend{Incident: id, Choice: dispatcher.Choice{Outcome: dispatcher.Dead}, By: "token 1", At: after(3 * hour)}
}

// resend begins a resend and brings it to its end.
func (k *kit) resend(r dispatcher.Resend) *dispatcher.Resent {
	k.Helper()
	done, err := k.BeginResend(k.ctx, r)
	k.must(err)
	for done.DoneAt.IsZero() && !r.DryRun {
		done, err = k.ContinueResend(k.ctx, done.Key, r.At)
		k.must(err)
	}
	return done
}

// ended plans one update for n hooks; the first is delivered, the second waits, the
// rest is dead.
func (k *kit) ended(n int) *queue.Batch {
	k.Helper()
	k.targets(n)
	b := k.one(event(1))
	rows := []dispatcher.Settlement{result(b, 0, dispatcher.Delivered, channels.Delivered), result(b, 1, dispatcher.Open, channels.Temporary)}
	for i := 2; i < n; i++ {
		rows = append(rows, result(b, i, dispatcher.Dead, channels.Permanent))
	}
	k.must(k.Settle(k.ctx, rows, []int64{b.ID}))
	return b
}

func (k *kit) counts(r *dispatcher.Resent, sent, underWay, absent int, untold map[string]int) {
	k.Helper()
	if r.Sent != sent || r.UnderWay != underWay || r.Absent != absent || len(r.Untold)+len(untold) > 0 && !reflect.DeepEqual(r.Untold, untold) {
		k.Errorf("%d sent, %d under way, %d absent, untold %v; want %d, %d, %d, %v",
			r.Sent, r.UnderWay, r.Absent, r.Untold, sent, underWay, absent, untold)
	}
}

func testResendOutcome(k *kit) {
	b := k.ended(4)
	done := k.resend(asked(b.Incident))
	k.counts(done, 2, 0, 0, nil)
	equal(k, "sequence", done.Sequence, 1)
	due := k.due(3*hour, 1000)
	if len(due) != 3 { // the one that waited, too
		k.Fatalf("%d rows are due", len(due))
	}
	for i, want := range []dispatcher.Outcome{dispatcher.Delivered, dispatcher.Open, dispatcher.Open, dispatcher.Open} {
		k.outcome(row(b, i), want)
	}
	again := k.stored(row(b, 2))
	equal(k, "attempts", again.Attempt, 1)
	equal(k, "what came of the last one", again.Detail, "permanent")
	if !again.DueAt.Equal(after(3*hour)) || !again.DoneAt.IsZero() {
		k.Errorf("due %v, done %v", again.DueAt, again.DoneAt)
	}
	k.reopen()
	list, err := k.Resends(k.ctx, b.Incident, 10)
	k.must(err)
	if len(list) != 1 || list[0].By != "token 1" || list[0].Sent != 2 || !list[0].At.Equal(after(3*hour)) || list[0].Choice.Outcome != dispatcher.Dead {
		k.Errorf("the history has %+v", list)
	}
}

func testResendTargets(k *kit) {
	b := k.ended(4)
	r := asked(b.Incident)
	other := k.upsert(hook(100))[0]
	r.Choice = dispatcher.Choice{Targets: []int64{other, b.Deliveries[3].Target, b.Deliveries[0].Target, b.Deliveries[1].Target, b.Deliveries[0].Target, 1 << 40}}
	k.counts(k.resend(r), 2, 1, 2, nil)
	for i, want := range []dispatcher.Outcome{dispatcher.Open, dispatcher.Open, dispatcher.Dead, dispatcher.Open} {
		k.outcome(row(b, i), want)
	}
}

func testResendAsNew(k *kit) {
	b := k.ended(3)
	editions := func(want int) {
		k.Helper()
		for _, d := range k.due(20*hour, 1000) {
			if d.Row == row(b, 2) {
				equal(k, "edition", d.Edition, want)
				return
			}
		}
		k.Error("the row isn't due")
	}
	k.resend(asked(b.Incident))
	editions(0)
	again := result(b, 2, dispatcher.Dead, channels.Permanent)
	again.Batch = 0 // it waits
	k.settle(again)
	r := asked(b.Incident)
	r.AsNew = true
	k.counts(k.resend(r), 1, 0, 0, nil)
	editions(1)
	k.settle(again)
	r.Name = "third"
	k.resend(r)
	editions(2)
}

func testResendUntold(k *kit) {
	b := k.ended(6)
	for i, state := range []incident.TargetState{incident.StatePaused, incident.StateDisabled, incident.StateUnsubscribed} {
		k.patch(b.Deliveries[2+i].Target, func(t *incident.Target) { t.State = state })
	}
	k.must(k.Delete(k.ctx, b.Deliveries[5].Target))
	k.counts(k.resend(asked(b.Incident)), 0, 0, 0,
		map[string]int{"target paused": 1, "target disabled": 1, "target unsubscribed": 1, "target deleted": 1})
	for i := range 4 {
		k.outcome(row(b, 2+i), dispatcher.Dead)
	}
}

func testResendRepeated(k *kit) {
	b := k.ended(3)
	r := asked(b.Incident)
	r.Choice = dispatcher.Choice{Targets: []int64{b.Deliveries[0].Target}}
	first := k.resend(r)
	k.settle(result(b, 0, dispatcher.Delivered, channels.Delivered))
	r.At = r.At.Add(dispatcher.ResendRepeat - time.Second)
	if second := k.resend(r); !second.Repeated || second.Key != first.Key || second.Sent != 1 {
		k.Errorf("the second click came to %+v", second)
	}
	k.outcome(row(b, 0), dispatcher.Delivered)
	r.AsNew = true
	if other := k.resend(r); other.Repeated || other.Sent != 1 {
		k.Errorf("another request came to %+v", other)
	}
	k.settle(result(b, 0, dispatcher.Delivered, channels.Delivered))
	r.AsNew = false
	r.At = r.At.Add(2 * time.Second)
	if later := k.resend(r); later.Repeated || later.Sent != 1 {
		k.Errorf("a later one came to %+v", later)
	}
	k.settle(result(b, 0, dispatcher.Delivered, channels.Delivered))
	r.Name = "mine"
	named := k.resend(r)
	if named.Repeated || named.Sent != 1 {
		k.Errorf("a named one came to %+v", named)
	}
	k.settle(result(b, 0, dispatcher.Delivered, channels.Delivered))
	r.At = r.At.Add(10 * hour)
	if same := k.resend(r); !same.Repeated || same.Key != named.Key {
		k.Errorf("its repetition came to %+v", same)
	}
	k.outcome(row(b, 0), dispatcher.Delivered)
	r.Choice.Targets = []int64{b.Deliveries[1].Target}
	k.refused(r, "request_id")
}

func (k *kit) refused(r dispatcher.Resend, reason string) {
	k.Helper()
	for _, dry := range []bool{false, r.Name == ""} {
		r.DryRun = dry
		_, err := k.BeginResend(k.ctx, r)
		if refused, ok := errors.AsType[*dispatcher.ResendRefused](err); !ok || !strings.Contains(refused.Reason, reason) {
			k.Errorf("dry run %t: got %v, want a refusal with %q", dry, err, reason)
		}
	}
}

func testResendOlder(k *kit) {
	first := k.ended(3)
	second := k.one(event(2))
	k.settle(result(second, 2, dispatcher.Dead, channels.Permanent))
	r := asked(first.Incident)
	r.Sequence = 1
	k.refused(r, "resend update 2")
	r.Sequence = 0
	k.counts(k.resend(r), 1, 0, 0, nil)
	k.outcome(row(first, 2), dispatcher.Dead)
	k.outcome(row(second, 2), dispatcher.Open)
	r.Sequence = 3
	if _, err := k.BeginResend(k.ctx, r); !errors.Is(err, store.ErrNotFound) {
		k.Errorf("an update to come: %v", err)
	}
	r.Incident++
	if _, err := k.BeginResend(k.ctx, r); !errors.Is(err, store.ErrNotFound) {
		k.Errorf("an unknown incident: %v", err)
	}
}

func testResendRefused(k *kit) {
	b := k.ended(3)
	r := asked(b.Incident)
	r.At = after(30 * hour)
	k.refused(r, "expired at")
	p := k.accept(event(2))[0]
	r = asked(b.Incident)
	k.refused(r, "still being planned")
	k.plan(p)
	k.stop(b.Incident, 2)
	k.refused(r, "stopped")
	list, err := k.Resends(k.ctx, b.Incident, 10)
	k.must(err)
	equal(k, "resends", len(list), 0)
}

func testResendGoesOn(k *kit) {
	n := 2*k.fixture.Step + 3
	k.targets(n)
	var rows []dispatcher.Settlement
	batches := k.plan(k.accept(event(1))[0])
	for _, b := range batches {
		for i := range b.Deliveries {
			rows = append(rows, result(b, i, dispatcher.Dead, channels.Permanent))
		}
	}
	k.settle(rows...)
	begun, err := k.BeginResend(k.ctx, asked(batches[0].Incident))
	k.must(err)
	equal(k, "due before the first part", len(k.due(3*hour, 1000)), 0)
	part, err := k.ContinueResend(k.ctx, begun.Key, after(3*hour))
	k.must(err)
	equal(k, "sent by the first part", part.Sent, k.fixture.Step)
	k.reopen()
	keys, err := k.UnfinishedResends(k.ctx, 10)
	k.must(err)
	if len(keys) != 1 || keys[0] != begun.Key {
		k.Fatalf("unfinished: %v, want %d", keys, begun.Key)
	}
	for done := part; done.DoneAt.IsZero(); {
		done, err = k.ContinueResend(k.ctx, begun.Key, after(4*hour))
		k.must(err)
		part = done
	}
	equal(k, "sent", part.Sent, n)
	equal(k, "due", len(k.due(4*hour, 1000)), n)
	keys, err = k.UnfinishedResends(k.ctx, 10)
	k.must(err)
	equal(k, "unfinished", len(keys), 0)
	after, err := k.ContinueResend(k.ctx, begun.Key, after(5*hour))
	k.must(err)
	equal(k, "sent after the end", after.Sent, n)
}

func testResendEnded(k *kit) {
	b := k.ended(3)
	begun, err := k.BeginResend(k.ctx, asked(b.Incident))
	k.must(err)
	k.accept(event(2))
	done, err := k.ContinueResend(k.ctx, begun.Key, after(3*hour))
	k.must(err)
	if done.DoneAt.IsZero() || done.Sent != 0 || !strings.Contains(done.Ended, "update 1 is not the newest") {
		k.Errorf("it came to %+v", done)
	}
	k.outcome(row(b, 2), dispatcher.Dead)
}

func testResendDryRun(k *kit) {
	b := k.ended(5)
	k.patch(b.Deliveries[4].Target, func(t *incident.Target) { t.State = incident.StatePaused })
	r := asked(b.Incident)
	r.DryRun, r.Choice = true, dispatcher.Choice{Unheard: true}
	k.counts(k.resend(r), 2, 1, 0, map[string]int{"target paused": 1})
	k.outcome(row(b, 2), dispatcher.Dead)
	list, err := k.Resends(k.ctx, b.Incident, 10)
	k.must(err)
	equal(k, "resends", len(list), 0)
	r.DryRun = false
	k.counts(k.resend(r), 2, 1, 0, map[string]int{"target paused": 1})
}

func testResendCompletes(k *kit) {
	k.targets(3)
	b := k.one(called(1))
	k.settle(result(b, 0, dispatcher.Dead, channels.Permanent), result(b, 1, dispatcher.Delivered, channels.Delivered))
	k.complete(after(2*hour), 0) // the look stands at the third
	k.resend(asked(b.Incident))
	k.settle(result(b, 2, dispatcher.Delivered, channels.Delivered))
	k.complete(after(3*hour), 0) // the first is open again
	k.settle(result(b, 0, dispatcher.Delivered, channels.Delivered))
	k.complete(after(4*hour), 1)
	told := k.dueCallbacks(after(4*hour), 1)[0]
	equal(k, "delivered", told.Outcomes["webhook"][dispatcher.Delivered], 3)
	// What was told stays as it was.
	r := asked(b.Incident)
	r.Choice = dispatcher.Choice{Targets: []int64{b.Deliveries[0].Target}}
	r.At = after(5 * hour)
	k.counts(k.resend(r), 1, 0, 0, nil)
	k.complete(after(5*hour), 0)
	if again := k.dueCallbacks(after(5*hour), 1)[0]; !reflect.DeepEqual(again, told) {
		k.Errorf("told %+v, before %+v", again, told)
	}
}

func testResendZombie(k *kit) {
	b := k.ended(3)
	k.resend(asked(b.Incident))
	k.settle(result(b, 2, dispatcher.Dead, channels.Gone), result(b, 2, dispatcher.Open, channels.Temporary))
	k.outcome(row(b, 2), dispatcher.Open)
	if d := k.stored(row(b, 2)); d.Detail != "permanent" {
		k.Errorf("the row says %q", d.Detail)
	}
	k.settle(result(b, 2, dispatcher.Delivered, channels.Delivered)) // that always lands
	k.outcome(row(b, 2), dispatcher.Delivered)
}

func testUnheard(k *kit) {
	k.targets(4)
	first := k.one(event(1))
	k.settle(result(first, 0, dispatcher.Delivered, channels.Delivered), result(first, 1, dispatcher.Dead, channels.Permanent),
		result(first, 2, dispatcher.Superseded, 0), result(first, 3, dispatcher.Superseded, 0))
	second := k.one(event(2))
	k.settle(result(second, 0, dispatcher.Open, channels.Temporary), result(second, 1, dispatcher.Delivered, channels.Delivered),
		result(second, 2, dispatcher.Dead, channels.Gone))
	for _, c := range []struct {
		name     string
		standing store.Standing
		want     []dispatcher.Row
	}{
		{"unheard", store.Unheard, []dispatcher.Row{row(second, 0), row(second, 2), row(second, 3)}},
		{"retrying", store.Retrying, []dispatcher.Row{row(second, 0)}},
		{"untried", store.Untried, []dispatcher.Row{row(second, 3)}},
	} {
		var got []dispatcher.Row
		filter := store.DeliveryFilter{Standing: c.standing, Limit: 1}
		for { // page by page
			rows, err := k.Deliveries(k.ctx, first.Incident, filter)
			k.must(err)
			if len(rows) == 0 {
				break
			}
			filter.After = dispatcher.Row{Incident: first.Incident, Target: rows[0].Target, Sequence: rows[0].Sequence}
			got = append(got, filter.After)
		}
		if !reflect.DeepEqual(got, c.want) {
			k.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}
