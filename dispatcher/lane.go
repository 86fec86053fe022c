package dispatcher

import (
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/queue"
	"github.com/tocsin/tocsin/ratelimit"
)

// ProviderPolicy is what the configuration says of a provider.
type ProviderPolicy struct {
	// Limit is its token bucket: deliveries per second, and burst.
	Limit ratelimit.Limit
	// Window is how many sends to it may be in flight at once.
	Window int
	// Named providers are configured by name and have a queue of their own;
	// the others share the queue of their pool.
	Named bool
	// Failover names providers of the same group that take over, in this
	// order, while the provider's breaker is open.
	Failover []string
	// Account is what its messages are counted on; providers may share one. Its
	// channel's [Budget] says that there are some.
	Account Account
}

// progress is where a held delivery stands.
type progress uint8

const (
	queued    progress = iota + 1 // in its lane, may start
	delayed                       // in its lane, until due
	behind                        // an older delivery of its (incident, target) is not done
	suspected                     // in the line of suspects
	noting                        // on its way into the ledger as one, then into its lane
	inFlight                      // being sent
	settling                      // sent; for every_update: until its outcome is durable
	done                          // settled
)

// hold is a claimed batch in this worker. The scheduler owns it until it has
// handed out its last settlement.
type hold struct {
	lease      *queue.Lease
	content    *content
	exceptions []Exception
	costs      []int   // tokens that each delivery takes; nil where it is one each
	takes      int     // how often the batch was taken, this time included
	starts     []int   // of each delivery: noted, without an end; nil where there are none
	heard      []Heard // of each delivery's target; nil where the update ends nothing
	deliveries []held
	open       int       // deliveries without a settlement
	stopped    bool      // its fan-out was stopped while it was held
	deadline   time.Time // steady; no batch is held longer

	// In the scheduler's holds, while it has open deliveries.
	listed     bool
	prev, next *hold
}

// holds are batches with open deliveries, in the order of their deadlines. One that
// has none left must not wait in here for those before it: at 30,000 deliveries a
// second that would be a gigabyte within the time a batch may be held.
type holds struct{ first, last *hold }

func (l *holds) push(h *hold) {
	h.listed, h.prev = true, l.last
	if l.last != nil {
		l.last.next = h
	} else {
		l.first = h
	}
	l.last = h
}

func (l *holds) remove(h *hold) {
	if !h.listed {
		return
	}
	if h.prev != nil {
		h.prev.next = h.next
	} else {
		l.first = h.next
	}
	if h.next != nil {
		h.next.prev = h.prev
	} else {
		l.last = h.prev
	}
	h.listed, h.prev, h.next = false, nil, nil
}

// held is one delivery in this worker. Owned by the scheduler, but for d,
// hold.content, attempt, state and starts while it is in flight or noted: those
// are the sender's to read.
type held struct {
	d    *queue.Delivery
	hold *hold
	lane *lane
	next *held // the next newer delivery of the same (incident, target)

	state    progress
	heard    Heard    // whether its target heard of the incident that it ends
	slow     bool     // in flight in the slow class
	recalled bool     // its target changed while it was in flight
	suspect  bool     // its start has to be noted
	noted    bool     // it is in the ledger as one, or on the way; until that ended there
	starts   int      // noted ones without an end
	attempt  int      // attempts made
	cost     int      // tokens it takes
	last     struct { // what the last of them came to, if that is not in the ledger
		class  channels.Class
		detail string
		sentAt time.Time
	}
	since   time.Time
	order   uint64    // of admission, among those of one since
	due     time.Time // steady, while delayed
	index   int32     // in the lane's heap
	epoch   uint32    // of the lane's breaker, at the start
	verdict func(error)
	// young has when it was started, steady, while it is in flight and counts as
	// starting or fresh.
	young [marks]time.Time
}

func (h *held) key() slot { return slot{h.hold.lease.Incident, h.d.Target} }

func (h *held) row() Row {
	return Row{Incident: h.hold.lease.Incident, Target: h.d.Target, Sequence: h.hold.lease.Sequence}
}

// slot names what only one send may be in flight for.
type slot struct{ incident, target int64 }

// laneState is what keeps a lane from starting, for the metrics.
type laneState uint8

const (
	laneIdle laneState = iota
	laneReady
	laneWindow  // as many in flight as its window allows
	laneLimited // no token
	lanePaused  // the provider asked for a pause
	laneOpen    // the breaker is open or probing
	laneDelayed // only retries that are not due
	laneStates
)

var laneStateNames = [laneStates]string{"idle", "ready", "window", "limited", "paused", "open", "delayed"}

