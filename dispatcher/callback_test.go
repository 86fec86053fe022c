package dispatcher_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
)

// calledBack asks for a callback.
const calledBack = `,"callback_url":"https://producer.example/done?token=t"`

// producer is called back: it notes what it is told, and answers as told.
type producer struct {
	mu    sync.Mutex
	calls []call
	now   int // calls under way
	most  int // calls under way at once
	// refuse is what Check says; answer what the nth call gets, and after how
	// long; nil delivers at once.
	refuse error
	answer func(n int) (channels.Result, time.Duration)
}

type call struct {
	at       time.Time
	id, body string
	answered channels.Class
}

func (p *producer) Check(incident.CallbackURL) error { return p.refuse }

func (p *producer) Post(ctx context.Context, id string, url incident.CallbackURL, body []byte) channels.Result {
	p.mu.Lock()
	n := len(p.calls)
	p.calls = append(p.calls, call{at: time.Now(), id: id, body: string(body)})
	p.now++
	p.most = max(p.most, p.now)
	result, delay := channels.Result{Class: channels.Delivered}, time.Duration(0)
	if p.answer != nil {
		result, delay = p.answer(n + 1)
	}
	if url != "https://producer.example/done?token=t" {
		result = channels.Result{Class: channels.Permanent, Detail: "another URL than was asked for"}
	}
	p.mu.Unlock()
	select {
	case <-ctx.Done():
		result = channels.Result{Class: channels.Temporary, Detail: "cut"}
	case <-time.After(delay):
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now--
	p.calls[n].answered = result.Class
	return result
}

func (p *producer) heard() []call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

// patient lets virtual minutes go by without asking the ledger for other things.
func patient(o *dispatcher.Options) { o.RetryEvery, o.ExpireEvery = time.Minute, time.Minute }

// told waits until the producer was told of each of the updates of INC-1, and
// checks what it heard: each update at least once and at most so often, with one id
// and one body, which says what the ledger says.
func (w *world) told(atMost int, sequences ...int) {
	w.t.Helper()
	w.awaitCallbacks(dispatcher.CallbackDelivered, sequences...)
	_, updates := w.incident()
	calls := w.producer.heard()
	for _, u := range updates {
		if !slices.Contains(sequences, u.Sequence) {
			continue
		}
		id := incident.CallbackID("default", "INC-1", u.Sequence)
		var bodies []string
		for _, c := range calls {
			if c.id == id {
				bodies = append(bodies, c.body)
			}
		}
		if len(bodies) == 0 || len(bodies) > atMost {
			w.t.Fatalf("the producer was told %d times of update %d, want 1 to %d", len(bodies), u.Sequence, atMost)
		}
		if len(slices.Compact(slices.Clone(bodies))) != 1 {
			w.t.Errorf("one id, several bodies: %q", bodies)
		}
		w.checkBody(bodies[0], u)
	}
}

func (w *world) checkBody(body string, u store.Update) {
	w.t.Helper()
	type data struct {
		Page        string                    `json:"page"`
		IncidentID  string                    `json:"incident_id"`
		Sequence    int                       `json:"sequence"`
		UpdateID    string                    `json:"update_id"`
		Status      string                    `json:"status"`
		Audience    int                       `json:"audience"`
		Outcomes    map[string]map[string]int `json:"outcomes"`
		AcceptedAt  time.Time                 `json:"accepted_at"`
		PlannedAt   time.Time                 `json:"planned_at"`
		CompletedAt time.Time                 `json:"completed_at"`
	}
	var got struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      data      `json:"data"`
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		w.t.Fatalf("%v in %s", err, body)
	}
	last := u.PlannedAt
	for _, r := range w.rows() {
		if r.Sequence == u.Sequence && r.DoneAt.After(last) {
			last = r.DoneAt
		}
	}
	outcomes := fmt.Sprint(got.Data.Outcomes)
	got.Data.Outcomes = nil
	want := got
	want.Type, want.Timestamp = "update.completed", last
	want.Data = data{Page: "default", IncidentID: "INC-1", Sequence: u.Sequence, UpdateID: u.UpdateID, Status: string(u.Status),
		Audience: u.Audience, AcceptedAt: u.AcceptedAt, PlannedAt: u.PlannedAt, CompletedAt: last}
	if a, b := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); a != b {
		w.t.Errorf("the producer was told\n%s\nwant\n%s", a, b)
	}
	progress := make(map[string]map[string]int)
	for channel, by := range u.Progress {
		progress[channel] = make(map[string]int)
		for o, n := range by {
			progress[channel][o.String()] = n
		}
	}
	if want := fmt.Sprint(progress); outcomes != want {
		w.t.Errorf("the producer was told of %s, the ledger says %s", outcomes, want)
	}
}

