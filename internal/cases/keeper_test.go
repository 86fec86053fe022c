package cases

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/lifecycle"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
	sqlitestore "github.com/tocsin/tocsin/internal/store/sqlite"
	"github.com/tocsin/tocsin/queue"
)

// intake takes events, or fails.
type intake struct {
	mu     sync.Mutex
	events []string // "incident status", in order
	ids    []string
	bodies []string
	err    func(incidentID string) error
}

func (q *intake) Offer(_ context.Context, e *queue.Event) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	event, err := incident.Decode(e.Body)
	if err != nil {
		return err
	}
	if q.err != nil {
		if err := q.err(event.IncidentID); err != nil {
			return err
		}
	}
	q.events = append(q.events, event.IncidentID+" "+string(event.Status)+" "+strings.Join(event.AffectedComponents, ","))
	q.ids = append(q.ids, e.UpdateID)
	q.bodies = append(q.bodies, string(e.Body))
	return nil
}

func (q *intake) taken() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return strings.Join(q.events, "; ")
}

func (q *intake) fail(err func(string) error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.err = err
}

// world is a keeper over a real store, in virtual time.
type world struct {
	*testing.T
	dir    string
	db     *sqlitedb.DB
	store  *sqlitestore.Store
	intake *intake
	keeper *Keeper
	log    bytes.Buffer
	stop   func()
	// wrap puts something before the store.
	wrap func(Store) Store
}

func inWorld(t *testing.T, story func(w *world)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, dir: dir, intake: &intake{}}
		w.start()
		story(w)
		w.stop()
	})
}

func (w *world) start() {
	w.Helper()
	var err error
	if w.db, err = sqlitedb.Open(w.Context(), sqlitedb.Options{Dir: w.dir}); err != nil {
		w.Fatal(err)
	}
	w.store = sqlitestore.New(w.db, nil)
	var s Store = w.store
	if w.wrap != nil {
		s = w.wrap(s)
	}
	w.keeper = New(s, w.intake, Options{
		Rules: lifecycle.DefaultRules(), KeepAudit: time.Hour, Log: slog.New(slog.NewTextHandler(&w.log, nil)),
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = w.keeper.Run(ctx) // nil
	}()
	w.stop = func() {
		cancel()
		<-ended
		if err := w.db.Close(); err != nil {
			w.Error(err)
		}
	}
}

// restart is what the next process finds.
func (w *world) restart() {
	w.Helper()
	w.stop()
	w.start()
}

// report says that signals of a group fire; with none, that all has ended.
func (w *world) report(group string, keys ...string) lifecycle.Answer {
	w.Helper()
	r := &lifecycle.Report{Source: "alerts", Page: "default", Group: group, Whole: true}
	for _, key := range keys {
		r.Signals = append(r.Signals, lifecycle.Signal{Key: key, Firing: true, Impact: incident.ImpactCritical, Components: []string{key}, StartedAt: time.Now()})
	}
	if err := r.Check(); err != nil {
		w.Fatal(err)
	}
	answers, err := w.keeper.Report(w.Context(), digestOf(group, keys...), []*lifecycle.Report{r})
	if err != nil {
		w.Fatal(err)
	}
	return answers[0]
}

func digestOf(group string, keys ...string) (d [32]byte) {
	copy(d[:], group+" "+strings.Join(keys, " "))
	return d
}

func (w *world) want(events ...string) {
	w.Helper()
	synctest.Wait()
	if got, want := w.intake.taken(), strings.Join(events, "; "); got != want {
		w.Fatalf("the intake got\n    %s\nnot %s", got, want)
	}
}

func TestTimersAreKeptAcrossRestarts(t *testing.T) {
	inWorld(t, func(w *world) {
		w.report("g", "a")
		w.want("g investigating a")
		time.Sleep(time.Second)
		w.report("g", "a", "b")
		w.want("g investigating a")
		time.Sleep(4 * time.Second) // the window
		w.want("g investigating a", "g investigating a,b")
		time.Sleep(time.Minute)
		w.report("g")
		w.want("g investigating a", "g investigating a,b", "g resolved a,b")
		time.Sleep(10 * time.Minute)
		w.restart()
		time.Sleep(5*time.Minute - time.Second)
		w.want("g investigating a", "g investigating a,b", "g resolved a,b")
		time.Sleep(time.Second)
		w.want("g investigating a", "g investigating a,b", "g resolved a,b", "g completed a,b")
		if a := w.report("g", "a"); a.IncidentID != "g-2" || a.Duplicate {
			w.Errorf("the next one is %+v", a)
		}
		w.want("g investigating a", "g investigating a,b", "g resolved a,b", "g completed a,b", "g-2 investigating a")
	})
}

func TestTimersOfManyCases(t *testing.T) {
	inWorld(t, func(w *world) {
		const groups = 3 * dueAtOnce
		for i := range groups {
			w.report(fmt.Sprintf("g%d", i), "a")
		}
		for i := range groups {
			w.report(fmt.Sprintf("g%d", i), "a", "b")
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if len(w.intake.events) != 2*groups {
			w.Errorf("%d updates of %d incidents", len(w.intake.events), groups)
		}
	})
}

func TestTheBrokerIsDown(t *testing.T) {
	inWorld(t, func(w *world) {
		w.intake.fail(func(string) error { return queue.ErrUnavailable })
		if a := w.report("g", "a"); a.IncidentID != "g" || a.UpdateID == "" {
			w.Errorf("while it is down the answer is %+v", a)
		}
		time.Sleep(time.Minute)
		w.report("g", "b")
		w.report("h", "c")
		time.Sleep(time.Hour)
		w.restart()
		w.report("g")
		w.want()
		w.intake.fail(nil)
		time.Sleep(longestPause)
		synctest.Wait()
		slices.SortStableFunc(w.intake.events, func(a, b string) int { return strings.Compare(a[:1], b[:1]) })
		w.want("g investigating a", "g investigating b", "g resolved b", "h investigating c")
		if !strings.Contains(w.log.String(), "trying again") {
			w.Errorf("the log has %s", &w.log)
		}
	})
}

// TestOneThatFailsHoldsUpItsOwnAlone has the intake refuse the events of one incident.
func TestOneThatFailsHoldsUpItsOwnAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.intake.fail(func(incidentID string) error {
			if incidentID == "g" {
				return errors.New("not this one")
			}
			return nil
		})
		w.report("g", "a")
		time.Sleep(time.Minute)
		w.report("g", "b")
		w.report("h", "c")
		time.Sleep(time.Minute)
		w.want("h investigating c")
		w.intake.fail(nil)
		time.Sleep(longestPause)
		w.want("h investigating c", "g investigating a", "g investigating b")
	})
}

