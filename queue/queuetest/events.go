package queuetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tocsin/tocsin/queue"
)

func runIntake(t *testing.T, open func(t *testing.T) Fixture) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, f Fixture)
	}{
		{"what is offered is taken whole", testEventWhole},
		{"events come in order", testEventOrder},
		{"what isn't concluded comes again, in order, after reopening", testEventAgain},
		{"what is concluded doesn't come again", testConcluded},
		{"what is invalid is set aside", testAside},
		{"take waits and wakes up", testTakeWakes},
		{"take ends with its context and loses nothing", testTakeContext},
		{"a verdict for each event", testVerdictCount},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

func offer(t *testing.T, in queue.Intake, n int) {
	t.Helper()
	e := &queue.Event{Body: fmt.Appendf(nil, `{"n":%d}`, n), UpdateID: fmt.Sprintf("update-%d", n), Source: "http"}
	if err := in.Offer(patience(t), e); err != nil {
		t.Fatalf("offer: %v", err)
	}
}

// take takes until n events are there.
func take(t *testing.T, in queue.Intake, n int) []*queue.Event {
	t.Helper()
	ctx := patience(t)
	var got []*queue.Event
	for len(got) < n {
		events, err := in.Take(ctx, n-len(got))
		if err != nil {
			t.Fatalf("take after %d of %d events: %v", len(got), n, err)
		}
		if len(events) == 0 || len(events) > n-len(got) {
			t.Fatalf("take gave %d events, want 1 to %d", len(events), n-len(got))
		}
		got = append(got, events...)
	}
	return got
}

func conclude(t *testing.T, in queue.Intake, events []*queue.Event, verdicts ...queue.Verdict) {
	t.Helper()
	if len(verdicts) == 0 {
		verdicts = slices.Repeat([]queue.Verdict{{Result: "accepted"}}, len(events))
	}
	if err := in.Conclude(patience(t), events, verdicts); err != nil {
		t.Fatalf("conclude: %v", err)
	}
}

func updateIDs(events []*queue.Event) []string {
	list := make([]string, len(events))
	for i, e := range events {
		list[i] = e.UpdateID
	}
	return list
}

// noEventLeft checks that the intake has nothing before what is offered now.
func noEventLeft(t *testing.T, in queue.Intake) {
	t.Helper()
	offer(t, in, 1<<20)
	got := take(t, in, 1)
	if got[0].UpdateID != "update-1048576" {
		t.Fatalf("%s came although it was concluded", got[0].UpdateID)
	}
	conclude(t, in, got)
}

func testEventWhole(t *testing.T, f Fixture) {
	body := append(make([]byte, queue.MaxEventBytes-2), 0x00, 0xff)
	want := &queue.Event{Body: body, UpdateID: "u-1", Source: "alerts", Sender: "token 1"}
	if err := f.Intake.Offer(patience(t), want); err != nil {
		t.Fatal(err)
	}
	got := take(t, f.Intake, 1)
	e := got[0]
	if string(e.Body) != string(body) || e.UpdateID != "u-1" || e.Source != "alerts" || e.Sender != "token 1" {
		t.Errorf("got %d bytes, update id %q, source %q, sender %q", len(e.Body), e.UpdateID, e.Source, e.Sender)
	}
	if e.ReceivedAt.IsZero() {
		t.Error("the event has no ReceivedAt")
	}
	conclude(t, f.Intake, got)
}

func testEventOrder(t *testing.T, f Fixture) {
	var want []string
	for n := range 20 {
		offer(t, f.Intake, n)
		want = append(want, fmt.Sprintf("update-%d", n))
	}
	var got []string
	for len(got) < len(want) {
		events := take(t, f.Intake, 4)
		got = append(got, updateIDs(events)...)
		conclude(t, f.Intake, events)
	}
	if !slices.Equal(got, want) {
		t.Errorf("taken %v, want %v", got, want)
	}
}

func testEventAgain(t *testing.T, f Fixture) {
	for n := range 6 {
		offer(t, f.Intake, n)
	}
	events := take(t, f.Intake, 4)
	conclude(t, f.Intake, events[:1])
	f = f.Reopen(t)
	again := take(t, f.Intake, 5)
	if got, want := updateIDs(again), []string{"update-1", "update-2", "update-3", "update-4", "update-5"}; !slices.Equal(got, want) {
		t.Errorf("after reopening came %v, want %v", got, want)
	}
	// What an earlier process took is no longer its to conclude.
	conclude(t, f.Intake, events[1:])
	f = f.Reopen(t)
	conclude(t, f.Intake, take(t, f.Intake, 5))
	noEventLeft(t, f.Intake)
}

func testConcluded(t *testing.T, f Fixture) {
	for n := range 3 {
		offer(t, f.Intake, n)
	}
	conclude(t, f.Intake, take(t, f.Intake, 3),
		queue.Verdict{Result: "accepted", IncidentID: "INC-1", UpdateID: "update-0", Sequence: 1},
		queue.Verdict{Result: "duplicate"}, queue.Verdict{Result: "stale"})
	noEventLeft(t, f.Intake)
	f = f.Reopen(t)
	noEventLeft(t, f.Intake)
	if aside := f.Aside(t); len(aside) != 0 {
		t.Errorf("%d events were set aside, none was invalid", len(aside))
	}
}

func testAside(t *testing.T, f Fixture) {
	for n := range 3 {
		offer(t, f.Intake, n)
	}
	conclude(t, f.Intake, take(t, f.Intake, 3),
		queue.Verdict{Result: "invalid", Field: "impact", Reason: "is none of minor, major"},
		queue.Verdict{Result: "accepted"},
		queue.Verdict{Result: "invalid", Reason: "isn't JSON: Zeichen für Zeichen"})
	f = f.Reopen(t)
	noEventLeft(t, f.Intake)
	aside := f.Aside(t)
	if len(aside) != 2 {
		t.Fatalf("%d events were set aside, want 2", len(aside))
	}
	for i, want := range []Aside{
		{Body: []byte(`{"n":0}`), UpdateID: "update-0", Field: "impact", Reason: "is none of minor, major"},
		{Body: []byte(`{"n":2}`), UpdateID: "update-2", Reason: "isn't JSON: Zeichen für Zeichen"},
	} {
		if got := aside[i]; string(got.Body) != string(want.Body) || got.UpdateID != want.UpdateID || got.Field != want.Field || got.Reason != want.Reason {
			t.Errorf("set aside: got %q %+v, want %q %+v", got.Body, got, want.Body, want)
		}
	}
}

func testTakeWakes(t *testing.T, f Fixture) {
	ctx := patience(t)
	type answer struct {
		events []*queue.Event
		err    error
	}
	answers := make(chan answer, 1)
	for n := range 3 {
		go func() {
			events, err := f.Intake.Take(ctx, 10)
			answers <- answer{events, err}
		}()
		offer(t, f.Intake, n)
		a := <-answers
		if a.err != nil || len(a.events) != 1 {
			t.Fatalf("got %v, %v", updateIDs(a.events), a.err)
		}
		conclude(t, f.Intake, a.events)
	}
}

func testTakeContext(t *testing.T, f Fixture) {
	soon, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if events, err := f.Intake.Take(soon, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("context over while waiting: got %v, %v", updateIDs(events), err)
	}
	offer(t, f.Intake, 1)
	conclude(t, f.Intake, take(t, f.Intake, 1))
}

func testVerdictCount(t *testing.T, f Fixture) {
	offer(t, f.Intake, 1)
	events := take(t, f.Intake, 1)
	if err := f.Intake.Conclude(patience(t), events, nil); err == nil {
		t.Error("an event was concluded without a verdict")
	}
	conclude(t, f.Intake, events)
	noEventLeft(t, f.Intake)
}
