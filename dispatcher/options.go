package dispatcher

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/queue"
)

// Group is one delivery queue this worker serves.
type Group struct {
	// Name is "webhook" for a pool, "smtp:main" for a named provider; the
	// part before the colon names the channel.
	Name string
	// Provider is set for a named provider.
	Provider string
}

// Options are an engine's settings: an immutable snapshot.
type Options struct {
	// Worker names this process to operators.
	Worker string
	// Groups are the delivery queues to serve.
	Groups []Group
	// Policy says what a provider's limits are. It is called when its lane
	// begins, and must be quick and pure.
	Policy func(group, provider string) ProviderPolicy
	// EmbeddedQueue: what the ledger commits is in the queue by that.
	EmbeddedQueue bool

	// Admission bounds the deliveries in this worker.
	Admission int
	// MaxInFlight bounds the sends at once; it comes from the FD budget.
	MaxInFlight int
	// MaxStarting bounds those of them whose request is not written yet; 0 is
	// no limit. More than the dials that may run at once only wait for those.
	MaxStarting int
	// MaxFresh bounds those of them begun within the last 20 ms that have no
	// answer yet; 0 is no limit. It paces a worker that is short of CPU; where
	// peers are slow, 50 times as many may start each second.
	MaxFresh int
	// LaneWait is the longest wait spent in memory; longer ones are the
	// ledger's.
	LaneWait time.Duration
	// HoldFor is how long a batch is held at most, but for sends in flight;
	// LongestSend how long one of those may take, over all channels. A claim
	// lasts longer than both together.
	HoldFor, LongestSend time.Duration
	Backoff              Backoff
	Breaker              BreakerPolicy
	// RetryShare is how much of a provider's rate may go to retries, 0.2 for a fifth;
	// 0 is no limit.
	RetryShare float64
	// Budgets bound what is sent in storms, by channel.
	Budgets map[string]Budget
	// Poison says what happens to deliveries that end the process.
	Poison PoisonPolicy
	// ExpiresAfter is the life of an update that names no expires_at.
	ExpiresAfter time.Duration

	// PlanPage is how many targets one transaction of a plan covers; the first of each
	// plan an eighth of it, since the senders wait for that.
	PlanPage int
	// SettleEvery is how long a result waits for others to share its
	// transaction.
	SettleEvery time.Duration
	RetryEvery  time.Duration
	ExpireEvery time.Duration
	SweepEvery  time.Duration
	// CallbackEvery is how often updates with a callback are looked at.
	CallbackEvery time.Duration
	// SweepUnpublished and SweepUnclaimed are the ages at which a batch that
	// the broker did not confirm, or that nobody claimed, counts as lost.
	SweepUnpublished, SweepUnclaimed time.Duration
	// DrainFor is how long sends in flight may finish at shutdown.
	DrainFor time.Duration
	// ErrorPause paces the repetition of what failed.
	ErrorPause time.Duration

	// Clock returns the time; nil means time.Now.
	Clock func() time.Time
	// Rand draws the jitter; nil means a random seed.
	Rand *rand.Rand
	// Fail is asked at every failpoint; an error ends the engine there, as if
	// the process had died. Nil outside tests.
	Fail func(Failpoint) error
}

// DefaultOptions returns the settings where nothing is configured; Groups and
// Policy have to be added.
func DefaultOptions() Options {
	return Options{
		Worker:       "worker",
		Admission:    50_000,
		MaxInFlight:  16_000,
		MaxStarting:  256,
		MaxFresh:     512,
		LaneWait:     30 * time.Second,
		HoldFor:      100 * time.Second,
		LongestSend:  30 * time.Second,
		Backoff:      Backoff{Base: 2 * time.Second, Cap: time.Hour},
		Breaker:      DefaultBreaker(),
		RetryShare:   0.2,
		Poison:       DefaultPoison(),
		ExpiresAfter: 24 * time.Hour,
		PlanPage:     4000, // about 30 ms of the store's writer: settling never waits long behind it
		SettleEvery:  5 * time.Millisecond,
		RetryEvery:   500 * time.Millisecond,
		ExpireEvery:  time.Second,
		SweepEvery:   5 * time.Second,

		CallbackEvery: time.Second,

		SweepUnpublished: 15 * time.Second,
		SweepUnclaimed:   3 * time.Minute,
		DrainFor:         20 * time.Second,
		ErrorPause:       200 * time.Millisecond,
	}
}

// Ports are what an engine works through.
type Ports struct {
	Ledger Ledger
	Queue  queue.Queue
	Intake queue.Intake
	// Channels by name: the part of a group's name before the colon.
	Channels  map[string]channels.Channel
	Callbacks Callbacks
	Meter     Meter
	Log       *slog.Logger
}

// Meter takes the engine's counts. Its methods are called on the hot path:
// they must be quick and not block.
type Meter interface {
	// EventAccepted counts an event by its intake and what became of it.
	EventAccepted(source, result string)
	UpdatePlanned()
	// Attempt counts one send.
	Attempt(channel string, class channels.Class)
	// Outcome counts n deliveries that ended so, once that is durable.
	Outcome(channel string, o Outcome, n int)
	// Latency takes the time from an update's acceptance to its delivery's
	// acknowledgement by the peer.
	Latency(channel string, d time.Duration)
	// Backlog takes the ledger's backlog as of now.
	Backlog(b Backlog, now time.Time)
}

// leaseMargin is what a claim lasts beyond the last send: the results have to be
// committed, and clocks may differ.
const leaseMargin = 20 * time.Second

// lease is how long a claim lasts. Another worker may take up a batch after that:
// were it shorter, what a slow provider is still answering would be sent twice.
func (o *Options) lease() time.Duration { return o.HoldFor + o.LongestSend + leaseMargin }

// serves says whether a worker takes the batches of a group.
func (o *Options) serves(group string) bool {
	return slices.ContainsFunc(o.Groups, func(g Group) bool { return g.Name == group })
}

func (o *Options) check(p *Ports) error {
	switch {
	case p.Ledger == nil || p.Queue == nil || p.Intake == nil:
		return errors.New("dispatcher: a ledger, a queue and an intake are needed")
	case p.Callbacks == nil:
		return errors.New("dispatcher: callbacks are needed, if only to refuse them")
	case p.Meter == nil || p.Log == nil:
		return errors.New("dispatcher: a meter and a logger are needed")
	case len(o.Groups) == 0 || o.Policy == nil:
		return errors.New("dispatcher: groups and their policy are needed")
	case o.Admission < queue.MaxDeliveries || o.MaxInFlight < 1 || o.PlanPage < 1:
		return fmt.Errorf("dispatcher: admission must be at least %d, MaxInFlight and PlanPage at least 1", queue.MaxDeliveries)
	}
	for _, g := range o.Groups {
		if p.Channels[channelOf(g.Name)] == nil {
			return fmt.Errorf("dispatcher: group %q has no channel", g.Name)
		}
	}
	return nil
}
