package egress

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// Budget counts the file descriptors of outbound connections, idle ones too. Who
// wants one more than there are waits, the one who waited longest going first.
//
// Owners park connections they keep for later. The budget closes the least
// recently parked ones while more than 90 % are in use, and each that was not used
// again for the idle time.
type Budget struct {
	mu       sync.Mutex
	limit    int
	used     int
	waiting  *list.List // of chan struct{}, closed when a descriptor is handed over
	idleTime time.Duration
	idle     Idle // ring of the parked, the longest parked being idle.next
	timer    *time.Timer
	expiring sync.WaitGroup // a timer that runs or is set
	closed   bool
}

// Idle is a connection's place among the parked. The zero value with Evict set is
// ready to use; it is the budget's between Park and an Unpark that returned true.
type Idle struct {
	// Evict closes the connection. It is called at most once for each Park, from
	// any goroutine, with no lock of the budget held.
	Evict func()

	next, prev *Idle
	since      time.Time
}

// NewBudget returns a budget of so many descriptors, at least one. Idle
// connections are closed after idleTime; it must be positive.
func NewBudget(limit int, idleTime time.Duration) *Budget {
	b := &Budget{limit: max(limit, 1), idleTime: idleTime, waiting: list.New()}
	b.idle.next, b.idle.prev = &b.idle, &b.idle
	return b
}

// Limit returns the number of descriptors there are.
func (b *Budget) Limit() int { return b.limit }

// Used returns the number of descriptors that are taken.
func (b *Budget) Used() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// Acquire takes a descriptor, waiting for one until ctx ends, whose error it then
// returns.
func (b *Budget) Acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	if b.used < b.limit {
		b.used++
		surplus := b.surplus()
		b.mu.Unlock()
		evict(surplus)
		return nil
	}
	handed := make(chan struct{})
	place := b.waiting.PushBack(handed)
	surplus := b.surplus()
	b.mu.Unlock()
	evict(surplus)

	select {
	case <-handed:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-handed: // meanwhile: pass it on
		b.release()
	default:
		b.waiting.Remove(place)
	}
	return ctx.Err()
}

// Release gives a descriptor back, after it was closed.
func (b *Budget) Release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.release()
}

func (b *Budget) release() {
	if first := b.waiting.Front(); first != nil {
		close(b.waiting.Remove(first).(chan struct{}))
		return
	}
	b.used--
}

// Park hands an idle connection to the budget, which may evict it at once. After
// [Budget.Close] it always does.
func (b *Budget) Park(i *Idle) {
	b.mu.Lock()
	i.since = time.Now()
	i.prev, i.next = b.idle.prev, &b.idle
	i.prev.next, i.next.prev = i, i
	var surplus []*Idle
	if b.closed {
		surplus = b.take(1, time.Time{})
	} else {
		surplus = b.surplus()
		b.setTimer()
	}
	b.mu.Unlock()
	evict(surplus)
}

// Unpark takes a connection back. If it returns false, the connection has been
// evicted, or is just being so, and must be left alone.
func (b *Budget) Unpark(i *Idle) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i.next == nil {
		return false
	}
	i.unlink()
	return true
}

// EvictOldest closes the connection that is parked longest and reports whether
// there was one.
func (b *Budget) EvictOldest() bool {
	b.mu.Lock()
	oldest := b.take(1, time.Time{})
	b.mu.Unlock()
	evict(oldest)
	return len(oldest) > 0
}

// Close evicts everything that is parked and waits for evictions that run by
// themselves.
func (b *Budget) Close() {
	b.mu.Lock()
	b.closed = true
	if b.timer != nil && b.timer.Stop() {
		b.timer = nil
		b.expiring.Done()
	}
	all := b.take(b.limit, time.Time{})
	b.mu.Unlock()
	evict(all)
	b.expiring.Wait()
}

// surplus takes out as many of the parked as are needed to get to 90 %.
func (b *Budget) surplus() []*Idle {
	over := b.used + b.waiting.Len() - b.limit*9/10
	return b.take(over, time.Time{})
}

// take unlinks up to n of the longest parked, all parked by the time given if that
// is not zero.
func (b *Budget) take(n int, by time.Time) []*Idle {
	var out []*Idle
	for i := b.idle.next; i != &b.idle && len(out) < n; i = b.idle.next {
		if !by.IsZero() && i.since.After(by) {
			break
		}
		i.unlink()
		out = append(out, i)
	}
	return out
}

func (i *Idle) unlink() {
	i.prev.next, i.next.prev = i.next, i.prev
	i.next, i.prev = nil, nil
}

func evict(idle []*Idle) {
	for _, i := range idle {
		i.Evict()
	}
}

// setTimer makes sure that the longest parked connection is closed in time. There
// is one timer, set only while something is parked; it is not moved when that one
// is taken back, so that parking stays cheap.
func (b *Budget) setTimer() {
	if b.timer != nil || b.closed || b.idle.next == &b.idle {
		return
	}
	b.expiring.Add(1)
	b.timer = time.AfterFunc(b.idleTime-time.Since(b.idle.next.since), b.expire)
}

func (b *Budget) expire() {
	defer b.expiring.Done()
	b.mu.Lock()
	b.timer = nil
	due := b.take(b.limit, time.Now().Add(-b.idleTime))
	b.setTimer()
	b.mu.Unlock()
	evict(due)
}
