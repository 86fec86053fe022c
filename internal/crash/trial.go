package crash

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tocsin/tocsin/internal/peer"
)

// trial is the set-up of one test, or of some rounds of chaos: the peers in this process, an engine in one of
// its own, and what happened to them.
type trial struct {
	t       Host
	rng     *rand.Rand
	peers   *receivers
	mix     peer.Mix
	expiry  time.Duration
	calls   *calls
	engine  *engine
	api     *api
	publish func(context.Context, *update) error
	targets int
	numbers map[int64]int // of the targets, by their id in the engine
	// exchange is where a broker takes events.
	exchange string
	doctor   func([]peer.Receipt) []peer.Receipt

	publishing sync.WaitGroup

	length   time.Duration // of the last fan-out that nobody disturbed
	slowest  time.Duration // of all those
	updates  []*update
	coming   int // updates that the last incident still gets
	kills    []kill
	moments  []moment  // of the kills
	back     time.Time // when what was killed was started again, if awaitReady is to take the time
	absences []time.Duration
	killed   func()   // if any, is told of each kill
	verdict  *verdict // nil before the end
}

// moment is when something was killed.
type moment struct {
	during string
	newest *update
	wait   time.Duration // since it was published, or since the kill before
	at     time.Time
}

// newTrial starts peers and an engine, and imports the targets. change, if any, is
// asked before the engine starts.
func newTrial(t Host, o Options, start func(peer.Options) (*receivers, error), change func(*engine)) *trial {
	t.Helper()
	tr := &trial{t: t, rng: rand.New(rand.NewPCG(o.Seed, 0)), expiry: o.Expiry, targets: o.Targets, numbers: make(map[int64]int),
		exchange: o.exchange(), doctor: o.Doctor}
	var err error
	if tr.mix, err = peer.ParseMix(o.Mix); err != nil {
		t.Fatal(err)
	}
	tr.peers, err = start(peer.Options{Script: tr.mix.Behaviour, Receipts: filepath.Join(t.ArtifactDir(), "receipts")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.peers.Close(); err != nil {
			t.Error(err)
		}
	})
	tr.calls = startCalls(t)
	tr.engine = newEngine(t, &o, tr.peers.Port(), tr.calls.server.Listener.Addr().String())
	tr.api = newAPI(tr.engine.address)
	tr.publish = tr.api.publish
	t.Cleanup(tr.publishing.Wait)
	if change != nil {
		change(tr.engine)
	}
	tr.engine.start()
	tr.awaitReady()
	var lines bytes.Buffer
	for n := 1; n <= tr.targets; n++ {
		fmt.Fprintf(&lines, `{"channel":%q,"address":%q,"external_id":"%d","every_update":%t}`+"\n", tr.peers.channel, tr.peers.address(n), n, tr.everyUpdate(n))
	}
	if err := tr.api.importTargets(t.Context(), &lines, tr.targets); err != nil {
		t.Fatal(err)
	}
	imported, err := tr.api.targets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range imported {
		tr.numbers[target.ID] = tr.peers.number(target.Address)
	}
	return tr
}

// everyUpdate says whether a target wants every update. The slow don't: each of
// their sends needs longer than most times between two kills.
func (tr *trial) everyUpdate(n int) bool {
	return n%17 == 0 && tr.mix.Behaviour(n).Kind != peer.Slow
}

// count says how many targets are of the kinds that are wanted.
func (tr *trial) count(wanted func(peer.Kind) bool) (n int) {
	for i := 1; i <= tr.targets; i++ {
		if wanted(tr.mix.Behaviour(i).Kind) {
			n++
		}
	}
	return n
}

func listens(k peer.Kind) bool { return k != peer.Dead && k != peer.Gone }
func healthy(k peer.Kind) bool { return k == peer.OK }