// TestWhatFailsKeepsItsPlace has one offer fail of several that wait for an incident.
func TestWhatFailsKeepsItsPlace(t *testing.T) {
	inWorld(t, func(w *world) {
		w.intake.fail(func(string) error { return queue.ErrUnavailable })
		w.report("g", "a")
		time.Sleep(time.Minute)
		w.report("g", "b")
		failures := 0
		w.intake.fail(func(string) error {
			if failures++; failures == 1 {
				return queue.ErrUnavailable
			}
			return nil
		})
		time.Sleep(time.Minute)
		w.want("g investigating a", "g investigating b")
	})
}

// forgetful loses that events were offered, as a crash after the intake's confirm
// does.
type forgetful struct{ Store }

func (forgetful) Offered(context.Context, []int64) error { return store.ErrFull }

func TestWhatACrashOffersAgainIsKnown(t *testing.T) {
	inWorld(t, func(w *world) {
		w.wrap = func(s Store) Store { return forgetful{s} }
		w.restart()
		w.report("g", "a")
		time.Sleep(time.Hour)
		w.want("g investigating a") // once in a process
		w.wrap = nil
		w.restart()
		w.want("g investigating a", "g investigating a")
		if w.intake.ids[0] != w.intake.ids[1] || w.intake.ids[0] == "" {
			w.Errorf("the same update comes as %q", w.intake.ids)
		}
		time.Sleep(time.Hour)
		w.want("g investigating a", "g investigating a")
	})
}

func TestADamagedCaseHoldsUpNobody(t *testing.T) {
	inWorld(t, func(w *world) {
		if err := w.store.StepCases(w.Context(), []store.CaseKey{{Page: "default", Group: "bad"}}, func(int, []byte) (store.CaseChange, error) {
			return store.CaseChange{State: []byte(`{"version":99}`), DueAt: time.Now().Add(time.Second)}, nil
		}); err != nil {
			w.Fatal(err)
		}
		w.report("g", "a")
		time.Sleep(time.Second)
		w.report("g", "a", "b")
		time.Sleep(time.Minute)
		w.want("g investigating a", "g investigating a,b")
		if !strings.Contains(w.log.String(), "version 99") {
			w.Errorf("the log has %s", &w.log)
		}
		r := &lifecycle.Report{Source: "alerts", Page: "default", Group: "bad"}
		if _, err := w.keeper.Report(w.Context(), [32]byte{}, []*lifecycle.Report{r}); err == nil || !strings.Contains(err.Error(), "newer") {
			w.Errorf("a report of it: %v", err)
		}
	})
}

