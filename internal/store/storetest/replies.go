package storetest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/store"
	"github.com/tocsin/tocsin/queue"
)

var replyTests = []test{
	{"unsubscribing ends one subscription, whatever is said again", testUnsubscribe},
	{"an inline target stays unsubscribed in later incidents", testUnsubscribeInline},
	{"what was planned for one who unsubscribes is not sent", testUnsubscribePlanned},
	{"an opt-out holds for all targets of an address", testOptOut},
	{"an opt-out holds for targets to come", testOptOutLater},
	{"only activating somebody lifts an opt-out", testOptOutLifted},
	{"what is no person's address doesn't opt out", testOptOutChannel},
	{"a receipt finds its delivery", testReceipt},
	{"a receipt of delivery is the last word", testReceiptOrder},
	{"receipts nobody waits for are not found", testReceiptUnknown},
	{"a name used again means the newer message", testReceiptReused},
	{"names of many messages come together", testReceiptMany},
	{"old messages are forgotten step by step", testReceiptForgotten},
}

// mail returns a mailbox target with an address.
func mail(n int, address string) *incident.Target {
	t := hook(n)
	t.ExternalID, t.Channel, t.Address = fmt.Sprintf("mail-%d", n), incident.ChannelSMTP, address
	return t
}

func (k *kit) state(id int64, want incident.TargetState) {
	k.Helper()
	t, err := k.Target(k.ctx, id)
	k.must(err)
	equal(k, fmt.Sprintf("state of target %d", id), t.State, want)
}

func (k *kit) unsubscribe(id int64, change bool) {
	k.Helper()
	changed, err := k.Unsubscribe(k.ctx, id)
	k.must(err)
	equal(k, "changed", changed, change)
}

func (k *kit) optOut(address string, want ...int64) {
	k.Helper()
	ids, err := k.OptOut(k.ctx, incident.ChannelSMTP, address)
	k.must(err)
	slices.Sort(ids)
	k.wantIDs("changed by the opt-out", ids, want...)
}

func (k *kit) activate(id int64) {
	k.Helper()
	k.patch(id, func(t *incident.Target) { t.State = incident.StateActive })
}

func testUnsubscribe(k *kit) {
	const address = "ops@relay.example"
	ids := k.upsert(mail(1, address), mail(2, address), mail(3, "else@relay.example"))
	k.patch(ids[2], func(t *incident.Target) { t.State = incident.StatePaused })
	k.unsubscribe(ids[0], true)
	k.unsubscribe(ids[0], false)
	k.unsubscribe(ids[2], true)
	k.reopen()
	k.upsert(mail(1, address))
	k.state(ids[0], incident.StateUnsubscribed)
	k.state(ids[1], incident.StateActive) // another subscription of the same person
	k.state(ids[2], incident.StateUnsubscribed)
	k.wantIDs("audience", targetsOf(k.everyone(k.accept(event(1))[0], 10)), ids[1])

	k.activate(ids[0])
	k.wantIDs("audience", targetsOf(k.everyone(k.accept(event(2))[0], 10)), ids[0], ids[1])

	k.must(k.Delete(k.ctx, ids[1]))
	for _, id := range []int64{ids[1], 999, 0, -1} {
		if changed, err := k.Unsubscribe(k.ctx, id); changed || !errors.Is(err, store.ErrNotFound) {
			k.Errorf("target %d: %v, %v", id, changed, err)
		}
	}
}

func testUnsubscribeInline(k *kit) {
	const address = "ops@relay.example"
	brings := func(n int, page string) *dispatcher.Plan {
		e := event(1)
		e.IncidentID, e.Page, e.Targets = fmt.Sprint("INC-", n), page, []incident.Target{*mail(n, address)}
		return k.accept(e)[0]
	}
	first := k.everyone(brings(1, "default"), 10)
	equal(k, "audience", len(first), 1)
	k.unsubscribe(first[0].Target, true)
	equal(k, "audience of the next incident", len(k.everyone(brings(2, "default"), 10)), 0)
	equal(k, "audience on another page", len(k.everyone(brings(3, "other"), 10)), 1)
	k.state(k.upsert(mail(4, address))[0], incident.StateActive) // subscribed by themselves

	k.activate(first[0].Target)
	equal(k, "audience after that was lifted", len(k.everyone(brings(5, "default"), 10)), 2)
}

func testUnsubscribePlanned(k *kit) {
	const address = "ops@relay.example"
	k.upsert(mail(1, address), mail(2, "else@relay.example"), mail(3, address))
	b := k.one(event(1))
	k.unsubscribe(b.Deliveries[1].Target, true)
	inactive := func(i int) dispatcher.Exception {
		return dispatcher.Exception{Index: i, Why: dispatcher.WhyInactive, Detail: "target unsubscribed"}
	}
	k.whys(k.claim(b), inactive(1))
	k.optOut(address, b.Deliveries[0].Target, b.Deliveries[2].Target)
	k.whys(k.claim(b), inactive(0), inactive(1), inactive(2))
}

