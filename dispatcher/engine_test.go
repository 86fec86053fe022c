package dispatcher_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/store"
	"github.com/tocsin/tocsin/queue"
)

func TestPromise_EveryDeliveryReachesAnOutcome(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.subscribe(500)
		w.peer.answer = func(target int64, _, nth int) (channels.Result, time.Duration) {
			switch {
			case target%50 == 1: // dead for good
				return channels.Result{Class: channels.Temporary, Detail: "http 500"}, 0
			case target%50 == 2:
				return channels.Result{Class: channels.Gone, Detail: "http 410"}, 0
			case target%50 == 3:
				return channels.Result{Class: channels.Permanent, Detail: "http 404"}, 0
			case target%50 == 4 && nth == 1:
				return channels.Result{Class: channels.Throttled, RetryAfter: 45 * time.Second}, 0
			}
			return channels.Result{Class: channels.Delivered}, time.Duration(target) * time.Millisecond
		}
		w.start()
		expires := fmt.Sprintf(`,"expires_at":%q`, time.Now().Add(5*time.Minute).Format(time.RFC3339))
		w.publish(incident.Investigating, expires)
		w.settled()
		w.holds(map[int]int{1: 500}, 0)
		got := map[dispatcher.Outcome]int{}
		for _, r := range w.rows() {
			got[r.Outcome]++
		}
		if got[dispatcher.Expired] != 10 || got[dispatcher.Dead] != 20 || got[dispatcher.Delivered] != 470 {
			t.Errorf("outcomes %v", got)
		}
		w.stop()
		if w.meter.outcomes[dispatcher.Delivered] != 470 || w.meter.outcomes[dispatcher.Dead] != 20 {
			t.Errorf("the meter counted %v", w.meter.outcomes)
		}
	})
}

// Whoever sent in a burst ends soon after, though nothing else ever happens.
func TestAnIdleEngineKeepsNobodyWhoSends(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		const burst = 300
		w.subscribe(burst)
		w.peer.answer = func(int64, int, int) (channels.Result, time.Duration) {
			return channels.Result{Class: channels.Delivered}, time.Second
		}
		w.start()
		time.Sleep(time.Minute)
		before := runtime.NumGoroutine()
		w.publish(incident.Investigating, "")
		w.settled()
		time.Sleep(time.Minute)
		if n := runtime.NumGoroutine() - before; n > burst/10 {
			t.Errorf("%d goroutines more than before are left", n)
		}
		w.stop()
	})
}

func TestPromise_NewerUpdatesAreNotOvertaken(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.subscribe(100)
		w.peer.answer = func(target int64, sequence, nth int) (channels.Result, time.Duration) {
			if sequence == 1 && target%2 == 0 { // waits in the ledger when the next update comes
				return channels.Result{Class: channels.Throttled, RetryAfter: 2 * time.Minute}, 0
			}
			if sequence == 1 && target%3 == 0 { // waits in its lane
				return channels.Result{Class: channels.Temporary, Detail: "http 500"}, 0
			}
			return channels.Result{Class: channels.Delivered}, 20 * time.Second
		}
		w.start()
		w.publish(incident.Investigating, "")
		time.Sleep(time.Second)
		w.publish(incident.Identified, "")
		time.Sleep(time.Second)
		w.publish(incident.Resolved, "")
		w.settled()
		w.holds(map[int]int{1: 100, 2: 100, 3: 100}, 0)
		if n := w.peer.sent(3); n != 100 {
			t.Errorf("%d heard of the end, want all 100", n)
		}
		superseded := 0
		for _, r := range w.rows() {
			if r.Sequence == 1 && r.Outcome == dispatcher.Superseded {
				superseded++
			}
		}
		if superseded < 50 {
			t.Errorf("%d of the 50 that waited in the ledger were superseded", superseded)
		}
	})
}