func TestAnswers(t *testing.T) {
	inWorld(t, func(w *world) {
		first := w.report("g", "a")
		if first.Duplicate || first.Page != "default" || first.IncidentID != "g" {
			w.Errorf("at first: %+v", first)
		}
		known, ok := w.keeper.Recall(digestOf("g", "a"))
		if !ok || len(known) != 1 || !known[0].Duplicate || known[0].UpdateID != first.UpdateID {
			w.Errorf("again: %+v, %v", known, ok)
		}
		time.Sleep(time.Second)
		if waits := w.report("g", "b"); waits.Duplicate || waits.UpdateID != first.UpdateID {
			w.Errorf("within the window: %+v", waits)
		}
		if _, ok := w.keeper.Recall(digestOf("g", "a")); ok {
			w.Error("what isn't the last report is recalled")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if _, ok := w.keeper.Recall(digestOf("g", "b")); ok {
			w.Error("an answer is recalled that a timer made wrong")
		}
		if now := w.report("g", "b"); now.UpdateID == first.UpdateID {
			w.Errorf("after the window: %+v", now)
		}
		w.restart()
		if _, ok := w.keeper.Recall(digestOf("g", "b")); ok {
			w.Error("a new process recalls something")
		}
	})
}

func TestTheAuditLogSaysWhy(t *testing.T) {
	inWorld(t, func(w *world) {
		w.report("g", "a")
		time.Sleep(time.Minute)
		w.report("g")
		time.Sleep(15 * time.Minute)
		synctest.Wait()
		log, err := w.store.AuditLog(w.Context(), store.AuditFilter{Page: "default", IncidentID: "g"})
		if err != nil || len(log.Entries) != 3 {
			w.Fatalf("%d entries, %v", len(log.Entries), err)
		}
		for i, action := range []string{"opened", "resolved", "completed"} {
			e := log.Entries[i]
			if e.Action != action || e.Number != i+1 || e.UpdateID != w.intake.ids[i] || e.Cause == "" || e.Source != "alerts" || e.At.IsZero() {
				w.Errorf("entry %d is %+v", i, e)
			}
		}
		time.Sleep(3 * time.Hour)
		if log, err := w.store.AuditLog(w.Context(), store.AuditFilter{}); err != nil || len(log.Entries) != 0 {
			w.Errorf("%d entries are kept, %v", len(log.Entries), err)
		}
	})
}

// TestMemoryFollowsTheCommits tells of two reports of a case in the wrong order, and
// of more than are kept.
func TestMemoryFollowsTheCommits(t *testing.T) {
	m := newMemory()
	key := []store.CaseKey{{Page: "default", Group: "g"}}
	a, b := digestOf("a"), digestOf("b")
	m.remember(b, 2, key, []lifecycle.Answer{{UpdateID: "b"}})
	m.remember(a, 1, key, []lifecycle.Answer{{UpdateID: "a"}})
	if _, known := m.recall(a); known {
		t.Error("the earlier report is taken for the last")
	}
	if answers, known := m.recall(b); !known || answers[0].UpdateID != "b" {
		t.Error("the last report isn't known")
	}
	for i := range 3 * remembered {
		group := fmt.Sprint(i)
		m.remember(digestOf(group), uint64(i), []store.CaseKey{{Page: "default", Group: group}}, []lifecycle.Answer{{}})
	}
	if len(m.answers) > remembered || len(m.last) > remembered {
		t.Errorf("%d answers and %d cases are kept", len(m.answers), len(m.last))
	}
	if _, known := m.recall(b); known {
		t.Error("nothing is ever forgotten")
	}
}

func TestForgottenReports(t *testing.T) {
	m := newMemory()
	one, two := store.CaseKey{Page: "1", Group: "g"}, store.CaseKey{Page: "2", Group: "g"}
	both, single := digestOf("both"), digestOf("single")
	m.remember(both, 1, []store.CaseKey{one, two}, make([]lifecycle.Answer, 2))
	m.remember(single, 2, []store.CaseKey{one}, make([]lifecycle.Answer, 1))
	if _, known := m.recall(both); known {
		t.Error("a body is known that isn't the last of all its cases")
	}
	m.forget([]store.CaseKey{one})
	if _, known := m.recall(single); known {
		t.Error("a case that moved on is recalled")
	}
	m.remember(both, 1, []store.CaseKey{one, two}, make([]lifecycle.Answer, 2))
	if _, known := m.recall(both); known {
		t.Error("a report from before is taken for the last")
	}
}
