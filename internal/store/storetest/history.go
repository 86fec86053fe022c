package storetest

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/store"
)

var historyTests = []test{
	{"an update's content is what the event said, with its timeline", testContent},
	{"a public update doesn't show private ones", testContentPrivate},
	{"a real update doesn't show tests, nor a test real ones", testContentOfTests},
	{"incidents are listed newest first", testIncidents},
	{"an incident shows its updates and their progress", testIncident},
	{"deliveries are found by target, outcome and sequence", testDeliveries},
	{"update ids are known, stale ones too", testKnownUpdate},
	{"the newest update that was sent is known whole", testLatestEvent},
}

func testContent(k *kit) {
	e := event(1)
	e.Links = []incident.Link{{Rel: "self", URL: "https://status.example/1"}}
	e.Components = map[string]string{"api": "down"}
	e.Translations = map[string]incident.Translation{"de": {Title: "API weg"}}
	e.Details = json.RawMessage(`{"on_call":"me"}`)
	second := event(2)
	second.Status, second.ResolvedAt = incident.Resolved, after(2*hour)
	p := k.accept(e, second)[0]
	k.reopen()
	u, err := k.Content(k.ctx, p.Incident, 1)
	k.must(err)
	equal(k, "id", u.IncidentID, "INC-1")
	equal(k, "title", u.Title, "API down")
	equal(k, "message", u.Message, "update 1")
	equal(k, "link", u.Links[0].URL, "https://status.example/1")
	equal(k, "component", u.Components["api"], "down")
	equal(k, "translation", u.Translations["de"].Title, "API weg")
	equal(k, "details", string(u.Details), `{"on_call":"me"}`)
	equal(k, "accepted", u.AcceptedAt, after(hour))
	equal(k, "updated", u.UpdatedAt, e.UpdatedAt)
	equal(k, "timeline", len(u.Timeline), 1) // the later one is not yet known
	u, err = k.Content(k.ctx, p.Incident, 2)
	k.must(err)
	equal(k, "sequence", u.Sequence, 2)
	equal(k, "resolved", u.ResolvedAt, after(2*hour))
	equal(k, "timeline", len(u.Timeline), 2)
	equal(k, "newest", u.Timeline[0].Message, "update 2")
	equal(k, "oldest", u.Timeline[1].Translations["de"].Title, "API weg")
	if _, err := k.Content(k.ctx, p.Incident, 3); err == nil {
		k.Error("an unknown update has content")
	}
}

func testContentPrivate(k *kit) {
	second := event(2)
	second.Visibility, second.Message = incident.Private, "internal"
	p := k.accept(event(1), second, event(3))[0]
	public, err := k.Content(k.ctx, p.Incident, 3)
	k.must(err)
	for _, e := range public.Timeline {
		if e.Sequence == 2 {
			k.Error("a public update's timeline shows a private one")
		}
	}
	private, err := k.Content(k.ctx, p.Incident, 2)
	k.must(err)
	equal(k, "a private update's timeline", len(private.Timeline), 2)
}

func testContentOfTests(k *kit) {
	second, fourth := event(2), event(4)
	second.Test, fourth.Test = true, true
	p := k.accept(event(1), second, event(3), fourth)[0]
	for sequence, want := range map[int]string{1: "[1]", 2: "[2]", 3: "[3 1]", 4: "[4 2]"} {
		u, err := k.Content(k.ctx, p.Incident, sequence)
		k.must(err)
		var shown []int
		for _, e := range u.Timeline {
			shown = append(shown, e.Sequence)
		}
		equal(k, fmt.Sprint("the timeline of update ", sequence), fmt.Sprint(shown), want)
	}
}

func testIncidents(k *kit) {
	for n := range 7 {
		e := event(1)
		e.IncidentID = fmt.Sprint("INC-", n)
		if n%2 == 1 {
			e.Page = "other"
		}
		if n%3 == 0 {
			e.Status = incident.Resolved
		}
		k.accept(e)
	}
	names := func(page string, status incident.Status) (list string) {
		k.Helper()
		for before := int64(0); ; {
			found, err := k.Incidents(k.ctx, page, status, before, 2)
			k.must(err)
			if len(found) == 0 {
				return list
			}
			for _, i := range found {
				list += i.IncidentID[4:]
				before = i.Key
			}
		}
	}
	equal(k, "all", names("", ""), "6543210")
	equal(k, "of a page", names("other", ""), "531")
	equal(k, "resolved", names("", incident.Resolved), "630")
	equal(k, "resolved of a page", names("default", incident.Resolved), "60")
	later := event(2)
	later.IncidentID, later.Status = "INC-6", incident.Monitoring
	k.accept(later)
	equal(k, "resolved after another update", names("", incident.Resolved), "30")
}

