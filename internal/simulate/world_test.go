package simulate

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store/sqlite"
	"github.com/tocsin/tocsin/queue"
	queuesqlite "github.com/tocsin/tocsin/queue/sqlite"
)

// world is what a scenario happens to. It outlives its processes.
type world struct {
	sc       *scenario
	mutation *mutation
	ctx      context.Context
	began    time.Time
	clock    clock
	db       *sqlitedb.DB
	store    *sqlite.Store
	broker   *broker // nil where the queue is embedded
	peers    *peers

	processes int
	doomed    *doom // waits for the next process

	mu      sync.Mutex
	process *process // the one that runs, nil between two
	closing bool
	storm   struct{ store, queue time.Time } // until when they fail
	updates []*offered
	told    []told
	targets [][]version          // by target
	ended   map[string]time.Time // incidents stopped by an operator, when last
	faults  []fault
	// asides are steps that go on by themselves, pending how many.
	asides  sync.WaitGroup
	pending int
}

// offered is an update that a producer sent until it was confirmed.
type offered struct {
	id        string
	incident  string
	update    update
	stale     bool
	began     time.Time
	confirmed time.Time
}

// version is how a target was from a time on; nil is deleted.
type version struct {
	since  time.Time
	target *incident.Target
}

type told struct {
	at   time.Time
	what string
}

// fault is a broken promise.
type fault struct {
	promise string // A, D, O, L, I, R, B, S, or E for an engine that gave up
	what    string
}

func (f fault) String() string { return f.promise + ": " + f.what }

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, told{time.Now(), fmt.Sprintf(format, args...)})
}

func (w *world) broken(promise, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, fault{promise, fmt.Sprintf(format, args...)})
}

