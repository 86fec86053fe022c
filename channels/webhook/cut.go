package webhook

import (
	"context"
	"slices"
	"sync"
)

// cuts aborts the connections of exchanges whose context ends. Exchanges under way at
// the same time have the same one, as a rule: they share a hook on it, since one for
// each costs two allocations and a place among thousands of children.
type cuts struct {
	mu  sync.Mutex
	all map[<-chan struct{}]*cut // by when they happen
}

// cut is what happens when a context ends. But for over it is guarded by the lock of
// all cuts.
type cut struct {
	when  <-chan struct{}
	conns []*conn
	ended bool
	// over is closed when everything is aborted.
	over chan struct{}
	stop func() bool
}

// add has the connection aborted if ctx ends before [cuts.remove].
func (k *cuts) add(ctx context.Context, c *conn) {
	when := ctx.Done()
	if when == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	u := k.all[when]
	if u == nil {
		k.sweep()
		u = &cut{when: when, over: make(chan struct{})}
		u.stop = context.AfterFunc(ctx, func() { k.end(u) })
		if k.all == nil {
			k.all = make(map[<-chan struct{}]*cut)
		}
		k.all[when] = u
	}
	c.cut, c.cutAt = u, len(u.conns)
	u.conns = append(u.conns, c)
}

// remove takes a connection out and reports whether it is whole. If not, it has been
// aborted.
func (k *cuts) remove(c *conn) (whole bool) {
	u := c.cut
	if u == nil {
		return true
	}
	k.mu.Lock()
	last := u.conns[len(u.conns)-1]
	u.conns[c.cutAt], last.cutAt = last, c.cutAt
	u.conns[len(u.conns)-1] = nil
	u.conns = u.conns[:len(u.conns)-1]
	c.cut = nil
	ended := u.ended
	k.mu.Unlock()
	if ended {
		<-u.over
	}
	return !ended
}

// sweep takes back the hooks that nobody is in. It is called when another context comes:
// the next exchange usually has that of the last.
func (k *cuts) sweep() {
	for when, u := range k.all {
		if len(u.conns) == 0 {
			delete(k.all, when)
			u.stop()
		}
	}
}

// close takes back all hooks; there are no exchanges any more.
func (k *cuts) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sweep()
}

func (k *cuts) end(u *cut) {
	defer close(u.over)
	k.mu.Lock()
	u.ended = true
	delete(k.all, u.when) // who comes now gets one that happens at once
	conns := slices.Clone(u.conns)
	k.mu.Unlock()
	for _, c := range conns {
		c.Abort()
	}
}