// awaitCallbacks waits until the callbacks of updates of INC-1 are in a state.
func (w *world) awaitCallbacks(state dispatcher.CallbackState, sequences ...int) {
	w.t.Helper()
	tick, patience := 100*time.Millisecond, 30*time.Minute
	if w.broker != "" {
		tick, patience = 20*time.Millisecond, brokerPatience
	}
	for range patience / tick {
		n := 0
		_, updates := w.incident()
		for _, u := range updates {
			if slices.Contains(sequences, u.Sequence) && u.Callback != nil && u.Callback.State == state {
				n++
			}
		}
		if n == len(sequences) {
			return
		}
		time.Sleep(tick)
		if w.broker == "" {
			tick = min(2*tick, time.Minute)
		}
	}
	w.t.Fatalf("the callbacks of %v don't become %v", sequences, state)
}

func (w *world) callback(sequence int) store.Callback {
	w.t.Helper()
	_, updates := w.incident()
	for _, u := range updates {
		if u.Sequence == sequence && u.Callback != nil {
			return *u.Callback
		}
	}
	w.t.Fatalf("update %d has no callback", sequence)
	return store.Callback{}
}

func TestPromise_ProducersHearOfTheEnd(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.subscribe(300)
		w.peer.answer = func(target int64, sequence, nth int) (channels.Result, time.Duration) {
			switch {
			case target == 1 && sequence == 1: // the last to end, by expiry
				return channels.Result{Class: channels.Temporary, Detail: "http 500"}, 0
			case target%50 == 2:
				return channels.Result{Class: channels.Permanent, Detail: "http 404"}, 0
			}
			return channels.Result{Class: channels.Delivered}, time.Duration(target) * time.Millisecond
		}
		w.start()
		begun := time.Now()
		expires := begun.Add(5 * time.Minute).Truncate(time.Second)
		w.publish(incident.Investigating, calledBack+fmt.Sprintf(`,"expires_at":%q`, expires.Format(time.RFC3339)))
		time.Sleep(4 * time.Minute)
		if calls := w.producer.heard(); len(calls) != 0 {
			t.Fatalf("the producer was told %v after the start; one delivery is open until it expires", calls[0].at.Sub(begun))
		}
		w.told(1, 1)
		if late := w.producer.heard()[0].at.Sub(expires); late < 0 || late > 3*time.Second {
			t.Errorf("the producer was told %v after the end", late)
		}
		w.publish(incident.Resolved, "") // asks for nothing
		w.settled()
		time.Sleep(time.Minute)
		if n := len(w.producer.heard()); n != 1 {
			t.Errorf("the producer was called %d times", n)
		}
	})
}

func TestSupersededUpdatesEnd(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.subscribe(100)
		w.peer.answer = func(target int64, sequence, _ int) (channels.Result, time.Duration) {
			if sequence < 3 && target%2 == 0 {
				return channels.Result{Class: channels.Throttled, RetryAfter: 2 * time.Minute}, 0
			}
			return channels.Result{Class: channels.Delivered}, 2 * time.Second
		}
		w.start()
		for _, status := range []incident.Status{incident.Investigating, incident.Identified, incident.Resolved} {
			w.publish(status, calledBack)
			time.Sleep(time.Second)
		}
		w.told(1, 1, 2, 3)
		if _, updates := w.incident(); updates[2].Progress["webhook"][dispatcher.Superseded] < 50 {
			t.Errorf("progress of the first update: %v", updates[2].Progress)
		}
	})
}

func TestAnEmptyAudienceEndsAtOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		begun := time.Now()
		w.publish(incident.Investigating, calledBack)
		w.told(1, 1)
		if d := w.producer.heard()[0].at.Sub(begun); d > 2*time.Second {
			t.Errorf("the producer was told after %v", d)
		}
	})
}

func TestAStoppedUpdateEnds(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.subscribe(50)
		w.peer.answer = func(int64, int, int) (channels.Result, time.Duration) {
			return channels.Result{Class: channels.Throttled, RetryAfter: time.Hour}, 0
		}
		w.start()
		w.publish(incident.Investigating, calledBack)
		time.Sleep(10 * time.Second)
		inc, _ := w.incident()
		if err := w.engine.Stop(t.Context(), inc.Key); err != nil {
			t.Fatal(err)
		}
		w.told(1, 1)
	})
}