func TestEveryUpdateArrivesInOrder(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.subscribe(20, func(t *incident.Target) { t.EveryUpdate = true })
		w.peer.answer = func(target int64, sequence, nth int) (channels.Result, time.Duration) {
			if sequence == 1 && nth == 1 {
				return channels.Result{Class: channels.Throttled, RetryAfter: time.Minute}, 0
			}
			return channels.Result{Class: channels.Delivered}, time.Second
		}
		w.start()
		for _, s := range []incident.Status{incident.Investigating, incident.Identified, incident.Monitoring, incident.Resolved} {
			w.publish(s, "")
			time.Sleep(time.Second)
		}
		w.settled()
		w.holds(map[int]int{1: 20, 2: 20, 3: 20, 4: 20}, 0)
		for seq := 1; seq <= 4; seq++ {
			want := 20
			if seq == 1 {
				want = 40
			}
			if n := w.peer.sent(seq); n != want {
				t.Errorf("update %d was sent %d times, want %d", seq, n, want)
			}
		}
	})
}

// TestCrash kills the engine at every failpoint, several times, and lets
// another go on.
func TestCrash(t *testing.T) {
	for _, at := range dispatcher.Failpoints() {
		if at == dispatcher.FailReplaced || ofResend(at) {
			continue // the embedded queue needs no sweeper; see TestSweeper… and TestResendCrash
		}
		t.Run(string(at), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.subscribe(300)
				w.peer.answer = func(target int64, sequence, nth int) (channels.Result, time.Duration) {
					if nth == 1 && target%10 == 0 {
						return channels.Result{Class: channels.Throttled, RetryAfter: 35 * time.Second}, 0
					}
					return channels.Result{Class: channels.Delivered}, time.Duration(target%7) * time.Second
				}
				w.publish(incident.Investigating, calledBack)
				w.crash(at, 1)
				w.publish(incident.Resolved, calledBack)
				if at != dispatcher.FailBeforeAccept {
					w.crash(at, 1)
				}
				w.start()
				w.settled()
				// In flight or answered and not settled at each crash: at most
				// everything.
				w.holds(map[int]int{1: 300, 2: 300}, 600)
				w.told(3, 1, 2)
			})
		})
	}
}

// The interleavings that a design like this gets wrong. Each must hold, and
// must not with its defence taken away: else it proves nothing.

type lostPlans struct{ dispatcher.Ledger }

func (lostPlans) Unplanned(context.Context, int) ([]*dispatcher.Plan, error) { return nil, nil }

func (l lostPlans) Accept(ctx context.Context, a []*dispatcher.Arrival, decide dispatcher.DecideFunc) ([]dispatcher.Acceptance, error) {
	acc, err := l.Ledger.Accept(ctx, a, decide)
	for i := range acc {
		if acc[i].Result == dispatcher.AcceptedDuplicate {
			acc[i].Plan = nil
		}
	}
	return acc, err
}

func TestCrashBetweenAcceptAndPlan(t *testing.T) {
	defended(t, lossless(map[int]int{1: 50}, 0), func(t *testing.T, w *world, defend bool) {
		w.subscribe(50)
		w.publish(incident.Investigating, "")
		w.crash(dispatcher.FailAccepted, 1)
		if !defend {
			w.ledger = func(l dispatcher.Ledger) dispatcher.Ledger { return lostPlans{l} }
		}
		w.start()
		w.quiet()
	})
}

// hastyPlans take a plan that was begun for one that is finished.
type hastyPlans struct{ dispatcher.Ledger }

func (l hastyPlans) Audience(ctx context.Context, p *dispatcher.Plan, limit int) (*dispatcher.AudiencePage, error) {
	page, err := l.Ledger.Audience(ctx, p, limit)
	if err == nil && p.Cursor != "" {
		page.Targets, page.Last = nil, true
	}
	return page, err
}

