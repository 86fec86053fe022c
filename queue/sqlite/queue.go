// Package sqlite is the embedded queue: batches and events in the same database
// file as the ledger. It implements queue.Queue and queue.Intake.
//
// Promise: the outbox is the queue. What the ledger committed is received without
// being published; Publish writes only what isn't there and wakes receivers. A
// lease is the claim ([queue.Lease.Claimed]); leases end with the process, so
// [New] frees all of them, and how often a batch was received is kept across
// crashes.
//
// Words: a batch is ready or held; it ends when the ledger removes it or, if the
// ledger never had it, when it is acked.
package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/queue"
)

// safetyPoll is how often an idle receiver looks without having been woken: for
// batches that a planner committed and, in trouble, never announced.
const safetyPoll = 2 * time.Second

// Queue is the embedded queue. It is safe for concurrent use. The caller closes
// the database after it.
type Queue struct {
	db  *sqlitedb.DB
	now func() time.Time
	log *slog.Logger

	closed chan struct{}
	end    func()

	mu     sync.Mutex
	groups map[string]*group
	intake intake
}

// group is what the process knows of one group. Guarded by Queue.mu.
type group struct {
	wake     chan struct{}
	held     map[int64]bool // given out; true = urgent
	returned []int64        // to be freed with the next receive
	acked    []int64        // to be removed, if they are still there
}

var (
	_ queue.Queue  = (*Queue)(nil)
	_ queue.Intake = (*Queue)(nil)
)

// Options of a queue. Zero fields have defaults.
type Options struct {
	// Now is the clock of ReceivedAt; time.Now if nil.
	Now func() time.Time
	// Log gets batches that can't be read; slog.Default if nil.
	Log *slog.Logger
}

// New returns the queue of an open database. All leases of earlier processes end
// here; db is locked against a second one.
func New(ctx context.Context, db *sqlitedb.DB, o Options) (*Queue, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	err := db.Write(ctx, sqlitedb.Settle, func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec("UPDATE batches SET held = 0 WHERE held = 1")
		return err
	})
	if err != nil {
		return nil, unavailable(err)
	}
	q := &Queue{db: db, now: o.Now, log: o.Log, closed: make(chan struct{}), groups: make(map[string]*group)}
	q.end = sync.OnceFunc(func() { close(q.closed) })
	q.intake = intake{wake: make(chan struct{}, 1), taken: make(map[int64]struct{})}
	return q, nil
}

// unavailable puts errors of the database under those of the port.
func unavailable(err error) error {
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, sqlitedb.ErrClosed):
		return fmt.Errorf("%w: %w", queue.ErrClosed, err)
	}
	return fmt.Errorf("%w: %w", queue.ErrUnavailable, err)
}

// group returns what is known of a group. Groups are the configured ones and
// never go away.
func (q *Queue) group(name string) *group {
	g := q.groups[name]
	if g == nil {
		g = &group{wake: make(chan struct{}, 1), held: make(map[int64]bool)}
		q.groups[name] = g
	}
	return g
}

