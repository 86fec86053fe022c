package simulate

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/ratelimit"
)

// scenario is all that a seed decides in advance. It is plain data: what shrinks a
// failure takes parts of it away.
type scenario struct {
	seed uint64
	// broker: the queue is a broker, else the embedded one.
	broker bool
	// calm: nothing happens to the engine, only providers misbehave. Then nobody
	// healthy may wait.
	calm bool
	// slow multiplies the time that calls of the store and the queue take.
	slow      int
	engine    settings
	budget    dispatcher.Budget // of each channel
	providers []provider
	targets   []target
	steps     []step
}

// settings are the engine's options that a seed draws.
type settings struct {
	admission, inFlight, page                          int
	laneWait, hold, longest, retry, sweep, drain, life time.Duration
	unpublished, unclaimed                             time.Duration
	backoff                                            dispatcher.Backoff
}

// provider is a far side and how it behaves. It is healthy after until, unless it
// is dead for ever.
type provider struct {
	name   string
	group  string
	rate   float64
	burst  int
	window int
	bound  dispatcher.Bound // of its own
	mood   mood
	share  int // percent of requests that the mood is for
	until  time.Duration
	period time.Duration // of flapping
}

// mood is what a provider does to requests.
type mood int

const (
	healthy   mood = iota
	slow           // answers late
	silent         // never answers
	refusing       // can't be connected to
	failing        // 5xx
	flapping       // failing for half of each period
	limiting       // 429 with Retry-After
	forgetful      // takes it, and the answer is lost
	picky          // refuses for good, or is gone
	dead           // never connects, also not later
	moods
)

func (m mood) String() string {
	return [moods]string{"healthy", "slow", "silent", "refusing", "failing", "flapping", "limiting", "forgetful", "picky", "dead"}[m]
}

type target struct {
	provider   int
	components []string
	least      incident.Impact
	private    bool
	every      bool
	absent     bool // shrunk away
}

// act is what a step does.
type act int

const (
	publish  act = iota // an update
	again               // the last update of the incident, once more
	stale               // an update older than the last
	dieAt               // die at a failpoint, for the nth time it comes to it
	dieIn               // die in the nth call through a port
	stop                // as SIGTERM does
	forget              // delete a target
	mute                // pause a target
	revive              // make it active again
	narrow              // it wants another component
	move                // it has another address, at another provider
	end                 // stop an incident's fan-out
	hush                // pause a provider, until the next step of the kind
	badStore            // the store fails for a while
	badQueue            // the queue fails for a while; a broker drops its connections
	purge               // a broker loses what is ready
	jump                // the clock is set
	acts
)

func (a act) String() string {
	return [acts]string{"publish", "publish again", "publish stale", "die at", "die in call", "stop", "delete target", "pause target",
		"activate target", "narrow target", "move target", "stop incident", "pause or resume provider", "store fails",
		"queue fails", "purge", "clock jumps"}[a]
}

type step struct {
	at       time.Duration
	act      act
	incident int
	target   int
	n        int // of calls, of visits, of a provider
	fail     dispatcher.Failpoint
	call     string        // the kind of calls that count, "" for any
	lasts    time.Duration // downtime, trouble, jump
	update   update
}

// update is what publish says.
type update struct {
	status     incident.Status
	impact     incident.Impact
	components []string
	private    bool
}

func (s step) String() string {
	out := fmt.Sprintf("%8v %s", s.at, s.act)
	switch s.act {
	case publish:
		out += fmt.Sprintf(" incident %d: %s %s %v", s.incident, s.update.status, s.update.impact, s.update.components)
		if s.update.private {
			out += " private"
		}
	case again, stale, end:
		out += fmt.Sprintf(" (incident %d)", s.incident)
	case dieAt:
		out += fmt.Sprintf(" %s, visit %d, for %v", s.fail, s.n, s.lasts)
	case dieIn:
		out += fmt.Sprintf(" %d %s, for %v", s.n, s.call, s.lasts)
	case forget, mute, revive, narrow, move:
		out += fmt.Sprintf(" %d (%d)", s.target+1, s.n)
	case hush, purge:
		out += fmt.Sprintf(" %d", s.n)
	case stop, badStore, badQueue, jump:
		out += fmt.Sprintf(" %v", s.lasts)
	}
	return out
}

