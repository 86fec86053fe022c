package dispatcher_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/ratelimit"
)

// TestHoursAndDaysAreNeverExceeded tells more people of two updates and an end than a
// budget allows, where some fail at first and the engine stops and dies in between: the
// hours and the day have all that is allowed and not one more, but for the end, which
// everyone hears of who heard of anything.
func TestHoursAndDaysAreNeverExceeded(t *testing.T) {
	const (
		people          = 60
		hourly, daily   = 25, 40
		overHour, ofDay = "over budget: at most 25 an hour on this channel", "over budget: at most 40 a day on this channel"
	)
	inWorld(t, func(t *testing.T, w *world) {
		w.subscribe(people)
		w.options = func(o *dispatcher.Options) {
			o.Budgets = map[string]dispatcher.Budget{"webhook": {Bound: dispatcher.Bound{PerHour: hourly, PerDay: daily}}}
		}
		w.peer.answer = func(target int64, sequence, nth int) (channels.Result, time.Duration) {
			if (target+int64(sequence))%4 == 0 && nth == 1 {
				return channels.Result{Class: channels.Temporary, Detail: "http 500"}, time.Second
			}
			return channels.Result{Class: channels.Delivered}, time.Duration(target%7) * time.Second
		}
		w.killAt(dispatcher.FailSettled, 2) // some are told, some under way, some are to be tried again
		w.start()
		w.publish(incident.Investigating, `,"update_id":"1"`)
		w.died()
		w.start()
		time.Sleep(2500 * time.Millisecond)
		w.stop()
		w.start()
		w.settled()
		w.wantDelivered(1, hourly, overHour)
		time.Sleep(time.Hour)
		w.publish(incident.Identified, `,"update_id":"2"`)
		w.settled()
		w.wantDelivered(2, daily-hourly, ofDay)
		w.publish(incident.Resolved, `,"update_id":"3"`)
		w.settled()

		told, end := make(map[int64]bool), make(map[int64]bool)
		for _, r := range w.rows() {
			switch {
			case r.Outcome == dispatcher.Delivered && r.Sequence < 3:
				told[r.Target] = true
			case r.Outcome == dispatcher.Delivered:
				end[r.Target] = true
			case r.Outcome != dispatcher.Suppressed || !strings.HasPrefix(r.Detail, "over budget: at most "):
				t.Errorf("target %d, update %d: %v, %q", r.Target, r.Sequence, r.Outcome, r.Detail)
			}
		}
		if !maps.Equal(told, end) {
			t.Errorf("%d heard of the incident, %d of its end: %v and %v", len(told), len(end), told, end)
		}
	})
}

// wantDelivered checks how many took an update, by the ledger and by the peers, and why
// the others did not.
func (w *world) wantDelivered(sequence, want int, reason string) {
	w.t.Helper()
	took, heard := 0, 0
	for _, r := range w.rows() {
		switch {
		case r.Sequence != sequence:
		case r.Outcome == dispatcher.Delivered:
			took++
		case r.Outcome != dispatcher.Suppressed || r.Detail != reason:
			w.t.Errorf("target %d, update %d: %v, %q", r.Target, r.Sequence, r.Outcome, r.Detail)
		}
	}
	w.peer.mu.Lock()
	defer w.peer.mu.Unlock()
	for _, r := range w.peer.receipts {
		if r.sequence == sequence && r.class == channels.Delivered {
			heard++
		}
	}
	if took != want || heard != want {
		w.t.Errorf("update %d: %d took it, by the ledger %d, want %d", sequence, heard, took, want)
	}
}

// TestAStormIsBounded tells an incident that changes faster than it is delivered, with
// a restart in the middle: nobody hears of it twice within the budget's time, but of the
// end, and what nobody heard of says why.
func TestAStormIsBounded(t *testing.T) {
	const every = 3 * time.Minute
	inWorld(t, func(t *testing.T, w *world) {
		w.subscribe(20)
		w.options = func(o *dispatcher.Options) {
			o.Budgets = map[string]dispatcher.Budget{"webhook": {PerIncident: ratelimit.Quota{Messages: 1, Every: every}}}
		}
		w.peer.answer = func(target int64, sequence, nth int) (channels.Result, time.Duration) {
			if target%5 == 0 && nth == 1 {
				return channels.Result{Class: channels.Temporary, Detail: "http 500"}, 0
			}
			return channels.Result{Class: channels.Delivered}, 25 * time.Second
		}
		w.start()
		const updates = 24
		for n := 1; n < updates; n++ {
			if n == updates/2 {
				w.stop()
				w.start()
			}
			status := []incident.Status{incident.Identified, incident.Monitoring}[n%2]
			w.publish(status, fmt.Sprintf(`,"update_id":"u-%d","message":"%d"`, n, n))
			time.Sleep(20 * time.Second)
		}
		w.publish(incident.Resolved, `,"update_id":"end"`)
		w.settled()

		ledger := make(map[int64]map[dispatcher.Outcome]int)
		for _, r := range w.rows() {
			if ledger[r.Target] == nil {
				ledger[r.Target] = make(map[dispatcher.Outcome]int)
			}
			ledger[r.Target][r.Outcome]++
			if r.Outcome == dispatcher.Suppressed && !strings.HasPrefix(r.Detail, "over budget: at most 1/3m") {
				t.Errorf("target %d, update %d: suppressed for %q", r.Target, r.Sequence, r.Detail)
			}
		}
		heard := make(map[int64]time.Time)
		ends := 0
		w.peer.mu.Lock()
		defer w.peer.mu.Unlock()
		for _, r := range w.peer.receipts {
			switch last, before := heard[r.target]; {
			case r.class != channels.Delivered:
			case r.sequence == updates:
				ends++
			case before && r.at.Sub(last) < every:
				t.Errorf("target %d heard of update %d %v after the one before", r.target, r.sequence, r.at.Sub(last))
			default:
				heard[r.target] = r.at
			}
		}
		if len(heard) != 20 || ends < 20 {
			t.Errorf("%d heard of the incident, %d of its end", len(heard), ends)
		}
		for target, got := range ledger {
			if got[dispatcher.Suppressed] < 10 || got[dispatcher.Delivered] < 3 {
				t.Errorf("target %d: %v", target, got)
			}
		}
	})
}
