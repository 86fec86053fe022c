package dispatcher_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
	"github.com/tocsin/tocsin/internal/store/sqlite"
	"github.com/tocsin/tocsin/queue"
	"github.com/tocsin/tocsin/queue/rabbitmq"
	queuesqlite "github.com/tocsin/tocsin/queue/sqlite"
	"github.com/tocsin/tocsin/ratelimit"
)

// world is an engine with the real store and the real embedded queue, in
// virtual time; only the far side of the channel is scripted. It outlives
// engines: they crash, and others begin on what is durable.
type world struct {
	t     *testing.T
	dir   string
	db    *sqlitedb.DB
	store *sqlite.Store
	queue queues
	// broker is the URL of a RabbitMQ to use instead of the embedded queue:
	// time is then real.
	broker string
	// relay is who serves mail, "" for nobody; unrouted leaves targets with whom
	// they were written for.
	relay    string
	unrouted bool
	// shared has all webhooks at one provider; provider, if set, says at which.
	shared   bool
	provider func(*incident.Target) string
	// ahead is how far the machine's clock is set ahead of what it was.
	ahead atomic.Int64
	peer  *peer
	// producer is who is called back.
	producer producer
	meter    *counts

	// ledger and options change the engine's view, to disable a defence.
	ledger  func(dispatcher.Ledger) dispatcher.Ledger
	options func(*dispatcher.Options)

	published int
	fail      func(dispatcher.Failpoint) error
	engine    *dispatcher.Engine
	cancel    context.CancelFunc
	ended     chan error
}

// queues is both ports of one queue.
type queues interface {
	queue.Queue
	queue.Intake
}

// brokerPatience is how long anything may take with a real broker, on a machine that has
// much else to do.
const brokerPatience = 3 * time.Minute

// inWorld runs a test in virtual time, over the embedded queue.
func inWorld(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, dir: dir, peer: &peer{}, meter: &counts{outcomes: map[dispatcher.Outcome]int{}}}
		w.open()
		defer w.close()
		f(t, w)
	})
}