// lane is a worker's state for one provider. It exists while the provider is
// active, and until its bucket is full and its breaker closed again.
type lane struct {
	group    string
	provider string
	policy   ProviderPolicy
	counts   *poolCounts // its group's
	bucket   ratelimit.Bucket
	breaker  *breaker // nil until the first failure
	budget   retryBudget
	accounts []*account // what its messages are counted on
	counted  []string   // their names
	waiting  heap[held]
	delayed  heap[held]

	held     int // deliveries of this lane in the worker, in flight ones too
	inFlight int

	limitedUntil time.Time
	pausedUntil  time.Time
	probing      bool          // after a pause: one at a time until the provider takes one
	took         time.Duration // by the latest sends, smoothed; 0 before the first
	overflow     time.Time     // when the last one that found no room comes back
	renewed      updateKey     // the last one whose deliveries took over older ones' places in that
	throttles    [3]throttle
	connFailed   bool // the last connect failed: the slow class
	tells        bool // its sends say when their request is written

	state   laneState
	inReady [2]bool // in the urgent, the normal line
	parked  bool    // in the slow class's line
	blocked int     // deliveries counted as unable to start
	jam     jam
	wake    time.Time
	timer   int32
}

// jam links the lanes that can't start what they hold, in the order in which
// they last made progress.
type jam struct {
	lane       *lane // nil in the list's root
	since      time.Time
	prev, next *jam
}

// insertBefore puts j before at; remove takes it out of its list.
func (j *jam) insertBefore(at *jam) {
	j.prev, j.next = at.prev, at
	at.prev.next, at.prev = j, j
}

func (j *jam) remove() {
	j.prev.next, j.next.prev = j.next, j.prev
	j.prev, j.next = nil, nil
}

// throttle is one target that the provider told to slow down.
type throttle struct {
	target int64
	at     time.Time
}

func newLane(group, provider string, policy ProviderPolicy) *lane {
	at := func(h *held) *int32 { return &h.index }
	l := &lane{
		group: group, provider: provider, policy: policy, timer: -1,
		waiting: heap[held]{at: at, less: before},
		delayed: heap[held]{at: at, less: func(a, b *held) bool { return a.due.Before(b.due) }},
	}
	l.jam.lane = l
	return l
}

// before is the order within a lane: urgent ones first, then whoever began
// waiting first.
func before(a, b *held) bool {
	if au, bu := a.hold.lease.Urgent, b.hold.lease.Urgent; au != bu {
		return au
	}
	if !a.since.Equal(b.since) {
		return a.since.Before(b.since)
	}
	return a.order < b.order
}

// isOpen says whether the lane's breaker lets nothing start, not even a probe.
func (l *lane) isOpen() bool { return l.breaker != nil && l.breaker.isOpen() }

// throttled notes that the provider slowed a target down and says whether the
// whole lane should pause: three distinct targets within ten seconds, or at
// once where the provider is one account.
func (l *lane) throttled(target int64, now time.Time) bool {
	if l.policy.Named {
		return true
	}
	oldest, distinct := 0, 1
	for i, t := range l.throttles {
		if t.target == target {
			l.throttles[i].at = now
			return false
		}
		if !t.at.IsZero() && now.Sub(t.at) <= throttleWithin {
			distinct++
		}
		if t.at.Before(l.throttles[oldest].at) {
			oldest = i
		}
	}
	l.throttles[oldest] = throttle{target, now}
	return distinct >= len(l.throttles)
}

// throttleWithin is the time within which distinct throttled targets count
// together.
const throttleWithin = 10 * time.Second

// answered notes how long a send took.
func (l *lane) answered(took time.Duration) {
	took = max(took, time.Microsecond)
	if l.took == 0 {
		l.took = took
		return
	}
	l.took += (took - l.took) / 8
}

// room is how many deliveries the lane may hold: twice its window, or what it is
// through with within roomFor. What is beyond waits in the ledger, and comes back in
// lots that are further apart than a fast provider takes for two windows.
func (l *lane) room() int {
	if l.took == 0 {
		return 2 * l.policy.Window
	}
	return max(2*l.policy.Window, int(roomFor/l.per()))
}

const roomFor = time.Second

// per is the time between two sends, by the provider's rate, and by its window and how
// long it took for each of late.
func (l *lane) per() time.Duration {
	return max(time.Duration(float64(time.Second)/l.policy.Limit.PerSecond), l.took/time.Duration(max(l.policy.Window, 1)), time.Microsecond)
}

// pace returns when the next delivery that finds no room here should come back: one
// send's time after the one before, behind those already held. Where the provider's
// speed and not its rate is the limit they come twice as fast, for it may be faster
// then; before the first answer it is taken for fast.
func (l *lane) pace(now time.Time) time.Time {
	per := time.Duration(float64(time.Second) / l.policy.Limit.PerSecond)
	took := l.took
	if took == 0 {
		took = quickSend
	}
	per = max(per, took/time.Duration(2*max(l.policy.Window, 1)))
	if first := now.Add(per * time.Duration(l.held)); l.overflow.Before(first) {
		l.overflow = first
	}
	l.overflow = l.overflow.Add(per)
	return l.overflow
}

// quickSend is how long a send to a fast provider takes.
const quickSend = 10 * time.Millisecond

// renew is told of a delivery without room that takes an older one's place: those of
// its update come back when the older ones would have, not after them.
func (l *lane) renew(incident int64, sequence int, now time.Time) {
	if u := (updateKey{incident, sequence}); u != l.renewed {
		l.renewed, l.overflow = u, now
	}
}