// machine is where worlds are run: a directory, in memory where there is one, and
// an empty database to copy.
type machine struct {
	dir   string
	empty []byte
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "tocsin-simulate-")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	first := filepath.Join(dir, "empty")
	db, err := sqlitedb.Open(t.Context(), sqlitedb.Options{Dir: first, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	empty, err := os.ReadFile(filepath.Join(first, "tocsin.db"))
	if err != nil {
		t.Fatal(err)
	}
	return &machine{dir: dir, empty: empty}
}

// run lets a scenario happen and returns the world it left behind, judged.
func (m *machine) run(t *testing.T, sc *scenario, mu *mutation) *world {
	dir, err := os.MkdirTemp(m.dir, "world-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.WriteFile(filepath.Join(dir, "tocsin.db"), m.empty, 0o600); err != nil {
		t.Fatal(err)
	}
	w := &world{sc: sc, mutation: mu, ended: make(map[string]time.Time)}
	synctest.Test(t, func(t *testing.T) {
		w.ctx, w.began = t.Context(), time.Now()
		w.clock.began = w.began
		w.peers = newPeers(w)
		w.open(t, dir)
		defer func() {
			if err := w.db.Close(); err != nil {
				t.Error(err)
			}
		}()
		w.subscribe(t)
		w.live()
		w.judge(t)
	})
	return w
}

func (w *world) open(t *testing.T, dir string) {
	var err error
	if w.db, err = sqlitedb.Open(w.ctx, sqlitedb.Options{Dir: dir, Readers: 2, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	w.store = sqlite.New(w.db, func(t *incident.Target) (group, provider string, err error) {
		p := w.sc.providers[w.providerOf(t.Address)]
		return p.group, p.name, nil
	})
	if w.sc.broker {
		w.broker = newBroker()
	}
}

// address is where a target is, and says who serves it.
func address(provider, target int) string {
	return fmt.Sprintf("https://%d.example/%d", provider, target)
}

func (w *world) providerOf(address string) (provider int) {
	if _, err := fmt.Sscanf(address, "https://%d.example/", &provider); err != nil {
		panic(err)
	}
	return provider
}

// subscribe adds the targets; target i of the scenario has the ID i+1.
func (w *world) subscribe(t *testing.T) {
	list := make([]*incident.Target, len(w.sc.targets))
	for i, s := range w.sc.targets {
		list[i] = &incident.Target{
			ExternalID: fmt.Sprint("sub-", i+1), Channel: "webhook", Address: address(s.provider, i), Page: "default",
			Components: s.components, MinImpact: s.least, Visibility: incident.Public, Locale: "en",
			EveryUpdate: s.every, State: incident.StateActive, Format: "tocsin",
		}
		if s.private {
			list[i].Visibility = incident.Private
		}
		if s.absent {
			list[i].State = incident.StatePaused
		}
	}
	if _, err := w.store.Upsert(w.ctx, list); err != nil {
		t.Fatal(err)
	}
	w.targets = make([][]version, len(list))
	for i, target := range list {
		if target.ID != int64(i+1) {
			t.Fatalf("target %d has ID %d", i+1, target.ID)
		}
		w.targets[i] = []version{{w.began, target}}
	}
}

// connect returns a new process's queue.
func (w *world) connect() queues {
	if w.broker != nil {
		return w.broker.connect()
	}
	q, err := queuesqlite.New(w.ctx, w.db, queuesqlite.Options{Now: w.clock.now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		panic(err)
	}
	return q
}

// live plays the scenario and waits until everything that was accepted has an
// outcome, or should have one for long.
func (w *world) live() {
	var keeping, producing sync.WaitGroup
	keeping.Go(w.keep)
	offers := make(chan *letter, len(w.sc.steps))
	producing.Go(func() {
		for l := range offers {
			w.produce(l)
		}
	})
	steps := slices.Clone(w.sc.steps)
	slices.SortStableFunc(steps, func(a, b step) int { return int(a.at - b.at) })
	last := map[int]*letter{}
	for n, s := range steps {
		// Never at the instant of the first process's start.
		time.Sleep(time.Until(w.began.Add(s.at + time.Millisecond)))
		w.perform(n, s, last, offers)
	}
	close(offers)
	producing.Wait()
	w.settle()
	w.mu.Lock()
	w.closing = true
	p := w.process
	w.mu.Unlock()
	if p != nil {
		p.cancel()
	}
	keeping.Wait()
	w.asides.Wait()
}

// settle waits for the end of everything, without further mishaps.
func (w *world) settle() {
	deadline := time.Now().Add(w.sc.engine.life + 10*time.Minute)
	mercy := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		time.Sleep(time.Second)
		if time.Now().After(mercy) {
			w.mu.Lock()
			if w.doomed = nil; w.process != nil {
				w.process.mu.Lock()
				w.process.doomed = nil
				w.process.mu.Unlock()
			}
			w.mu.Unlock()
		}
		if w.quiet() {
			return
		}
		if time.Now().After(mercy.Add(time.Minute)) {
			time.Sleep(4 * time.Second)
		}
	}
}

// quiet says whether nothing is left to do.
func (w *world) quiet() bool {
	w.mu.Lock()
	waits := w.pending > 0 || w.process == nil || w.process.isDead()
	w.mu.Unlock()
	if waits || w.broker != nil && !w.broker.empty() {
		return false
	}
	left := false
	if err := w.db.Read(w.ctx, func(tx *sqlitedb.Tx) error {
		rows := tx.Query(`SELECT 1 FROM deliveries WHERE outcome = 0 UNION ALL SELECT 1 FROM updates WHERE planning = 1
			UNION ALL SELECT 1 FROM intake LIMIT 1`)
		left = rows.Next()
		rows.Close()
		return rows.Err()
	}); err != nil {
		panic(err)
	}
	return !left
}

// keep keeps a process running, as an init system does.
func (w *world) keep() {
	for {
		w.start()
		p := w.process
		err := <-p.ended
		p.cancel()
		w.mu.Lock()
		w.process = nil
		closing := w.closing
		w.mu.Unlock()
		// An engine may give up before it has begun, when there is no store.
		began := err == nil || !strings.Contains(err.Error(), "registering this worker") && !strings.Contains(err.Error(), "reading what is paused")
		down := 100 * time.Millisecond
		switch {
		case p.isDead():
			if l, ok := p.queue.(*link); ok {
				_ = l.Close()
			}
			if p.doomed != nil {
				down += p.doomed.down
			}
		case err != nil && began:
			w.broken("E", "process %d ended with: %v", p.n, err)
			closing = true
		default:
			w.note("process %d stopped: %v", p.n, err)
			if err := p.queue.Close(); err != nil {
				w.broken("E", "closing the queue: %v", err)
			}
		}
		if closing {
			return
		}
		time.Sleep(down)
	}
}

// letter is an event on its way to the intake.
type letter struct {
	*offered
	body []byte
}

func (w *world) write(n int, s step) *letter {
	o := &offered{id: fmt.Sprint("u-", n), incident: fmt.Sprint("INC-", s.incident), update: s.update, stale: s.act == stale}
	event := map[string]any{
		"incident_id": o.incident, "status": s.update.status, "impact": s.update.impact,
		"affected_components": append([]string{}, s.update.components...), "started_at": "1999-12-31T00:00:00Z", "title": o.id,
	}
	if s.update.private {
		event["visibility"] = incident.Private
	}
	if s.act == stale {
		event["updated_at"] = "1999-12-31T12:00:00Z"
	}
	body, err := json.Marshal(event)
	if err != nil {
		panic(err)
	}
	return &letter{o, body}
}

// produce offers an event until it is confirmed, as producers are told to.
func (w *world) produce(l *letter) {
	w.mu.Lock()
	if l.began.IsZero() {
		l.began = time.Now()
		w.updates = append(w.updates, l.offered)
	}
	w.mu.Unlock()
	for {
		e := &queue.Event{Body: l.body, UpdateID: l.id, ReceivedAt: w.clock.now(), Source: "http"}
		if err := w.offer(e); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if l.confirmed.IsZero() {
		l.confirmed = time.Now()
	}
}

func (w *world) offer(e *queue.Event) error {
	if w.broker != nil {
		return w.broker.connect().Offer(w.ctx, e)
	}
	w.mu.Lock()
	p := w.process
	w.mu.Unlock()
	if p == nil {
		return errDead
	}
	return p.call(w.ctx, "queue.offer", func() error { return p.queue.Offer(w.ctx, e) })
}
