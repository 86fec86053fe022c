package queuetest

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tocsin/tocsin/queue"
)

func runQueue(t *testing.T, open func(t *testing.T) Fixture) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, f Fixture)
	}{
		{"what is published is received whole", testWhole},
		{"what is acked doesn't come again", testAcked},
		{"what isn't acked comes again after reopening", testNotAcked},
		{"how often it was received is known", testTakes},
		{"published but never received survives reopening", testSurvives},
		{"urgent first, oldest first", testUrgent},
		{"groups are separate", testGroups},
		{"max is respected", testMax},
		{"what is returned comes again", testReturn},
		{"published twice is received at least once", testTwice},
		{"receive waits and wakes up", testWakes},
		{"receive ends with its context and loses nothing", testContext},
		{"an old lease is harmless", testOldLease},
		{"depths count ready and held", testDepths},
		{"concurrent publishers lose nothing", testConcurrent},
		{"close unblocks receive", testClose},
		{"publishing nothing is fine", testNothing},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

func testWhole(t *testing.T, f Fixture) {
	want := Batch(1, GroupA, true, queue.MaxDeliveries)
	publish(t, f.Queue, want)
	got := receive(t, f.Queue, GroupA, 1)[0]
	if !reflect.DeepEqual(got.Batch, want) {
		t.Errorf("got  %+v\nwant %+v", got.Batch, want)
	}
	if got.Takes > 1 {
		t.Errorf("got %d takes, want 1 (or 0 where it can't be told)", got.Takes)
	}
	f.Queue.Ack([]*queue.Lease{got})
}

func testAcked(t *testing.T, f Fixture) {
	publish(t, f.Queue, Batch(1, GroupA, false, 1), Batch(2, GroupA, true, 1))
	f.Queue.Ack(receive(t, f.Queue, GroupA, 2))
	nothingLeft(t, f.Queue, GroupA)
	f = f.Reopen(t)
	nothingLeft(t, f.Queue, GroupA)
}

func testNotAcked(t *testing.T, f Fixture) {
	publish(t, f.Queue, Batch(1, GroupA, false, 2), Batch(2, GroupA, true, 2), Batch(3, GroupA, false, 2))
	for _, l := range receive(t, f.Queue, GroupA, 3) {
		if l.ID == 2 {
			f.Queue.Ack([]*queue.Lease{l})
		}
	}
	f = f.Reopen(t)
	again := receive(t, f.Queue, GroupA, 2)
	if got := ids(again); !slices.Equal(got, []int64{1, 3}) {
		t.Fatalf("after reopening came %v, want 1 and 3", got)
	}
	for _, l := range again {
		if l.Takes == 1 {
			t.Errorf("batch %d says it was never received before", l.ID)
		}
	}
	f.Queue.Ack(again)
	nothingLeft(t, f.Queue, GroupA)
}

// A batch whose process dies, again and again, is known by how often it came.
func testTakes(t *testing.T, f Fixture) {
	publish(t, f.Queue, Batch(1, GroupA, false, 2))
	for take := 1; take <= 5; take++ {
		l := receive(t, f.Queue, GroupA, 1)[0]
		if l.Takes != take {
			t.Fatalf("received for the %dth time it says %d", take, l.Takes)
		}
		f = f.Reopen(t)
	}
}

func testSurvives(t *testing.T, f Fixture) {
	publish(t, f.Queue, Batch(1, GroupA, false, 1), Batch(2, GroupB, true, 1))
	f = f.Reopen(t)
	f.Queue.Ack(receive(t, f.Queue, GroupA, 1))
	f.Queue.Ack(receive(t, f.Queue, GroupB, 1))
}

func testUrgent(t *testing.T, f Fixture) {
	publish(t, f.Queue, Batch(1, GroupA, false, 1))
	f.Queue.Ack(receive(t, f.Queue, GroupA, 1))
	for _, b := range []*queue.Batch{
		Batch(2, GroupA, false, 1), Batch(3, GroupA, false, 1), Batch(4, GroupA, true, 1),
		Batch(5, GroupA, false, 1), Batch(6, GroupA, true, 1), Batch(7, GroupA, true, 1),
	} {
		publish(t, f.Queue, b)
	}
	if f.Arrived != nil {
		f.Arrived(t, GroupA, 6)
	}
	var got []int64
	for _, n := range []int{2, 2, 2} {
		leases := receive(t, f.Queue, GroupA, n)
		got = append(got, ids(leases)...)
		f.Queue.Ack(leases)
	}
	if want := []int64{4, 6, 7, 2, 3, 5}; !slices.Equal(got, want) {
		t.Errorf("received %v, want %v", got, want)
	}
}

func testGroups(t *testing.T, f Fixture) {
	publish(t, f.Queue, Batch(1, GroupA, false, 1), Batch(2, GroupB, false, 1), Batch(3, GroupB, true, 1))
	f.Queue.Ack(receive(t, f.Queue, GroupB, 2)) // receive checks the group
	f.Queue.Ack(receive(t, f.Queue, GroupA, 1))
	nothingLeft(t, f.Queue, GroupA)
	nothingLeft(t, f.Queue, GroupB)
}

func testMax(t *testing.T, f Fixture) {
	const all = 7
	for id := range int64(all) {
		publish(t, f.Queue, Batch(id+1, GroupA, id%2 == 0, 1))
	}
	ctx := patience(t)
	for got := 0; got < all; {
		leases, err := f.Queue.Receive(ctx, GroupA, 3)
		if err != nil {
			t.Fatal(err)
		}
		if len(leases) == 0 || len(leases) > 3 {
			t.Fatalf("asked for up to 3, got %d", len(leases))
		}
		got += len(leases)
		f.Queue.Ack(leases)
	}
}

func testReturn(t *testing.T, f Fixture) {
	publish(t, f.Queue, Batch(1, GroupA, false, 1), Batch(2, GroupA, false, 1))
	both := receive(t, f.Queue, GroupA, 2)
	f.Queue.Ack(both[1:])
	f.Queue.Return(both[:1])
	again := receive(t, f.Queue, GroupA, 1)
	if again[0].ID != both[0].ID {
		t.Fatalf("batch %d was returned, batch %d came", both[0].ID, again[0].ID)
	}
	// What is returned is still there for the next process.
	f.Queue.Return(again)
	f = f.Reopen(t)
	f.Queue.Ack(receive(t, f.Queue, GroupA, 1))
	nothingLeft(t, f.Queue, GroupA)
}

func testTwice(t *testing.T, f Fixture) {
	publish(t, f.Queue, Batch(1, GroupA, false, 1))
	publish(t, f.Queue, Batch(1, GroupA, false, 1), Batch(2, GroupA, false, 1))
	ctx := patience(t)
	for seen := map[int64]bool{}; !seen[1] || !seen[2]; {
		leases, err := f.Queue.Receive(ctx, GroupA, 5)
		if err != nil {
			t.Fatalf("received only %v: %v", seen, err)
		}
		for _, l := range leases {
			seen[l.ID] = true
		}
		f.Queue.Ack(leases)
	}
}

func testWakes(t *testing.T, f Fixture) {
	ctx := patience(t)
	type answer struct {
		leases []*queue.Lease
		err    error
	}
	answers := make(chan answer, 1)
	for id := int64(1); id <= 3; id++ {
		go func() {
			leases, err := f.Queue.Receive(ctx, GroupA, 10)
			answers <- answer{leases, err}
		}()
		publish(t, f.Queue, Batch(id, GroupA, id == 2, 1))
		a := <-answers
		if a.err != nil || len(a.leases) != 1 || a.leases[0].ID != id {
			t.Fatalf("got %v, %v; want batch %d", ids(a.leases), a.err, id)
		}
		f.Queue.Ack(a.leases)
	}
}

func testContext(t *testing.T, f Fixture) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if leases, err := f.Queue.Receive(gone, GroupA, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("context over before: got %v, %v", ids(leases), err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if leases, err := f.Queue.Receive(soon, GroupA, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("context over while waiting: got %v, %v", ids(leases), err)
	}
	publish(t, f.Queue, Batch(1, GroupA, false, 1))
	f.Queue.Ack(receive(t, f.Queue, GroupA, 1))
}

func testOldLease(t *testing.T, f Fixture) {
	publish(t, f.Queue, Batch(1, GroupA, false, 1))
	old := receive(t, f.Queue, GroupA, 1)
	f = f.Reopen(t)
	f.Queue.Ack(old) // before the new lease
	held := receive(t, f.Queue, GroupA, 1)
	f.Queue.Ack(old) // beside it
	f.Queue.Return(old)
	f = f.Reopen(t)
	again := receive(t, f.Queue, GroupA, 1)
	f.Queue.Ack(again)
	f.Queue.Ack(held)
	f.Queue.Ack(again) // twice
	nothingLeft(t, f.Queue, GroupA)
}

func testDepths(t *testing.T, f Fixture) {
	ctx := patience(t)
	is := func(name string, ready, held int) func() bool {
		return func() bool {
			depths, err := f.Queue.Depths(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range depths {
				if d.Queue == name {
					return d.Ready == ready && d.Held == held
				}
			}
			t.Fatalf("no depth of %s among %+v", name, depths)
			return false
		}
	}
	publish(t, f.Queue, Batch(1, GroupA, true, 1), Batch(2, GroupA, true, 1), Batch(3, GroupA, true, 1), Batch(4, GroupB, false, 1))
	if err := f.Intake.Offer(ctx, &queue.Event{Body: []byte("{}"), UpdateID: "u", Source: "http"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "3 urgent of A are ready", is(GroupA+".urgent", 3, 0))
	eventually(t, "none of A is normal", is(GroupA+".normal", 0, 0))
	eventually(t, "1 normal of B is ready", is(GroupB+".normal", 1, 0))
	eventually(t, "1 event is ready", is("intake", 1, 0))

	leases := receive(t, f.Queue, GroupA, 1)
	eventually(t, "1 of A is held", is(GroupA+".urgent", 2, 1))
	f.Queue.Ack(leases)
	eventually(t, "none is held after the ack", is(GroupA+".urgent", 2, 0))

	events, err := f.Intake.Take(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the event is held", is("intake", 0, 1))
	if err := f.Intake.Conclude(ctx, events, []queue.Verdict{{Result: "accepted"}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the event is gone", is("intake", 0, 0))
}

func testConcurrent(t *testing.T, f Fixture) {
	const publishers, rounds = 8, 10
	ctx := patience(t)
	errs := make(chan error, publishers)
	var wg sync.WaitGroup
	for p := range int64(publishers) {
		wg.Go(func() {
			for r := range int64(rounds) {
				id := p*1000 + r*10
				if err := f.Queue.Publish(ctx, []*queue.Batch{
					Batch(id+1, GroupA, false, 3), Batch(id+2, GroupB, true, 3), Batch(id+3, GroupA, true, 3),
				}); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	f.Queue.Ack(receive(t, f.Queue, GroupA, publishers*rounds*2)) // none twice, so all
	f.Queue.Ack(receive(t, f.Queue, GroupB, publishers*rounds))
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
}

func testClose(t *testing.T, f Fixture) {
	ctx := patience(t)
	errs := make(chan error, 2)
	go func() {
		_, err := f.Queue.Receive(ctx, GroupA, 1)
		errs <- err
	}()
	go func() {
		_, err := f.Intake.Take(ctx, 1)
		errs <- err
	}()
	if err := f.Queue.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := <-errs; !errors.Is(err, queue.ErrClosed) {
			t.Errorf("what waited got %v, want ErrClosed", err)
		}
	}
	_, err := f.Queue.Receive(ctx, GroupB, 1)
	_, errTake := f.Intake.Take(ctx, 1)
	for what, err := range map[string]error{
		"Receive": err,
		"Take":    errTake,
		"Publish": f.Queue.Publish(ctx, []*queue.Batch{Batch(1, GroupA, false, 1)}),
		"Offer":   f.Intake.Offer(ctx, &queue.Event{Body: []byte("{}")}),
	} {
		if !errors.Is(err, queue.ErrClosed) {
			t.Errorf("%s after Close: got %v, want ErrClosed", what, err)
		}
	}
	f.Queue.Ack([]*queue.Lease{{Batch: Batch(1, GroupA, false, 1)}})
	if err := f.Queue.Close(); err != nil {
		t.Errorf("the second Close: %v", err)
	}
}

func testNothing(t *testing.T, f Fixture) {
	publish(t, f.Queue)
	f.Queue.Ack(nil)
	f.Queue.Return(nil)
}