func TestFault_13_PlannerKilledMidExpansion(t *testing.T) {
	const targets, page = 90, 40 // four pages, the first a small one
	defended(t, lossless(map[int]int{1: targets}, targets), func(t *testing.T, w *world, defend bool) {
		w.options = func(o *dispatcher.Options) { o.PlanPage = page }
		w.subscribe(targets)
		w.publish(incident.Investigating, "")
		w.crash(dispatcher.FailPagePlanned, 2)
		rows := len(w.rows())
		if rows == 0 || rows == targets {
			t.Fatalf("%d rows after a crash between two pages", rows)
		}
		if !defend {
			w.ledger = func(l dispatcher.Ledger) dispatcher.Ledger { return hastyPlans{l} }
		}
		w.start()
		w.quiet()
	})
}

// blindClaims find no target inactive.
type blindClaims struct{ dispatcher.Ledger }

func (l blindClaims) Claim(ctx context.Context, epoch int64, until time.Time, r []dispatcher.ClaimRequest) ([]dispatcher.ClaimAnswer, error) {
	answers, err := l.Ledger.Claim(ctx, epoch, until, r)
	for i := range answers {
		var kept []dispatcher.Exception
		for _, ex := range answers[i].Exceptions {
			if ex.Why != dispatcher.WhyInactive {
				kept = append(kept, ex)
			}
		}
		answers[i].Exceptions = kept
	}
	return answers, err
}