var (
	components = []string{"api", "web", "db"}
	impacts    = []incident.Impact{incident.ImpactNone, incident.ImpactMinor, incident.ImpactMajor, incident.ImpactCritical}
	statuses   = []incident.Status{incident.Investigating, incident.Identified, incident.Monitoring, incident.Resolved}
)

// dice is a generator with the draws that scenarios are made of.
type dice struct{ *rand.Rand }

func (d dice) chance(percent int) bool { return d.IntN(100) < percent }

func (d dice) between(low, high int) int { return low + d.IntN(high-low+1) }

func (d dice) span(low, high time.Duration) time.Duration {
	return low + time.Duration(d.Int64N(int64(high-low)+1))
}

func pick[T any](d dice, from ...T) T { return from[d.IntN(len(from))] }

// generate makes the scenario of a seed.
func generate(seed uint64) *scenario {
	d := dice{rand.New(rand.NewPCG(seed, 0x70c51))}
	s := &scenario{seed: seed, broker: d.chance(55), calm: d.chance(25), slow: pick(d, 1, 1, 1, 10, 100)}
	if s.calm {
		s.slow = 1
	}
	s.engine = settings{
		admission: pick(d, 100, 150, 400), inFlight: pick(d, 64, 200), page: pick(d, 2, 3, 5, 9, 100),
		laneWait: pick(d, 2*time.Second, 10*time.Second, 30*time.Second), hold: pick(d, 5*time.Second, 20*time.Second, 100*time.Second),
		longest: pick(d, 2*time.Second, 10*time.Second), retry: pick(d, 500*time.Millisecond, 2*time.Second),
		sweep: pick(d, time.Second, 5*time.Second), drain: pick(d, time.Second, 20*time.Second),
		life:        pick(d, 40*time.Second, 20*time.Minute, 20*time.Minute, 20*time.Minute),
		unpublished: pick(d, 200*time.Millisecond, 5*time.Second), unclaimed: pick(d, 300*time.Millisecond, 10*time.Second),
		backoff: dispatcher.Backoff{Base: pick(d, 200*time.Millisecond, 2*time.Second), Cap: pick(d, 5*time.Second, 30*time.Second)},
	}
	if s.calm {
		s.engine.admission, s.engine.inFlight = 400, 200
	}
	s.drawProviders(d)
	s.drawTargets(d)
	if s.calm && d.chance(30) {
		s.drawStream(d)
	} else {
		s.drawSteps(d)
	}
	s.drawBudgets(dice{rand.New(rand.NewPCG(seed, 0xb0d9e7))})
	return s
}

// drawBudgets draws what may be sent, for some.
func (s *scenario) drawBudgets(d dice) {
	if s.calm || !d.chance(20) {
		return
	}
	quota := func() ratelimit.Quota {
		return ratelimit.Quota{Messages: d.between(1, 3), Every: pick(d, 5*time.Second, time.Minute, 24*time.Hour)}
	}
	if d.chance(40) {
		s.budget.PerIncident = quota()
	}
	if d.chance(40) {
		s.budget.PerTarget = quota()
	}
	if d.chance(40) {
		s.budget.PerHour = d.between(1, 20)
	}
	if d.chance(30) {
		s.budget.PerDay = d.between(1, 30)
	}
	if d.chance(50) {
		for i := range s.providers {
			s.providers[i].bound = dispatcher.Bound{PerHour: d.between(0, 10), PerDay: d.between(0, 10)}
		}
		s.budget.Providers = true
	}
}

// drawStream draws update after update of one incident, faster than a provider
// takes them: everyone's turn has to come all the same.
func (s *scenario) drawStream(d dice) {
	s.providers = s.providers[:min(len(s.providers), 2)]
	p := &s.providers[0]
	p.mood, p.rate, p.burst, p.window = healthy, pick(d, 1.0, 2), pick(d, 1, 3), pick(d, 1, 4)
	s.targets = nil
	for range d.between(6, 14) {
		s.targets = append(s.targets, target{provider: d.IntN(len(s.providers)), least: incident.ImpactNone, every: d.chance(3)})
	}
	at := time.Duration(0)
	for n := range d.between(10, 45) {
		s.steps = append(s.steps, step{at: at, act: publish, update: update{status: statuses[n%len(statuses)], impact: incident.ImpactMajor}})
		at += d.span(500*time.Millisecond, 3*time.Second)
	}
}

