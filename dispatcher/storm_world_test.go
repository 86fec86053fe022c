package dispatcher_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/ratelimit"
)

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
