package dispatcher_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/queue"
	"github.com/tocsin/tocsin/ratelimit"
)

// Rows of the fault matrix (docs/reliability.md) that are the dispatcher's. Each holds,
// and does not with its defence taken away.

// credulous claims whatever the broker brings.
type credulous struct{ dispatcher.Ledger }

func (l credulous) Claim(ctx context.Context, epoch int64, until time.Time, r []dispatcher.ClaimRequest) ([]dispatcher.ClaimAnswer, error) {
	answers := make([]dispatcher.ClaimAnswer, len(r))
	for i := range answers {
		answers[i].State = dispatcher.Claimed
	}
	return answers, nil
}

func TestFault_11_KilledBetweenCommitAndAck(t *testing.T)  { killedAround(t, dispatcher.FailSettled) }
func TestFault_12_KilledBetweenSendAndCommit(t *testing.T) { killedAround(t, dispatcher.FailSent) }

// killedAround kills a worker whose batches the broker then gives out again. What the
// ledger had closed is not sent again, what was answered and is not in the ledger is,
// under the same key.
func killedAround(t *testing.T, at dispatcher.Failpoint) {
	t.Parallel()
	const targets = 300
	var closed map[int64]bool
	var answered int // and not closed
	defendedIn(t, inBrokerWorld, func(w *world) (faults []string) {
		w.peer.mu.Lock()
		ids, sends := make(map[int64]string), make(map[int64]int)
		for _, r := range w.peer.receipts {
			if ids[r.target] != "" && ids[r.target] != r.id {
				faults = append(faults, fmt.Sprintf("target %d got two keys", r.target))
			}
			ids[r.target] = r.id
			sends[r.target]++
		}
		w.peer.mu.Unlock()
		for target := range closed {
			if sends[target] > 1 {
				faults = append(faults, fmt.Sprintf("target %d was closed in the ledger and sent again", target))
			}
		}
		return append(faults, w.faults(map[int]int{1: targets}, answered)...)
	}, func(t *testing.T, w *world, defend bool) {
		w.subscribe(targets)
		w.peer.answer = func(target int64, _, nth int) (channels.Result, time.Duration) {
			if target > targets-20 && nth == 1 { // not before a slow disk has closed the first
				return channels.Result{Class: channels.Delivered}, 20 * time.Second
			}
			return channels.Result{Class: channels.Delivered}, time.Duration(target) * 2 * time.Millisecond
		}
		w.publish(incident.Investigating, "")
		least := 1
		if at == dispatcher.FailSent {
			least = targets / 2
		}
		w.killOnceSettled(at, least)
		w.start()
		w.died()
		closed, answered = make(map[int64]bool), 0
		for _, r := range w.rows() {
			if r.Outcome == dispatcher.Delivered {
				closed[r.Target] = true
			}
		}
		w.peer.mu.Lock()
		for _, r := range w.peer.receipts {
			if !closed[r.target] {
				answered++
			}
		}
		w.peer.mu.Unlock()
		if len(closed) == 0 {
			t.Fatal("nothing was closed before this crash")
		}
		if !defend {
			w.ledger = func(l dispatcher.Ledger) dispatcher.Ledger { return credulous{l} }
		}
		w.start()
		w.settled()
		w.until(func() bool { // what the broker gave out again is dealt with
			depths, err := w.queue.Depths(t.Context())
			left := 0
			for _, d := range depths {
				left += d.Ready + d.Held
			}
			return err == nil && left == 0
		})
		w.stop()
	})
}

// killOnceSettled makes the next engine die at a failpoint, once it came to it so often
// and something is closed in the ledger.
func (w *world) killOnceSettled(at dispatcher.Failpoint, least int) {
	var mu sync.Mutex
	came, settled := 0, false
	w.fail = func(fp dispatcher.Failpoint) error {
		mu.Lock()
		defer mu.Unlock()
		settled = settled || fp == dispatcher.FailSettled
		if fp == at {
			came++
		}
		if fp == at && came >= least && settled {
			return errKilled
		}
		return nil
	}
}

// naive takes every event for news.
type naive struct{ dispatcher.Ledger }

