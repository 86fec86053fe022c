package crash

import (
	"context"
	"time"

	"github.com/tocsin/tocsin/internal/peer"
)

// What CI's kills and those of chaos are tried on. A mix says which part of the
// targets does what; the others answer at once.
const (
	// Crowd is how many targets an update goes out to.
	Crowd = 2000
	// Expiry is when deliveries expire: long enough for everybody who ever answers,
	// and short enough to wait for the dead.
	Expiry = 25 * time.Second
	// Refusals last through the first few updates, so that kills meet retries.
	refusals = "slow=3:100ms-500ms,500=2:x8,429=2:1s:x5,"
	// MixToEnd has some who refuse until their deliveries expire, which is what the
	// end of a trial waits for; MixToGo has some who are gone instead.
	MixToEnd = refusals + "dead=0.25"
	MixToGo  = refusals + "gone=0.25"
)

// Options say what is tried.
type Options struct {
	// Engine is the binary.
	Engine string
	// Queue is the engine's setting; "sqlite" or the URL of a broker, to which events
	// are published then. Deployment keeps apart who shares a broker; "" is default.
	Queue, Deployment string
	Mix               string
	Expiry            time.Duration
	Targets           int
	// Seed draws the moments.
	Seed uint64
	// Kills is how often the engine is killed.
	Kills int
	// Folder is an empty one for the store, the receipts and the engine's log. All
	// of it stays.
	Folder string
	// Killed, if any, is called after each kill.
	Killed func()
	// Doctor, if any, changes the receipts before they are judged: whoever wants to
	// know that a broken promise is found out breaks one.
	Doctor func([]peer.Receipt) []peer.Receipt
}

const embedded = "sqlite"

func (o *Options) deployment() string {
	if o.Deployment == "" {
		return "default"
	}
	return o.Deployment
}

// exchange is what docs/producers.md calls tocsin.incidents.
func (o *Options) exchange() string {
	if o.Deployment == "" {
		return "tocsin.incidents"
	}
	return "tocsin." + o.Deployment + ".incidents"
}

// Outcome is what became of a trial.
type Outcome struct {
	// Faults has what was not kept, a sentence each, the first twenty. A trial that
	// could not be brought to its end has one too.
	Faults []string
	// Broken counts the promises that were not kept, by their letter.
	Broken map[string]int
	// Losses is what each kill cost.
	Losses Losses
	// Updates were accepted, Requests received, Duplicates of them for what had been
	// accepted before; Outcomes has the ledger.
	Updates, Requests, Duplicates int
	Outcomes                      map[string]int
	// Absences is how long the engine took each time to be ready again.
	Absences []time.Duration
}

// Run kills an engine over and over and judges what is left. When ctx ends there are
// no further kills, and those until then are judged: that takes a few seconds and, if
// the engine can't be brought to an end, some minutes.
func Run(ctx context.Context, o Options) *Outcome {
	out := &Outcome{}
	s := newStand(context.WithoutCancel(ctx), o.Folder)
	s.run(func() {
		tr := newTrial(s, o, webhooks, nil)
		// Also where the rest can't go on.
		defer func() { out.fill(tr) }()
		if o.Queue != embedded {
			tr.publishTo(o.Queue)
		}
		tr.killed = o.Killed
		tr.measure(healthy)
		tr.killEngines(ctx, o.Kills)
		tr.judge()
	})
	out.Faults = s.faults
	return out
}

func (o *Outcome) fill(tr *trial) {
	o.Updates, o.Absences = len(tr.updates), tr.absences
	if v := tr.verdict; v != nil {
		o.Requests, o.Duplicates, o.Outcomes, o.Losses, o.Broken = v.requests, v.duplicates, v.outcomes, v.losses, v.broken()
	}
}

// The engine may finish what it has after so many kills, and after so long: what
// needs half a second of peace to be accepted must not expire for want of it.
const (
	calmAfter = 7
	calmEvery = Expiry / 3
)

// killEngines kills the engine n times: at random moments of fan-outs and, now and
// then, of picking up what the kill before left. It ends early when ctx does.
func (tr *trial) killEngines(ctx context.Context, n int) {
	tr.t.Helper()
	calm, kills := time.Now(), 0
	for ; n > 0 && ctx.Err() == nil; n-- {
		if kills > 0 && tr.rng.IntN(5) == 0 {
			tr.wait("recovery")
			tr.killEngine()
			kills++
			continue
		}
		tr.awaitReady()
		if kills >= calmAfter || time.Since(calm) > calmEvery {
			tr.measure(listens)
			calm, kills = time.Now(), 0
		}
		tr.round(tr.killEngine)
		kills++
	}
}

// publishTo has updates published to a broker instead of the API.
func (tr *trial) publishTo(url string) {
	p := &producer{url: url, exchange: tr.exchange}
	tr.t.Cleanup(func() {
		tr.publishing.Wait()
		p.close()
	})
	tr.publish = p.publish
}
