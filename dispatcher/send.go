package dispatcher

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
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
}

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

// put changes what waits and wakes the scheduler.
func (b *inbox) put(add func(*inputs)) {
	b.mu.Lock()
	add(&b.in)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *inbox) result(a attempt) { b.put(func(in *inputs) { in.results = append(in.results, a) }) }

func (b *inbox) settled(h []*held) { b.put(func(in *inputs) { in.settled = append(in.settled, h...) }) }

func (b *inbox) drain() { b.put(func(in *inputs) { in.draining = true }) }

// take swaps what waits for an empty one, whose room is used again.
func (b *inbox) take(into *inputs) {
	clear(into.results)
	clear(into.holds)
	clear(into.settled)
	empty := inputs{results: into.results[:0], holds: into.holds[:0], settled: into.settled[:0]}
	b.mu.Lock()
	*into, b.in = b.in, empty
	b.mu.Unlock()
}

// schedule drives the scheduler until everything is handed back after drain.
func (e *Engine) schedule(ctx context.Context) error {
	s := newScheduler(e.now(), schedulerOptions{
		Policy: e.opt.Policy, Admission: e.opt.Admission, MaxInFlight: e.opt.MaxInFlight,
		LaneWait: e.opt.LaneWait, HoldFor: e.opt.HoldFor, Backoff: e.opt.Backoff, Breaker: e.opt.Breaker, Rand: e.opt.Rand,
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
		for _, d := range out.start {
			e.senders.Add(1)
			go e.send(d)
		}
		e.settler.put(&out)
		if now.Sub(snapped) >= snapshotEvery || s.draining {
			e.snapshot.Store(s.snapshot())
			snapped = now
		}
		if s.draining && s.holding == 0 {
			return nil
		}
		// Come back for the next thing due, and to keep the figures fresh.
		wait := snapshotEvery
		if s.holding == 0 && len(s.lanes) == 0 {
			wait = time.Hour
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
		case <-timer.C:
		}
	}
}

// snapshotEvery is how old the figures of Snapshot may be.
const snapshotEvery = 250 * time.Millisecond

// send makes one attempt. The result goes to the scheduler, whatever happens
// on the way.
func (e *Engine) send(d *held) {
	defer e.senders.Done()
	a := attempt{held: d, sentAt: e.now()}
	a.result = e.attempt(d)
	a.doneAt = e.now()
	if e.fail(FailSent) != nil {
		return // as if the process had died here
	}
	e.meter.Attempt(channelOf(d.hold.lease.Group), a.result.Class)
	e.inbox.result(a)
}

func (e *Engine) attempt(d *held) (r channels.Result) {
	defer func() {
		if p := recover(); p != nil {
			e.log.Error("a channel panicked; its delivery ends as permanent", "group", d.hold.lease.Group, "panic", fmt.Sprint(p))
			r = channels.Result{Class: channels.Permanent, Detail: "internal error: the channel panicked"}
		}
	}()
	name := channelOf(d.hold.lease.Group)
	ch := e.channels[name]
	v := variantOf(d.d)
	u := d.hold.content.update
	payload, err := d.hold.content.payload(name, ch, v)
	if err != nil {
		return channels.Result{Class: channels.Permanent, Detail: clip("not renderable: " + err.Error())}
	}
	r = ch.Send(e.sending, &channels.Message{
		ID:       incident.DeliveryID(u.Page, u.IncidentID, u.Sequence, strconv.FormatInt(d.d.Target, 10)),
		Provider: d.lane.provider, Address: d.d.Address, Target: d.d.Target, Secrets: d.d.Secrets,
		Attempt: d.attempt + 1, Variant: v, Update: u, Payload: payload,
	})
	if r.Class == 0 {
		r.Class = channels.Temporary
	}
	return r
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
