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
	"testing"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/peer"
)

const (
	targets = 2000
	// mix is what the peers are like; the others answer at once.
	mix = "slow=3:100ms-500ms,500=2:x12,429=2:1s:x6,dead=0.25"
	// everyNth target wants every update.
	everyNth = 17
	// expiresAfter is how long an update is worth telling: long enough for every
	// peer that ever answers, short enough to wait for the dead.
	expiresAfter = 25 * time.Second
)

// trial is the set-up of one test: the peers in this process, an engine in one of
// its own, and what happened to them.
type trial struct {
	t       *testing.T
	rng     *rand.Rand
	peers   *peer.Webhook
	mix     peer.Mix
	engine  *engine
	api     *api
	publish func(context.Context, *update) error

	length   time.Duration // of a fan-out that nobody disturbs
	updates  []*update
	left     int // updates that the incident still gets
	kills    []kill
	moments  []string  // of the kills, as the log names them
	started  time.Time // the engine, unless its start is known to be over
	restarts []time.Duration
}

// update is one update on its way.
type update struct {
	incident string
	sequence int
	id       string
	body     []byte
}

// begin starts peers and an engine, imports the targets and measures a fan-out.
func begin(t *testing.T, queue string) *trial {
	t.Helper()
	tr := &trial{t: t, rng: draw(t)}
	var err error
	if tr.mix, err = peer.ParseMix(mix); err != nil {
		t.Fatal(err)
	}
	tr.peers, err = peer.StartWebhook(peer.Options{Script: tr.mix.Behaviour, Receipts: filepath.Join(t.ArtifactDir(), "receipts")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.peers.Close(); err != nil {
			t.Error(err)
		}
	})
	tr.engine = newEngine(t, queue, tr.peers.Port())
	tr.api = newAPI(tr.engine.address)
	tr.publish = tr.api.publish
	tr.start()
	tr.awaitReady()
	var lines bytes.Buffer
	for n := 1; n <= targets; n++ {
		fmt.Fprintf(&lines, `{"channel":"webhook","address":%q,"external_id":"%d","every_update":%t}`+"\n", tr.peers.URL(n), n, everyUpdate(n))
	}
	if err := tr.api.importTargets(t.Context(), &lines, targets); err != nil {
		t.Fatal(err)
	}
	return tr
}

func everyUpdate(n int) bool { return n%everyNth == 0 }

func (tr *trial) dead(n int) bool { return tr.mix.Behaviour(n).Kind == peer.Dead }

// start starts the engine; awaitReady waits for it and takes the time.
func (tr *trial) start() {
	tr.t.Helper()
	tr.started = time.Now()
	tr.engine.start()
}

func (tr *trial) awaitReady() {
	tr.t.Helper()
	eventually(tr.t, "the engine is ready", 10*time.Millisecond, tr.api.ready)
	if !tr.started.IsZero() {
		tr.restarts = append(tr.restarts, time.Since(tr.started))
		tr.started = time.Time{}
	}
}

// measure has one fan-out undisturbed and takes its length: from publishing until
// the last healthy target answered.
func (tr *trial) measure() {
	tr.t.Helper()
	begun := time.Now()
	if err := <-tr.publishNext(); err != nil {
		tr.t.Fatal(err)
	}
	tr.calm()
	for _, r := range tr.peers.Receipts() {
		if tr.mix.Behaviour(r.Target).Kind == peer.OK {
			tr.length = max(tr.length, r.AnsweredAt.Sub(begun))
		}
	}
	tr.t.Logf("a fan-out to %d targets takes %v", targets, tr.length.Round(time.Millisecond))
}