func (l naive) Accept(ctx context.Context, a []*dispatcher.Arrival, decide dispatcher.DecideFunc) ([]dispatcher.Acceptance, error) {
	return l.Ledger.Accept(ctx, a, func(s dispatcher.IncidentState, a *dispatcher.Arrival) dispatcher.Decision {
		s.Known, s.KnownHere, s.Hash, s.UpdatedAt = 0, false, [16]byte{}, time.Time{}
		if s.Exists {
			a.UpdateID = fmt.Sprint(a.UpdateID, "-", s.Sequence+1)
		}
		return decide(s, a)
	})
}

// The same event three times is one fan-out; one that is older than what everybody
// heard is told to nobody.
func TestFault_15_DuplicatesAndDisorder(t *testing.T) {
	t.Parallel()
	defended(t, func(w *world) (faults []string) {
		if n := len(w.peer.receipts); n != 2*20 {
			faults = append(faults, fmt.Sprintf("%d requests for two updates to 20 targets", n))
		}
		return append(faults, w.faults(map[int]int{1: 20, 2: 20}, 0)...)
	}, func(t *testing.T, w *world, defend bool) {
		if !defend {
			w.ledger = func(l dispatcher.Ledger) dispatcher.Ledger { return naive{l} }
		}
		w.subscribe(20)
		w.start()
		at := func(age time.Duration) string {
			return fmt.Sprintf(`,"updated_at":%q`, time.Now().Add(-age).Format(time.RFC3339Nano))
		}
		first, second, late := at(3*time.Minute), at(time.Minute), at(2*time.Minute)
		for range 3 {
			w.publish(incident.Investigating, first)
		}
		w.quiet()
		for range 3 {
			w.publish(incident.Resolved, second)
		}
		w.publish(incident.Identified, late)
		w.quiet()
		w.stop()
	})
}

func TestFault_16_TargetPausedOrDeletedMidFanOut(t *testing.T) {
	for name, end := range map[string]func(context.Context, *world, int64) error{
		"paused": func(ctx context.Context, w *world, id int64) error {
			_, err := w.store.Patch(ctx, id, func(t *incident.Target) error { t.State = incident.StatePaused; return nil })
			return err
		},
		"deleted": func(ctx context.Context, w *world, id int64) error { return w.store.Delete(ctx, id) },
	} {
		t.Run(name, func(t *testing.T) {
			var target int64
			before := 0
			defended(t, func(w *world) (faults []string) {
				if n := w.sentTo(target); n != before {
					faults = append(faults, fmt.Sprintf("%d sends began more than a second after the target was %s", n-before, name))
				}
				if r := w.rowsOf(target)[0]; r.Outcome != dispatcher.Suppressed || r.Detail != "target "+name {
					faults = append(faults, fmt.Sprintf("its delivery ended as %s %q", r.Outcome, r.Detail))
				}
				return faults
			}, func(t *testing.T, w *world, defend bool) {
				// All waits for a retry are shorter than those that the ledger keeps:
				// else it might, and would not send what it finds paused.
				w.options = func(o *dispatcher.Options) {
					o.Backoff = dispatcher.Backoff{Base: 20 * time.Second, Cap: 20 * time.Second}
				}
				w.subscribe(10)
				w.peer.answer = func(int64, int, int) (channels.Result, time.Duration) {
					return channels.Result{Class: channels.Temporary, Detail: "http 500"}, 0
				}
				w.start()
				w.publish(incident.Investigating, "")
				time.Sleep(3 * time.Second)
				target = w.rows()[0].Target
				if err := end(t.Context(), w, target); err != nil {
					t.Fatal(err)
				}
				if defend {
					w.engine.TargetsChanged([]int64{target})
				}
				time.Sleep(time.Second)
				before = w.sentTo(target)
				time.Sleep(time.Minute)
			})
		})
	}
}

// doubtful loses the answer to every other COMMIT.
type doubtful struct {
	dispatcher.Ledger
	calls  atomic.Int64
	forget bool // takes an event that comes again for another
}

var errCut = errors.New("the connection ended on COMMIT")

func (l *doubtful) cut(err error) error {
	if err == nil && l.calls.Add(1)%2 == 0 {
		return errCut
	}
	return err
}

