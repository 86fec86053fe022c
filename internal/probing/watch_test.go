package probing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/cases"
	"github.com/tocsin/tocsin/internal/lifecycle"
	"github.com/tocsin/tocsin/internal/probe"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
	sqlitestore "github.com/tocsin/tocsin/internal/store/sqlite"
	"github.com/tocsin/tocsin/queue"
)

// receivers get what the lifecycle publishes.
type receivers struct {
	mu     sync.Mutex
	events []*incident.Event
	ids    map[string]bool
}

func (r *receivers) Offer(_ context.Context, e *queue.Event) error {
	event, err := incident.Decode(e.Body)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ids[e.UpdateID] {
		return nil // a known duplicate
	}
	if r.ids == nil {
		r.ids = make(map[string]bool)
	}
	r.ids[e.UpdateID] = true
	r.events = append(r.events, event)
	return nil
}

func (r *receivers) heard() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []string
	for _, e := range r.events {
		list = append(list, fmt.Sprintf("%s %s %s %s", e.IncidentID, e.Status, e.Impact, strings.Join(e.AffectedComponents, ",")))
	}
	return strings.Join(list, "; ")
}

func (r *receivers) first() *incident.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events[0]
}

type counts struct {
	mu sync.Mutex
	of map[string]int
}

func (c *counts) all() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.of)
}

func (c *counts) ProbeResults(result string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = make(map[string]int)
	}
	c.of[result] += n
}

// faulty has calls fail, before or after they did what they are for.
type faulty struct {
	store.Probes
	Lifecycle
	mu sync.Mutex
	// fails is asked with "before save", "after save", "before report" and "after
	// report".
	fails func(when string) error
	asked map[string]int
}

func (f *faulty) set(fails func(when string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails = fails
}

func (f *faulty) ask(when string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asked == nil {
		f.asked = make(map[string]int)
	}
	f.asked[when]++
	return f.fails(when)
}

func (f *faulty) count(when string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[when]
}

func (f *faulty) fault(call string, do func() error) error {
	if err := f.ask("before " + call); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return f.ask("after " + call)
}

func (f *faulty) SaveServices(ctx context.Context, states map[string][]byte, audit ...store.AuditEntry) error {
	return f.fault("save", func() error { return f.Probes.SaveServices(ctx, states, audit...) })
}

func (f *faulty) Report(ctx context.Context, digest [32]byte, reports []*lifecycle.Report) (answers []lifecycle.Answer, err error) {
	err = f.fault("report", func() error {
		answers, err = f.Lifecycle.Report(ctx, digest, reports)
		return err
	})
	return answers, err
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// world is a watch over a real store and lifecycle, in virtual time.
type world struct {
	*testing.T
	dir       string
	receivers *receivers
	counts    *counts
	store     *sqlitestore.Store
	watch     *Watch
	faults    *faulty
	log       lockedBuffer
	kill      func() // without an orderly stop
}

func inWorld(t *testing.T, story func(w *world)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, dir: dir, receivers: &receivers{}, counts: &counts{}}
		w.start()
		defer func() { w.kill() }()
		story(w)
	})
}

func nothing(string) error { return nil }

func (w *world) start() {
	w.Helper()
	db, err := sqlitedb.Open(w.Context(), sqlitedb.Options{Dir: w.dir})
	if err != nil {
		w.Fatal(err)
	}
	w.store = sqlitestore.New(db, nil)
	rules := lifecycle.DefaultRules()
	rules.Promote = append(rules.Promote, lifecycle.Promotion{Visibility: incident.Public, Impact: incident.ImpactMinor})
	log := slog.New(slog.NewTextHandler(&w.log, nil))
	keeper := cases.New(w.store, w.receivers, cases.Options{Rules: rules, Log: log})
	w.faults = &faulty{Probes: w.store, Lifecycle: keeper, fails: nothing}
	if w.watch, err = New(w.Context(), w.faults, w.faults, Options{Page: "default", Rules: probe.DefaultRules(), Meter: w.counts, Log: log}); err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = keeper.Run(ctx) })  // nil
	running.Go(func() { _ = w.watch.Run(ctx) }) // nil
	w.kill = func() {
		cancel()
		running.Wait()
		if err := db.Close(); err != nil {
			w.Error(err)
		}
	}
}

// see has a location see a service so many times, ten seconds apart.
func (w *world) see(service, location string, ok bool, times int) {
	w.Helper()
	for range times {
		body := fmt.Sprintf(`{"service":%q,"location":%q,"ok":%v,"at":%q}`, service, location, ok, time.Now().Format(time.RFC3339Nano))
		if accepted, ignored, err := w.watch.Take([]byte(body)); accepted != 1 || ignored != 0 || err != nil {
			w.Fatalf("accepted %d, ignored %d, %v", accepted, ignored, err)
		}
		time.Sleep(10 * time.Second)
	}
	synctest.Wait()
}

