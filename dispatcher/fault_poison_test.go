package dispatcher_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
)

// A process dies whenever it sends to one of 250 targets; the next one begins on what
// is durable. Those beside it in the batch are told after a few deaths, it alone is
// parked; once its receiver is mended an operator has it sent again.
func TestFault_14_PoisonIsIsolated(t *testing.T) {
	for name, kind := range map[string]func(*testing.T, func(*testing.T, *world)){"embedded": inWorld, "rabbitmq": inBrokerWorld} {
		t.Run(name, func(t *testing.T) {
			if name == "embedded" {
				t.Parallel()
			}
			poisoned(t, kind)
		})
	}
}

func poisoned(t *testing.T, kind func(*testing.T, func(*testing.T, *world))) {
	const targets, poison, most = 250, 57, 14
	deaths := 0
	defendedIn(t, kind, func(w *world) (faults []string) {
		if deaths >= most {
			faults = append(faults, fmt.Sprintf("%d processes died of one delivery", deaths))
		}
		told := 0
		for _, r := range w.rows() {
			switch {
			case r.Target == poison && (r.Outcome != dispatcher.Dead || !strings.HasPrefix(r.Detail, "parked: the process died")):
				faults = append(faults, fmt.Sprintf("the poison ended as %s %q", r.Outcome, r.Detail))
			case r.Target != poison && r.Outcome == dispatcher.Delivered:
				told++
			}
		}
		if told != targets-1 {
			faults = append(faults, fmt.Sprintf("%d of %d others were told", told, targets-1))
		}
		parked, err := w.store.Parked(w.t.Context(), 10)
		if err != nil || len(parked) != 1 || parked[0].Target != poison || parked[0].IncidentID != "INC-1" || parked[0].Channel != "webhook" || parked[0].At.IsZero() {
			return append(faults, fmt.Sprintf("parked: %+v, %v", parked, err))
		}
		w.peer.answer = nil
		w.start()
		inc, _ := w.incident()
		if _, err := w.engine.Resend(w.t.Context(), dispatcher.Resend{Incident: inc.Key, Choice: dispatcher.Choice{Targets: []int64{poison}}}); err != nil {
			faults = append(faults, err.Error())
		}
		w.settled()
		w.stop()
		if parked, err := w.store.Parked(w.t.Context(), 10); err != nil || len(parked) != 0 || w.rowsOf(poison)[0].Outcome != dispatcher.Delivered {
			faults = append(faults, fmt.Sprintf("returned: %+v is parked, it ended as %s, %v", parked, w.rowsOf(poison)[0].Outcome, err))
		}
		return faults
	}, func(t *testing.T, w *world, defend bool) {
		more := w.options
		w.options = func(o *dispatcher.Options) {
			if more != nil {
				more(o)
			}
			if !defend {
				o.Poison.Takes = 0
			}
		}
		w.oneProvider(1e5, 1e5)
		w.subscribe(targets)
		w.publish(incident.Investigating, "")
		for deaths = 0; deaths < most && !w.livesWith(poison); deaths++ {
		}
	})
}

// What deaths named waits in the ledger for a process to have lived for a while, in no
// batch: those are given out again with each death, and a broker sets them aside then.
func TestSuspectsWaitForCalmInTheLedger(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		const poison, calm = 7, time.Minute
		w.options = func(o *dispatcher.Options) { o.Poison.Takes, o.Poison.Calm = 2, calm }
		w.oneProvider(1e5, 1e5)
		w.subscribe(20)
		w.publish(incident.Investigating, "")
		for range 3 {
			if w.livesWith(poison) {
				t.Fatal("it should have died of its poison")
			}
		}
		w.peer.answer = nil
		began := w.clock()
		w.start()
		w.until(func() bool {
			open, _ := w.progress()
			b, err := w.store.Backlog(t.Context(), w.clock())
			if err != nil {
				t.Fatal(err)
			}
			return open > 0 && b.Waiting == open && b.Due == 0
		})
		w.settled()
		w.stop()
		if r := w.rowsOf(poison)[0]; r.Outcome != dispatcher.Delivered || r.SentAt.Sub(began) < calm {
			t.Errorf("the poison ended as %s, sent %v after the start", r.Outcome, r.SentAt.Sub(began))
		}
	})
}

// livesWith runs an engine that dies when it sends to that target, and says whether it
// came to the end of everything before.
func (w *world) livesWith(poison int64) bool {
	w.t.Helper()
	var taken atomic.Bool
	w.peer.answer = func(target int64, _, _ int) (channels.Result, time.Duration) {
		if target == poison {
			taken.Store(true)
			return channels.Result{Class: channels.Delivered}, 0
		}
		return channels.Result{Class: channels.Delivered}, time.Duration(target%5) * time.Millisecond
	}
	w.fail = func(dispatcher.Failpoint) error {
		if taken.Load() {
			return errKilled
		}
		return nil
	}
	w.start()
	ended := false
	w.until(func() bool {
		select {
		case err := <-w.ended:
			if !errors.Is(err, errKilled) {
				w.t.Fatalf("the engine ended with %v", err)
			}
			ended = true
			return true
		default:
			open, planned := w.progress()
			return planned && open == 0
		}
	})
	w.fail = nil
	if !ended {
		w.stop()
		return true
	}
	w.cancel()
	w.cancel = nil
	w.close()
	w.open()
	return false
}