func TestTargetDeletedDuringAReplan(t *testing.T) {
	const targets, page = 60, 40
	gone := map[int64]bool{}
	verdict := func(w *world) []string {
		faults := w.faults(map[int]int{}, 0)
		for _, r := range w.peer.receipts {
			if gone[r.target] {
				faults = append(faults, fmt.Sprintf("target %d was told though it was deleted before", r.target))
			}
		}
		n := 0
		for _, r := range w.rows() {
			if r.Outcome == dispatcher.Delivered {
				n++
			}
		}
		if n != targets-len(gone) {
			faults = append(faults, fmt.Sprintf("%d were told, want all %d that are left", n, targets-len(gone)))
		}
		return faults
	}
	defended(t, verdict, func(t *testing.T, w *world, defend bool) {
		clear(gone)
		w.options = func(o *dispatcher.Options) { o.PlanPage = page }
		w.subscribe(targets)
		w.publish(incident.Investigating, "")
		w.crash(dispatcher.FailPagePlanned, 1) // a page is planned, nothing sent
		rows := w.rows()
		planned, unplanned := rows[0].Target, int64(0)
		has := map[int64]bool{}
		for _, r := range rows {
			has[r.Target] = true
		}
		all, err := w.store.ListTargets(t.Context(), 0, targets)
		if err != nil {
			t.Fatal(err)
		}
		for _, target := range all {
			if !has[target.ID] {
				unplanned = target.ID
			}
		}
		for _, id := range []int64{planned, unplanned} {
			gone[id] = true
			if err := w.store.Delete(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		if !defend {
			w.ledger = func(l dispatcher.Ledger) dispatcher.Ledger { return blindClaims{l} }
		}
		w.start()
		w.settled()
	})
}

// blindToNewer sees no newer rows, neither when due rows are batched nor when
// batches are claimed, and supersedes nothing at planning.
type blindToNewer struct{ dispatcher.Ledger }

func (l blindToNewer) Due(ctx context.Context, now time.Time, limit int) ([]dispatcher.DueRow, error) {
	rows, err := l.Ledger.Due(ctx, now, limit)
	for i := range rows {
		rows[i].Newer = false
	}
	return rows, err
}

func (l blindToNewer) Claim(ctx context.Context, epoch int64, until time.Time, r []dispatcher.ClaimRequest) ([]dispatcher.ClaimAnswer, error) {
	for i := range r {
		r[i].Newer = false
	}
	return l.Ledger.Claim(ctx, epoch, until, r)
}

func (l blindToNewer) CommitPage(ctx context.Context, p *dispatcher.Plan, page *dispatcher.PlannedPage) error {
	page.Superseded = nil
	return l.Ledger.CommitPage(ctx, p, page)
}

func TestRetryRowAgainstANewerUpdate(t *testing.T) {
	defended(t, lossless(map[int]int{1: 10, 2: 10}, 0), func(t *testing.T, w *world, defend bool) {
		w.subscribe(10)
		w.peer.answer = func(_ int64, sequence, nth int) (channels.Result, time.Duration) {
			if sequence == 1 && nth == 1 {
				return channels.Result{Class: channels.Temporary}, 0
			}
			return channels.Result{Class: channels.Delivered}, 0
		}
		w.options = func(o *dispatcher.Options) {
			o.Backoff = dispatcher.Backoff{Base: 10 * time.Minute, Cap: 10 * time.Minute}
		}
		if !defend {
			w.ledger = func(l dispatcher.Ledger) dispatcher.Ledger { return blindToNewer{l} }
		}
		w.start()
		w.publish(incident.Investigating, "")
		time.Sleep(10 * time.Second) // the first waits in the ledger
		w.publish(incident.Resolved, "")
		w.settled()
	})
}

func TestZombieSettle(t *testing.T) {
	// A worker slept through the end of its lease; its batch was replaced and
	// the new one is being sent. The zombie's failure must not touch the row,
	// its receipt must.
	defended(t, func(w *world) (faults []string) {
		for _, r := range w.rows() {
			if r.Outcome == dispatcher.Dead {
				faults = append(faults, fmt.Sprintf("target %d was closed as dead by a batch that was replaced", r.Target))
			}
		}
		if n := w.peer.sent(1); n != 2 {
			faults = append(faults, fmt.Sprintf("%d sends: the zombie's receipt was not believed", n))
		}
		return append(faults, w.faults(map[int]int{1: 2}, 0)...)
	}, func(t *testing.T, w *world, defend bool) {
		w.subscribe(2)
		w.publish(incident.Investigating, "")
		w.crash(dispatcher.FailPagePlanned, 1)
		ctx, now := t.Context(), time.Now()
		batches := w.lapse(now)
		old := batches[0]
		replaced, err := w.store.Replace(ctx, old, old.ID+1, time.Now())
		if err != nil || replaced == nil {
			t.Fatalf("the lapsed batch was not replaced: %v", err)
		}
		first, second := old.Deliveries[0].Target, old.Deliveries[1].Target
		zombie := []dispatcher.Settlement{
			{Row: dispatcher.Row{Incident: old.Incident, Target: first, Sequence: 1}, Batch: old.ID, Outcome: dispatcher.Dead, Class: channels.Permanent, Attempt: 1, DoneAt: now},
			{Row: dispatcher.Row{Incident: old.Incident, Target: second, Sequence: 1}, Batch: old.ID, Outcome: dispatcher.Delivered, Class: channels.Delivered, Attempt: 1, DoneAt: now},
		}
		if !defend {
			zombie[0].Batch = replaced.ID
		}
		if err := w.store.Settle(ctx, zombie, []int64{old.ID}); err != nil {
			t.Fatal(err)
		}
		w.peer.receipts = append(w.peer.receipts, receipt{target: second, sequence: 1, class: channels.Delivered})
		w.start()
		w.settled()
	})
}

func TestSweeperAgainstASlowWorker(t *testing.T) {
	// The sweeper saw a batch as lapsed; before it acts the worker claims the
	// batch after all. Only one of them may have it.
	defended(t, func(w *world) (faults []string) {
		return w.faults(map[int]int{1: 100}, 0)
	}, func(t *testing.T, w *world, defend bool) {
		w.subscribe(100)
		w.publish(incident.Investigating, "")
		w.crash(dispatcher.FailPagePlanned, 1)
		ctx, now := t.Context(), time.Now()
		lapsed := w.lapse(now)[0]
		// The slow worker is back, claims, sends everything and settles.
		epoch, err := w.store.Register(ctx, "slow", now)
		if err != nil {
			t.Fatal(err)
		}
		answers, err := w.store.Claim(ctx, epoch, now.Add(time.Minute), []dispatcher.ClaimRequest{{Batch: lapsed.Batch, Verify: true, Newer: true}})
		if err != nil || answers[0].State != dispatcher.Claimed {
			t.Fatalf("claim: %+v, %v", answers, err)
		}
		if !defend { // the sweeper takes what it saw for what is
			lapsed.Holder, lapsed.LeaseUntil = epoch, now.Add(time.Minute)
		}
		replaced, err := w.store.Replace(ctx, lapsed, lapsed.ID+1, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		var rows []dispatcher.Settlement
		for _, d := range lapsed.Deliveries {
			w.peer.receipts = append(w.peer.receipts, receipt{target: d.Target, sequence: 1, class: channels.Delivered})
			rows = append(rows, dispatcher.Settlement{
				Row: dispatcher.Row{Incident: lapsed.Incident, Target: d.Target, Sequence: 1}, Batch: lapsed.ID,
				Outcome: dispatcher.Delivered, Class: channels.Delivered, Attempt: 1, DoneAt: now,
			})
		}
		if replaced != nil { // and is sent by another, meanwhile
			w.start()
			w.settled()
			w.stop()
		}
		if err := w.store.Settle(ctx, rows, []int64{lapsed.ID}); err != nil {
			t.Fatal(err)
		}
		w.start()
		w.settled()
	})
}

// lossless checks that all of the audience was reached, in order.
func lossless(audience map[int]int, duplicates int) func(*world) []string {
	return func(w *world) []string { return w.faults(audience, duplicates) }
}

// defended runs a scenario twice: with the defence nothing may be wrong,
// without it something must.
func defended(t *testing.T, faults func(*world) []string, scenario func(t *testing.T, w *world, defend bool)) {
	t.Helper()
	defendedIn(t, inWorld, faults, scenario)
}

// defendedIn does so in a world of that kind.
func defendedIn(t *testing.T, kind func(*testing.T, func(*testing.T, *world)), faults func(*world) []string, scenario func(t *testing.T, w *world, defend bool)) {
	t.Helper()
	t.Run("defended", func(t *testing.T) {
		kind(t, func(t *testing.T, w *world) {
			scenario(t, w, true)
			for _, f := range faults(w) {
				t.Error(f)
			}
		})
	})
	t.Run("defence disabled", func(t *testing.T) {
		kind(t, func(t *testing.T, w *world) {
			scenario(t, w, false)
			found := faults(w)
			if len(found) == 0 {
				t.Fatal("nothing is wrong without the defence: this test proves nothing")
			}
			t.Logf("found, as it must be: %s", strings.Join(found[:min(3, len(found))], "; "))
		})
	})
}

// quiet lets the engine run for long enough that nothing more happens: longer than
// any lease and any wait for a retry in these tests.
func (w *world) quiet() { time.Sleep(4 * time.Minute) }

// leases notes how long batches are claimed for.
type leases struct {
	dispatcher.Ledger
	shortest atomic.Int64
}

func (l *leases) Claim(ctx context.Context, epoch int64, until time.Time, r []dispatcher.ClaimRequest) ([]dispatcher.ClaimAnswer, error) {
	if lasts := int64(time.Until(until)); l.shortest.Load() == 0 || lasts < l.shortest.Load() {
		l.shortest.Store(lasts)
	}
	return l.Ledger.Claim(ctx, epoch, until, r)
}

// A claim outlasts the hold of its batch and the longest send that may begin at the
// end of it: otherwise what is still being sent would be sent by another worker.
func TestClaimsOutlastSends(t *testing.T) {
	for _, longest := range []time.Duration{30 * time.Second, 5 * time.Minute} {
		inWorld(t, func(t *testing.T, w *world) {
			var hold time.Duration
			w.options = func(o *dispatcher.Options) { o.LongestSend, hold = longest, o.HoldFor }
			noted := new(leases)
			w.ledger = func(l dispatcher.Ledger) dispatcher.Ledger { noted.Ledger = l; return noted }
			w.subscribe(10)
			w.start()
			w.publish(incident.Investigating, "")
			w.settled()
			if lasts := time.Duration(noted.shortest.Load()); lasts <= hold+longest {
				t.Errorf("a batch held for %v, with sends of up to %v, is claimed for %v", hold, longest, lasts)
			}
		})
	}
}

func TestOverlapOfBatchesForOneTarget(t *testing.T) {
	// A target's address changes between plan and claim: the delivery goes
	// back to the ledger, and out to the new address, once.
	inWorld(t, func(t *testing.T, w *world) {
		w.subscribe(3)
		w.publish(incident.Investigating, "")
		w.crash(dispatcher.FailPagePlanned, 1)
		if _, err := w.store.Patch(t.Context(), w.rows()[0].Target, func(t *incident.Target) error {
			t.Address = "https://moved.example/"
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		w.start()
		w.settled()
		w.holds(map[int]int{1: 3}, 0)
	})
}

func TestStopEndsTheFanOutAndNotTheIncident(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.subscribe(50)
		w.peer.answer = func(_ int64, sequence, _ int) (channels.Result, time.Duration) {
			if sequence == 1 {
				return channels.Result{Class: channels.Temporary, Detail: "http 503"}, time.Second
			}
			return channels.Result{Class: channels.Delivered}, 0
		}
		w.start()
		w.publish(incident.Investigating, "")
		time.Sleep(10 * time.Second)
		inc, _ := w.incident()
		if err := w.engine.Stop(t.Context(), inc.Key); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		sent := w.peer.sent(1)
		w.quiet()
		if n := w.peer.sent(1); n != sent {
			t.Errorf("%d sends after the stop", n-sent)
		}
		w.publish(incident.Resolved, "")
		w.settled()
		w.holds(map[int]int{1: 50, 2: 50}, 0)
		if w.peer.sent(2) != 50 {
			t.Errorf("%d heard of the end", w.peer.sent(2))
		}
	})
}

func (w *world) sentTo(target int64) (n int) {
	w.peer.mu.Lock()
	defer w.peer.mu.Unlock()
	for _, r := range w.peer.receipts {
		if r.target == target {
			n++
		}
	}
	return n
}

func (w *world) rowsOf(target int64) (rows []store.Delivery) {
	for _, r := range w.rows() {
		if r.Target == target {
			rows = append(rows, r)
		}
	}
	return rows
}

// lapse makes the batches of the ledger look as if a worker had taken them and
// gone, and returns what a sweeper sees.
func (w *world) lapse(now time.Time) []dispatcher.LapsedBatch {
	w.t.Helper()
	ctx := w.t.Context()
	all, err := w.store.Lapsed(ctx, now, now.Add(time.Hour), now.Add(time.Hour), 100)
	if err != nil || len(all) == 0 {
		w.t.Fatalf("no batches: %v", err)
	}
	epoch, err := w.store.Register(ctx, "gone", now)
	if err != nil {
		w.t.Fatal(err)
	}
	var ids []int64
	var requests []dispatcher.ClaimRequest
	for _, b := range all {
		ids = append(ids, b.ID)
		requests = append(requests, dispatcher.ClaimRequest{Batch: b.Batch})
	}
	if err := w.store.Published(ctx, ids, now); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.store.Claim(ctx, epoch, now.Add(-time.Second), requests); err != nil {
		w.t.Fatal(err)
	}
	lapsed, err := w.store.Lapsed(ctx, now, time.Time{}, time.Time{}, 100)
	if err != nil || len(lapsed) != len(all) {
		w.t.Fatalf("%d of %d batches lapsed: %v", len(lapsed), len(all), err)
	}
	return lapsed
}

func TestFault_31_ShutdownDeadline(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.subscribe(200)
		w.peer.answer = func(target int64, _, _ int) (channels.Result, time.Duration) {
			if target%2 == 0 {
				return channels.Result{Class: channels.Delivered}, time.Hour // longer than the drain
			}
			return channels.Result{Class: channels.Delivered}, 3 * time.Second
		}
		w.options = func(o *dispatcher.Options) { o.MaxInFlight = 150 }
		w.start()
		w.publish(incident.Investigating, "")
		time.Sleep(time.Second)
		began := time.Now()
		w.stop()
		if d := time.Since(began); d > 21*time.Second {
			t.Errorf("stopping took %v", d)
		}
		w.peer.answer = nil
		w.start()
		w.settled()
		w.holds(map[int]int{1: 200}, 0)
		w.stop()
		if depths, err := w.queue.Depths(t.Context()); err != nil {
			t.Error(err)
		} else {
			for _, d := range depths {
				if d.Ready+d.Held > 0 {
					t.Errorf("%s still has %d ready, %d held", d.Queue, d.Ready, d.Held)
				}
			}
		}
	})
}

func TestInvalidEventsAreSetAside(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.subscribe(1)
		w.start()
		for i, body := range []string{`{`, `{"incident_id":"X"}`, fmt.Sprintf(
			`{"incident_id":"INC-1","status":"resolved","affected_components":[],"impact":"none","started_at":"2000-01-01T00:00:00Z","updated_at":%q}`,
			time.Now().Add(time.Hour).Format(time.RFC3339))} {
			if err := w.queue.Offer(t.Context(), &queue.Event{Body: []byte(body), UpdateID: fmt.Sprint("x", i), ReceivedAt: time.Now(), Source: "http"}); err != nil {
				t.Fatal(err)
			}
		}
		w.publish(incident.Investigating, "")
		w.settled()
		w.holds(map[int]int{1: 1}, 0)
	})
}