func testIncident(k *kit) {
	mail := hook(9)
	mail.Channel, mail.Address = incident.ChannelSMTP, "ops@relay.example"
	k.upsert(hook(0), hook(1), hook(2), mail)
	first, second := event(1), event(2)
	second.Status, second.Impact, second.AffectedComponents = incident.Monitoring, incident.ImpactMinor, []string{"web"}
	batches := k.plan(k.accept(first)[0])
	hooks := batches[0]
	if hooks.Group != "webhook" {
		hooks = batches[1]
	}
	k.settle(result(hooks, 0, dispatcher.Delivered, channels.Delivered), result(hooks, 1, dispatcher.Dead, channels.Gone))
	k.accept(second)
	found, updates, err := k.Incident(k.ctx, "default", "INC-1")
	k.must(err)
	equal(k, "status", found.Status, incident.Monitoring)
	equal(k, "impact", found.Impact, incident.ImpactMinor)
	equal(k, "component", found.Components[0], "web")
	equal(k, "sequence", found.Sequence, 2)
	equal(k, "started", found.StartedAt, start)
	equal(k, "updates", len(updates), 2)
	equal(k, "newest", updates[0].Sequence, 2)
	equal(k, "its progress", len(updates[0].Progress), 0)
	equal(k, "audience", updates[1].Audience, 4)
	equal(k, "message", updates[1].Message, "update 1")
	hooksDone := updates[1].Progress["webhook"]
	if hooksDone[dispatcher.Delivered] != 1 || hooksDone[dispatcher.Dead] != 1 || hooksDone[dispatcher.Open] != 1 {
		k.Errorf("progress of webhooks: %v", hooksDone)
	}
	equal(k, "open mail", updates[1].Progress["smtp"][dispatcher.Open], 1)
	if _, _, err := k.Incident(k.ctx, "other", "INC-1"); !errors.Is(err, store.ErrNotFound) {
		k.Errorf("an unknown incident: %v", err)
	}
}

func testDeliveries(k *kit) {
	ids := k.targets(5)
	first := k.one(event(1))
	second := k.one(event(2))
	k.settle(result(second, 0, dispatcher.Delivered, channels.Delivered), result(second, 3, dispatcher.Delivered, channels.Delivered))
	list := func(f store.DeliveryFilter) (rows []dispatcher.Row) {
		k.Helper()
		for f.Limit = 2; ; {
			page, err := k.Deliveries(k.ctx, first.Incident, f)
			k.must(err)
			if len(page) == 0 {
				return rows
			}
			for _, d := range page {
				f.After = dispatcher.Row{Incident: first.Incident, Target: d.Target, Sequence: d.Sequence}
				rows = append(rows, f.After)
			}
		}
	}
	equal(k, "all", len(list(store.DeliveryFilter{})), 10)
	equal(k, "of an update", len(list(store.DeliveryFilter{Sequence: 2})), 5)
	of := list(store.DeliveryFilter{Target: ids[2]})
	if len(of) != 2 || of[0].Sequence != 1 || of[1].Sequence != 2 || of[0].Target != ids[2] {
		k.Errorf("of a target: %v", of)
	}
	delivered, open := dispatcher.Delivered, dispatcher.Open
	equal(k, "delivered", len(list(store.DeliveryFilter{Outcome: &delivered})), 2)
	equal(k, "open", len(list(store.DeliveryFilter{Outcome: &open})), 8)
	equal(k, "one", len(list(store.DeliveryFilter{Outcome: &delivered, Target: ids[3], Sequence: 2})), 1)
	equal(k, "of a target after it", len(list(store.DeliveryFilter{Target: ids[1], After: dispatcher.Row{Target: ids[3]}})), 0)
}

func testKnownUpdate(k *kit) {
	k.accept(event(2))
	k.arrive(event(1)) // stale
	for id, want := range map[string]bool{"u-1": true, "u-2": true, "u-3": false} {
		known, err := k.KnownUpdate(k.ctx, "default", "INC-1", id)
		k.must(err)
		equal(k, id, known, want)
	}
	known, err := k.KnownUpdate(k.ctx, "other", "INC-1", "u-1")
	k.must(err)
	equal(k, "another page", known, false)
}

func testLatestEvent(k *kit) {
	latest := func(page, id string) string {
		k.Helper()
		e, err := k.LatestEvent(k.ctx, page, id)
		k.must(err)
		if e == nil {
			return "none"
		}
		return fmt.Sprintf("%s %s %t %s", e.Message, e.Title, e.Test, e.UpdatedAt.Sub(start))
	}
	equal(k, "of an unknown incident", latest("default", "INC-1"), "none")
	first, second, stale, third := event(1), event(2), event(1), event(3)
	first.Test, second.Test, third.Test = true, true, true
	k.accept(first, second)
	equal(k, "after tests alone", latest("default", "INC-1"), "update 2 API down true 2m0s")
	stale.UpdateID, stale.Message = "late", "too late"
	equal(k, "stale", k.arrive(stale)[0].Result, dispatcher.AcceptedStale)
	equal(k, "after a stale one", latest("default", "INC-1"), "update 2 API down true 2m0s")
	real := event(3)
	real.Test = false
	k.accept(real)
	third.UpdateID, third.UpdatedAt = "u-4", after(hour/2)
	k.accept(third)
	k.reopen()
	equal(k, "a test after a real one", latest("default", "INC-1"), "update 3 API down false 30m0s")
	equal(k, "on another page", latest("other", "INC-1"), "none")
}
