package cases

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/lifecycle"
	"github.com/tocsin/tocsin/internal/store"
	"github.com/tocsin/tocsin/queue"
)

func (w *world) order(o lifecycle.Order) (*lifecycle.Obeyed, error) {
	w.Helper()
	o.Page, o.Caller = "default", "token 1"
	if o.Author == "" {
		o.Author = "alice"
	}
	if o.UpdateID == "" {
		o.UpdateID = fmt.Sprintf("key-%d", time.Now().UnixNano())
	}
	if err := o.Check(time.Now()); err != nil {
		w.Fatal(err)
	}
	return w.keeper.Order(w.Context(), &o)
}

func (w *world) obeyed(o lifecycle.Order) *lifecycle.Obeyed {
	w.Helper()
	done, err := w.order(o)
	if err != nil {
		w.Fatal(err)
	}
	return done
}

// log reads the audit log as "source actor: action incident update".
func (w *world) audit() string {
	w.Helper()
	log, err := w.store.AuditLog(w.Context(), store.AuditFilter{})
	if err != nil {
		w.Fatal(err)
	}
	var list []string
	for _, e := range log.Entries {
		list = append(list, fmt.Sprintf("%s %s: %s %s %s", e.Source, e.Actor, e.Action, e.IncidentID, e.Status))
	}
	return strings.Join(list, "\n")
}

// works is a maintenance from two hours to four hours from now, with a reminder an
// hour before.
func works() lifecycle.Order {
	return lifecycle.Order{Action: lifecycle.OrderSchedule, IncidentID: "M", UpdateID: "works", Reminder: time.Hour, Author: "bob",
		Start: time.Now().Add(2 * time.Hour), End: time.Now().Add(4 * time.Hour), Words: lifecycle.Words{Components: []string{"db"}}}
}

// TestAScheduleOutlivesProcesses restarts the engine before each step of a
// maintenance, and has it down over one of them.
func TestAScheduleOutlivesProcesses(t *testing.T) {
	inWorld(t, func(w *world) {
		done := w.obeyed(works())
		if len(done.Pending) != 3 || done.IncidentID != "M" || done.UpdateID != "works" || done.Duplicate {
			w.Errorf("the answer is %+v", done)
		}
		w.want("M scheduled db")
		w.restart()
		time.Sleep(time.Hour - time.Second)
		w.want("M scheduled db")
		w.stop()
		time.Sleep(10 * time.Minute)
		w.start()
		w.want("M scheduled db", "M scheduled db")
		time.Sleep(50*time.Minute + time.Second)
		w.want("M scheduled db", "M scheduled db", "M in_progress db")
		w.restart()
		if done := w.obeyed(works()); !done.Duplicate || len(done.Pending) != 1 || done.Pending[0].Step != lifecycle.StepEnd {
			w.Errorf("the same order again: %+v", done)
		}
		time.Sleep(3 * time.Hour)
		w.want("M scheduled db", "M scheduled db", "M in_progress db", "M completed db")
		if pending, err := w.keeper.Pending(w.Context(), "default", "M"); err != nil || len(pending) != 0 {
			w.Errorf("%v waits, %v", pending, err)
		}
	})
}

// TestOrdersAreAudited: who ordered each update is written with it.
func TestOrdersAreAudited(t *testing.T) {
	inWorld(t, func(w *world) {
		w.obeyed(works())
		time.Sleep(time.Minute)
		w.obeyed(lifecycle.Order{Action: lifecycle.OrderUpdate, IncidentID: "M", Words: lifecycle.Words{Message: "m"}, At: time.Now().Add(time.Minute)})
		time.Sleep(2 * time.Minute)
		w.obeyed(lifecycle.Order{Action: lifecycle.OrderCancel, IncidentID: "M"})
		synctest.Wait()
		const want = "manual bob (token 1): scheduled M scheduled\nmanual alice (token 1): planned M \n" +
			"manual alice (token 1): changed M scheduled\nmanual alice (token 1): cancelled M completed"
		if got := w.audit(); got != want {
			w.Errorf("the audit log has\n%s", got)
		}
		w.want("M scheduled db", "M scheduled db", "M completed db")
		for _, body := range w.intake.bodies {
			if strings.Contains(body, "alice") || strings.Contains(body, "bob") || strings.Contains(body, "token") {
				w.Errorf("who said it leaves: %s", body)
			}
		}
	})
}

// TestOrdersWithTheIntakeDown: what was ordered goes out in its order, afterwards.
func TestOrdersWithTheIntakeDown(t *testing.T) {
	inWorld(t, func(w *world) {
		w.intake.fail(func(string) error { return queue.ErrUnavailable })
		open := lifecycle.Order{Action: lifecycle.OrderOpen, UpdateID: "o", Words: lifecycle.Words{Impact: incident.ImpactMinor, Components: []string{"a"}}}
		id := w.obeyed(open).IncidentID
		w.obeyed(lifecycle.Order{Action: lifecycle.OrderUpdate, IncidentID: id, UpdateID: "u", Words: lifecycle.Words{Components: []string{"b"}}})
		w.restart()
		if again := w.obeyed(open); !again.Duplicate || again.IncidentID != id {
			w.Errorf("the same order opens %+v", again)
		}
		w.obeyed(lifecycle.Order{Action: lifecycle.OrderResolve, IncidentID: id, UpdateID: "r"})
		w.want()
		w.intake.fail(nil)
		time.Sleep(longestPause)
		w.want(id+" investigating a", id+" investigating b", id+" resolved b")
		if ids := strings.Join(w.intake.ids, " "); ids != "o u r" {
			w.Errorf("the updates are %s", ids)
		}
	})
}

// TestAnOrderGivenAtOnceIsObeyedOnce: an operator's double click.
func TestAnOrderGivenAtOnceIsObeyedOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		var running sync.WaitGroup
		var mu sync.Mutex
		duplicates := 0
		for range 8 {
			running.Go(func() {
				done, err := w.order(works())
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					w.Error(err)
				} else if done.Duplicate {
					duplicates++
				}
			})
		}
		running.Wait()
		w.want("M scheduled db")
		if duplicates != 7 {
			w.Errorf("%d of 8 were duplicates", duplicates)
		}
	})
}

// TestAnOrderThatIsRefusedChangesNothing, also beside a monitor's case of that name.
func TestAnOrderThatIsRefusedChangesNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.report("g", "a")
		_, err := w.order(lifecycle.Order{Action: lifecycle.OrderCancel, IncidentID: "g"})
		if refused, ok := errors.AsType[*lifecycle.Refused](err); !ok || !refused.Unknown {
			w.Errorf("cancel what waits for nothing: %v", err)
		}
		time.Sleep(time.Minute)
		w.report("g")
		w.want("g investigating a", "g resolved a")
	})
}