func (l *doubtful) Accept(ctx context.Context, a []*dispatcher.Arrival, decide dispatcher.DecideFunc) ([]dispatcher.Acceptance, error) {
	ledger := l.Ledger
	if l.forget {
		ledger = naive{ledger}
	}
	acc, err := ledger.Accept(ctx, a, decide)
	return acc, l.cut(err)
}

func (l *doubtful) CommitPage(ctx context.Context, p *dispatcher.Plan, page *dispatcher.PlannedPage) error {
	return l.cut(l.Ledger.CommitPage(ctx, p, page))
}

func (l *doubtful) Claim(ctx context.Context, epoch int64, until time.Time, r []dispatcher.ClaimRequest) ([]dispatcher.ClaimAnswer, error) {
	a, err := l.Ledger.Claim(ctx, epoch, until, r)
	return a, l.cut(err)
}

func (l *doubtful) Settle(ctx context.Context, rows []dispatcher.Settlement, finished []int64) error {
	return l.cut(l.Ledger.Settle(ctx, rows, finished))
}

func (l *doubtful) Rebatch(ctx context.Context, now time.Time, b []*queue.Batch, p []dispatcher.Postponement, closed []dispatcher.Settlement) error {
	return l.cut(l.Ledger.Rebatch(ctx, now, b, p, closed))
}

// A COMMIT without an answer may have happened: it is done again, and that must come
// to the same.
func TestFault_19_CommitOutcomeUnknown(t *testing.T) {
	t.Parallel()
	const targets = 90
	defended(t, lossless(map[int]int{1: targets, 2: targets}, 0), func(t *testing.T, w *world, defend bool) {
		w.options = func(o *dispatcher.Options) { o.PlanPage = 20 }
		w.ledger = func(l dispatcher.Ledger) dispatcher.Ledger { return &doubtful{Ledger: l, forget: !defend} }
		w.peer.answer = func(target int64, _, nth int) (channels.Result, time.Duration) {
			if nth == 1 && target%5 == 0 {
				return channels.Result{Class: channels.Throttled, RetryAfter: 35 * time.Second}, 0
			}
			return channels.Result{Class: channels.Delivered}, 0
		}
		w.subscribe(targets)
		w.start()
		w.publish(incident.Investigating, "")
		w.quiet()
		w.publish(incident.Resolved, "")
		w.quiet()
	})
}

// oneProvider has all targets at one host of that rate.
func (w *world) oneProvider(perSecond, burst int) {
	w.shared = true
	more := w.options
	w.options = func(o *dispatcher.Options) {
		o.Policy = func(_, _ string) dispatcher.ProviderPolicy {
			return dispatcher.ProviderPolicy{Limit: ratelimit.Limit{PerSecond: float64(perSecond), Burst: burst}, Window: 64}
		}
		if more != nil {
			more(o)
		}
	}
}

// busiest returns the most sends that began within a time.
func (w *world) busiest(within time.Duration) (most int) {
	w.peer.mu.Lock()
	defer w.peer.mu.Unlock()
	for i, first := range w.peer.receipts {
		n := 0
		for _, r := range w.peer.receipts[i:] {
			if r.at.Sub(first.at) < within {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// The clock is set by an hour in the middle of a fan-out that is paced and retried.
// Nothing bursts, nothing is lost; what waits in the ledger when the clock goes back
// waits so much longer.
func TestFault_20_ClockStep(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(t *testing.T, w *world) {
				w.oneProvider(10, 10)
				w.subscribe(300)
				w.peer.answer = func(target int64, _, nth int) (channels.Result, time.Duration) {
					if nth <= 3 && target%4 == 0 {
						return channels.Result{Class: channels.Temporary, Detail: "http 500"}, 0
					}
					return channels.Result{Class: channels.Delivered}, 0
				}
				w.start()
				w.publish(incident.Investigating, "")
				time.Sleep(10 * time.Second)
				w.ahead.Store(int64(step))
				if step < 0 {
					time.Sleep(-step)
				}
				w.settled()
				w.holds(map[int]int{1: 300}, 0)
				if n := w.busiest(10 * time.Second); n > 10*10+10 {
					t.Errorf("%d sends within ten seconds, at 10/s with a burst of 10", n)
				}
			})
		})
	}
}

