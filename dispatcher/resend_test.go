package dispatcher_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
)

// ofResend says whether an engine comes to a failpoint only if asked to resend.
func ofResend(at dispatcher.Failpoint) bool {
	return at == dispatcher.FailResendBegun || at == dispatcher.FailResendPage
}

// refuseFirst refuses for good what every second target is sent first.
func refuseFirst(target int64, _, nth int) (channels.Result, time.Duration) {
	if target%2 == 0 && nth == 1 {
		return channels.Result{Class: channels.Permanent, Detail: "http 404"}, 0
	}
	return channels.Result{Class: channels.Delivered}, 0
}

// resend asks the engine for the dead of INC-1 once more.
func (w *world) resend(change ...func(*dispatcher.Resend)) *dispatcher.Resent {
	w.t.Helper()
	inc, _ := w.incident()
	r := dispatcher.Resend{Incident: inc.Key, Choice: dispatcher.Choice{Outcome: dispatcher.Dead}, By: "local"}
	for _, c := range change {
		c(&r)
	}
	done, err := w.engine.Resend(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	return done
}

// ids are what the requests for each target were called, in their order.
func (p *peer) ids() map[int64][]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	ids := make(map[int64][]string)
	for _, r := range p.receipts {
		ids[r.target] = append(ids[r.target], r.id)
	}
	return ids
}

func TestResend(t *testing.T) {
	for _, asNew := range []bool{false, true} {
		t.Run(fmt.Sprintf("as new %t", asNew), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.subscribe(40)
				w.peer.answer = refuseFirst
				w.start()
				w.publish(incident.Investigating, "")
				w.settled()
				if done := w.resend(func(r *dispatcher.Resend) { r.AsNew = asNew }); done.Sent != 20 || done.DoneAt.IsZero() {
					t.Errorf("it came to %+v", done)
				}
				w.settled()
				w.holds(map[int]int{1: 40}, 0)
				for target, ids := range w.peer.ids() {
					if target%2 != 0 {
						if len(ids) != 1 {
							t.Errorf("target %d was told before and again", target)
						}
						continue
					}
					if len(ids) != 2 || ids[0] == ids[1] == asNew {
						t.Errorf("target %d was sent %v", target, ids)
					}
				}
			})
		})
	}
}

// forgetful ledgers know of no resend that was begun.
type forgetful struct{ dispatcher.Ledger }

func (forgetful) UnfinishedResends(context.Context, int) ([]int64, error) { return nil, nil }

// someTurns of the retry: what goes on by itself has gone on.
const someTurns = 10 * time.Second

// A crash after a resend was written down: it happens all the same, once.
func TestResendCrash(t *testing.T) {
	faults := func(w *world) (faults []string) {
		for target, ids := range w.peer.ids() {
			if want := 2 - int(target%2); len(ids) != want {
				faults = append(faults, fmt.Sprintf("target %d was sent %d requests, want %d", target, len(ids), want))
			}
		}
		slices.Sort(faults)
		inc, _ := w.incident()
		audit, err := w.store.Resends(w.t.Context(), inc.Key, 10)
		if err != nil || len(audit) != 1 || audit[0].Sent != 20 || audit[0].By != "local" {
			faults = append(faults, fmt.Sprintf("the history says %+v, %v", audit, err))
		}
		return append(faults, w.faults(map[int]int{1: 40}, 0)...)
	}
	scenario := func(w *world, at dispatcher.Failpoint) {
		w.subscribe(40)
		w.peer.answer = refuseFirst
		w.start()
		w.publish(incident.Investigating, "")
		w.settled()
		w.stop()
		w.killAt(at, 1)
		w.start()
		synctest.Wait() // it has begun, and can die
		w.resend()
		w.died()
	}
	t.Run(string(dispatcher.FailResendPage), func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			scenario(w, dispatcher.FailResendPage)
			w.start()
			time.Sleep(someTurns)
			for _, f := range faults(w) {
				t.Error(f)
			}
		})
	})
	defended(t, faults, func(_ *testing.T, w *world, defend bool) {
		scenario(w, dispatcher.FailResendBegun)
		if !defend {
			w.ledger = func(l dispatcher.Ledger) dispatcher.Ledger { return forgetful{l} }
		}
		w.start()
		time.Sleep(someTurns)
	})
}

// A newer update that comes while deliveries are sent again takes their place, or
// follows them: never the other way round.
func TestResendNeverAfterANewerUpdate(t *testing.T) {
	for _, wait := range []time.Duration{0, 300 * time.Millisecond, 600 * time.Millisecond, 2 * time.Second} {
		t.Run(wait.String(), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.subscribe(60, func(t *incident.Target) { t.EveryUpdate = len(t.ExternalID)%2 == 0 })
				w.peer.answer = func(target int64, sequence, nth int) (channels.Result, time.Duration) {
					r, _ := refuseFirst(target, sequence, nth)
					return r, time.Duration(target%5) * 500 * time.Millisecond
				}
				w.start()
				w.publish(incident.Investigating, "")
				w.settled()
				w.resend()
				time.Sleep(wait)
				w.publish(incident.Resolved, "")
				w.settled()
				if done := w.resend(); done.Sent != 30 || done.Sequence != 2 {
					t.Errorf("of the newer one: %+v", done)
				}
				w.settled()
				w.holds(map[int]int{1: 60, 2: 60}, 0)
			})
		})
	}
}
