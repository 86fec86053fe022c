package dispatcher

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/queue"
)

// inbox is where everything that happened waits for the scheduler's next step.
type inbox struct {
	mu   sync.Mutex
	in   inputs
	wake chan struct{}
	// starved is how many written requests the scheduler has to hear of at once,
	// because it can start nothing before; 0 while it can.
	starved int
}

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

// put changes what waits and wakes the scheduler.
func (b *inbox) put(add func(*inputs)) {
	b.mu.Lock()
	add(&b.in)
	b.mu.Unlock()
	b.nudge()
}

func (b *inbox) nudge() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *inbox) result(a attempt) { b.put(func(in *inputs) { in.results = append(in.results, a) }) }

func (b *inbox) settled(h []*held) { b.put(func(in *inputs) { in.settled = append(in.settled, h...) }) }

// wrote takes a delivery whose request is written. The scheduler hears of it when
// it next looks; if it waits for that, with some others.
func (b *inbox) wrote(d *held) {
	b.mu.Lock()
	b.in.written = append(b.in.written, d)
	wake := b.starved > 0 && len(b.in.written) >= b.starved
	b.mu.Unlock()
	if wake {
		b.nudge()
	}
}

func (b *inbox) drain() { b.put(func(in *inputs) { in.draining = true }) }

// take swaps what waits for an empty one, whose room is used again.
func (b *inbox) take(into *inputs) {
	clear(into.noted)
	clear(into.results)
	clear(into.written)
	clear(into.holds)
	clear(into.settled)
	empty := inputs{noted: into.noted[:0], results: into.results[:0], written: into.written[:0], holds: into.holds[:0], settled: into.settled[:0]}
	b.mu.Lock()
	*into, b.in = b.in, empty
	b.starved = 0
	b.mu.Unlock()
}

// starve asks to be woken when so many requests more are written.
func (b *inbox) starve(n int) {
	b.mu.Lock()
	b.starved = n
	enough := len(b.in.written) >= n
	b.mu.Unlock()
	if enough {
		b.nudge()
	}
}

// schedule drives the scheduler until everything is handed back after drain. counted is
// what was counted for the budgets before.
func (e *Engine) schedule(ctx context.Context, counted []HourCount) error {
	s := newScheduler(e.now(), schedulerOptions{
		Policy: e.opt.Policy, Admission: e.opt.Admission, MaxInFlight: e.opt.MaxInFlight,
		MaxStarting: e.opt.MaxStarting, Tells: e.tells, MaxFresh: e.opt.MaxFresh,
		LaneWait: e.opt.LaneWait, HoldFor: e.opt.HoldFor, Backoff: e.opt.Backoff, Breaker: e.opt.Breaker, RetryShare: e.opt.RetryShare, Poison: e.opt.Poison, Rand: e.opt.Rand,
		Budgets: e.budgets, Counted: counted,
		Empty: true, // another process may just have taken all there were
	})
	var in inputs
	var out outputs
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var snapped time.Time
	for {
		e.inbox.take(&in)
		now := e.now()
		out.reset()
		s.step(now, &in, &out)
		for _, d := range out.note {
			e.senders.send(d)
		}
		for _, d := range out.start {
			e.senders.send(d)
		}
		e.admission.end(out.settle)
		e.settler.put(&out)
		if now.Sub(snapped) >= snapshotEvery || s.draining {
			e.snapshot.Store(s.snapshot())
			snapped = now
			e.senders.trim(now)
		}
		if s.draining && s.holding == 0 {
			return nil
		}
		if s.starting.full() {
			e.inbox.starve(max(e.opt.MaxStarting/4, 1))
		}
		// Come back for the next thing due, and to keep the figures fresh.
		wait := snapshotEvery
		if s.holding == 0 && len(s.lanes) == 0 {
			wait = e.senders.patience()
		}
		if !out.wake.IsZero() {
			wait = min(wait, out.wake.Sub(now))
		}
		if wait <= 0 {
			if ctx.Err() != nil {
				return nil
			}
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-e.inbox.wake:
			// Whoever is about to bring a result goes first: a step for ten of them
			// costs little more than one for one.
			runtime.Gosched()
		case <-timer.C:
		}
	}
}

// snapshotEvery is how old the figures of Snapshot may be.
const snapshotEvery = 250 * time.Millisecond

// senders are the goroutines that send, one for each send in flight. Some stay for
// the next: their stacks have grown to what a send needs, which costs more than
// the rest of a new goroutine. Those that nobody needed for a while end, or the
// greatest burst of all would be what is held for ever.
type senders struct {
	sync.WaitGroup
	one  func(*held)
	next chan *held   // taken by those that wait for work; nil ends one
	idle atomic.Int32 // who hands work to one takes it off, before it is awake

	// The scheduler's own.
	spare   int32     // least that were idle since trimmed
	trimmed time.Time // when those that were spare ended
}

