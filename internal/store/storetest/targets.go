package storetest

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/store"
)

var targetTests = []test{
	{"a target is kept whole", testTargetWhole},
	{"upsert adds, replaces and leaves alone", testUpsert},
	{"upsert is all or nothing", testUpsertFault},
	{"an external id is known within its page", testUpsertPages},
	{"an import reactivates nobody", testUpsertState},
	{"patch changes one target", testPatch},
	{"patch refuses another's external id", testPatchTaken},
	{"a deleted target is gone, its rows stay", testDelete},
	{"targets are listed by id", testList},
	{"ping writes", testPing},
}

func testTargetWhole(k *kit) {
	want := &incident.Target{
		ExternalID: "customer 7", Channel: incident.ChannelSMTP, Address: "ops@relay.example", Page: "eu",
		Components: []string{"web", "api"}, MinImpact: incident.ImpactMaintenance, Visibility: incident.Private, Locale: "pt-BR",
		EveryUpdate: true, State: incident.StatePaused, Test: true, Secrets: []string{"whsec_a", "whsec_b"}, Format: "plain",
	}
	k.upsert(want)
	k.reopen()
	got, err := k.Target(k.ctx, want.ID)
	k.must(err)
	if !reflect.DeepEqual(got, want) {
		k.Errorf("the stored target differs in a field: %#v", got)
	}
	if _, err := k.Target(k.ctx, want.ID+1); !errors.Is(err, store.ErrNotFound) {
		k.Errorf("an unknown target: %v", err)
	}
}

func testUpsert(k *kit) {
	done, err := k.Upsert(k.ctx, []*incident.Target{hook(1), hook(2)})
	k.must(err)
	for i, u := range done {
		if u.ID == 0 || u.Existed || u.Changed {
			k.Errorf("new target %d: %+v", i, u)
		}
	}
	changed, nameless := hook(2), hook(2)
	changed.Components, nameless.ExternalID = []string{"api"}, ""
	again, err := k.Upsert(k.ctx, []*incident.Target{hook(1), changed, nameless, hook(3), hook(3)})
	k.must(err)
	want := []store.Upserted{{ID: done[0].ID, Existed: true}, {ID: done[1].ID, Existed: true, Changed: true},
		{ID: again[2].ID}, {ID: again[3].ID}, {ID: again[3].ID, Existed: true}}
	for i := range want {
		equal(k, fmt.Sprint("result ", i), again[i], want[i])
	}
	list, err := k.ListTargets(k.ctx, 0, 100)
	k.must(err)
	equal(k, "targets", len(list), 4)
	equal(k, "components", len(list[1].Components), 1)
}

func testUpsertFault(k *kit) {
	bad := hook(2)
	bad.Channel, bad.Address = incident.ChannelSMTP, "a@nowhere.example"
	_, err := k.Upsert(k.ctx, []*incident.Target{hook(1), bad})
	if _, ok := errors.AsType[*incident.Invalid](err); !ok {
		k.Fatalf("a target without a way: %v", err)
	}
	list, err := k.ListTargets(k.ctx, 0, 100)
	k.must(err)
	equal(k, "targets", len(list), 0)
}

func testUpsertPages(k *kit) {
	other := hook(1)
	other.Page = "other"
	ids := k.upsert(hook(1), other)
	if ids[0] == ids[1] {
		k.Error("the same external id on two pages is one target")
	}
}

func testUpsertState(k *kit) {
	id := k.upsert(hook(1))[0]
	state := func(want incident.TargetState) {
		k.Helper()
		t, err := k.Target(k.ctx, id)
		k.must(err)
		equal(k, "state", t.State, want)
	}
	for _, s := range []incident.TargetState{incident.StateUnsubscribed, incident.StateDisabled, incident.StatePaused} {
		k.patch(id, func(t *incident.Target) { t.State = s })
		k.upsert(hook(1))
		state(s)
	}
	moved := hook(1)
	moved.Address = "https://new.example/"
	k.upsert(moved)
	state(incident.StatePaused) // someone's decision, whatever the address
	k.patch(id, func(t *incident.Target) { t.State = incident.StateDisabled })
	k.upsert(hook(1))
	state(incident.StateActive) // the engine's, about another address
	stopped := hook(1)
	stopped.State = incident.StateUnsubscribed
	k.upsert(stopped)
	state(incident.StateUnsubscribed)
}