// measure has one fan-out undisturbed, waits until it reached all of the kinds
// wanted, and takes its length: from publishing until the last healthy target
// answered that had not to be told of older ones first.
func (tr *trial) measure(wanted func(peer.Kind) bool) {
	tr.t.Helper()
	begun := time.Now()
	if err := <-tr.publishNext(); err != nil {
		tr.t.Fatal(err)
	}
	tr.reached(tr.count(wanted))
	tr.length = 0
	newest := tr.updates[len(tr.updates)-1]
	for _, r := range tr.peers.Receipts() {
		if newest.is(r) && healthy(tr.mix.Behaviour(r.Target).Kind) && !tr.everyUpdate(r.Target) {
			tr.length = max(tr.length, r.AnsweredAt.Sub(begun))
		}
	}
	tr.slowest = max(tr.slowest, tr.length)
}

// round publishes an update and strikes at a random moment of its fan-out. It
// returns once the update is accepted: strike has to leave things such that it
// will be.
func (tr *trial) round(strike func()) {
	tr.t.Helper()
	accepted := tr.publishNext()
	tr.wait("fan-out")
	strike()
	if err := <-accepted; err != nil {
		tr.t.Fatalf("an update was never accepted: %v", err)
	}
}

// wait waits a random part of a fan-out's length.
func (tr *trial) wait(during string) {
	m := moment{during: during, newest: tr.updates[len(tr.updates)-1], wait: time.Duration(tr.rng.Float64() * float64(tr.length))}
	time.Sleep(m.wait) // the moment is the matter of the test
	m.at = time.Now()
	tr.moments = append(tr.moments, m)
}

// killEngine kills the engine, takes down what it leaves, and starts it again. By
// then everything that it had sent was read: what comes later is the new one's.
func (tr *trial) killEngine() {
	tr.t.Helper()
	at := tr.engine.kill()
	tr.drain()
	over := time.Now()
	open, err := tr.openRows(tr.t.Context())
	if err != nil {
		tr.t.Fatalf("the ledger that the dead engine left: %v", err)
	}
	tr.kills = append(tr.kills, kill{at, over, open})
	tr.back = time.Now()
	tr.engine.start()
	if tr.killed != nil {
		tr.killed()
	}
}

// awaitReady waits until the engine is ready and, after a kill, takes the time.
func (tr *trial) awaitReady() {
	tr.t.Helper()
	eventually(tr.t, "the engine is ready", 5*time.Millisecond, tr.api.ready)
	if !tr.back.IsZero() {
		tr.absences = append(tr.absences, time.Since(tr.back))
		tr.back = time.Time{}
	}
}

// drain waits until nothing of a dead engine is on its way to a peer.
func (tr *trial) drain() {
	tr.t.Helper()
	// Connections are accepted in their order: once this one was, and has been
	// given up, so were all of the engine's.
	last, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(tr.peers.Port())))
	if err == nil {
		defer last.Close()
		err = last.(*net.TCPConn).CloseWrite()
	}
	if err == nil {
		_, err = io.Copy(io.Discard, last)
	}
	if err != nil {
		tr.t.Fatal(err)
	}
	eventually(tr.t, "no connection to the peers is left", time.Millisecond, func(context.Context) (bool, error) {
		return tr.peers.Connections() == 0, nil
	})
}

// reached waits until so many targets have the newest update.
func (tr *trial) reached(wanted int) {
	tr.t.Helper()
	newest := tr.updates[len(tr.updates)-1]
	eventually(tr.t, fmt.Sprintf("%s reached %d targets", newest.id, wanted), 50*time.Millisecond, func(ctx context.Context) (bool, error) {
		updates, err := tr.api.incident(ctx, newest.incident)
		for _, u := range updates {
			if u.UpdateID == newest.id {
				return u.Progress[tr.peers.channel]["delivered"] >= wanted, fmt.Errorf("it has come to %+v", u)
			}
		}
		return false, err
	})
}

// settle waits until every delivery of every update is closed.
func (tr *trial) settle() {
	tr.t.Helper()
	for _, id := range tr.incidents() {
		eventually(tr.t, id+" is closed", 200*time.Millisecond, func(ctx context.Context) (bool, error) {
			updates, err := tr.api.incident(ctx, id)
			for _, u := range updates {
				if u.PlannedAt == nil || u.Progress[tr.peers.channel]["open"] > 0 {
					return false, fmt.Errorf("it has come to %+v", u)
				}
			}
			return len(updates) > 0, err
		})
	}
}

