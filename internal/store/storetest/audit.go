package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/store"
)

var auditTests = []test{
	{"the audit log is read by page, incident and time", testAudit},
	{"what producers publish is in it, and who they are", testAuditProducers},
	{"producers' entries are read by page, incident and time", testAuditProducersChosen},
	{"both kinds are one log, wherever it is cut", testAuditMerged},
	{"what is written meanwhile is neither passed over nor told twice", testAuditMeanwhile},
	{"the audit log is forgotten by age, a bounded part at a time", testForgetAudit},
	{"what was asked for is in it with what it did", testAuditAsked},
	{"what was refused is not", testAuditRefused},
}

func audited(page, id string, n int) store.AuditEntry {
	return store.AuditEntry{At: after(time.Duration(n) * time.Minute), Page: page, IncidentID: id, Number: n, UpdateID: fmt.Sprintf("%s-%d", id, n),
		Source: "alerts", Actor: "main", Action: "changed", Cause: "it was so", Status: incident.Investigating, Impact: incident.ImpactMajor}
}

// writeAudit writes entries down with a change of a case.
func (k *kit) writeAudit(entries ...store.AuditEntry) {
	k.Helper()
	k.change(caseA, store.CaseChange{Audit: entries})
}

// publish accepts the nth update of an incident, published by a producer, at its minute.
func (k *kit) publish(sender, page, id string, n int) {
	k.Helper()
	e := event(n)
	e.Page, e.IncidentID, e.UpdateID = page, id, fmt.Sprintf("%s-%d", id, n)
	a := arrival(e)
	a.Sender = sender
	k.must(k.acceptAt(n, a))
}

func (k *kit) acceptAt(minute int, arrivals ...*dispatcher.Arrival) error {
	_, err := k.Accept(k.ctx, arrivals, dispatcher.Decide(after(time.Duration(minute)*time.Minute), 24*time.Hour))
	return err
}

// log reads all parts of the log, limit entries at a time.
func (k *kit) log(f store.AuditFilter) []store.AuditEntry {
	k.Helper()
	var all []store.AuditEntry
	for {
		part, err := k.AuditLog(k.ctx, f)
		k.must(err)
		if f.Limit > 0 && len(part.Entries) > f.Limit {
			k.Fatalf("a part has %d entries, more than %d", len(part.Entries), f.Limit)
		}
		all = append(all, part.Entries...)
		if !part.More {
			return all
		}
		if part.Next == f.After {
			k.Fatalf("the log does not go on from %+v", part.Next)
		}
		f.After = part.Next
	}
}

// short names entries by their update, as "a-1", those of producers as "a-1!".
func short(entries []store.AuditEntry) string {
	list := make([]string, len(entries))
	for i, e := range entries {
		list[i] = e.UpdateID
		if e.Source == store.SourceEvents {
			list[i] += "!"
		}
		if e.Page != "default" {
			list[i] = e.Page + "/" + list[i]
		}
	}
	return strings.Join(list, " ")
}

func (k *kit) audit(f store.AuditFilter) string {
	k.Helper()
	return short(k.log(f))
}

func testAudit(k *kit) {
	var entries []store.AuditEntry
	for n := range 3 {
		entries = append(entries, audited("default", "a", n), audited("default", "b", n), audited("other", "a", n))
	}
	k.writeAudit(entries...)
	k.reopen()
	equal(k, "an incident", k.audit(store.AuditFilter{Page: "default", IncidentID: "a"}), "a-0 a-1 a-2")
	equal(k, "an incident on all pages", k.audit(store.AuditFilter{IncidentID: "a"}), "a-0 other/a-0 a-1 other/a-1 a-2 other/a-2")
	equal(k, "a page", k.audit(store.AuditFilter{Page: "other"}), "other/a-0 other/a-1 other/a-2")
	equal(k, "a time", k.audit(store.AuditFilter{From: after(time.Minute), Until: after(2 * time.Minute)}), "a-1 b-1 other/a-1")
	all := k.log(store.AuditFilter{})
	equal(k, "all", len(all), 9)
	part, err := k.AuditLog(k.ctx, store.AuditFilter{After: all[1].Cursor, Limit: 2})
	k.must(err)
	equal(k, "after the first two", short(part.Entries), "other/a-0 a-1")
	want := audited("default", "b", 2)
	want.Cursor = all[7].Cursor
	equal(k, "an entry", fmt.Sprintf("%+v", all[7]), fmt.Sprintf("%+v", want))
}