func testOptOut(k *kit) {
	const address = "ops@relay.example"
	other := mail(3, address)
	other.Page = "other"
	paused := mail(4, address)
	paused.State = incident.StatePaused
	ids := k.upsert(mail(1, address), mail(2, "else@relay.example"), other, paused, mail(5, address))
	k.must(k.Delete(k.ctx, ids[4]))
	e := event(1)
	e.Targets = []incident.Target{*mail(9, address)}
	plan := k.accept(e)[0]
	inline := k.everyone(plan, 10)[2].Target

	k.optOut(address, ids[0], ids[2], ids[3], inline)
	k.optOut(address) // STOP, again
	k.reopen()
	for _, id := range []int64{ids[0], ids[2], ids[3], inline} {
		k.state(id, incident.StateUnsubscribed)
	}
	k.wantIDs("audience", targetsOf(k.everyone(plan, 10)), ids[1])
}

func testOptOutLater(k *kit) {
	const address = "ops@relay.example"
	moving := k.upsert(mail(1, "else@relay.example"), mail(2, "more@relay.example"))
	k.optOut(address)
	k.reopen()

	added := mail(3, address)
	id := k.upsert(added)[0]
	equal(k, "state as reported", added.State, incident.StateUnsubscribed)
	k.state(id, incident.StateUnsubscribed)
	paused := mail(3, address)
	paused.State = incident.StatePaused
	done, err := k.Upsert(k.ctx, []*incident.Target{paused})
	k.must(err)
	equal(k, "repeated", done[0], store.Upserted{ID: id, Existed: true})

	k.upsert(mail(1, address))
	k.state(moving[0], incident.StateUnsubscribed)
	k.patch(moving[1], func(t *incident.Target) { t.Address = address })
	k.state(moving[1], incident.StateUnsubscribed)

	e := event(1)
	e.Targets = []incident.Target{*mail(9, address)}
	equal(k, "audience", len(k.everyone(k.accept(e)[0], 10)), 0)
}

func testOptOutLifted(k *kit) {
	const address = "ops@relay.example"
	ids := k.upsert(mail(1, address), mail(2, address))
	k.optOut(address, ids...)
	k.patch(ids[0], func(t *incident.Target) { t.Locale = "de" })
	k.patch(ids[0], func(t *incident.Target) { t.State = incident.StatePaused })
	k.must(k.Delete(k.ctx, ids[1]))
	k.state(k.upsert(mail(2, address))[0], incident.StateUnsubscribed)

	k.activate(ids[0])
	k.state(ids[0], incident.StateActive)
	k.upsert(mail(1, address))
	k.state(ids[0], incident.StateActive)
	k.state(k.upsert(mail(3, address))[0], incident.StateActive)
}

func testOptOutChannel(k *kit) {
	id := k.upsert(hook(1))[0]
	for _, channel := range []string{incident.ChannelWebhook, incident.ChannelRSS, incident.ChannelWebSub, ""} {
		_, err := k.OptOut(k.ctx, channel, hook(1).Address)
		if bad, ok := errors.AsType[*incident.Invalid](err); !ok || bad.Field != "channel" {
			k.Errorf("%q: %v", channel, err)
		}
	}
	k.state(id, incident.StateActive)
}

// accepted settles a batch's ith delivery as delivered, with the provider's name
// for it.
func (k *kit) accepted(b *queue.Batch, i int, provider, handle string, at time.Time) {
	k.Helper()
	s := result(b, i, dispatcher.Delivered, channels.Delivered)
	s.Provider, s.Handle, s.DoneAt = provider, handle, at
	k.settle(s)
}

func (k *kit) receipt(provider, handle string, delivered bool, detail string) {
	k.Helper()
	k.must(k.Receipt(k.ctx, provider, handle, delivered, detail, time.Time{}))
}

func (k *kit) detail(b *queue.Batch, i int, want string) {
	k.Helper()
	d := k.stored(row(b, i))
	equal(k, "detail", d.Detail, want)
	equal(k, "outcome", d.Outcome, dispatcher.Delivered)
	equal(k, "class", d.Class, channels.Delivered.String())
}

func testReceipt(k *kit) {
	k.targets(3)
	b := k.one(event(1))
	k.accepted(b, 0, "main", "7", after(hour))
	k.accepted(b, 1, "other", "7", after(hour)) // each has its own names
	k.accepted(b, 2, "main", "8", after(hour))
	k.reopen()
	k.must(k.Receipt(k.ctx, "main", "7", true, "DELIVRD", after(90*time.Minute).In(time.FixedZone("", 3600))))
	k.receipt("main", "8", false, "UNDELIV err 011")
	k.detail(b, 0, "receipt: DELIVRD at 2026-11-21T06:30:00Z")
	k.detail(b, 1, "delivered")
	k.detail(b, 2, "receipt: UNDELIV err 011")
	if d := k.stored(row(b, 0)); !d.DoneAt.Equal(after(hour)) {
		k.Errorf("done at %v: that is when the provider accepted it", d.DoneAt)
	}
}