// A producer that is down hears of it when it is up again, once.
func TestProducerIsDownAndUpAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.options = patient
		w.subscribe(3)
		w.start()
		up := time.Now().Add(3 * time.Minute)
		w.producer.answer = func(int) (channels.Result, time.Duration) {
			if time.Now().Before(up) {
				return channels.Result{Class: channels.Temporary, Detail: "connect: refused", NoConnection: true}, 0
			}
			return channels.Result{Class: channels.Delivered}, 0
		}
		w.publish(incident.Investigating, calledBack)
		time.Sleep(2 * time.Minute)
		if c := w.callback(1); c.State != dispatcher.CallbackWaiting || c.Attempt < 3 || c.Detail != "connect: refused" || !c.DoneAt.IsZero() {
			t.Errorf("after two minutes: %+v", c)
		}
		w.told(1000, 1)
		time.Sleep(2 * time.Minute)
		calls := w.producer.heard()
		for i, c := range calls {
			if delivered := c.answered == channels.Delivered; delivered != (i == len(calls)-1) {
				t.Errorf("call %d of %d came to %v", i+1, len(calls), c.answered)
			}
			// Full jitter below 2 s · 2ⁿ and the cap, and up to a look later.
			limit := dispatcher.Backoff{Base: 2 * time.Second, Cap: time.Hour}.Ceiling(max(i, 1)) + 2*time.Second
			if i > 0 && c.at.Sub(calls[i-1].at) > limit {
				t.Errorf("call %d came %v after the one before, more than %v", i+1, c.at.Sub(calls[i-1].at), limit)
			}
		}
		if c := w.callback(1); c.Attempt != len(calls) || c.Detail != "" || c.DoneAt.Before(up) {
			t.Errorf("in the end: %+v after %d calls", c, len(calls))
		}
	})
}

func TestProducerThatNeverAnswersIsGivenUp(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.options = patient
		w.start()
		w.producer.answer = func(int) (channels.Result, time.Duration) {
			return channels.Result{Class: channels.Throttled, Detail: "http 429", RetryAfter: time.Minute}, 0
		}
		begun := time.Now()
		w.publish(incident.Investigating, calledBack+fmt.Sprintf(`,"expires_at":%q`, begun.Add(time.Hour).Format(time.RFC3339)))
		time.Sleep(4 * time.Minute)
		w.stop()
		calls := w.producer.heard()
		if len(calls) < 3 {
			t.Fatalf("%d calls in 4 minutes", len(calls))
		}
		for i := 1; i < len(calls); i++ {
			if gap := calls[i].at.Sub(calls[i-1].at); gap < time.Minute {
				t.Errorf("call %d came %v after the one before, which asked for one minute", i+1, gap)
			}
		}
		time.Sleep(time.Until(begun.Add(24 * time.Hour))) // more than the engine's hour, less than its day after that
		w.start()
		time.Sleep(30 * time.Second)
		w.stop()
		if c := w.callback(1); c.State != dispatcher.CallbackWaiting || c.Attempt != len(calls)+1 {
			t.Errorf("before the end: %+v after %d calls", c, len(calls))
		}
		time.Sleep(2 * time.Hour)
		w.start()
		time.Sleep(3 * time.Minute)
		if c := w.callback(1); c.State != dispatcher.CallbackFailed || c.Attempt != len(calls)+2 || len(w.producer.heard()) != c.Attempt {
			t.Errorf("after the end: %+v, %d calls", c, len(w.producer.heard()))
		}
	})
}

func TestProducerRefusesForGood(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.options = patient
		w.start()
		w.producer.answer = func(int) (channels.Result, time.Duration) {
			return channels.Result{Class: channels.Permanent, Detail: "http 404: no such hook"}, 0
		}
		w.publish(incident.Investigating, calledBack)
		w.awaitCallbacks(dispatcher.CallbackFailed, 1)
		time.Sleep(3 * time.Minute)
		if c := w.callback(1); len(w.producer.heard()) != 1 || c.Attempt != 1 || c.Detail != "http 404: no such hook" || c.DoneAt.IsZero() {
			t.Errorf("%d calls, %+v", len(w.producer.heard()), c)
		}
	})
}