func testAuditProducers(k *kit) {
	k.publish("token 1", "default", "a", 2)
	k.publish("", "default", "a", 3) // the engine's own, which has an entry of its own
	k.publish("user monitor", "default", "a", 4)
	k.publish("amqp", "default", "a", 4) // known
	old := arrival(event(1))
	old.Event.IncidentID, old.Event.Status, old.Event.Impact, old.UpdateID, old.Sender = "a", incident.Monitoring, incident.ImpactMinor, "", "source s"
	k.must(k.acceptAt(5, old))
	k.reopen()
	var got []string
	for _, e := range k.log(store.AuditFilter{}) {
		if e.Cause == "" || e.Number != 0 {
			k.Errorf("an entry is %+v", e)
		}
		got = append(got, fmt.Sprintf("%s %s %s %s/%s %q %s %s %s", e.At.Format("15:04"), e.Source, e.Actor, e.Page, e.IncidentID, e.UpdateID, e.Action, e.Status, e.Impact))
	}
	const want = `05:02 events token 1 default/a "a-2" accepted identified major
05:04 events user monitor default/a "a-4" accepted identified major
05:05 events source s default/a "" stale monitoring minor`
	equal(k, "the log", strings.Join(got, "\n"), want)
}

func testAuditProducersChosen(k *kit) {
	for n := range 30 {
		k.publish("", "default", "between", n) // more than one reading takes
	}
	for n := 30; n < 33; n++ {
		k.publish("token 1", "default", "a", n)
		k.publish("token 1", "other", "a", n)
		k.publish("token 1", "third", "b", n)
	}
	equal(k, "an incident", k.audit(store.AuditFilter{Page: "default", IncidentID: "a"}), "a-30! a-31! a-32!")
	equal(k, "a part of it", k.audit(store.AuditFilter{Page: "default", IncidentID: "a", Limit: 1}), "a-30! a-31! a-32!")
	equal(k, "an incident on all pages", k.audit(store.AuditFilter{IncidentID: "a"}), "a-30! other/a-30! a-31! other/a-31! a-32! other/a-32!")
	equal(k, "none on this page", k.audit(store.AuditFilter{Page: "default", IncidentID: "b"}), "")
	equal(k, "none of this name", k.audit(store.AuditFilter{IncidentID: "c"}), "")
	equal(k, "a page", k.audit(store.AuditFilter{Page: "third"}), "third/b-30! third/b-31! third/b-32!")
	equal(k, "a time", k.audit(store.AuditFilter{From: after(31 * time.Minute), Until: after(32 * time.Minute)}), "a-31! other/a-31! third/b-31!")
	equal(k, "a time of an incident", k.audit(store.AuditFilter{IncidentID: "a", From: after(32 * time.Minute)}), "a-32! other/a-32!")
}

// story writes a log of both kinds, with gaps longer than one reading in either, and
// returns it in order.
func (k *kit) story() string {
	k.Helper()
	var want []string
	written := func(n int) {
		k.writeAudit(audited("default", "w", n))
		want = append(want, fmt.Sprintf("w-%d", n))
	}
	published := func(n int) {
		k.publish("token 1", "default", "p", n)
		want = append(want, fmt.Sprintf("p-%d!", n))
	}
	for n := 1; n <= 3; n++ {
		written(n)
		published(n) // at the same time: behind it
	}
	for n := 4; n <= 20; n++ {
		published(n)
	}
	for n := 21; n <= 40; n++ {
		written(n)
	}
	for n := 41; n <= 60; n++ {
		k.publish("", "default", "engine", n)
		k.writeAudit(audited("other", "x", n))
		want = append(want, fmt.Sprintf("other/x-%d", n))
	}
	published(61)
	written(62)
	return strings.Join(want, " ")
}

func testAuditMerged(k *kit) {
	want := k.story()
	for _, limit := range []int{0, 1, 2, 3, 7, 1000} {
		equal(k, fmt.Sprintf("%d at a time", limit), k.audit(store.AuditFilter{Limit: limit}), want)
	}
	all := k.log(store.AuditFilter{})
	for i, e := range all {
		if got := k.audit(store.AuditFilter{After: e.Cursor}); got != short(all[i+1:]) {
			k.Errorf("behind entry %d comes\n%s\nwant\n%s", i, got, short(all[i+1:]))
		}
	}
	equal(k, "a page, by twos", k.audit(store.AuditFilter{Page: "other", Limit: 2}), short(slices.DeleteFunc(slices.Clone(all), func(e store.AuditEntry) bool { return e.Page != "other" })))
	equal(k, "of both kinds", k.audit(store.AuditFilter{From: after(20 * time.Minute), Until: after(22 * time.Minute), Limit: 1}), "p-20! w-21")
}

// testAuditMeanwhile writes between the parts, late entries among them: of a clock that
// was set back.
func testAuditMeanwhile(k *kit) {
	k.story()
	var told []string
	f := store.AuditFilter{Limit: 3}
	next := 100
	for more := true; more; {
		part, err := k.AuditLog(k.ctx, f)
		k.must(err)
		for _, e := range part.Entries {
			told = append(told, short([]store.AuditEntry{e}))
		}
		if next < 110 {
			k.publish("token 1", "default", "p", next)
			k.writeAudit(audited("default", "w", next))
			k.writeAudit(audited("default", "late", next-90))
			next++
		}
		more, f.After = part.More, part.Next
	}
	all := strings.Fields(k.audit(store.AuditFilter{}))
	if len(told) != len(all) {
		k.Errorf("%d entries were told, of %d", len(told), len(all))
	}
	slices.Sort(told)
	slices.Sort(all)
	if !slices.Equal(told, all) {
		k.Errorf("told were\n%s\nthe log has\n%s", told, all)
	}
}

