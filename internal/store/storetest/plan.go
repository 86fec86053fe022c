package storetest

import (
	"errors"
	"sync"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/queue"
)

var planTests = []test{
	{"the audience is what the targets' filters match", testAudienceMatches},
	{"providers interleave, stripe by stripe", testAudienceStripes},
	{"pages join without gap or repetition", testAudiencePages},
	{"a page tells all that sending needs", testAudienceFields},
	{"inline targets hear of every later update they may see", testAudienceInline},
	{"an inline target is known by its address", testAudienceInlineAgain},
	{"a target that has its row is left out", testAudiencePlanned},
	{"a target that moves while a plan runs is planned once", testAudienceMoves},
	{"older open rows are told", testAudienceOlder},
	{"a page is durable with its cursor", testCommitPage},
	{"a page committed twice is there once", testCommitTwice},
	{"a page that doesn't follow is refused and healed", testCommitMovedOn},
	{"a waiting older row is superseded by the page", testCommitSupersedes},
	{"an older row that waits no more is left alone", testCommitSupersedesLate},
	{"a stopped incident takes no page", testCommitStopped},
	{"an empty audience is a finished plan", testCommitEmpty},
	{"readers go on beside the planner", testReadersBeside},
}

func testCommitPage(k *kit) {
	ids := k.targets(250)
	p := k.accept(event(1))[0]
	k.page(p, 200)
	k.reopen()
	found, err := k.Unplanned(k.ctx, 10)
	k.must(err)
	k.plan(found[0])
	_, updates, err := k.Incident(k.ctx, "default", "INC-1")
	k.must(err)
	equal(k, "audience", updates[0].Audience, 250)
	equal(k, "open rows", updates[0].Progress["webhook"][dispatcher.Open], len(ids))
	if updates[0].PlannedAt.IsZero() {
		k.Error("a finished plan has no planned_at")
	}
}

func testCommitTwice(k *kit) {
	k.targets(3)
	p := k.accept(event(1))[0]
	audience, err := k.Audience(k.ctx, p, 10)
	k.must(err)
	page := k.planned(p, audience)
	for range 2 {
		k.must(k.CommitPage(k.ctx, p, page))
	}
	p.Cursor = page.Cursor
	k.must(k.CommitPage(k.ctx, p, page))
	_, updates, err := k.Incident(k.ctx, "default", "INC-1")
	k.must(err)
	equal(k, "audience", updates[0].Audience, 3)
}

func testCommitMovedOn(k *kit) {
	k.targets(4)
	p := k.accept(event(1))[0]
	late := *p
	audience, err := k.Audience(k.ctx, &late, 3)
	k.must(err)
	page := k.planned(&late, audience)
	k.page(p, 2)
	err = k.CommitPage(k.ctx, &late, page)
	if err == nil || errors.Is(err, dispatcher.ErrLedgerRefused) {
		k.Fatalf("a page beside the plan: %v", err)
	}
	equal(k, "cursor after it", late.Cursor, p.Cursor)
	equal(k, "what is left", len(k.everyone(&late, 10)), 2)
	k.plan(&late)
	if err := k.CommitPage(k.ctx, p, k.planned(p, audience)); !errors.Is(err, dispatcher.ErrLedgerRefused) {
		k.Errorf("a page after the plan's end: %v", err)
	}
}

func testCommitSupersedes(k *kit) {
	k.targets(2)
	first := k.one(event(1))
	k.settle(result(first, 0, dispatcher.Open, channels.Temporary))
	k.one(event(2))
	k.outcome(row(first, 0), dispatcher.Superseded)
	k.outcome(row(first, 1), dispatcher.Open) // in its batch: the claim's or the lane's
	due, err := k.Due(k.ctx, after(1000*hour), 10)
	k.must(err)
	equal(k, "due rows", len(due), 0)
}

func testCommitSupersedesLate(k *kit) {
	k.targets(3)
	first := k.one(event(1))
	p := k.accept(event(2))[0]
	audience, err := k.Audience(k.ctx, p, 10)
	k.must(err)
	page := k.planned(p, audience)
	for i := range 3 { // as if they had waited when the audience was read
		page.Superseded = append(page.Superseded, row(first, i))
	}
	k.settle(result(first, 0, dispatcher.Delivered, channels.Delivered), result(first, 1, dispatcher.Open, channels.Temporary))
	k.must(k.CommitPage(k.ctx, p, page))
	k.outcome(row(first, 0), dispatcher.Delivered)
	k.outcome(row(first, 1), dispatcher.Superseded)
	k.outcome(row(first, 2), dispatcher.Open)
}

func testCommitStopped(k *kit) {
	k.targets(2)
	p := k.accept(event(1))[0]
	audience, err := k.Audience(k.ctx, p, 10)
	k.must(err)
	k.stop(p.Incident, 1)
	if err := k.CommitPage(k.ctx, p, k.planned(p, audience)); !errors.Is(err, dispatcher.ErrStopped) {
		k.Errorf("a page of a stopped incident: %v", err)
	}
	rows, err := k.Deliveries(k.ctx, p.Incident, all)
	k.must(err)
	equal(k, "rows", len(rows), 0)
	plans, err := k.Unplanned(k.ctx, 10)
	k.must(err)
	equal(k, "unplanned", len(plans), 0)
}

func testCommitEmpty(k *kit) {
	batches := k.plan(k.accept(event(1))[0])
	equal(k, "batches", len(batches), 0)
	plans, err := k.Unplanned(k.ctx, 10)
	k.must(err)
	equal(k, "unplanned", len(plans), 0)
}

func testReadersBeside(k *kit) {
	k.targets(100)
	p := k.accept(event(1))[0]
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		readers.Go(func() {
			for last := 0; ; {
				rows, err := k.Deliveries(k.ctx, p.Incident, all)
				if err != nil || len(rows)%10 != 0 || len(rows) < last {
					k.Errorf("a reader saw %d rows after %d: %v", len(rows), last, err)
					return
				}
				last = len(rows)
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	var batches []*queue.Batch
	for last := false; !last; {
		var more []*queue.Batch
		more, last = k.page(p, 10)
		batches = append(batches, more...)
	}
	close(stop)
	readers.Wait()
	equal(k, "batches", len(batches), 10)
}
