package soak

import (
	"context"
	"sync"
	"time"

	"github.com/tocsin/tocsin/bench/run"
)

const (
	// auditEvery is between two questions to the ledger, lookEvery between two
	// about one story.
	auditEvery = 100 * time.Millisecond
	lookEvery  = 2 * time.Second
	// settled is how long after its last row was closed a story is judged: by then
	// every request about it has ended, and feeds have been read.
	settled = 8 * time.Second
	// readEvery is how often the feeds are read.
	readEvery = time.Second
	// drainPatience is how long after the load everything may take to be closed.
	drainPatience = 2 * time.Minute
)

// names are the targets' addresses by the engine's ids.
type names struct {
	mu   sync.Mutex
	byID map[string]address
}

func (n *names) add(id string, a address) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.byID[id] = a
}

func (n *names) of(id string) address {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.byID[id]
}

// audit follows the stories and judges each once it is over, until ctx ends or, once
// the load has, until there are none left. It owns the promises.
func (s *soak) audit(ctx context.Context, loaded <-chan struct{}) error {
	var deadline time.Time
	for {
		over := false
		select {
		case <-loaded:
			over = true
			if deadline.IsZero() {
				deadline = time.Now().Add(drainPatience)
			}
		default:
		}
		now := time.Now()
		if next := s.desk.due(now, lookEvery); next != nil {
			if err := s.look(ctx, next, now, over); err != nil {
				return unlessOver(ctx, err)
			}
		}
		if rows, stories := s.desk.open(); over && stories == 0 {
			return nil
		} else if over {
			s.progress(rows, stories)
			if now.After(deadline) {
				return s.giveUp(ctx)
			}
		}
		if run.Sleep(ctx, auditEvery) != nil {
			return nil
		}
	}
}

// look asks the ledger about a story and judges it if it is over. An engine that
// can't answer now is asked again. With the load ended, what was not told to its end
// is not going to be.
func (s *soak) look(ctx context.Context, t *story, now time.Time, over bool) error {
	t.looked = now
	published, told := s.desk.state(t)
	if told = told || over; over && published == 0 {
		s.desk.file(t) // its first event was not taken before the end
		return nil
	}
	if !t.closed.IsZero() {
		if now.Sub(t.closed) < s.options.settled {
			return nil
		}
		return s.close(ctx, t, published)
	}
	updates, err := s.engine.updates(ctx, t.id)
	if err != nil {
		return s.engine.Died() // or it is busy, and answers later
	}
	open, planned := 0, 0
	for _, u := range updates {
		if u.PlannedAt != nil {
			planned++
		}
		for _, outcomes := range u.Progress {
			open += outcomes["open"]
		}
	}
	s.desk.seen(t, open)
	if told && planned >= published && open == 0 {
		t.closed = now
	}
	return nil
}

// close reads the rows of a story and judges it.
func (s *soak) close(ctx context.Context, t *story, published int) error {
	rows, err := s.engine.rows(ctx, t.id)
	if err != nil {
		return s.engine.Died()
	}
	e := &evidence{story: t.id, updates: published, residents: s.residents}
	for _, r := range rows {
		a := s.names.of(r.Target)
		if a.number == 0 {
			a = address{r.Channel, 0} // nobody of ours: it can't have been received
		}
		e.rows = append(e.rows, ledgerRow{a, r.Sequence, r.Outcome, r.Detail})
	}
	e.receipts, e.cuts = s.desk.file(t)
	s.promises.judge(e)
	return nil
}

// giveUp judges the stories that were not closed in time as they are.
func (s *soak) giveUp(ctx context.Context) error {
	for _, t := range s.desk.left() {
		published, _ := s.desk.state(t)
		if err := s.close(ctx, t, published); err != nil {
			return err
		}
	}
	return nil
}

// read reads the feeds until ctx ends.
func (s *soak) read(ctx context.Context) {
	for run.Sleep(ctx, readEvery) == nil {
		for _, r := range s.crew.feeds.Poll(ctx) {
			s.receive(feedChannel, r)
		}
	}
}
