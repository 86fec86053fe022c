package storetest

import (
	"slices"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
)

var suspectTests = []test{
	{"how often a batch was taken is known, and goes on with its replacement", testTakes},
	{"a noted start is known until it ends", testNotedStart},
	{"what was parked is listed until it is sent again", testParked},
	{"a note ends with its row, whatever ended that", testStrayNotes},
}

func testTakes(k *kit) {
	k.targets(2)
	b := k.one(event(1))
	take := dispatcher.ClaimRequest{Batch: b}
	equal(k, "the first time", k.claims(take)[0].Takes, 1)
	k.reopen()
	_, err := k.Register(k.ctx, "w", after(hour))
	k.must(err)
	equal(k, "after a death", k.claims(take)[0].Takes, 2)
	n, err := k.Replace(k.ctx, k.oneLapsed(), 5000, after(50*hour))
	k.must(err)
	equal(k, "replaced", k.claims(dispatcher.ClaimRequest{Batch: n})[0].Takes, 3)
}

// starts checks what a claim says of starts without an end.
func (k *kit) starts(a dispatcher.ClaimAnswer, want ...int) {
	k.Helper()
	if !slices.Equal(a.Starts, want) {
		k.Errorf("starts: got %v, want %v", a.Starts, want)
	}
}

func testNotedStart(k *kit) {
	k.targets(3)
	b := k.one(event(1))
	k.starts(k.claim(b))
	k.must(k.NoteStart(k.ctx, row(b, 1), 1))
	k.must(k.NoteStart(k.ctx, row(b, 2), 1))
	k.must(k.NoteStart(k.ctx, row(b, 2), 2))
	k.must(k.NoteStart(k.ctx, row(b, 2), 2)) // again, since its answer was lost
	k.reopen()
	k.starts(k.claim(b), 0, 1, 2)
	k.starts(k.claims(dispatcher.ClaimRequest{Batch: b, Leased: true})[0])
	ends := result(b, 1, dispatcher.Open, channels.Temporary)
	ends.Noted = true
	k.settle(ends)
	k.starts(k.claim(b), 0, 0, 2)
	ends = result(b, 2, dispatcher.Delivered, channels.Delivered)
	ends.Noted = true
	k.settle(ends)
	k.starts(k.claim(b))
}

func testParked(k *kit) {
	k.targets(2)
	b := k.one(event(1))
	k.must(k.NoteStart(k.ctx, row(b, 0), 4))
	given := result(b, 0, dispatcher.Dead, 0)
	given.Parked, given.Detail, given.Attempt = true, "parked: why", 0
	k.settle(given, result(b, 1, dispatcher.Dead, channels.Permanent))
	k.settle(given)
	k.reopen()
	_, err := k.Register(k.ctx, "w", after(hour))
	k.must(err)
	list, err := k.Parked(k.ctx, 10)
	k.must(err)
	if len(list) != 1 {
		k.Fatalf("parked: %+v", list)
	}
	p := list[0]
	equal(k, "page", p.Page, "default")
	equal(k, "incident", p.IncidentID, "INC-1")
	equal(k, "target", p.Target, row(b, 0).Target)
	equal(k, "channel", p.Channel, "webhook")
	equal(k, "sequence", p.Sequence, 1)
	equal(k, "detail", p.Detail, "parked: why")
	equal(k, "at", p.At.UTC(), given.DoneAt)
	k.resend(asked(b.Incident))
	list, err = k.Parked(k.ctx, 10)
	k.must(err)
	equal(k, "parked after it was sent again", len(list), 0)
	again := k.again(b, 0)
	k.must(k.Rebatch(k.ctx, after(4*hour), batches(again), nil, nil))
	a := k.claim(again)
	k.whys(a)
	k.starts(a)
	// One that moved on since is not parked.
	k.settle(given)
	list, err = k.Parked(k.ctx, 10)
	k.must(err)
	equal(k, "parked by a zombie", len(list), 0)
}

func testStrayNotes(k *kit) {
	k.targets(2)
	b := k.one(event(1))
	k.must(k.NoteStart(k.ctx, row(b, 0), 1))
	k.must(k.NoteStart(k.ctx, row(b, 1), 1))
	k.settle(result(b, 0, dispatcher.Suppressed, 0))
	_, err := k.Register(k.ctx, "w", after(hour))
	k.must(err)
	k.starts(k.claim(b), 0, 1)
}
