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

// Rows of the fault matrix that are about one provider among others.

// firsts returns when each target's first request for a sequence began.
func (w *world) firsts(sequence int) map[int64]time.Time {
	w.peer.mu.Lock()
	defer w.peer.mu.Unlock()
	at := make(map[int64]time.Time)
	for _, r := range w.peer.receipts {
		if _, seen := at[r.target]; r.sequence == sequence && !seen {
			at[r.target] = r.at
		}
	}
	return at
}

// Nine of ten targets are at one provider, which takes ten a second. The others are
// told of an incident as if it weren't there, and so they are of the next update, which
// falls into minutes of its backlog; it sees its rate and its window, no more.
func TestFault_34_HotProvider(t *testing.T) {
	t.Parallel()
	const hot, others, hotURL = 450, 50, "https://hot.example"
	const soon = 2 * time.Second
	var published []time.Time
	defended(t, func(w *world) (faults []string) {
		for i, begun := range published {
			late, first := 0, w.firsts(i+1)
			for id := int64(hot + 1); id <= hot+others; id++ {
				if at, told := first[id]; !told || at.Sub(begun) > soon {
					late++
				}
			}
			if late > 0 {
				faults = append(faults, fmt.Sprintf("I: %d of %d others had not heard of update %d after %v", late, others, i+1, soon))
			}
		}
		begun := 0
		for _, r := range w.peer.receipts {
			if r.target <= hot && r.at.Before(published[1]) {
				begun++
			}
		}
		if begun > hot/2 {
			faults = append(faults, fmt.Sprintf("the hot provider has no backlog: %d of %d were told before the second update", begun, hot))
		}
		w.peer.receipts = onlyOf(w.peer.receipts, hot)
		if n := w.busiest(10 * time.Second); n > 10*10+10 {
			faults = append(faults, fmt.Sprintf("R: %d sends to the hot provider within ten seconds, at 10/s with a burst of 10", n))
		}
		return faults
	}, func(t *testing.T, w *world, defend bool) {
		w.provider = func(t *incident.Target) string {
			if defend && !strings.HasPrefix(t.Address, hotURL) {
				return t.Address
			}
			return hotURL // without lanes of their own
		}
		w.options = func(o *dispatcher.Options) {
			o.Admission = 200 // less than what waits
			o.Policy = func(_, provider string) dispatcher.ProviderPolicy {
				p := dispatcher.ProviderPolicy{Limit: ratelimit.Limit{PerSecond: 1000, Burst: 1000}, Window: 16}
				if provider == hotURL {
					p = dispatcher.ProviderPolicy{Limit: ratelimit.Limit{PerSecond: 10, Burst: 10}, Window: 8}
				}
				return p
			}
		}
		w.peer.answer = func(target int64, _, _ int) (channels.Result, time.Duration) {
			return channels.Result{Class: channels.Delivered}, 300 * time.Millisecond
		}
		n := 0
		w.subscribe(hot+others, func(t *incident.Target) {
			if n++; n <= hot {
				t.Address = fmt.Sprint(hotURL, "/", n)
			}
		})
		w.start()
		published = nil
		for _, s := range []incident.Status{incident.Investigating, incident.Identified} {
			published = append(published, time.Now())
			w.publish(s, "")
			time.Sleep(15 * time.Second)
		}
		if defend {
			w.settled()
			for _, f := range w.faults(map[int]int{1: hot + others, 2: hot + others}, 0) {
				t.Error(f)
			}
		}
		w.stop()
	})
}

// onlyOf returns the receipts of targets up to one.
func onlyOf(all []receipt, last int64) (list []receipt) {
	for _, r := range all {
		if r.target <= last {
			list = append(list, r)
		}
	}
	return list
}

// A host answers some of its targets 429, or 503, with Retry-After. Those who asked hear
// nothing before that, not of a newer update either; after three of them it is not asked
// at all for a while, and then with one request. Others are told as always.
func TestFault_26_RetryAfter(t *testing.T) {
	t.Parallel()
	const crowd, others, asked = 60, 20, 40 * time.Second
	const crowdURL = "https://busy.example"
	defended(t, func(w *world) (faults []string) {
		early := 0
		var third time.Time // when the lane had to be told
		throttled := 0
		ends := make(map[int64]time.Time)
		for _, r := range w.peer.receipts {
			if end, wait := ends[r.target]; wait && r.at.Before(end) {
				early++
			}
			if r.target <= crowd && !third.IsZero() && r.at.After(third) && r.at.Before(third.Add(asked)) {
				faults = append(faults, fmt.Sprintf("the host was asked %v after the third target said no", r.at.Sub(third)))
			}
			if r.class == channels.Throttled {
				ends[r.target] = r.at.Add(asked)
				if throttled++; throttled == 3 {
					third = r.at.Add(10 * time.Millisecond) // its answer
				}
			}
		}
		if early > 0 {
			faults = append(faults, fmt.Sprintf("%d requests before their targets' time", early))
		}
		if throttled == 0 {
			faults = append(faults, "nobody asked for time")
		}
		for id, at := range w.firsts(1) {
			if id > crowd && at.Sub(w.peer.receipts[0].at) > time.Second {
				faults = append(faults, fmt.Sprintf("I: target %d at another host waited %v", id, at.Sub(w.peer.receipts[0].at)))
			}
		}
		return append(faults, w.faults(map[int]int{1: crowd + others, 2: crowd + others}, 0)...)
	}, func(t *testing.T, w *world, defend bool) {
		w.provider = func(t *incident.Target) string {
			if strings.HasPrefix(t.Address, crowdURL) {
				return crowdURL
			}
			return t.Address
		}
		w.options = func(o *dispatcher.Options) {
			o.Policy = func(string, string) dispatcher.ProviderPolicy {
				return dispatcher.ProviderPolicy{Limit: ratelimit.Limit{PerSecond: 1000, Burst: 1000}, Window: 4}
			}
		}
		begun := time.Now()
		w.peer.answer = func(target int64, _, _ int) (channels.Result, time.Duration) {
			if (target <= crowd || target == crowd+1) && time.Since(begun) < 5*time.Second {
				r := channels.Result{Class: channels.Throttled, Detail: "http 429"}
				if defend {
					r.RetryAfter = asked
				}
				return r, 10 * time.Millisecond
			}
			return channels.Result{Class: channels.Delivered}, 10 * time.Millisecond
		}
		n := 0
		w.subscribe(crowd+others, func(t *incident.Target) {
			if n++; n <= crowd {
				t.Address = fmt.Sprint(crowdURL, "/", n)
			}
		})
		w.start()
		w.publish(incident.Investigating, "")
		time.Sleep(10 * time.Second)
		w.publish(incident.Identified, "")
		w.settled()
		w.stop()
	})
}
