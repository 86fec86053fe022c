package sqlitedb

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Priority says whose job goes first when several wait.
type Priority int

// The priorities, first to last. What has been sent has to be recorded before
// more is taken in; what is taken in, before more is planned.
const (
	Settle Priority = iota
	Accept
	Plan
	Import
	priorities
)

// mayRefuse says of jobs whether it is an everyday matter that they fail, as for a
// target that isn't there. The others don't get a savepoint: with one, SQLite copies
// every page before its first change, which for rows all over the ledger is most of
// their cost.
func (p Priority) mayRefuse() bool { return p == Accept || p == Import }

const (
	// groupTime bounds how long jobs are added to a transaction, so that nobody
	// waits longer for a commit than that and one job.
	groupTime = 40 * time.Millisecond
	// patience is how long a job waits behind more important ones.
	patience = time.Second
	// busyPause is between attempts to begin while another program has the lock,
	// on top of SQLite's own busy_timeout.
	busyPause = 20 * time.Millisecond
)

// job is one function waiting for its transaction. state is guarded by the
// writer's mutex.
type job struct {
	fn    func(*Tx) error
	since time.Time
	// alone: if it fails, it is undone by itself.
	alone bool
	begun bool
	gone  bool // its caller no longer waits
	err   error
	done  chan struct{}
}

// writer is the only one who writes. Its goroutine owns conn.
type writer struct {
	conn     *conn
	wake     chan struct{} // a token: something to do
	stopping chan struct{}
	stopped  chan struct{}

	mu      sync.Mutex
	waiting [priorities][]*job
	closed  bool
}

func newWriter(c *conn) *writer {
	return &writer{conn: c, wake: make(chan struct{}, 1), stopping: make(chan struct{}), stopped: make(chan struct{})}
}

func (w *writer) do(ctx context.Context, p Priority, fn func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j := &job{fn: fn, since: time.Now(), alone: p.mayRefuse(), done: make(chan struct{})}
	if !w.add(p, j) {
		return fmt.Errorf("write to the database: %w", ErrClosed)
	}
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
	}
	if w.abandon(j) {
		return ctx.Err()
	}
	<-j.done
	return j.err
}

func (w *writer) add(p Priority, j *job) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.waiting[p] = append(w.waiting[p], j)
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return true
}

// abandon takes back a job that has not begun.
func (w *writer) abandon(j *job) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if j.begun {
		return false
	}
	j.gone = true
	return true
}

// next takes the most important job, or one that has waited too long; nil if none
// waits.
func (w *writer) next() *job {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dropGone()
	first := -1
	for p, queue := range w.waiting {
		if len(queue) > 0 && (first < 0 || time.Since(queue[0].since) > patience) {
			first = p
		}
	}
	if first < 0 {
		return nil
	}
	j := w.waiting[first][0]
	w.waiting[first][0] = nil
	w.waiting[first] = w.waiting[first][1:]
	j.begun = true
	return j
}

func (w *writer) dropGone() {
	for p, queue := range w.waiting {
		for len(queue) > 0 && queue[0].gone {
			queue[0] = nil
			queue = queue[1:]
		}
		w.waiting[p] = queue
	}
}

func (w *writer) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dropGone()
	for _, queue := range w.waiting {
		if len(queue) > 0 {
			return false
		}
	}
	return true
}

// run is the writer's goroutine; stop waits for it.
func (w *writer) run() {
	defer close(w.stopped)
	for {
		select {
		case <-w.stopping:
			w.refuse()
			return
		case <-w.wake:
		}
		for !w.idle() && w.transaction() {
		}
	}
}

func (w *writer) stop() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	close(w.stopping)
	<-w.stopped
}

// refuse answers what never began.
func (w *writer) refuse() {
	for j := w.next(); j != nil; j = w.next() {
		j.err = fmt.Errorf("write to the database: %w", ErrClosed)
		close(j.done)
	}
}

// transaction commits one group of jobs and answers them. It returns false when
// the writer is to stop.
func (w *writer) transaction() bool {
	if err := w.begin(); err != nil {
		if busy(err) {
			return w.pause()
		}
		if j := w.next(); j != nil {
			j.err = decided("begin to write", err)
			close(j.done)
		}
		return w.pause()
	}
	group, lost := w.fill()
	if lost {
		w.rollback()
		w.redo(group[:len(group)-1])
	} else if err := w.commit(group); err != nil {
		for _, j := range group {
			if j.err == nil {
				j.err = err
			}
		}
	}
	for _, j := range group {
		close(j.done)
	}
	select {
	case <-w.stopping:
		return false
	default:
		return true
	}
}

func (w *writer) pause() bool {
	select {
	case <-w.stopping:
		return false
	case <-time.After(busyPause):
		return true
	}
}

func (w *writer) begin() error {
	return w.exec("BEGIN IMMEDIATE")
}

// fill runs jobs, those arriving meanwhile too, until none waits or the time is
// up. The first needs no savepoint: if it fails, there is nothing else to keep.
// lost says that the last job took the whole transaction with it: it had written
// something, failed and had no savepoint, or SQLite would have it so, as when the disk is full.
func (w *writer) fill() (group []*job, lost bool) {
	start := time.Now()
	for time.Since(start) < groupTime {
		j := w.next()
		if j == nil {
			break
		}
		group = append(group, j)
		if len(group) == 1 {
			if w.runJob(j); j.err != nil {
				break
			}
			continue
		}
		if !j.alone {
			if w.runJob(j); j.err != nil && w.conn.wrote {
				return group, true
			}
			continue
		}
		if err := w.exec("SAVEPOINT job"); err != nil {
			j.err = decided("begin to write", err)
			return group, true
		}
		w.runJob(j)
		if j.err != nil && w.exec("ROLLBACK TO job") != nil {
			return group, true
		}
		if err := w.exec("RELEASE job"); err != nil {
			j.err = decided("write to the database", err)
			return group, true
		}
	}
	return group, false
}

func (w *writer) runJob(j *job) {
	w.conn.wrote = false
	j.err = j.fn(&Tx{w.conn})
	w.conn.closeRows()
}

// redo runs the jobs again that had succeeded in a lost transaction, each in its
// own.
func (w *writer) redo(group []*job) {
	for _, j := range group {
		if j.err != nil {
			continue
		}
		if err := w.begin(); err != nil {
			j.err = decided("begin to write", err)
			continue
		}
		w.runJob(j)
		if err := w.commit([]*job{j}); err != nil {
			j.err = err
		}
	}
}

// commit ends the transaction: with COMMIT if a job succeeded, so that an error
// means that none of them is to be trusted; otherwise it rolls back.
func (w *writer) commit(group []*job) error {
	for _, j := range group {
		if j.err != nil {
			continue
		}
		err := w.exec("COMMIT")
		if err == nil {
			return nil
		}
		w.rollback()
		return decided("commit to the database", err)
	}
	w.rollback()
	return nil
}

// rollback leaves no transaction behind; that there was none is no error.
func (w *writer) rollback() { _ = w.exec("ROLLBACK") }

func (w *writer) exec(query string) error {
	_, err := w.conn.exec(query)
	return err
}
