package egress

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// youth is how long a dial counts against the fast class.
const youth = 100 * time.Millisecond

// Gate bounds how many dials and handshakes are under way, so that 10,000 of them
// at once don't fight for CPU and memory, and does so without letting hosts that
// don't answer hold up the others:
//
//   - The fast class counts only dials younger than 100 ms. An older one moves to
//     the slow class and makes room for the next.
//   - The slow class is where hosts begin whose last dial failed. Dials that move
//     there come first. While it is full, older dials stay where they are.
//
// Each class lets in who waited longest.
type Gate struct {
	mu         sync.Mutex
	fast, slow class
	// young holds the passes of the fast class, the oldest first.
	young *list.List
	// timer moves the oldest dial when its youth ends; it runs only while
	// somebody waits for the fast class.
	timer *time.Timer
}

type class struct {
	limit, used int
	waiting     *list.List // of *Pass
}

// Pass is a place in the gate.
type Pass struct {
	gate *Gate
	// entered is closed when the pass is granted; what follows is the gate's.
	entered chan struct{}
	since   time.Time
	slow    bool
	element *list.Element // in a waiting list, then in young
}

// NewGate returns a gate for so many dials of each class, at least one.
func NewGate(fast, slow int) *Gate {
	return &Gate{
		fast:  class{limit: max(fast, 1), waiting: list.New()},
		slow:  class{limit: max(slow, 1), waiting: list.New()},
		young: list.New(),
	}
}

// Enter waits for a place until ctx ends, whose error it then returns. The caller
// must [Pass.Leave] when its dial, handshake included, is over.
func (g *Gate) Enter(ctx context.Context, slow bool) (*Pass, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p := &Pass{gate: g, slow: slow, entered: make(chan struct{})}
	g.mu.Lock()
	p.element = g.class(slow).waiting.PushBack(p)
	g.turn()
	g.mu.Unlock()

	select {
	case <-p.entered:
		return p, nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-p.entered: // granted meanwhile: pass it on
		g.leave(p)
	default:
		g.class(slow).waiting.Remove(p.element)
		g.turn()
	}
	return nil, ctx.Err()
}

// Leave gives the place back. It is called once.
func (p *Pass) Leave() {
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	p.gate.leave(p)
}

func (g *Gate) class(slow bool) *class {
	if slow {
		return &g.slow
	}
	return &g.fast
}

func (g *Gate) leave(p *Pass) {
	if !p.slow {
		g.young.Remove(p.element)
	}
	g.class(p.slow).used--
	g.turn()
}

// turn brings the gate up to date: it moves, admits and sets the timer.
func (g *Gate) turn() {
	now := time.Now()
	for e := g.young.Front(); e != nil && g.slow.used < g.slow.limit; e = g.young.Front() {
		p := e.Value.(*Pass)
		if now.Sub(p.since) < youth {
			break
		}
		g.young.Remove(e)
		p.slow = true
		g.fast.used--
		g.slow.used++
	}
	for p := g.fast.next(); p != nil; p = g.fast.next() {
		p.since = now
		p.element = g.young.PushBack(p)
		close(p.entered)
	}
	for p := g.slow.next(); p != nil; p = g.slow.next() {
		close(p.entered)
	}
	g.setTimer(now)
}

// next takes the first that waits, if there is a place for it.
func (c *class) next() *Pass {
	first := c.waiting.Front()
	if first == nil || c.used >= c.limit {
		return nil
	}
	c.used++
	return c.waiting.Remove(first).(*Pass)
}

func (g *Gate) setTimer(now time.Time) {
	if g.fast.waiting.Len() == 0 || g.slow.used >= g.slow.limit {
		// Nobody gains by a move, or the next Leave of the slow class makes it.
		if g.timer != nil {
			g.timer.Stop()
		}
		return
	}
	wait := youth - now.Sub(g.young.Front().Value.(*Pass).since)
	if g.timer == nil {
		g.timer = time.AfterFunc(wait, func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.turn()
		})
		return
	}
	g.timer.Reset(wait)
}
