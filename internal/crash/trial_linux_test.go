package crash

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
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
	// calmEvery is after how many rounds the engine may finish what it has.
	calmEvery = 7
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
	moments  []string // of the kills, for the log
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
	tr.engine.start()
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

func (tr *trial) awaitReady() {
	tr.t.Helper()
	eventually(tr.t.Context(), tr.t, "the engine is ready", tr.api.ready)
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

// round publishes an update and calls strike at a random moment of its fan-out.
// strike may return before the update is accepted; round does not.
func (tr *trial) round(strike func()) {
	tr.t.Helper()
	wait := time.Duration(tr.rng.Float64() * float64(tr.length))
	moment := time.NewTimer(wait)
	accepted := tr.publishNext()
	<-moment.C
	tr.moments = append(tr.moments, fmt.Sprintf("%s at %4.0f ms", tr.updates[len(tr.updates)-1].id, wait.Seconds()*1000))
	strike()
	if err := <-accepted; err != nil {
		tr.t.Fatalf("an update was never accepted: %v", err)
	}
	if len(tr.moments)%calmEvery == 0 {
		tr.calm()
	}
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
	eventually(tr.t.Context(), tr.t, fmt.Sprintf("%s reached everybody who listens", newest.id), func(ctx context.Context) (bool, error) {
		updates, err := tr.api.incident(ctx, newest.incident)
		for _, u := range updates {
			if u.UpdateID == newest.id {
				return u.Progress["webhook"]["delivered"] >= listening, fmt.Errorf("it is %+v", u)
			}
		}
		return false, err
	})
}
