package simulate

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tocsin/tocsin/queue"
)

// broker is a message broker as the engine may find it: it keeps what it
// confirmed, gives out again what a lost connection held, and forgets nothing but
// what is purged. It outlives processes, which reach it through links.
type broker struct {
	mu     sync.Mutex
	lines  map[lineKey][]*message // ready, oldest first
	intake []*posted              // oldest first
	aside  []*posted
	bell   chan struct{} // closed, and made anew, when anything changes
}

type lineKey struct {
	group  string
	urgent bool
}

// message is a published batch; data is its binary form, as brokers have it.
type message struct {
	data  []byte
	takes int
	at    time.Time
}

// posted is an event in the intake.
type posted struct {
	event   queue.Event
	taken   *taking // nil while ready
	verdict queue.Verdict
}

// taking is the Tag of an event: who took it, when.
type taking struct {
	by *link
	p  *posted
}

func newBroker() *broker {
	return &broker{lines: make(map[lineKey][]*message), bell: make(chan struct{})}
}

// ring wakes all who wait. Called with mu held.
func (b *broker) ring() {
	close(b.bell)
	b.bell = make(chan struct{})
}

// purge empties a group's queues, as an operator's hand might.
func (b *broker) purge(group string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.lines, lineKey{group, true})
	delete(b.lines, lineKey{group, false})
}

// empty says whether the intake has nothing left.
func (b *broker) empty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.intake) == 0
}

// link is a process's way to the broker.
type link struct {
	b      *broker
	closed bool
	// epoch counts connections; leases of earlier ones are void. down is set
	// while there is none.
	epoch int
	down  bool
	held  map[*message]lineKey
	known map[string]bool // groups, for Depths
}

// grant is the Tag of a lease.
type grant struct {
	by    *link
	epoch int
	m     *message
}

// returnPause is how long a returned lease stays away.
const returnPause = 200 * time.Millisecond

func (b *broker) connect() *link {
	return &link{b: b, held: make(map[*message]lineKey), known: make(map[string]bool)}
}

// cut ends the connection: what was held is ready again. It is up again with
// mend.
func (l *link) cut() {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	l.release()
	l.down = true
}

func (l *link) mend() {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	l.down = false
	l.b.ring()
}

// release gives everything held back to the head of its line. Called with mu held.
func (l *link) release() {
	l.epoch++
	for m, key := range l.held {
		l.b.put(key, m)
	}
	clear(l.held)
	for _, p := range l.b.intake {
		if p.taken != nil && p.taken.by == l {
			p.taken = nil
		}
	}
	l.b.ring()
}

// put keeps a line in the order of publishing. Called with mu held.
func (b *broker) put(key lineKey, m *message) {
	line := b.lines[key]
	at, _ := slices.BinarySearchFunc(line, m, func(a, m *message) int { return a.at.Compare(m.at) })
	for at < len(line) && line[at].at.Equal(m.at) {
		at++
	}
	b.lines[key] = slices.Insert(line, at, m)
}

// usable is nil if the link can be used. Called with mu held.
func (l *link) usable() error {
	switch {
	case l.closed:
		return fmt.Errorf("the simulated broker: %w", queue.ErrClosed)
	case l.down:
		return fmt.Errorf("the simulated broker: %w", queue.ErrUnavailable)
	}
	return nil
}

// Publish implements queue.Queue.
func (l *link) Publish(_ context.Context, batches []*queue.Batch) error {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	for _, b := range batches {
		data, err := b.AppendBinary(nil)
		if err != nil {
			return err
		}
		l.b.put(lineKey{b.Group, b.Urgent}, &message{data: data, at: time.Now()})
	}
	l.b.ring()
	return nil
}

// Receive implements queue.Queue.
func (l *link) Receive(ctx context.Context, group string, most int) ([]*queue.Lease, error) {
	for {
		leases, bell, err := l.receive(group, most)
		if err != nil || len(leases) > 0 {
			return leases, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-bell:
		}
	}
}

func (l *link) receive(group string, most int) (leases []*queue.Lease, bell chan struct{}, err error) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	if err := l.usable(); err != nil {
		return nil, nil, err
	}
	l.known[group] = true
	for _, urgent := range []bool{true, false} {
		key := lineKey{group, urgent}
		for len(leases) < most && len(l.b.lines[key]) > 0 {
			m := l.b.lines[key][0]
			l.b.lines[key] = l.b.lines[key][1:]
			batch, err := queue.ParseBatch(m.data)
			if err != nil {
				return nil, nil, err
			}
			m.takes++
			l.held[m] = key
			leases = append(leases, &queue.Lease{Batch: batch, Takes: m.takes, ReceivedAt: time.Now(), Tag: grant{l, l.epoch, m}})
		}
	}
	return leases, l.b.bell, nil
}