func TestPauseAndResume(t *testing.T) {
	for _, provider := range []string{"", "https://host-1.example/"} { // here the address is the provider
		t.Run(provider, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.subscribe(5)
				w.start()
				time.Sleep(time.Second)
				if err := w.engine.Pause(t.Context(), provider); err != nil {
					t.Fatal(err)
				}
				w.publish(incident.Investigating, "")
				time.Sleep(time.Minute)
				told := map[string]int{"": 0}
				if provider != "" {
					told[provider] = 4
				}
				if n := w.peer.sent(1); n != told[provider] {
					t.Errorf("%d sends while %q is paused, want %d", n, provider, told[provider])
				}
				w.stop() // a pause outlasts the process
				w.start()
				time.Sleep(time.Minute)
				if n := w.peer.sent(1); n != told[provider] {
					t.Errorf("%d sends after a restart, want %d", n, told[provider])
				}
				if err := w.engine.Resume(t.Context(), provider); err != nil {
					t.Fatal(err)
				}
				w.settled()
				w.holds(map[int]int{1: 5}, 0)
				if n := w.peer.sent(1); n != 5 || len(w.engine.Paused()) != 0 {
					t.Errorf("%d sends in the end, paused %q", n, w.engine.Paused())
				}
			})
		})
	}
}