const (
	// idleSenders is how many stay.
	idleSenders = 2048
	// trimEvery is how long one stays that is not needed, to twice that.
	trimEvery = 3 * time.Second
)

func newSenders(one func(*held)) *senders {
	return &senders{one: one, next: make(chan *held)}
}

func (s *senders) send(d *held) {
	select {
	case s.next <- d:
		s.spare = min(s.spare, s.idle.Add(-1))
	default:
		s.Go(func() { s.run(d) })
		s.spare = min(s.spare, s.idle.Load())
	}
}

// trim ends, now and then, as many as were idle all the time since it last did.
func (s *senders) trim(now time.Time) {
	if now.Sub(s.trimmed) < trimEvery {
		return
	}
	for range min(s.spare, s.idle.Load()) {
		select {
		case s.next <- nil:
			s.idle.Add(-1)
		default: // it is not waiting yet
		}
	}
	s.spare, s.trimmed = s.idle.Load(), now
}

// patience is how long trim may wait where nothing else happens.
func (s *senders) patience() time.Duration {
	if s.idle.Load() > 0 {
		return trimEvery
	}
	return time.Hour
}

func (s *senders) run(d *held) {
	for d != nil {
		s.one(d)
		if s.idle.Add(1) > idleSenders {
			s.idle.Add(-1)
			return
		}
		d = <-s.next
	}
}

// close lets those end that wait for work; there is none any more.
func (s *senders) close() { close(s.next) }

// send makes one attempt, or notes that it is to be made. The result goes to the
// scheduler, whatever happens on the way.
//
// What is below Send on the stack is there once for each that waits for its peer:
// send and attempt leave their work to functions that have returned by then.
func (e *Engine) send(d *held) {
	if d.state == noting {
		e.note(d)
		return
	}
	sentAt := e.now()
	e.sent(d, sentAt, e.attempt(d))
}

func (e *Engine) sent(d *held, sentAt time.Time, r channels.Result) {
	doneAt := e.now()
	if e.fail(FailSent) != nil {
		return // as if the process had died here
	}
	e.meter.Attempt(channelOf(d.hold.lease.Group), r.Class)
	e.inbox.result(attempt{held: d, sentAt: sentAt, doneAt: doneAt, result: r})
}

// note writes down that a suspect is sent next. A crash after that, until its result
// is in the ledger, counts against it.
func (e *Engine) note(d *held) {
	err := e.insist(e.sending, "note", func() error { return e.ledger.NoteStart(e.sending, d.row(), d.starts) })
	e.inbox.put(func(in *inputs) { in.noted = append(in.noted, note{d, err != nil}) })
}

func (e *Engine) attempt(d *held) (r channels.Result) {
	defer func() {
		if p := recover(); p != nil {
			e.log.Error("a channel panicked; its delivery ends as permanent", "group", d.hold.lease.Group, "panic", fmt.Sprint(p))
			r = channels.Result{Class: channels.Permanent, Detail: "internal error: the channel panicked"}
		}
	}()
	ch, m, err := e.message(d)
	if err != nil {
		return channels.Result{Class: channels.Permanent, Detail: clip("not renderable: " + err.Error())}
	}
	r = ch.Send(e.sending, m)
	if r.Class == 0 {
		r.Class = channels.Temporary
	}
	return r
}

// message returns what a delivery says, and the channel that it leaves by.
func (e *Engine) message(d *held) (channels.Channel, *channels.Message, error) {
	name := channelOf(d.hold.lease.Group)
	ch := e.channels[name]
	v := variantOf(d.d)
	u := d.hold.content.update
	payload, err := d.hold.content.payload(name, ch, v)
	if err != nil {
		return nil, nil, err
	}
	return ch, &channels.Message{
		ID:       incident.EditionID(u.Page, u.IncidentID, u.Sequence, strconv.FormatInt(d.d.Target, 10), d.d.Edition),
		Provider: d.lane.provider, Address: d.d.Address, Target: d.d.Target, Secrets: d.d.Secrets,
		Attempt: d.attempt + 1, Variant: v, Update: u.SeenBy(v.Visibility), Payload: payload,
		Written: func() { e.inbox.wrote(d) },
	}, nil
}

// tells says whether the channel of a group says when a request is written.
func (e *Engine) tells(group string) bool {
	_, ok := e.channels[channelOf(group)].(channels.Teller)
	return ok
}

// variantOf returns which rendering a delivery gets.
func variantOf(d *queue.Delivery) channels.Variant {
	v := channels.Variant{Format: d.Format, Locale: d.Locale, Visibility: incident.Public}
	if d.Private {
		v.Visibility = incident.Private
	}
	return v
}

// channelOf returns the channel of a group: "smtp" of "smtp:main".
func channelOf(group string) string {
	name, _, _ := strings.Cut(group, ":")
	return name
}

func clip(s string) string {
	if len(s) > channels.MaxDetail {
		s = strings.ToValidUTF8(s[:channels.MaxDetail], "")
	}
	return s
}
