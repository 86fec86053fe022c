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
	"github.com/tocsin/tocsin/internal/store"
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

// TestAStormOfIncidentsIsBounded tells everyone of more incidents at once than a day's
// budget for one target has: each hears of as many as that, over failures, a stop and a
// death, and then of the ends of just those.
func TestAStormOfIncidentsIsBounded(t *testing.T) {
	const people, incidents, most = 6, 40, 10
	inWorld(t, func(t *testing.T, w *world) {
		w.subscribe(people)
		w.options = func(o *dispatcher.Options) {
			o.Budgets = map[string]dispatcher.Budget{"webhook": {PerTarget: ratelimit.Quota{Messages: most, Every: 24 * time.Hour}}}
		}
		w.peer.answer = func(target int64, sequence, nth int) (channels.Result, time.Duration) {
			switch {
			case nth == 1 && target == 2:
				return channels.Result{Class: channels.Temporary, Detail: "http 500"}, time.Second
			case target == 3:
				return channels.Result{Class: channels.Delivered}, 5 * time.Second
			}
			return channels.Result{Class: channels.Delivered}, time.Duration(target) * 100 * time.Millisecond
		}
		w.killAt(dispatcher.FailSettled, 3)
		w.start()
		var names []string
		for n := range incidents {
			names = append(names, fmt.Sprintf("INC-%d", n+1))
			w.publishOf(names[n], incident.Investigating, "")
		}
		w.died()
		w.start()
		time.Sleep(3 * time.Second)
		w.stop()
		w.start()
		w.allEnded(names, 1)
		told := w.toldOf(names, 1)
		for target := int64(1); target <= people; target++ {
			if n := len(told[target]); n != most {
				t.Errorf("target %d took %d messages, want %d", target, n, most)
			}
		}
		time.Sleep(time.Hour)
		for _, name := range names {
			w.publishOf(name, incident.Resolved, "")
		}
		w.allEnded(names, 2)
		for target, ends := range w.toldOf(names, 2) {
			if !maps.Equal(ends, told[target]) {
				t.Errorf("target %d heard of %v, and of the ends of %v", target, told[target], ends)
			}
		}
		w.peer.mu.Lock()
		defer w.peer.mu.Unlock()
		took := make(map[int64]int)
		for _, r := range w.peer.receipts {
			if r.class == channels.Delivered {
				took[r.target]++
			}
		}
		for target, n := range took {
			if n != 2*most {
				t.Errorf("target %d received %d messages, want %d and their ends", target, n, most)
			}
		}
	})
}

// allEnded waits until every delivery of an update of incidents has ended.
func (w *world) allEnded(names []string, sequence int) {
	w.t.Helper()
	w.until(func() bool {
		for _, name := range names {
			inc, updates, err := w.store.Incident(w.t.Context(), "default", name)
			if err != nil || inc.Sequence < sequence {
				return false
			}
			for _, u := range updates {
				if u.PlannedAt.IsZero() {
					return false
				}
				for _, by := range u.Progress {
					if by[dispatcher.Open] > 0 {
						return false
					}
				}
			}
		}
		return true
	})
}

// toldOf returns who took an update of which incidents; the others are over budget.
func (w *world) toldOf(names []string, sequence int) map[int64]map[string]bool {
	w.t.Helper()
	told := make(map[int64]map[string]bool)
	for _, name := range names {
		inc, _, err := w.store.Incident(w.t.Context(), "default", name)
		if err != nil {
			w.t.Fatal(err)
		}
		list, err := w.store.Deliveries(w.t.Context(), inc.Key, store.DeliveryFilter{Sequence: sequence, Limit: 1000})
		if err != nil {
			w.t.Fatal(err)
		}
		for _, d := range list {
			if told[d.Target] == nil {
				told[d.Target] = make(map[string]bool)
			}
			switch {
			case d.Outcome == dispatcher.Delivered:
				told[d.Target][name] = true
			case d.Outcome != dispatcher.Suppressed || d.Detail != "over budget: at most 10/24h for each target":
				w.t.Errorf("%s, target %d: %v, %q", name, d.Target, d.Outcome, d.Detail)
			}
		}
	}
	return told
}