func (w *world) want(events ...string) {
	w.Helper()
	synctest.Wait()
	if got, want := w.receivers.heard(), strings.Join(events, "; "); got != want {
		w.Fatalf("heard was\n    %s\nnot %s", got, want)
	}
}

const (
	minor    = "probe-api investigating minor api"
	critical = "probe-api investigating critical api"
	resolved = "probe-api resolved critical api"
)

func TestAServiceBecomesAnIncident(t *testing.T) {
	inWorld(t, func(w *world) {
		w.see("api", "a", true, 1)
		w.see("api", "b", true, 1)
		w.see("api", "a", false, 2)
		w.want()
		w.see("api", "a", false, 1)
		w.want(minor) // exactly half says so
		w.see("api", "b", false, 3)
		w.want(minor, critical)
		w.see("api", "a", true, 5)
		w.want(minor, critical, minor)
		w.see("api", "b", true, 5)
		w.want(minor, critical, minor) // four changes in ten minutes: it may flap
		time.Sleep(probe.DefaultRules().Settle)
		w.want(minor, critical, minor, "probe-api resolved minor api")
		time.Sleep(time.Hour)
		w.want(minor, critical, minor, "probe-api resolved minor api", "probe-api completed minor api")

		if n := w.faults.count("before report"); n != 4 {
			w.Errorf("%d reports were made of four changes", n)
		}
		first := w.receivers.first()
		if first.Title != "api is degraded" || first.Message == "" || !strings.Contains(string(first.Details), "fails from a") ||
			strings.Contains(first.Title+first.Message, "from a") {
			w.Errorf("it is told as %+v with %s", first, first.Details)
		}
		if n := w.watch.Count(); n["operational"] != 1 || n["degraded"]+n["down"] != 0 {
			w.Errorf("counted are %v", n)
		}
		if c := w.counts.all(); c["accepted"] != 18 || c["ignored"]+c["invalid"] != 0 {
			w.Errorf("counted are the results %v", c)
		}
	})
}

// The third failure may come before a crash or after it.
func TestHealthOutlivesTheProcess(t *testing.T) {
	inWorld(t, func(w *world) {
		w.see("api", "a", false, 2)
		w.kill()
		w.start()
		w.see("api", "a", false, 1)
		w.want(critical)
		w.see("api", "a", true, 4)
		w.kill()
		w.start()
		w.want(critical)
		w.see("api", "a", true, 1)
		w.want(critical, resolved)
		for range 3 {
			w.kill()
			w.start()
			time.Sleep(10 * time.Second)
		}
		w.want(critical, resolved)
	})
}

func TestAnOrderlyStopForgetsNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.see("api", "a", false, 2)
		third := fmt.Sprintf(`{"service":"api","location":"a","ok":false,"at":%q}`, time.Now().Format(time.RFC3339Nano))
		if _, _, err := w.watch.Take([]byte(third)); err != nil {
			w.Fatal(err)
		}
		w.watch.Close()
		w.kill()
		w.start()
		time.Sleep(10 * time.Second)
		w.want(critical)
		if all := w.watch.Services(); len(all) != 1 || all[0].Health != probe.Down || all[0].Failing != 1 {
			w.Errorf("the services are %+v", all)
		}
	})
}

// The process dies in the round in which a new service fails for the first time, and
// the service is well when the next one begins: what was told has its end told.
func TestACrashLeavesNoIncidentOpen(t *testing.T) {
	for _, crash := range []string{"before save", "after save", "before report", "after report"} {
		t.Run(crash, func(t *testing.T) {
			inWorld(t, func(w *world) {
				died := false
				w.faults.set(func(when string) error {
					if died = died || when == crash; died {
						return errors.New("the process died")
					}
					return nil
				})
				const failed = `{"service":"api","location":"a","ok":false}`
				if _, _, err := w.watch.Take([]byte("[" + failed + "," + failed + "," + failed + "]")); err != nil {
					w.Fatal(err)
				}
				time.Sleep(10 * time.Second)
				w.kill()
				w.start()
				w.see("api", "a", true, 6)
				if crash == "before save" {
					w.want() // as if nothing had been sent
				} else {
					w.want(critical, resolved)
				}
			})
		})
	}
}