func testPatch(k *kit) {
	ids := k.upsert(hook(1), hook(2))
	got, err := k.Patch(k.ctx, ids[0], func(t *incident.Target) error {
		t.Components, t.Address, t.ID = []string{"api", "db"}, "https://h9.example/", 77
		return nil
	})
	k.must(err)
	equal(k, "id", got.ID, ids[0])
	k.reopen()
	stored, err := k.Target(k.ctx, ids[0])
	k.must(err)
	if !reflect.DeepEqual(got, stored) {
		k.Error("what patch returned is not what is stored")
	}
	audience := k.everyone(k.accept(event(1))[0], 10)
	equal(k, "audience", len(audience), 2)
	equal(k, "provider", audience[1].Provider, "h9.example:443")
	k.patch(ids[0], func(t *incident.Target) { t.Components = []string{"db"} })
	equal(k, "audience of a component it no longer has", len(k.everyone(k.accept(event(2))[0], 10)), 1)
	refusal := errors.New("no")
	if _, err := k.Patch(k.ctx, ids[1], func(t *incident.Target) error { t.Locale = "de"; return refusal }); !errors.Is(err, refusal) {
		k.Errorf("a refused change: %v", err)
	}
	if t, err := k.Target(k.ctx, ids[1]); err != nil || t.Locale != "en" {
		k.Errorf("after a refused change: %v, %v", t, err)
	}
	if _, err := k.Patch(k.ctx, 999, func(*incident.Target) error { return nil }); !errors.Is(err, store.ErrNotFound) {
		k.Errorf("an unknown target: %v", err)
	}
}

func testPatchTaken(k *kit) {
	ids := k.upsert(hook(1), hook(2))
	_, err := k.Patch(k.ctx, ids[1], func(t *incident.Target) error { t.ExternalID = "hook-1"; return nil })
	bad, ok := errors.AsType[*incident.Invalid](err)
	if !ok || bad.Field != "external_id" {
		k.Errorf("another's external id: %v", err)
	}
}

func testDelete(k *kit) {
	ids := k.upsert(hook(1), hook(2))
	b := k.one(event(1))
	k.must(k.Delete(k.ctx, ids[0]))
	if err := k.Delete(k.ctx, ids[0]); !errors.Is(err, store.ErrNotFound) {
		k.Errorf("deleted twice: %v", err)
	}
	if _, err := k.Target(k.ctx, ids[0]); !errors.Is(err, store.ErrNotFound) {
		k.Errorf("a deleted target: %v", err)
	}
	equal(k, "channel of its row", k.stored(row(b, 0)).Channel, "webhook")
	equal(k, "audience", len(k.everyone(k.accept(event(2))[0], 10)), 1)
	list, err := k.ListTargets(k.ctx, 0, 10)
	k.must(err)
	equal(k, "listed", len(list), 1)
	if again := k.upsert(hook(1))[0]; again == ids[0] {
		k.Error("a new target got the id of a deleted one")
	}
}

func testList(k *kit) {
	ids := k.targets(25)
	var got []int64
	for after := int64(0); ; {
		list, err := k.ListTargets(k.ctx, after, 10)
		k.must(err)
		if len(list) == 0 {
			break
		}
		for _, t := range list {
			after = t.ID
			got = append(got, t.ID)
		}
	}
	k.wantIDs("listed", got, ids...)
}

func testPing(k *kit) {
	for range 2 {
		k.must(k.Ping(k.ctx))
	}
}