func TestPauseBeforeTheEngineHasBegun(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.subscribe(5)
		w.start()
		if err := w.engine.Pause(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		w.publish(incident.Investigating, "")
		time.Sleep(time.Minute)
		if n := w.peer.sent(1); n != 0 {
			t.Errorf("%d sends while everything is paused", n)
		}
		if err := w.engine.Resume(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		w.settled()
		w.holds(map[int]int{1: 5}, 0)
	})
}

// refusing refuses an incident's events for good, and content of one sequence.
type refusing struct{ dispatcher.Ledger }

func (l refusing) Accept(ctx context.Context, a []*dispatcher.Arrival, decide dispatcher.DecideFunc) ([]dispatcher.Acceptance, error) {
	for _, arrival := range a {
		if arrival.Event.Status == incident.Identified {
			return nil, fmt.Errorf("%w: a constraint", dispatcher.ErrLedgerRefused)
		}
	}
	return l.Ledger.Accept(ctx, a, decide)
}

func (l refusing) Content(ctx context.Context, key int64, sequence int) (*channels.Update, error) {
	if sequence == 2 {
		return nil, fmt.Errorf("%w: damaged", dispatcher.ErrLedgerRefused)
	}
	return l.Ledger.Content(ctx, key, sequence)
}

func TestWhatTheStoreRefusesStopsNothingElse(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.subscribe(5)
		w.ledger = func(l dispatcher.Ledger) dispatcher.Ledger { return refusing{l} }
		w.publish(incident.Investigating, "")
		w.publish(incident.Identified, "")
		w.published-- // refused
		w.publish(incident.Monitoring, "")
		w.publish(incident.Resolved, "")
		w.start()
		w.settled()
		w.holds(map[int]int{1: 5, 2: 5, 3: 5}, 0)
		if n := w.peer.sent(3); n != 5 {
			t.Errorf("%d heard of the end", n)
		}
	})
}