func testReceiptOrder(k *kit) {
	k.targets(1)
	b := k.one(event(1))
	k.accepted(b, 0, "main", "7", after(hour))
	for _, c := range []struct {
		delivered    bool
		detail, want string
	}{
		{false, "ENROUTE", "receipt: ENROUTE"}, {false, "UNKNOWN", "receipt: UNKNOWN"}, {true, "DELIVRD", "receipt: DELIVRD"},
		{false, "EXPIRED", "receipt: DELIVRD"}, {true, "ACCEPTD", "receipt: ACCEPTD"},
	} {
		k.receipt("main", "7", c.delivered, c.detail)
		k.detail(b, 0, c.want)
	}
}

func (k *kit) unknownReceipt(provider, handle string) {
	k.Helper()
	if err := k.Receipt(k.ctx, provider, handle, true, "DELIVRD", after(hour)); !errors.Is(err, store.ErrNotFound) {
		k.Errorf("receipt for %q of %q: %v", handle, provider, err)
	}
}

func testReceiptUnknown(k *kit) {
	k.targets(3)
	b := k.one(event(1))
	k.accepted(b, 0, "main", "7", after(hour))
	k.accepted(b, 1, "", "8", after(hour))
	k.accepted(b, 2, "main", "", after(hour))
	missed := result(b, 0, dispatcher.Dead, channels.Permanent) // the row is closed
	missed.Provider, missed.Handle = "main", "9"
	k.settle(missed)
	for _, name := range [][2]string{{"main", "8"}, {"other", "7"}, {"", "8"}, {"main", ""}, {"main", "07"}, {"main", "9"}} {
		k.unknownReceipt(name[0], name[1])
	}
	k.detail(b, 0, "delivered")
}

func testReceiptReused(k *kit) {
	k.targets(4)
	b := k.one(event(1))
	k.accepted(b, 0, "main", "7", after(hour))
	k.receipt("main", "7", true, "DELIVRD")
	k.accepted(b, 1, "main", "7", after(2*hour))
	k.receipt("main", "7", false, "EXPIRED")
	k.accepted(b, 3, "main", "8", after(2*hour))
	k.accepted(b, 2, "main", "7", after(50*hour))
	k.receipt("main", "7", false, "REJECTD")
	k.receipt("main", "8", true, "ACCEPTD")
	k.detail(b, 0, "receipt: DELIVRD")
	k.detail(b, 1, "receipt: EXPIRED")
	k.detail(b, 2, "receipt: REJECTD")
	k.detail(b, 3, "receipt: ACCEPTD")
}

func testReceiptMany(k *kit) {
	k.targets(64)
	second := event(1)
	second.IncidentID = "INC-2"
	b, other := k.one(event(1)), k.one(second)
	var rows []dispatcher.Settlement
	for i := range 64 {
		s := result(b, i, dispatcher.Delivered, channels.Delivered)
		s.Provider, s.Handle, s.DoneAt = "main", fmt.Sprint("m", i), after(hour)
		rows = append(rows, s)
	}
	rows[62].Provider = "other"
	rows[63].DoneAt = after(24 * hour)
	last := result(other, 1, dispatcher.Delivered, channels.Delivered)
	last.Provider, last.Handle, last.DoneAt = "main", "m7", after(24*hour) // again, the newer
	k.settle(append(rows, last)...)
	for i := range 64 {
		provider, want := "main", "receipt: DELIVRD"
		if i == 62 {
			provider = "other"
		}
		k.receipt(provider, fmt.Sprint("m", i), true, "DELIVRD")
		if i == 7 {
			want = "delivered"
			k.detail(other, 1, "receipt: DELIVRD")
		}
		k.detail(b, i, want)
	}
}

func testReceiptForgotten(k *kit) {
	const week = 7 * 24 * hour
	k.targets(6)
	b := k.one(event(1))
	known := func(want ...string) {
		k.Helper()
		for i := range 6 {
			name := fmt.Sprint("m", i)
			err := k.Receipt(k.ctx, "main", name, true, "DELIVRD", time.Time{})
			if there := err == nil; there != slices.Contains(want, name) || !there && !errors.Is(err, store.ErrNotFound) {
				k.Errorf("%s is known: %v (%v)", name, there, err)
			}
		}
	}
	for i := range 4 {
		k.accepted(b, i, "main", fmt.Sprint("m", i), after(time.Duration(i)*time.Second))
	}
	k.accepted(b, 4, "main", "m4", after(week)) // the first is not older than that yet
	known("m0", "m1", "m2", "m3", "m4")
	k.accepted(b, 5, "main", "m5", after(week+24*hour)) // a store may forget by the day
	known("m2", "m3", "m4", "m5")
	k.accepted(b, 5, "main", "m5", after(week+24*hour))
	known("m4", "m5")
}