// next makes up the next update: two to four for each incident, which ends with
// the last.
func (tr *trial) next() *update {
	u := &update{sequence: 1}
	if tr.left == 0 {
		tr.left = 2 + tr.rng.IntN(3)
		u.incident = fmt.Sprintf("CRASH-%d", len(tr.updates)+1)
	} else {
		last := tr.updates[len(tr.updates)-1]
		u.incident, u.sequence = last.incident, last.sequence+1
	}
	tr.left--
	tr.updates = append(tr.updates, u)
	u.id = fmt.Sprintf("%s-%d", u.incident, u.sequence)
	status := incident.Identified
	switch {
	case u.sequence == 1:
		status = incident.Investigating
	case tr.left == 0:
		status = incident.Resolved
	}
	now := time.Now()
	event := &incident.Event{IncidentID: u.incident, UpdateID: u.id, Status: status, Impact: incident.ImpactMajor,
		AffectedComponents: []string{"checkout"}, StartedAt: now, ExpiresAt: now.Add(expiresAfter),
		Title: "Checkout fails", Message: fmt.Sprintf("This is update %d.", u.sequence)}
	var err error
	if u.body, err = incident.Encode(event); err != nil {
		tr.t.Fatal(err)
	}
	return u
}

// publishNext publishes the next update, again and again until it is accepted.
func (tr *trial) publishNext() (accepted <-chan error) {
	u, done := tr.next(), make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(tr.t.Context(), patience)
		defer cancel()
		done <- tr.publish(ctx, u)
	}()
	return done
}

// round publishes an update and strikes at a random moment of its fan-out. It
// returns once the update is accepted: strike has to leave things such that it
// will be.
func (tr *trial) round(strike func()) {
	tr.t.Helper()
	accepted := tr.publishNext()
	tr.wait(tr.updates[len(tr.updates)-1].id)
	strike()
	if err := <-accepted; err != nil {
		tr.t.Fatalf("an update was never accepted: %v", err)
	}
}

// wait waits a random part of a fan-out's length.
func (tr *trial) wait(during string) {
	part := time.Duration(tr.rng.Float64() * float64(tr.length))
	tr.moments = append(tr.moments, fmt.Sprintf("%s, %3d ms", during, part.Milliseconds()))
	time.Sleep(part) // the moment is the matter of the test
}

// killEngine kills the engine and starts it again once everything that it had
// sent was read: what comes later is the new one's.
func (tr *trial) killEngine() {
	tr.t.Helper()
	at := tr.engine.kill()
	tr.drain()
	tr.kills = append(tr.kills, kill{at, time.Now()})
	tr.start()
}

// drain waits until nothing of a dead engine is on its way to a peer.
func (tr *trial) drain() {
	tr.t.Helper()
	// Connections are accepted in their order: once this one was, and has been
	// given up, so were all of the engine's.
	last, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(tr.peers.Port())))
	if err == nil {
		err = last.(*net.TCPConn).CloseWrite()
	}
	if err == nil {
		_, err = io.Copy(io.Discard, last)
	}
	if err != nil {
		tr.t.Fatal(err)
	}
	last.Close()
	eventually(tr.t, "no connection to the peers is left", time.Millisecond, func(context.Context) (bool, error) {
		return tr.peers.Connections() == 0, nil
	})
}

// calm waits until everybody who listens has heard the newest update.
func (tr *trial) calm() {
	tr.t.Helper()
	listening := 0
	for n := 1; n <= targets; n++ {
		if !tr.dead(n) {
			listening++
		}
	}
	newest := tr.updates[len(tr.updates)-1]
	eventually(tr.t, newest.id+" reached everybody who listens", 50*time.Millisecond, func(ctx context.Context) (bool, error) {
		updates, err := tr.api.incident(ctx, newest.incident)
		for _, u := range updates {
			if u.UpdateID == newest.id {
				return u.Progress["webhook"]["delivered"] >= listening, fmt.Errorf("it has come to %+v", u)
			}
		}
		return false, err
	})
}

