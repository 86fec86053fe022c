package simulate

import (
	"errors"
	"fmt"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/store"
)

// perform does a step of the scenario.
func (w *world) perform(n int, s step, last map[int]*letter, offers chan<- *letter) {
	w.note("%s", s)
	w.mu.Lock()
	p := w.process
	w.mu.Unlock()
	switch s.act {
	case publish:
		last[s.incident] = w.write(n, s)
		offers <- last[s.incident]
	case again:
		if l := last[s.incident]; l != nil {
			offers <- l
		}
	case stale:
		if last[s.incident] != nil {
			offers <- w.write(n, s)
		}
	case dieAt, dieIn:
		d := &doom{at: s.fail, kind: s.call, n: s.n, down: s.lasts, before: mix(w.sc.seed, uint64(n))%2 == 0}
		if p == nil {
			w.mu.Lock()
			w.doomed = d
			w.mu.Unlock()
			break
		}
		p.mu.Lock()
		p.doomed = d
		p.mu.Unlock()
	case stop:
		if p != nil {
			p.cancel()
		}
	case forget, mute, revive, narrow, move:
		w.change(s)
	case end:
		w.end(s, p)
	case hush:
		w.hush(s, p)
	case badStore:
		w.mu.Lock()
		w.storm.store = later(w.storm.store, time.Now().Add(s.lasts))
		w.mu.Unlock()
	case badQueue:
		w.cut(s, p)
	case purge:
		w.broker.purge(w.sc.providers[s.n].group)
	case jump:
		w.clock.jump(s.lasts)
	}
}

// change does what an operator or owner does to a target; the engine is told.
func (w *world) change(s step) {
	id := int64(s.target + 1)
	var now *incident.Target
	var err error
	if s.act == forget {
		err = w.store.Delete(w.ctx, id)
	} else {
		now, err = w.store.Patch(w.ctx, id, func(t *incident.Target) error {
			switch s.act {
			case mute:
				t.State = incident.StatePaused
			case revive:
				t.State = incident.StateActive
			case narrow:
				t.Components = []string{components[s.n%len(components)]}
			case move:
				t.Address = address(s.n, s.target)
			}
			return nil
		})
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return
	case err != nil:
		panic(err)
	}
	w.mu.Lock()
	w.targets[s.target] = append(w.targets[s.target], version{time.Now(), now})
	p := w.process
	w.mu.Unlock()
	if p != nil && !p.isDead() {
		p.engine.TargetsChanged([]int64{id})
	}
}

// end stops an incident's fan-out, where there is an engine to ask.
func (w *world) end(s step, p *process) {
	name := fmt.Sprint("INC-", s.incident)
	inc, _, err := w.store.Incident(w.ctx, "default", name)
	if p == nil || errors.Is(err, store.ErrNotFound) {
		return
	}
	if err != nil {
		panic(err)
	}
	w.mu.Lock()
	w.ended[name] = time.Now()
	w.mu.Unlock()
	// An error is the operator's to see. What it did before counts all the same.
	_ = p.engine.Stop(w.ctx, inc.Key)
}

// hush pauses a provider, and later lets it go on, whichever engine that finds.
func (w *world) hush(s step, p *process) {
	name := w.sc.providers[s.n].name
	if p == nil {
		return
	}
	w.aside(func() {
		_ = p.engine.Pause(w.ctx, name)
		time.Sleep(s.lasts)
		for {
			w.mu.Lock()
			p, closing := w.process, w.closing
			w.mu.Unlock()
			if closing || p != nil && p.engine.Resume(w.ctx, name) == nil {
				return
			}
			time.Sleep(time.Second)
		}
	})
}

// cut takes the queue away for a while.
func (w *world) cut(s step, p *process) {
	if w.broker == nil {
		w.mu.Lock()
		w.storm.queue = later(w.storm.queue, time.Now().Add(s.lasts))
		w.mu.Unlock()
		return
	}
	if p == nil {
		return
	}
	l := p.queue.(*link)
	l.cut()
	w.aside(func() {
		time.Sleep(s.lasts)
		l.mend()
	})
}

// aside does something beside the scenario's further steps.
func (w *world) aside(f func()) {
	w.mu.Lock()
	w.pending++
	w.mu.Unlock()
	w.asides.Go(func() {
		f()
		w.mu.Lock()
		w.pending--
		w.mu.Unlock()
	})
}

// trouble is what a call through a port meets.
type trouble int

const (
	none trouble = iota
	failsBefore
	failsAfter // what was asked for happened, the answer is lost
)

func (w *world) troubled(kind string, roll uint64) trouble {
	w.mu.Lock()
	defer w.mu.Unlock()
	until := w.storm.store
	if len(kind) > 5 && kind[:5] == "queue" {
		until = w.storm.queue
	}
	if !time.Now().Before(until) || roll%3 == 0 {
		return none
	}
	return failsBefore + trouble(roll/3%2)
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
