package probing

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tocsin/tocsin/internal/store"
)

// forget wants a service to be forgotten, and names its incident.
func (w *world) forget(service string) string {
	w.Helper()
	answer, err := w.watch.Forget(w.Context(), service)
	if err != nil {
		w.Fatal(err)
	}
	synctest.Wait()
	return answer.IncidentID
}

// TestAForgottenServiceEndsItsIncident: whoever heard that it is down hears the end, and
// it stays forgotten over a restart, until somebody probes it.
func TestAForgottenServiceEndsItsIncident(t *testing.T) {
	inWorld(t, func(w *world) {
		w.see("web", "a", true, 1)
		w.see("api", "a", false, 3)
		w.want(critical)
		if id := w.forget("api"); id != "probe-api" {
			w.Errorf("its incident is %q", id)
		}
		w.want(critical, resolved)
		w.receivers.mu.Lock()
		if e := w.receivers.events[1]; e.Message != "It is no longer watched." || e.ResolvedAt.IsZero() {
			w.Errorf("the end is %+v", e)
		}
		w.receivers.mu.Unlock()
		if all := w.watch.Services(); len(all) != 1 || all[0].Service != "web" {
			w.Errorf("watched are %+v", all)
		}
		if _, err := w.watch.Forget(w.Context(), "api"); !errors.Is(err, store.ErrNotFound) {
			w.Errorf("again: %v", err)
		}
		w.kill()
		w.start()
		if n := w.watch.Count(); n["down"] != 0 || n["operational"] != 1 {
			w.Errorf("after a restart there are %v", n)
		}
		time.Sleep(time.Hour)
		const completed = "probe-api completed critical api"
		w.want(critical, resolved, completed)

		// It begins anew: what failed before doesn't count.
		w.see("api", "a", false, 2)
		w.want(critical, resolved, completed)
		w.see("api", "a", false, 1)
		w.want(critical, resolved, completed, "probe-api-2 investigating critical api")
	})
}

// TestForgettingWhatIsWell tells nobody, nor does a change that nobody heard of yet.
func TestForgettingWhatIsWell(t *testing.T) {
	inWorld(t, func(w *world) {
		w.see("api", "a", true, 1)
		if id := w.forget("api"); id != "" {
			w.Errorf("its incident is %q", id)
		}
		w.faults.set(func(when string) error {
			if when == "before report" {
				return errors.New("not now")
			}
			return nil
		})
		w.see("api", "a", false, 3)
		w.faults.set(nothing)
		w.forget("api")
		time.Sleep(time.Minute)
		w.want()
		w.kill()
		w.start()
		time.Sleep(time.Minute)
		w.want()
		if all := w.watch.Services(); len(all) != 0 {
			w.Errorf("watched are %+v", all)
		}
	})
}

// TestForgettingIsRepeated: where it fails, or the process dies, at any step, the next
// attempt does the rest, and the end is told once.
func TestForgettingIsRepeated(t *testing.T) {
	for _, step := range []string{"before report", "after report", "before save", "after save"} {
		for _, dies := range []bool{false, true} {
			t.Run(fmt.Sprint(step, " dies=", dies), func(t *testing.T) {
				inWorld(t, func(w *world) {
					w.see("api", "a", false, 3)
					w.want(critical)
					trouble := errors.New("trouble")
					w.faults.set(func(when string) error {
						if when == step {
							return trouble
						}
						return nil
					})
					if _, err := w.watch.Forget(w.Context(), "api"); !errors.Is(err, trouble) {
						w.Fatalf("it is %v", err)
					}
					if dies {
						w.kill()
						w.start()
					}
					w.faults.set(nothing)
					_, err := w.watch.Forget(w.Context(), "api")
					if gone := dies && step == "after save"; gone != errors.Is(err, store.ErrNotFound) || !gone && err != nil {
						w.Fatal(err)
					}
					w.want(critical, resolved)
					w.kill()
					w.start()
					time.Sleep(time.Minute)
					w.want(critical, resolved)
					if all := w.watch.Services(); len(all) != 0 {
						w.Errorf("watched are %+v", all)
					}
				})
			})
		}
	}
}