// lateDuplicate gives a finished plan out again, as a duplicate does that was
// accepted while the last page was being written.
type lateDuplicate struct{ dispatcher.Ledger }

func (l lateDuplicate) Accept(ctx context.Context, a []*dispatcher.Arrival, decide dispatcher.DecideFunc) ([]dispatcher.Acceptance, error) {
	acc, err := l.Ledger.Accept(ctx, a, decide)
	for i := range acc {
		if acc[i].Result == dispatcher.AcceptedDuplicate {
			acc[i].Plan = &dispatcher.Plan{Incident: 1, Sequence: acc[i].Sequence, Page: "default", IncidentID: "INC-1", Whole: true, Visibility: incident.Public}
		}
	}
	return acc, err
}

func TestDuplicateOfAFinishedPlan(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.subscribe(5)
		w.ledger = func(l dispatcher.Ledger) dispatcher.Ledger { return lateDuplicate{l} }
		w.start()
		w.publish(incident.Investigating, "")
		w.settled()
		w.publish(incident.Investigating, "")
		w.published--
		time.Sleep(time.Minute)
		w.publish(incident.Resolved, "")
		w.settled()
		w.holds(map[int]int{1: 5, 2: 5}, 0)
	})
}

// lostAnswers loses the answers to Rebatch for a while: what was asked for happened.
type lostAnswers struct {
	dispatcher.Ledger
	until time.Time
	lost  *atomic.Int64
}