// A crash after the end was noted, or after the producer answered, is made good by
// the next start: told once, or again with the same id and body.
func TestCrashBeforeTheProducerIsTold(t *testing.T) {
	for at, calls := range map[dispatcher.Failpoint]int{dispatcher.FailCompleted: 1, dispatcher.FailCalled: 2} {
		t.Run(string(at), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.options = patient
				w.subscribe(50)
				w.publish(incident.Investigating, calledBack)
				w.crash(at, 1)
				if n := len(w.producer.heard()); n != calls-1 {
					t.Fatalf("%d calls before the crash", n)
				}
				time.Sleep(10 * time.Hour)
				w.start()
				w.told(calls, 1)
				if n := len(w.producer.heard()); n != calls {
					t.Errorf("%d calls, want %d", n, calls)
				}
				time.Sleep(2 * time.Minute)
				if n := len(w.producer.heard()); n != calls {
					t.Errorf("%d calls after the one that counted", n-calls)
				}
			})
		})
	}
}

// A call under way when the engine stops ends as sends do, and counts.
func TestStopWaitsForCallbacks(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.options = patient
		w.start()
		w.producer.answer = func(int) (channels.Result, time.Duration) {
			return channels.Result{Class: channels.Delivered}, 10 * time.Second
		}
		w.publish(incident.Investigating, calledBack)
		for len(w.producer.heard()) == 0 {
			time.Sleep(100 * time.Millisecond)
		}
		w.stop()
		w.start()
		time.Sleep(2 * time.Minute)
		w.told(1, 1)
		w.publish(incident.Resolved, calledBack)
		w.producer.mu.Lock()
		w.producer.answer = func(int) (channels.Result, time.Duration) { return channels.Result{}, 24 * time.Hour }
		w.producer.mu.Unlock()
		for len(w.producer.heard()) == 1 {
			time.Sleep(100 * time.Millisecond)
		}
		begun := time.Now()
		w.stop()
		if d := time.Since(begun); d > 21*time.Second {
			t.Errorf("the engine took %v to stop", d)
		}
		if c := w.callback(2); c.State != dispatcher.CallbackWaiting || c.Attempt != 1 || c.Detail != "cut" {
			t.Errorf("the call that was cut: %+v", c)
		}
	})
}

// Producers that are slow hold up a bounded number of calls.
func TestCallbacksAtOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.producer.answer = func(int) (channels.Result, time.Duration) {
			return channels.Result{Class: channels.Delivered}, 10 * time.Second
		}
		w.start()
		const n = 100
		var events []*dispatcher.Arrival
		for i := range n {
			e := &incident.Event{IncidentID: fmt.Sprint("INC-", i), Status: incident.Resolved, Impact: incident.ImpactNone,
				AffectedComponents: []string{}, StartedAt: time.Now(), CallbackURL: "https://producer.example/done?token=t"}
			if err := e.Validate(); err != nil {
				t.Fatal(err)
			}
			events = append(events, &dispatcher.Arrival{Event: e, UpdateID: "u", ReceivedAt: time.Now(), Hash: e.ContentHash()})
		}
		accepted, err := w.store.Accept(t.Context(), events, dispatcher.Decide(time.Now(), time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range accepted {
			if err := w.store.CommitPage(t.Context(), a.Plan, &dispatcher.PlannedPage{Last: true, At: time.Now()}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(90 * time.Second)
		ids := map[string]bool{}
		for _, c := range w.producer.heard() {
			ids[c.id] = true
		}
		if len(ids) != n || len(w.producer.heard()) != n || w.producer.most != 16 {
			t.Errorf("%d calls for %d updates, at most %d at once", len(w.producer.heard()), len(ids), w.producer.most)
		}
	})
}

func TestNothingIsToldWhileAllIsPaused(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.options = patient
		w.start()
		time.Sleep(time.Second)
		if err := w.engine.Pause(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		w.publish(incident.Investigating, calledBack)
		time.Sleep(2 * time.Minute)
		if n := len(w.producer.heard()); n != 0 {
			t.Errorf("%d calls in the pause", n)
		}
		if err := w.engine.Resume(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		w.told(1, 1)
	})
}

func TestCallbackIsRefusedAtTheIntake(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.producer.refuse = &incident.Invalid{Field: "callback_url", Reason: "has no key"}
		w.start()
		w.publish(incident.Investigating, calledBack)
		time.Sleep(time.Minute)
		if inc, _ := w.incident(); inc != nil {
			t.Error("the event was accepted")
		}
		var said []string
		if err := w.db.Read(t.Context(), func(tx *sqlitedb.Tx) error {
			rows := tx.Query("SELECT field, reason FROM intake_invalid")
			for rows.Next() {
				said = append(said, rows.Text(0)+" "+rows.Text(1))
			}
			return rows.Err()
		}); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(said, []string{"callback_url has no key"}) {
			t.Errorf("refused with %q", said)
		}
	})
}