// Two of five requests are answered 503, again and again, while there is always
// something new to send. Retries take a fifth of the provider's rate, no more.
func TestFault_25_RetryBudget(t *testing.T) {
	t.Parallel()
	const targets = 120
	defended(t, func(w *world) (faults []string) {
		// The storm ends with the first attempts: after them there are only retries.
		last := 0
		seen := make(map[int64]bool)
		var again []bool
		for i, r := range w.peer.receipts {
			again = append(again, seen[r.target])
			if !seen[r.target] {
				seen[r.target], last = true, i
			}
		}
		retries := 0
		for _, a := range again[:last] {
			if a {
				retries++
			}
		}
		took := w.peer.receipts[last].at.Sub(w.peer.receipts[0].at).Seconds()
		if allowed := int((10 + 10*took) / 5); retries > allowed {
			faults = append(faults, fmt.Sprintf("%d of %d requests were retries, in %v s in which %d could have been", retries, last, took, allowed))
		}
		return append(faults, w.faults(map[int]int{1: targets}, 0)...)
	}, func(t *testing.T, w *world, defend bool) {
		w.options = func(o *dispatcher.Options) {
			o.Breaker.Ratio = 0.9 // the budget is to be seen, not the breaker
			if !defend {
				o.RetryShare = 0
			}
		}
		w.oneProvider(10, 10)
		w.peer.answer = func(target int64, _, nth int) (channels.Result, time.Duration) {
			if target%5 < 2 && nth < 5 {
				return channels.Result{Class: channels.Temporary, Detail: "http 503"}, 20 * time.Millisecond
			}
			return channels.Result{Class: channels.Delivered}, 20 * time.Millisecond
		}
		w.subscribe(targets)
		w.start()
		w.publish(incident.Investigating, "")
		w.settled()
		w.stop()
	})
}

// A provider is away for an hour, and three updates of an incident fall into it. It is
// tried now and then; back again, it gets the newest state of the incident alone, no
// faster than its rate, no more at once than its window.
func TestFault_30_AnHoursOutage(t *testing.T) {
	t.Parallel()
	const targets = 15
	var back time.Time
	defended(t, func(w *world) (faults []string) {
		tries := 0
		for _, r := range w.peer.receipts {
			switch {
			case r.at.Before(back):
				tries++
			case r.sequence != 3:
				faults = append(faults, fmt.Sprintf("target %d heard of update %d after the outage", r.target, r.sequence))
			}
		}
		if tries > 300 {
			faults = append(faults, fmt.Sprintf("%d requests to a provider that was away", tries))
		}
		w.peer.receipts = slices.DeleteFunc(w.peer.receipts, func(r receipt) bool { return r.at.Before(back) })
		if n := w.busiest(10 * time.Second); n > 10*2+2 {
			faults = append(faults, fmt.Sprintf("%d sends within ten seconds, at 2/s with a burst of 2", n))
		}
		return append(faults, w.faults(map[int]int{1: targets, 2: targets, 3: targets}, 0)...)
	}, func(t *testing.T, w *world, defend bool) {
		w.options = func(o *dispatcher.Options) {
			o.Backoff.Cap, o.Breaker.Open = time.Minute, time.Minute
			o.RetryEvery, o.ExpireEvery, o.CallbackEvery = 10*time.Second, time.Minute, time.Minute // an hour is long
			if !defend {
				o.Breaker.Requests, o.Breaker.Connects, o.RetryShare = 1e9, 1e9, 0
			}
		}
		w.oneProvider(2, 2)
		begin := time.Now()
		back = begin.Add(time.Hour)
		w.peer.answer = func(int64, int, int) (channels.Result, time.Duration) {
			if time.Now().Before(back) {
				return channels.Result{Class: channels.Temporary, NoConnection: true, Detail: "no connection"}, 0
			}
			return channels.Result{Class: channels.Delivered}, 50 * time.Millisecond
		}
		w.subscribe(targets)
		w.start()
		for _, s := range []incident.Status{incident.Investigating, incident.Identified, incident.Monitoring} {
			w.publish(s, "")
			time.Sleep(19 * time.Minute)
		}
		time.Sleep(time.Until(back))
		w.settled()
		w.stop()
	})
}
