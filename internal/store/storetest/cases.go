package storetest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/tocsin/tocsin/internal/store"
)

var caseTests = []test{
	{"a case is what the last step made of it", testCaseState},
	{"a step that fails changes nothing, nor do those beside it", testCaseFailure},
	{"steps of one case come one after the other", testCaseConcurrency},
	{"cases are due in the order of their times", testCasesDue},
	{"what is decided stays in the outbox until it was offered", testOutbox},
}

var (
	caseA = store.CaseKey{Page: "default", Group: "a"}
	caseB = store.CaseKey{Page: "default", Group: "b"}
	// caseOther has the group of a on another page.
	caseOther = store.CaseKey{Page: "other", Group: "a"}
)

// change makes one change of one case and returns the state it was given.
func (k *kit) change(key store.CaseKey, change store.CaseChange) (before string) {
	k.Helper()
	k.must(k.StepCases(k.ctx, []store.CaseKey{key}, func(_ int, state []byte) (store.CaseChange, error) {
		if before = string(state); state == nil {
			before = "none"
		}
		return change, nil
	}))
	return before
}

func (k *kit) states() string {
	k.Helper()
	return k.change(caseA, store.CaseChange{}) + " " + k.change(caseB, store.CaseChange{}) + " " + k.change(caseOther, store.CaseChange{})
}

func testCaseState(k *kit) {
	equal(k, "at first", k.states(), "none none none")
	k.change(caseA, store.CaseChange{State: []byte("1")})
	k.change(caseOther, store.CaseChange{State: []byte("2")})
	equal(k, "after an insert", k.states(), "1 none 2")
	equal(k, "what an update is given", k.change(caseA, store.CaseChange{State: []byte("3")}), "1")
	k.change(caseA, store.CaseChange{})
	k.reopen()
	equal(k, "after it", k.states(), "3 none 2")
	k.change(caseOther, store.CaseChange{Forget: true})
	k.change(caseB, store.CaseChange{Forget: true}) // isn't there
	equal(k, "forgotten", k.states(), "3 none none")
	k.must(k.StepCases(k.ctx, []store.CaseKey{caseB, caseA, caseB}, func(i int, state []byte) (store.CaseChange, error) {
		return store.CaseChange{State: append(state, fmt.Sprint(i)...)}, nil
	}))
	equal(k, "several at once", k.states(), "31 02 none")
}

func testCaseFailure(k *kit) {
	fault := errors.New("no")
	err := k.StepCases(k.ctx, []store.CaseKey{caseA, caseB}, func(i int, _ []byte) (store.CaseChange, error) {
		if i == 1 {
			return store.CaseChange{}, fault
		}
		return store.CaseChange{State: []byte("1"), DueAt: start, Events: []store.OutboxEvent{decided("a", 1)},
			Audit: []store.AuditEntry{audited("default", "a", 0)}}, nil
	})
	if !errors.Is(err, fault) {
		k.Fatalf("the error is %v", err)
	}
	equal(k, "states", k.states(), "none none none")
	equal(k, "outbox", k.outbox(10), "")
	equal(k, "audit", k.audit(store.AuditFilter{}), "")
}

func testCaseConcurrency(k *kit) {
	const steps = 50
	var running sync.WaitGroup
	for range steps {
		running.Go(func() {
			if err := k.StepCases(k.ctx, []store.CaseKey{caseA}, func(_ int, state []byte) (store.CaseChange, error) {
				return store.CaseChange{State: append(state, '+')}, nil
			}); err != nil {
				k.Error(err)
			}
		})
	}
	running.Wait()
	equal(k, "state", k.change(caseA, store.CaseChange{}), strings.Repeat("+", steps))
}

func (k *kit) dueCases(at time.Duration, limit int) string {
	k.Helper()
	keys, err := k.DueCases(k.ctx, after(at), limit)
	k.must(err)
	return fmt.Sprint(keys)
}

func testCasesDue(k *kit) {
	next, err := k.NextDue(k.ctx)
	k.must(err)
	equal(k, "without cases", next, time.Time{})
	k.change(caseA, store.CaseChange{State: []byte("1"), DueAt: after(2 * time.Minute)})
	k.change(caseB, store.CaseChange{State: []byte("1"), DueAt: after(time.Minute)})
	k.change(caseOther, store.CaseChange{State: []byte("1")})
	k.reopen()
	next, err = k.NextDue(k.ctx)
	k.must(err)
	equal(k, "next", next, after(time.Minute))
	equal(k, "too early", k.dueCases(time.Minute-time.Microsecond, 9), "[]")
	equal(k, "one", k.dueCases(time.Minute, 9), "[{default b}]")
	equal(k, "both", k.dueCases(time.Hour, 9), "[{default b} {default a}]")
	equal(k, "the limit", k.dueCases(time.Hour, 1), "[{default b}]")
	k.change(caseB, store.CaseChange{State: []byte("2")})
	equal(k, "due no more", k.dueCases(time.Hour, 9), "[{default a}]")
	k.change(caseA, store.CaseChange{Forget: true})
	equal(k, "forgotten", k.dueCases(time.Hour, 9), "[]")
}

func decided(id string, n int) store.OutboxEvent {
	return store.OutboxEvent{Page: "default", IncidentID: id, UpdateID: fmt.Sprintf("%s-%d", id, n), Source: "alerts",
		At: after(time.Duration(n) * time.Second), Body: fmt.Appendf(nil, `{"n":%d}`, n)}
}

func (k *kit) outbox(limit int) string {
	k.Helper()
	events, err := k.Outbox(k.ctx, limit)
	k.must(err)
	var list []string
	for _, e := range events {
		list = append(list, e.UpdateID)
	}
	return strings.Join(list, " ")
}

func testOutbox(k *kit) {
	k.change(caseA, store.CaseChange{State: []byte("1"), Events: []store.OutboxEvent{decided("a", 1), decided("a", 2)}})
	k.change(caseB, store.CaseChange{Events: []store.OutboxEvent{decided("b", 1)}})
	k.change(caseA, store.CaseChange{Forget: true})
	k.reopen()
	equal(k, "outbox", k.outbox(9), "a-1 a-2 b-1")
	equal(k, "the limit", k.outbox(2), "a-1 a-2")
	events, err := k.Outbox(k.ctx, 9)
	k.must(err)
	got := events[1]
	want := decided("a", 2)
	want.ID = got.ID
	equal(k, "an event", fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want))
	k.must(k.Offered(k.ctx, []int64{events[0].ID, events[2].ID, 4711}))
	k.must(k.Offered(k.ctx, []int64{events[0].ID}))
	equal(k, "the rest", k.outbox(9), "a-2")
	k.must(k.Offered(k.ctx, []int64{got.ID}))
	k.reopen()
	k.change(caseA, store.CaseChange{Events: []store.OutboxEvent{decided("a", 3)}})
	events, err = k.Outbox(k.ctx, 9)
	k.must(err)
	if len(events) != 1 || events[0].ID <= got.ID {
		k.Errorf("after them all comes %+v", events)
	}
}