func testForgetAudit(k *kit) {
	k.publish("token 1", "default", "p", 1)
	var entries []store.AuditEntry
	for n := range k.fixture.Step + 2 {
		entries = append(entries, audited("default", "a", n))
	}
	k.writeAudit(entries...)
	before := after(time.Duration(k.fixture.Step+1) * time.Minute)
	for i, want := range []bool{true, false, false} {
		more, err := k.ForgetAudit(k.ctx, before)
		k.must(err)
		equal(k, fmt.Sprintf("more after call %d", i), more, want)
	}
	equal(k, "what stays", k.audit(store.AuditFilter{}), fmt.Sprintf("p-1! a-%d", k.fixture.Step+1))
}

// by is somebody who asks for something, three hours into the story.
func by(cause string) dispatcher.Asked {
	return dispatcher.Asked{By: "token 1", At: after(3 * hour), Cause: cause}
}

// acts reads what was asked for as "actor action page/incident: cause".
func (k *kit) acts() string {
	k.Helper()
	var list []string
	for _, e := range k.log(store.AuditFilter{}) {
		equal(k, "source", e.Source, store.SourceControl)
		equal(k, "time", e.At, after(3*hour))
		list = append(list, fmt.Sprintf("%s %s %s/%s: %s", e.Actor, e.Action, e.Page, e.IncidentID, e.Cause))
	}
	return strings.Join(list, "\n")
}

func testAuditAsked(k *kit) {
	b := k.ended(4)
	k.must(k.SetPaused(k.ctx, "main", true, by("main")))
	k.must(k.SetPaused(k.ctx, "main", false, by("main")))
	id := b.Deliveries[3].Target
	for _, locale := range []string{"de", "en"} { // the second changes no state
		_, err := k.Patch(k.ctx, id, func(t *incident.Target) error {
			t.State, t.Locale = incident.StatePaused, locale
			return nil
		}, by("a target"))
		k.must(err)
	}
	k.must(k.Delete(k.ctx, id, by("a target")))
	done := k.resend(asked(b.Incident))
	_, _, err := k.Stop(k.ctx, b.Incident, after(3*hour), by("enough"))
	k.must(err)
	k.must(k.SaveServices(k.ctx, map[string][]byte{"api": nil},
		store.AuditEntry{At: after(3 * hour), Page: "default", Source: store.SourceControl, Actor: "token 1", Action: "forgotten", Cause: "api"}))
	k.reopen()
	equal(k, "the log", k.acts(), `token 1 paused /: main
token 1 resumed /: main
token 1 paused default/: a target
token 1 deleted default/: a target
token 1 resent default/INC-1: an operator had sequence 1 sent again: resend `+fmt.Sprint(done.Key)+`
token 1 stopped default/INC-1: enough
token 1 forgotten default/: api`)
}

func testAuditRefused(k *kit) {
	b := k.ended(4)
	done := k.resend(asked(b.Incident))
	was := k.acts()
	equal(k, "a resend", strings.Count(was, "resent"), 1)

	equal(k, "repeated", k.resend(asked(b.Incident)).Key, done.Key)
	dry := asked(b.Incident)
	dry.DryRun = true
	k.resend(dry)
	older := asked(b.Incident)
	older.Sequence = 2
	if _, err := k.BeginResend(k.ctx, older); err == nil {
		k.Error("an update that isn't there was sent again")
	}
	refusal := errors.New("no")
	if _, err := k.Patch(k.ctx, b.Deliveries[0].Target, func(t *incident.Target) error {
		t.State = incident.StatePaused
		return refusal
	}, by("a target")); !errors.Is(err, refusal) {
		k.Errorf("a refused change: %v", err)
	}
	if _, err := k.Patch(k.ctx, b.Deliveries[0].Target, func(t *incident.Target) error {
		t.State, t.ExternalID = incident.StatePaused, "hook-1"
		return nil
	}, by("a target")); err == nil {
		k.Error("a target got the external id of another")
	}
	if err := k.Delete(k.ctx, 999, by("a target")); !errors.Is(err, store.ErrNotFound) {
		k.Errorf("an unknown target: %v", err)
	}
	if _, _, err := k.Stop(k.ctx, 999_999, after(3*hour), by("enough")); err == nil {
		k.Error("an unknown incident could be stopped")
	}
	k.stop(b.Incident, 1) // nobody says who asked
	equal(k, "the log", k.acts(), was)
}