func (l lostAnswers) Rebatch(ctx context.Context, now time.Time, b []*queue.Batch, p []dispatcher.Postponement, c []dispatcher.Settlement) error {
	err := l.Ledger.Rebatch(ctx, now, b, p, c)
	if err == nil && len(b) > 0 && time.Now().Before(l.until) {
		l.lost.Add(1)
		return errors.New("the connection was cut on COMMIT")
	}
	return err
}

// A batch of retries may be sent, and come back, before the engine knows that it was
// written. Repeated under its id it would contradict what is stored, or join a batch
// that has ended and that nobody looks at any more.
func TestRetriesWhoseCommitIsUnknown(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		const targets = 20
		w.subscribe(targets)
		w.peer.answer = func(target int64, _, nth int) (channels.Result, time.Duration) {
			switch {
			case nth == 1:
				return channels.Result{Class: channels.Throttled, RetryAfter: 35 * time.Second}, 0
			case nth == 2 && target%2 == 0: // comes back while the answer is lost, the others later
				return channels.Result{Class: channels.Throttled, RetryAfter: 31 * time.Second}, 0
			}
			return channels.Result{Class: channels.Delivered}, 15 * time.Second
		}
		lost := new(atomic.Int64)
		until := time.Now().Add(2 * time.Minute)
		w.ledger = func(l dispatcher.Ledger) dispatcher.Ledger { return lostAnswers{l, until, lost} }
		w.start()
		w.publish(incident.Investigating, "")
		w.settled()
		w.holds(map[int]int{1: targets}, 0)
		if lost.Load() < 2 {
			t.Fatalf("only %d answers were lost", lost.Load())
		}
		for _, r := range w.rows() {
			want := 2
			if r.Target%2 == 0 {
				want = 3
			}
			if n := w.sentTo(r.Target); r.Outcome != dispatcher.Delivered || n != want {
				t.Errorf("target %d: %s after %d sends, want %d", r.Target, r.Outcome, n, want)
			}
		}
	})
}