// Ack implements queue.Queue.
func (l *link) Ack(leases []*queue.Lease) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	for _, lease := range leases {
		l.drop(lease)
	}
}

// drop ends a lease of the present connection. Called with mu held.
func (l *link) drop(lease *queue.Lease) (m *message, key lineKey) {
	g, _ := lease.Tag.(grant)
	if g.by != l || g.epoch != l.epoch {
		return nil, key
	}
	key, held := l.held[g.m]
	if !held {
		return nil, key
	}
	delete(l.held, g.m)
	return g.m, key
}

// Return implements queue.Queue.
func (l *link) Return(leases []*queue.Lease) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	for _, lease := range leases {
		g, _ := lease.Tag.(grant)
		if _, held := l.held[g.m]; g.by != l || g.epoch != l.epoch || !held {
			continue
		}
		time.AfterFunc(returnPause, func() {
			l.b.mu.Lock()
			defer l.b.mu.Unlock()
			if m, key := l.drop(lease); m != nil {
				l.b.put(key, m)
				l.b.ring()
			}
		})
	}
}

// Depths implements queue.Queue.
func (l *link) Depths(context.Context) ([]queue.Depth, error) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	if err := l.usable(); err != nil {
		return nil, err
	}
	intake := queue.Depth{Queue: "intake"}
	for _, p := range l.b.intake {
		if p.taken == nil {
			intake.Ready++
		} else {
			intake.Held++
		}
	}
	list := []queue.Depth{intake}
	groups := make(map[string]bool)
	for g := range l.known {
		groups[g] = true
	}
	for key := range l.b.lines {
		groups[key.group] = true
	}
	for g := range groups {
		for _, urgent := range []bool{true, false} {
			d := queue.Depth{Queue: g + ".normal", Ready: len(l.b.lines[lineKey{g, urgent}])}
			if urgent {
				d.Queue = g + ".urgent"
			}
			for _, key := range l.held {
				if key == (lineKey{g, urgent}) {
					d.Held++
				}
			}
			list = append(list, d)
		}
	}
	return list, nil
}

// Close implements queue.Queue; also what the death of a process does to its link.
func (l *link) Close() error {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	if !l.closed {
		l.release()
		l.closed = true
	}
	return nil
}

// Offer implements queue.Intake.
func (l *link) Offer(_ context.Context, e *queue.Event) error {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	p := &posted{event: *e}
	p.event.Body = slices.Clone(e.Body)
	if p.event.ReceivedAt.IsZero() {
		p.event.ReceivedAt = time.Now()
	}
	l.b.intake = append(l.b.intake, p)
	l.b.ring()
	return nil
}

// Take implements queue.Intake.
func (l *link) Take(ctx context.Context, most int) ([]*queue.Event, error) {
	for {
		events, bell, err := l.take(most)
		if err != nil || len(events) > 0 {
			return events, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-bell:
		}
	}
}

func (l *link) take(most int) (events []*queue.Event, bell chan struct{}, err error) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	if err := l.usable(); err != nil {
		return nil, nil, err
	}
	for _, p := range l.b.intake {
		if p.taken == nil && len(events) < most {
			p.taken = &taking{l, p}
			e := p.event
			e.Tag = p.taken
			events = append(events, &e)
		}
	}
	return events, l.b.bell, nil
}

// Conclude implements queue.Intake.
func (l *link) Conclude(_ context.Context, events []*queue.Event, verdicts []queue.Verdict) error {
	if len(events) != len(verdicts) {
		return fmt.Errorf("%d events have %d verdicts", len(events), len(verdicts))
	}
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	for i, e := range events {
		t, _ := e.Tag.(*taking)
		if t == nil || t.p.taken != t || t.by != l {
			continue
		}
		p := t.p
		at := slices.Index(l.b.intake, p)
		if at < 0 {
			continue
		}
		l.b.intake = slices.Delete(l.b.intake, at, at+1)
		p.verdict = verdicts[i]
		if verdicts[i].Result == "invalid" {
			l.b.aside = append(l.b.aside, p)
		}
	}
	return nil
}