// judge waits until all is said and done, and judges it.
func (tr *trial) judge() {
	t := tr.t
	t.Helper()
	tr.awaitReady()
	tr.settle()
	tr.toldOf()
	// An engine that stops commits what it knows; one that starts on that knows
	// what was on the disk, and has nothing to send.
	tr.engine.stop()
	tr.drain()
	receipts := tr.peers.Receipts()
	if tr.doctor != nil {
		receipts = tr.doctor(receipts)
	}
	e := &evidence{receipts: receipts, kills: tr.kills, uncommitted: time.Second + tr.slowest}
	tr.engine.start()
	tr.awaitReady()
	outcomes, sequences, err := tr.ledger(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e.ledger = outcomes
	tr.engine.stop()
	tr.drain()
	report := tr.peers.report()
	if tr.doctor == nil && report.Requests > len(e.receipts) {
		t.Errorf("%d requests came though every delivery was closed", report.Requests-len(e.receipts))
	}
	if len(report.Invalid) > 0 {
		t.Errorf("some requests no receiver could have understood: %v", report.Invalid)
	}
	for _, u := range tr.updates {
		e.updates = append(e.updates, accepted{u.incident, u.sequence})
		if sequences[u.id] != u.sequence {
			t.Errorf("A: %s was accepted, but the engine has it as sequence %d", u.id, sequences[u.id])
		}
	}
	for n := 1; n <= tr.targets; n++ {
		e.audience = append(e.audience, target{number: n, everyUpdate: tr.everyUpdate(n), dead: !listens(tr.mix.Behaviour(n).Kind)})
	}
	tr.verdict = e.judge()
	tr.report(e, tr.verdict)
}

// report logs the figures and what was not kept.
func (tr *trial) report(e *evidence, v *verdict) {
	t := tr.t
	t.Helper()
	t.Logf("%d updates to %d targets; undisturbed ones took up to %v; %d requests, %d duplicates; outcomes %v\n%s",
		len(tr.updates), tr.targets, tr.slowest, len(e.receipts), v.duplicates, v.outcomes, tr.table(e, v))
	if slices.Sort(tr.absences); len(tr.absences) > 0 {
		t.Logf("ready again after %v to %v, half of the times below %v", tr.absences[0], tr.absences[len(tr.absences)-1], tr.absences[len(tr.absences)/2])
	}
	if len(v.losses) > 0 {
		t.Logf("%s", v.losses)
	}
	met := 0
	for _, l := range v.losses {
		met += l.Cut
	}
	if len(v.losses) >= 10 && met == 0 {
		t.Error("no kill met a request in flight: this run shows nothing")
	}
	const most = 20
	for i, f := range v.faults {
		if i == most {
			t.Errorf("and %d faults more; with them by promise: %v", len(v.faults)-most, v.broken())
			break
		}
		t.Errorf("%s: %s", f.promise, f.text)
	}
}

// table says for each kill when it was, how many had been told of the newest
// update by then, and what it cost.
func (tr *trial) table(e *evidence, v *verdict) string {
	var b strings.Builder
	fmt.Fprint(&b, "kill           at          told")
	if len(v.losses) > 0 {
		fmt.Fprint(&b, "  in flight  last 100 ms  uncommitted, oldest  sent again")
	}
	for i, m := range tr.moments {
		told := 0
		for _, r := range e.receipts {
			if m.newest.is(r) && r.Accepted() && r.AnsweredAt.Before(m.at) {
				told++
			}
		}
		fmt.Fprintf(&b, "\n%4d  %8s %4d ms of %s  %4d", i+1, m.during, m.wait.Milliseconds(), m.newest.id, told)
		if i < len(v.losses) {
			l := v.losses[i]
			fmt.Fprintf(&b, "  %9d  %11d  %11d, %3d ms  %10d", l.Cut, l.Recent, l.Forgotten, l.Oldest.Milliseconds(), l.Duplicates)
		}
	}
	return b.String()
}