func TestWhatCouldNotBeSavedIsSavedLater(t *testing.T) {
	inWorld(t, func(w *world) {
		w.faults.set(func(when string) error {
			if when == "before save" {
				return errors.New("the disk is full")
			}
			return nil
		})
		w.see("api", "a", false, 2)
		w.faults.set(nothing)
		time.Sleep(10 * time.Second)
		w.kill()
		w.start()
		w.see("api", "a", false, 1)
		w.want(critical)
	})
}

// A crash at each step of a round: before and after it saves, reports, saves again.
func TestACrashAtAnyStepTellsOnce(t *testing.T) {
	for _, crash := range []string{"before save 1", "after save 1", "before report 1", "after report 1", "before save 2", "after save 2"} {
		t.Run(crash, func(t *testing.T) {
			inWorld(t, func(w *world) {
				dead := errors.New("the process died")
				stop := func() func(string) error {
					calls, died := map[string]int{}, false
					return func(when string) error {
						calls[when]++
						if died = died || fmt.Sprintf("%s %d", when, calls[when]) == crash; died {
							return dead // nothing works any more
						}
						return nil
					}
				}
				w.see("api", "a", false, 2)
				w.faults.set(stop())
				w.see("api", "a", false, 1)
				w.kill()
				w.start()
				w.see("api", "a", false, 3)
				w.want(critical)
				w.faults.set(stop())
				w.see("api", "a", true, 5)
				w.kill()
				w.start()
				w.see("api", "a", true, 5)
				w.want(critical, resolved)
			})
		})
	}
}

// What the lifecycle took, though the call failed, is not forgotten when the service
// is well again before the next attempt.
func TestAReportThatFailedMayBeKnown(t *testing.T) {
	inWorld(t, func(w *world) {
		broken := errors.New("no answer")
		w.faults.set(func(when string) error {
			if when == "after report" {
				return broken
			}
			return nil
		})
		w.see("api", "a", false, 3)
		w.want(critical)
		w.faults.set(func(string) error { return broken })
		w.see("api", "a", true, 5)
		w.want(critical)
		w.faults.set(nothing)
		time.Sleep(time.Minute)
		w.want(critical, resolved)
		if log := w.log.String(); strings.Count(log, "trying again") != 1 || strings.Count(log, "told again") != 1 {
			w.Errorf("logged is\n%s", log)
		}
	})
}

func TestManyServices(t *testing.T) {
	inWorld(t, func(w *world) {
		const services = 600
		for range 3 {
			var list []string
			for i := range services {
				list = append(list, fmt.Sprintf(`{"service":"s%04d","location":"a","ok":false}`, i))
			}
			if accepted, _, err := w.watch.Take([]byte("[" + strings.Join(list, ",") + "]")); accepted != services || err != nil {
				w.Fatalf("%d, %v", accepted, err)
			}
			time.Sleep(time.Minute)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := strings.Count(w.receivers.heard(), "critical"); n != services {
			w.Errorf("%d were told", n)
		}
		w.kill()
		w.start()
		if n := w.watch.Count(); n["down"] != services {
			w.Errorf("after a restart there are %v", n)
		}
	})
}

func TestWhatIsInvalidIsCounted(t *testing.T) {
	inWorld(t, func(w *world) {
		_, _, err := w.watch.Take([]byte(`[{"service":"api","location":"a","ok":true},{"service":"api","location":"a"}]`))
		if bad, ok := errors.AsType[*incident.Invalid](err); !ok || bad.Field != "results[1].ok" {
			w.Errorf("the error is %v", err)
		}
		accepted, ignored, err := w.watch.Take([]byte(`[{"service":"api","location":"a","ok":true,"at":"1999-01-01T00:00:00Z"}]`))
		if accepted != 0 || ignored != 1 || err != nil {
			w.Errorf("accepted %d, ignored %d, %v", accepted, ignored, err)
		}
		if c := w.counts.all(); c["invalid"] != 1 || c["ignored"] != 1 || c["accepted"] != 0 || len(w.watch.Services()) != 0 {
			w.Errorf("counted are %v, and services %v", c, w.watch.Services())
		}
	})
}

func TestGroups(t *testing.T) {
	long := strings.Repeat("ü", 64)
	for _, service := range []string{"api", strings.Repeat("a", 90), strings.Repeat("a", 128), long} {
		r := reportOf(probe.Change{Service: service, Transition: probe.Transition{To: probe.Down, Began: time.Unix(0, 0)}}, "default")
		group := r.Group
		if err := r.Check(); err != nil || r.Group != group || !strings.HasPrefix(group, "probe-") {
			t.Errorf("%s: %s, %v", service, group, err)
		}
	}
	if groupOf(strings.Repeat("a", 127)) == groupOf(strings.Repeat("a", 128)) {
		t.Error("two services have one group")
	}
}