func (s *scenario) drawProviders(d dice) {
	relay := d.IntN(8)
	for i := range d.between(1, 5) {
		p := provider{
			name: fmt.Sprintf("host-%d.example", i+1), group: "webhook", rate: 1000, burst: 1000, window: pick(d, 1, 4, 16),
			until: d.span(5*time.Second, 70*time.Second), share: pick(d, 20, 50, 100), period: d.span(2*time.Second, 20*time.Second),
		}
		if i == relay { // one of its own, with a queue of its own
			p.name, p.group = "main", "smtp:main"
		}
		if d.chance(55) {
			p.mood = mood(d.between(int(slow), int(picky)))
		}
		if d.chance(4) {
			p.mood, p.share, s.engine.life = dead, 100, 40*time.Second
		}
		if d.chance(35) {
			p.rate, p.burst = pick(d, 1.0, 2, 10), pick(d, 1, 3, 10)
		}
		s.providers = append(s.providers, p)
	}
}

func (s *scenario) drawTargets(d dice) {
	for range d.between(1, pick(d, 6, 20, 45)) {
		t := target{provider: d.IntN(len(s.providers)), least: incident.ImpactNone, private: d.chance(15), every: d.chance(20)}
		if d.chance(40) {
			t.components = []string{pick(d, components...)}
		}
		if d.chance(20) {
			t.least = pick(d, impacts...)
		}
		s.targets = append(s.targets, t)
	}
}

func (s *scenario) drawSteps(d dice) {
	incidents, at := d.between(1, 2), time.Duration(0)
	hurried := d.chance(30) // updates come one after the other
	for n := range d.between(1, pick(d, 3, 6, 10)) {
		u := update{status: statuses[n%len(statuses)], impact: pick(d, impacts...), private: d.chance(8)}
		if d.chance(70) {
			u.components = []string{pick(d, components...)}
		}
		st := step{at: at, act: publish, incident: d.IntN(incidents), update: u}
		if n > 0 && d.chance(12) {
			st.act = pick(d, again, stale)
		}
		s.steps = append(s.steps, st)
		at += d.span(0, pick(d, 50*time.Millisecond, 2*time.Second, 15*time.Second))
		if hurried {
			at = s.steps[len(s.steps)-1].at + d.span(time.Second, 4*time.Second)
		}
	}
	if s.calm {
		return
	}
	for range d.IntN(6) {
		s.steps = append(s.steps, s.drawMishap(d, at+5*time.Second))
	}
	for range d.IntN(pick(d, 1, 4)) {
		s.steps = append(s.steps, step{
			at: d.span(0, at+5*time.Second), act: act(d.between(int(forget), int(move))),
			target: d.IntN(len(s.targets)), n: d.IntN(len(s.providers)),
		})
	}
}

func (s *scenario) drawMishap(d dice, latest time.Duration) step {
	st := step{at: d.span(0, latest)}
	switch n := d.IntN(100); {
	case n < 30:
		st.act, st.n, st.lasts = dieAt, d.between(1, pick(d, 1, 3, 15)), d.span(0, pick(d, time.Second, 20*time.Second))
		// Nobody asks for anything to be sent again here.
		all := slices.DeleteFunc(dispatcher.Failpoints(), func(f dispatcher.Failpoint) bool {
			return f == dispatcher.FailResendBegun || f == dispatcher.FailResendPage
		})
		st.fail = all[d.IntN(len(all))]
	case n < 60:
		st.act, st.n, st.lasts = dieIn, d.between(1, pick(d, 5, 40, 150)), d.span(0, pick(d, time.Second, 20*time.Second))
		if d.chance(70) {
			st.call, st.n = pick(d, "accept", "commit page", "queue.publish", "published", "claim", "settle", "settle", "rebatch", "replace",
				"queue.conclude", "queue.receive webhook"), d.between(1, pick(d, 1, 4, 12))
		}
	case n < 67:
		st.act, st.lasts = stop, d.span(0, 10*time.Second)
	case n < 70:
		st.act, st.incident = end, d.IntN(2)
	case n < 74:
		st.act, st.n, st.lasts = hush, d.IntN(len(s.providers)), d.span(time.Second, 30*time.Second)
	case n < 84:
		st.act, st.lasts = badStore, d.span(0, pick(d, time.Second, 40*time.Second))
	case n < 92:
		st.act, st.lasts = badQueue, d.span(0, pick(d, time.Second, 40*time.Second))
	case n < 95 && s.broker:
		st.act, st.n = purge, d.IntN(len(s.providers))
	default:
		st.act, st.lasts = jump, d.span(-3*time.Minute, 3*time.Minute)
	}
	return st
}