// ring leaves a token in a channel of capacity 1.
func ring(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// Publish implements queue.Queue.
func (q *Queue) Publish(ctx context.Context, batches []*queue.Batch) error {
	if err := q.open(); err != nil {
		return err
	}
	var missing []*queue.Batch
	err := q.db.Read(ctx, func(tx *sqlitedb.Tx) (err error) {
		missing, err = lacking(tx, batches)
		return err
	})
	if err == nil && len(missing) > 0 {
		err = q.insert(ctx, missing)
	}
	if err != nil {
		return unavailable(err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, b := range batches {
		ring(q.group(b.Group).wake)
	}
	return nil
}

// lacking returns the batches that are neither in the queue nor known to the
// ledger. One that the ledger knows was received since its commit, without waiting
// for this Publish, and has ended: publishing it now would send it twice.
func lacking(tx *sqlitedb.Tx, batches []*queue.Batch) ([]*queue.Batch, error) {
	var list []*queue.Batch
	for _, b := range batches {
		there, err := exists(tx, "SELECT 1 FROM batches WHERE id = ?", b.ID)
		if err == nil && !there && len(b.Deliveries) > 0 {
			there, err = exists(tx, known, b.Incident, b.Sequence, b.Deliveries[0].Target)
		}
		if err != nil {
			return nil, err
		}
		if !there {
			list = append(list, b)
		}
	}
	return list, nil
}

// known finds a delivery by its update and its target.
const known = "SELECT 1 FROM deliveries WHERE id = ((SELECT id FROM updates WHERE incident = ? AND sequence = ?) << 32) + ?"

func exists(tx *sqlitedb.Tx, query string, args ...any) (bool, error) {
	rows := tx.Query(query, args...)
	found := rows.Next()
	rows.Close()
	return found, rows.Err()
}

func (q *Queue) insert(ctx context.Context, batches []*queue.Batch) error {
	payloads := make([][]byte, len(batches))
	for i, b := range batches {
		var err error
		if payloads[i], err = b.AppendBinary(nil); err != nil {
			return fmt.Errorf("encode batch %d: %w", b.ID, err)
		}
	}
	return q.db.Write(ctx, sqlitedb.Plan, func(tx *sqlitedb.Tx) error {
		for i, b := range batches {
			if _, err := tx.Exec(`INSERT INTO batches (id, incident, sequence, grp, urgent, written_at, payload)
				VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
				b.ID, b.Incident, b.Sequence, b.Group, b.Urgent, q.now(), payloads[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (q *Queue) open() error {
	select {
	case <-q.closed:
		return fmt.Errorf("the embedded queue: %w", queue.ErrClosed)
	default:
		return nil
	}
}

// Receive implements queue.Queue.
func (q *Queue) Receive(ctx context.Context, name string, max int) ([]*queue.Lease, error) {
	q.mu.Lock()
	wake := q.group(name).wake
	q.mu.Unlock()
	poll := time.NewTicker(safetyPoll)
	defer poll.Stop()
	for {
		if err := q.open(); err != nil {
			return nil, err
		}
		leases, err := q.receive(ctx, name, max)
		if err != nil {
			if ctx.Err() == nil {
				q.rest(ctx)
			}
			return nil, unavailable(err)
		}
		if len(leases) > 0 {
			return leases, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-q.closed:
		case <-wake:
		case <-poll.C:
		}
	}
}

// rest paces a caller that would ask a database in trouble again at once.
func (q *Queue) rest(ctx context.Context) {
	t := time.NewTimer(100 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-q.closed:
	}
}

const (
	ready = "SELECT 1 FROM batches WHERE grp = ? AND held = 0 LIMIT 1"
	take  = "SELECT id, urgent, receives, payload FROM batches WHERE grp = ? AND held = 0 ORDER BY urgent DESC, id LIMIT +?"
)

// receive takes what is ready, in one transaction, and only then holds it.
func (q *Queue) receive(ctx context.Context, name string, max int) ([]*queue.Lease, error) {
	q.mu.Lock()
	g := q.group(name)
	returned, acked := g.returned, g.acked
	q.mu.Unlock()
	if len(returned) == 0 && len(acked) == 0 {
		found := false
		err := q.db.Read(ctx, func(tx *sqlitedb.Tx) (err error) {
			found, err = exists(tx, ready, name)
			return err
		})
		if err != nil || !found {
			return nil, err
		}
	}
	var leases []*queue.Lease
	err := q.db.Write(ctx, sqlitedb.Settle, func(tx *sqlitedb.Tx) (err error) {
		if err := release(tx, returned, acked); err != nil {
			return err
		}
		leases, err = q.hold(tx, name, max)
		return err
	})
	if err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	g.returned, g.acked = g.returned[len(returned):], g.acked[len(acked):]
	for _, l := range leases {
		g.held[l.ID] = l.Urgent
	}
	return leases, nil
}

func release(tx *sqlitedb.Tx, returned, acked []int64) error {
	for _, id := range returned {
		if _, err := tx.Exec("UPDATE batches SET held = 0 WHERE id = ?", id); err != nil {
			return err
		}
	}
	for _, id := range acked {
		if _, err := tx.Exec("DELETE FROM batches WHERE id = ?", id); err != nil {
			return err
		}
	}
	return nil
}

// hold gives out ready batches. One that can't be read would come again for ever:
// it stays held, for the operator to see, until the next start.
func (q *Queue) hold(tx *sqlitedb.Tx, name string, max int) ([]*queue.Lease, error) {
	var leases []*queue.Lease
	var ids []int64
	now := q.now()
	rows := tx.Query(take, name, max)
	for rows.Next() {
		ids = append(ids, rows.Int(0))
		b, err := queue.ParseBatch(rows.Blob(3))
		if err != nil {
			q.log.Error("a batch can't be read and is set aside until the next start", "batch", rows.Int(0), "error", err)
			continue
		}
		leases = append(leases, &queue.Lease{Batch: b, Takes: int(rows.Int(2)) + 1, Claimed: true, ReceivedAt: now, Tag: q})
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	for _, id := range ids {
		if _, err := tx.Exec("UPDATE batches SET held = 1, receives = receives + 1 WHERE id = ?", id); err != nil {
			return nil, err
		}
	}
	return leases, nil
}

// Ack implements queue.Queue. The ledger has removed the batch already; the next
// receive makes sure. A crash before that brings at most a batch whose claim finds
// nothing open.
func (q *Queue) Ack(leases []*queue.Lease) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range leases {
		if g := q.drop(l); g != nil {
			g.acked = append(g.acked, l.ID)
		}
	}
}

// drop ends a lease and returns its group; nil for one that is not held, or is an
// earlier process's.
func (q *Queue) drop(l *queue.Lease) *group {
	g := q.group(l.Group)
	if _, held := g.held[l.ID]; !held || l.Tag != q {
		return nil
	}
	delete(g.held, l.ID)
	return g
}

// Return implements queue.Queue.
func (q *Queue) Return(leases []*queue.Lease) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range leases {
		if g := q.drop(l); g != nil {
			g.returned = append(g.returned, l.ID)
			ring(g.wake)
		}
	}
}

// Close implements queue.Queue. It removes what was acked; what is held is freed
// when the queue is opened again.
func (q *Queue) Close() error {
	q.end()
	q.mu.Lock()
	defer q.mu.Unlock()
	var returned, acked []int64
	for _, g := range q.groups {
		returned, acked = append(returned, g.returned...), append(acked, g.acked...)
		g.returned, g.acked = nil, nil
	}
	if len(returned) == 0 && len(acked) == 0 {
		return nil
	}
	err := q.db.Write(context.Background(), sqlitedb.Settle, func(tx *sqlitedb.Tx) error {
		return release(tx, returned, acked)
	})
	return unavailable(err)
}