// settle waits until every delivery of every update is closed.
func (tr *trial) settle() {
	tr.t.Helper()
	for _, u := range tr.updates {
		if u.sequence > 1 {
			continue
		}
		eventually(tr.t, u.incident+" is closed", 200*time.Millisecond, func(ctx context.Context) (bool, error) {
			updates, err := tr.api.incident(ctx, u.incident)
			for _, u := range updates {
				if u.PlannedAt == nil || u.Progress["webhook"]["open"] > 0 {
					return false, fmt.Errorf("%+v", u)
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
	// An engine that stops commits what it knows; one that starts on this has
	// nothing to send, and what it knows was on the disk.
	tr.engine.stop()
	tr.drain()
	received := tr.peers.Receipts()
	tr.start()
	tr.awaitReady()
	ledger, err := tr.ledger(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tr.engine.stop()
	tr.drain()
	report := tr.peers.Report()
	if report.Requests > len(received) {
		t.Errorf("%d requests came though every delivery was closed", report.Requests-len(received))
	}
	if len(report.Invalid) > 0 {
		t.Errorf("some requests no receiver could have understood: %v", report.Invalid)
	}
	e := &evidence{receipts: received, ledger: ledger, kills: tr.kills}
	for _, u := range tr.updates {
		e.updates = append(e.updates, accepted{u.incident, u.sequence})
	}
	for n := 1; n <= targets; n++ {
		e.audience = append(e.audience, target{number: n, everyUpdate: everyUpdate(n), dead: tr.dead(n)})
	}
	tr.report(e.judge(), len(received))
}

// ledger reads what the engine says became of every delivery, and checks that the
// updates were accepted in the order of their publishing.
func (tr *trial) ledger(ctx context.Context) (map[peer.Delivery]string, error) {
	numbers := make(map[string]int)
	views, err := tr.api.targets(ctx)
	if err != nil {
		return nil, err
	}
	for _, v := range views {
		numbers[v.ID] = peer.TargetNumber(v.Address)
	}
	ledger := make(map[peer.Delivery]string)
	sequences := make(map[string]int)
	for _, u := range tr.updates {
		if u.sequence > 1 {
			continue
		}
		views, err := tr.api.incident(ctx, u.incident)
		if err != nil {
			return nil, err
		}
		for _, v := range views {
			sequences[v.UpdateID] = v.Sequence
		}
		rows, err := tr.api.deliveries(ctx, u.incident)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			ledger[peer.Delivery{Target: numbers[r.Target], Incident: u.incident, Sequence: r.Sequence}] = r.Outcome
		}
	}
	for _, u := range tr.updates {
		if sequences[u.id] != u.sequence {
			tr.t.Errorf("A: %s was accepted, but has the sequence %d", u.id, sequences[u.id])
		}
	}
	return ledger, nil
}

// report logs the figures and what was not kept.
func (tr *trial) report(v *verdict, requests int) {
	t := tr.t
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%d updates, %d requests, %d duplicates; outcomes %v\n", len(tr.updates), requests, v.duplicates, v.outcomes)
	if len(v.losses) > 0 {
		fmt.Fprintln(&b, "kill  moment               cut  fresh  sent again  earliest")
	}
	cut := 0
	for i, l := range v.losses {
		cut += l.cut
		fmt.Fprintf(&b, "%4d  %-19s %4d  %5d  %10d  %v\n", i+1, tr.moments[i], l.cut, l.fresh, l.duplicates, l.earliest)
	}
	slices.Sort(tr.restarts)
	fmt.Fprintf(&b, "start until ready: %v to %v, half below %v", tr.restarts[0], tr.restarts[len(tr.restarts)-1], tr.restarts[len(tr.restarts)/2])
	t.Log(b.String())
	if len(tr.kills) > 0 && cut == 0 {
		t.Error("no kill met a request in flight: this run shows nothing")
	}
	const most = 20
	for i, f := range v.faults {
		if i == most {
			t.Errorf("and %d faults more", len(v.faults)-most)
			break
		}
		t.Errorf("%s: %s", f.promise, f.text)
	}
}