func (w *world) open() {
	w.t.Helper()
	var err error
	ctx := w.t.Context()
	if w.db, err = sqlitedb.Open(ctx, sqlitedb.Options{Dir: w.dir, Log: slog.New(slog.DiscardHandler)}); err != nil {
		w.t.Fatal(err)
	}
	w.store = sqlite.New(w.db, func(t *incident.Target) (string, string, error) {
		if t.Channel == incident.ChannelSMTP {
			return "smtp:" + w.relay, w.relay, nil
		}
		if w.provider != nil {
			return "webhook", w.provider(t), nil
		}
		if w.shared {
			return "webhook", "https://one.example", nil
		}
		return "webhook", t.Address, nil
	})
	if w.broker == "" {
		w.queue, err = queuesqlite.New(ctx, w.db, queuesqlite.Options{Now: w.clock})
	} else {
		w.queue, err = rabbitmq.Open(ctx, rabbitmq.Options{
			URL: w.broker, Groups: w.groups(), Exclusive: true, Logger: slog.New(slog.NewTextHandler(w.t.Output(), nil)),
		})
	}
	if err != nil {
		w.t.Fatal(err)
	}
	if w.unrouted {
		return
	}
	served := store.ChannelRoute{Channel: incident.ChannelSMTP}
	if w.relay != "" {
		served.Group, served.Provider = "smtp:"+w.relay, w.relay
	}
	if _, err := w.store.Reroute(ctx, served, time.Now()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) groups() []string {
	if w.relay == "" {
		return []string{"webhook"}
	}
	return []string{"webhook", "smtp:" + w.relay}
}

// configure goes on with another relay, as after a restart; "" is none.
func (w *world) configure(relay string) {
	w.t.Helper()
	if w.cancel != nil {
		w.stop()
	}
	w.close()
	w.relay = relay
	w.open()
}

func (w *world) close() {
	if w.cancel != nil {
		w.stop()
	}
	if err := errors.Join(w.queue.Close(), w.db.Close()); err != nil {
		w.t.Error(err)
	}
}

// start begins a new engine on what is durable.
func (w *world) start() {
	w.t.Helper()
	opt := dispatcher.DefaultOptions()
	for _, g := range w.groups() {
		_, provider, _ := strings.Cut(g, ":")
		opt.Groups = append(opt.Groups, dispatcher.Group{Name: g, Provider: provider})
	}
	opt.EmbeddedQueue = w.broker == ""
	opt.Policy = func(_, _ string) dispatcher.ProviderPolicy {
		return dispatcher.ProviderPolicy{Limit: ratelimit.Limit{PerSecond: 1e5, Burst: 1e5}, Window: 64}
	}
	opt.Fail, opt.Clock = w.fail, w.clock
	if w.options != nil {
		w.options(&opt)
	}
	var ledger dispatcher.Ledger = w.store
	if w.ledger != nil {
		ledger = w.ledger(ledger)
	}
	var err error
	w.engine, err = dispatcher.New(opt, dispatcher.Ports{
		Ledger: ledger, Queue: w.queue, Intake: w.queue, Channels: map[string]channels.Channel{"webhook": w.peer, "smtp": w.peer},
		Callbacks: &w.producer, Meter: w.meter, Log: slog.New(slog.NewTextHandler(w.t.Output(), nil)),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	w.cancel, w.ended = cancel, make(chan error, 1)
	go func() { w.ended <- w.engine.Run(ctx) }()
}

func (w *world) clock() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

// stop ends the engine as SIGTERM does.
func (w *world) stop() {
	w.t.Helper()
	w.cancel()
	if err := <-w.ended; err != nil && !errors.Is(err, errKilled) {
		w.t.Errorf("the engine ended with: %v", err)
	}
	w.cancel = nil
}

var errKilled = errors.New("killed")

// crash starts an engine that dies when it comes to a failpoint for the nth
// time, waits for that, and opens what is durable again.
func (w *world) crash(at dispatcher.Failpoint, nth int) {
	w.t.Helper()
	w.killAt(at, nth)
	w.start()
	w.died()
}

// killAt makes the next engine die at a failpoint.
func (w *world) killAt(at dispatcher.Failpoint, nth int) {
	var mu sync.Mutex
	w.fail = func(fp dispatcher.Failpoint) error {
		mu.Lock()
		defer mu.Unlock()
		if fp == at {
			if nth--; nth == 0 {
				return errKilled
			}
		}
		return nil
	}
}

// died waits for the engine's death and opens what is durable again.
func (w *world) died() {
	w.t.Helper()
	patience := 10 * time.Minute
	if w.broker != "" {
		patience = brokerPatience
	}
	select {
	case err := <-w.ended:
		if !errors.Is(err, errKilled) {
			w.t.Fatalf("the engine ended with %v before it came to the failpoint", err)
		}
	case <-time.After(patience):
		w.t.Fatal("the engine did not come to the failpoint")
	}
	w.cancel()
	w.cancel, w.fail = nil, nil
	w.close()
	w.open()
}

// subscribe adds targets 1 … n, each a provider of its own.
func (w *world) subscribe(n int, change ...func(*incident.Target)) {
	w.t.Helper()
	targets := make([]*incident.Target, n)
	for i := range targets {
		t := &incident.Target{
			ExternalID: fmt.Sprint("sub-", i+1), Channel: "webhook", Address: fmt.Sprintf("https://host-%d.example/", i+1), Page: "default",
			MinImpact: incident.ImpactNone, Visibility: incident.Public, Locale: "en", State: incident.StateActive, Format: "tocsin",
		}
		for _, c := range change {
			c(t)
		}
		targets[i] = t
	}
	if _, err := w.store.Upsert(w.t.Context(), targets); err != nil {
		w.t.Fatal(err)
	}
}

// publish offers an update of INC-1 and waits until it is durable.
func (w *world) publish(status incident.Status, extra string) {
	w.t.Helper()
	w.publishOf("INC-1", status, extra)
	w.published++
}

// publishOf offers an update of any incident.
func (w *world) publishOf(id string, status incident.Status, extra string) {
	w.t.Helper()
	body := fmt.Sprintf(`{"incident_id":%q,"status":%q,"affected_components":["api"],"impact":"critical","started_at":"2000-01-01T00:00:00Z"%s}`, id, status, extra)
	if err := w.queue.Offer(w.t.Context(), &queue.Event{Body: []byte(body), UpdateID: "u-" + string(status), ReceivedAt: time.Now(), Source: "http"}); err != nil {
		w.t.Fatal(err)
	}
}

// settled waits until every update is planned and every delivery closed.
func (w *world) settled() {
	w.t.Helper()
	w.until(func() bool {
		open, planned := w.progress()
		return planned && open == 0
	})
}

// until waits for something to come about.
func (w *world) until(holds func() bool) {
	w.t.Helper()
	tick, patience := time.Second, 30*time.Minute
	if w.broker != "" {
		tick, patience = 20*time.Millisecond, brokerPatience
	}
	for waited := time.Duration(0); waited < patience; waited += tick {
		if w.broker == "" && waited > time.Minute {
			tick = 10 * time.Second // virtual time is cheap, asking is not
		}
		if holds() {
			return
		}
		time.Sleep(tick)
	}
	open, planned := w.progress()
	w.t.Fatalf("after %v %d deliveries are open (all planned: %v)", patience, open, planned)
}

func (w *world) progress() (open int, planned bool) {
	_, updates := w.incident()
	planned = len(updates) >= w.published
	for _, u := range updates {
		if u.Sequence > 0 && u.PlannedAt.IsZero() {
			planned = false
		}
		for _, by := range u.Progress {
			open += by[dispatcher.Open]
		}
	}
	return open, planned
}

func (w *world) incident() (*store.Incident, []store.Update) {
	inc, updates, err := w.store.Incident(w.t.Context(), "default", "INC-1")
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return inc, updates
}

// rows returns the ledger of INC-1.
func (w *world) rows() []store.Delivery {
	w.t.Helper()
	inc, _ := w.incident()
	if inc == nil {
		return nil
	}
	var all []store.Delivery
	f := store.DeliveryFilter{Limit: 1000}
	for {
		page, err := w.store.Deliveries(w.t.Context(), inc.Key, f)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
		last := page[len(page)-1]
		f.After = dispatcher.Row{Incident: inc.Key, Target: last.Target, Sequence: last.Sequence}
	}
}

// faults checks the promises from what the peer received and what the ledger
// says: A nothing lost, D duplicates, O order, L ledger = receipts. audience is
// how many deliveries each update must have; duplicates how many are allowed.
func (w *world) faults(audience map[int]int, duplicates int) (faults []string) {
	rows := w.rows()
	count := map[int]int{}
	delivered := map[[2]int64]bool{}
	for _, r := range rows {
		count[r.Sequence]++
		if r.Outcome == dispatcher.Open {
			faults = append(faults, fmt.Sprintf("A: target %d sequence %d is open", r.Target, r.Sequence))
		}
		if r.Outcome == dispatcher.Delivered {
			delivered[[2]int64{r.Target, int64(r.Sequence)}] = true
		}
	}
	for seq, n := range audience {
		if count[seq] != n {
			faults = append(faults, fmt.Sprintf("A: update %d has %d deliveries, want %d", seq, count[seq], n))
		}
	}
	w.peer.mu.Lock()
	defer w.peer.mu.Unlock()
	answered := map[[2]int64]int{}
	newest := map[int64]int{}
	for _, r := range w.peer.receipts {
		if newest[r.target] > r.sequence {
			faults = append(faults, fmt.Sprintf("O: target %d was sent %d after %d", r.target, r.sequence, newest[r.target]))
		}
		newest[r.target] = max(newest[r.target], r.sequence)
		if r.class == channels.Delivered {
			answered[[2]int64{r.target, int64(r.sequence)}]++
		}
	}
	extra := 0
	for key, n := range answered {
		extra += n - 1
		if !delivered[key] {
			// Answered and not settled at a crash, and superseded since: it
			// counts with those that were sent again.
			if extra++; duplicates == 0 {
				faults = append(faults, fmt.Sprintf("L: target %d sequence %d arrived, the ledger doesn't say so", key[0], key[1]))
			}
		}
	}
	if extra > duplicates {
		faults = append(faults, fmt.Sprintf("D: %d duplicates, at most %d can be", extra, duplicates))
	}
	for key := range delivered {
		if answered[key] == 0 {
			faults = append(faults, fmt.Sprintf("L: the ledger says target %d sequence %d was delivered, it never arrived", key[0], key[1]))
		}
	}
	slices.Sort(faults)
	return faults
}

// holds fails the test if a promise is broken.
func (w *world) holds(audience map[int]int, duplicates int) {
	w.t.Helper()
	for i, f := range w.faults(audience, duplicates) {
		if i == 10 {
			w.t.Fatal("… and more")
		}
		w.t.Error(f)
	}
}

// peer is the far side: it notes what arrives, and answers as told.
type peer struct {
	mu       sync.Mutex
	receipts []receipt
	// answer says what the nth request for (target, sequence) gets, and after
	// how long; nil delivers at once.
	answer func(target int64, sequence, nth int) (channels.Result, time.Duration)
}

type receipt struct {
	target   int64
	sequence int
	id       string
	provider string
	class    channels.Class // 0: never answered
	at       time.Time
}

func (p *peer) Render(u *channels.Update, _ channels.Variant) (channels.Payload, error) {
	return u, nil
}

func (p *peer) Send(ctx context.Context, m *channels.Message) channels.Result {
	sequence := m.Payload.(*channels.Update).Sequence
	p.mu.Lock()
	nth := 1
	for _, r := range p.receipts {
		if r.target == m.Target && r.sequence == sequence {
			nth++
		}
	}
	result, delay := channels.Result{Class: channels.Delivered}, time.Duration(0)
	if p.answer != nil {
		result, delay = p.answer(m.Target, sequence, nth)
	}
	at := len(p.receipts)
	p.receipts = append(p.receipts, receipt{target: m.Target, sequence: sequence, id: m.ID, provider: m.Provider, at: time.Now()})
	p.mu.Unlock()
	if delay > 0 {
		select {
		case <-ctx.Done():
			return channels.Result{Class: channels.Temporary, Detail: "cut"}
		case <-time.After(delay):
		}
	}
	p.mu.Lock()
	p.receipts[at].class = result.Class
	p.mu.Unlock()
	return result
}

func (p *peer) Close() error { return nil }

// sent counts the requests for a sequence.
func (p *peer) sent(sequence int) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.receipts {
		if r.sequence == sequence {
			n++
		}
	}
	return n
}

// counts is a meter that remembers.
type counts struct {
	mu       sync.Mutex
	outcomes map[dispatcher.Outcome]int
}

func (c *counts) EventAccepted(string, string)          {}
func (c *counts) UpdatePlanned()                        {}
func (c *counts) Attempt(string, channels.Class)        {}
func (c *counts) Backlog(dispatcher.Backlog, time.Time) {}
func (c *counts) Outcome(_ string, o dispatcher.Outcome, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outcomes[o] += n
}
func (c *counts) Latency(string, time.Duration) {}
