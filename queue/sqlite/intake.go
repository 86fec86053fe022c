package sqlite

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/queue"
)

// invalidKept is how many refused events are kept for the operator, newest first
// to stay.
const invalidKept = 10_000

// intake is what the process knows of its intake. Guarded by Queue.mu.
type intake struct {
	wake chan struct{}
	// taken are the events given out and not concluded; last is the highest of
	// all given out. Events are inserted one transaction after the other, so
	// none with a lower id appears later.
	taken map[int64]struct{}
	last  int64
}

// receipt is the Tag of an event: which process took it, and its key.
type receipt struct {
	by *Queue
	id int64
}

// key returns the key of an event that this process took and has not concluded.
// Called with Queue.mu held.
func (q *Queue) key(e *queue.Event) (id int64, taken bool) {
	r, _ := e.Tag.(receipt)
	_, taken = q.intake.taken[r.id]
	return r.id, taken && r.by == q
}

// Offer implements queue.Intake. Concurrent callers share a transaction.
func (q *Queue) Offer(ctx context.Context, e *queue.Event) error {
	if err := q.open(); err != nil {
		return err
	}
	if len(e.Body) > queue.MaxEventBytes {
		return fmt.Errorf("an event has %d bytes, more than the %d an intake takes", len(e.Body), queue.MaxEventBytes)
	}
	received := e.ReceivedAt
	if received.IsZero() {
		received = q.now()
	}
	err := q.db.Write(ctx, sqlitedb.Accept, func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec("INSERT INTO intake (body, update_id, source, received_at, sender) VALUES (?, ?, ?, ?, ?)",
			e.Body, e.UpdateID, e.Source, received, e.Sender)
		return err
	})
	if err != nil {
		return unavailable(err)
	}
	ring(q.intake.wake)
	return nil
}

// Take implements queue.Intake.
func (q *Queue) Take(ctx context.Context, max int) ([]*queue.Event, error) {
	poll := time.NewTicker(safetyPoll)
	defer poll.Stop()
	for {
		if err := q.open(); err != nil {
			return nil, err
		}
		events, err := q.take(ctx, max)
		if err != nil {
			if ctx.Err() == nil {
				q.rest(ctx)
			}
			return nil, unavailable(err)
		}
		if len(events) > 0 {
			return events, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-q.closed:
		case <-q.intake.wake:
		case <-poll.C:
		}
	}
}

func (q *Queue) take(ctx context.Context, max int) ([]*queue.Event, error) {
	q.mu.Lock()
	after := q.intake.last
	q.mu.Unlock()
	var events []*queue.Event
	err := q.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		rows := tx.Query("SELECT id, body, update_id, source, received_at, sender FROM intake WHERE id > ? ORDER BY id LIMIT +?", after, max)
		for rows.Next() {
			events = append(events, &queue.Event{
				Body: rows.Blob(1), UpdateID: rows.Text(2), Source: rows.Text(3), ReceivedAt: rows.Time(4), Sender: rows.Text(5),
				Tag: receipt{q, rows.Int(0)},
			})
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range events {
		q.intake.last = e.Tag.(receipt).id
		q.intake.taken[q.intake.last] = struct{}{}
	}
	return events, nil
}

// Conclude implements queue.Intake. Events that an earlier process took are passed
// over: they come again here. If it fails, so do these, and will be known.
func (q *Queue) Conclude(ctx context.Context, events []*queue.Event, verdicts []queue.Verdict) error {
	if len(events) != len(verdicts) {
		return fmt.Errorf("%d verdicts for %d events: there must be one for each", len(verdicts), len(events))
	}
	ends := make(map[int64]*queue.Verdict, len(events))
	q.mu.Lock()
	for i, e := range events {
		if id, taken := q.key(e); taken {
			ends[id] = &verdicts[i]
		}
	}
	q.mu.Unlock()
	err := q.db.Write(ctx, sqlitedb.Accept, func(tx *sqlitedb.Tx) error { return remove(tx, ends) })
	q.mu.Lock()
	for id := range ends {
		delete(q.intake.taken, id)
		if err != nil {
			q.intake.last = min(q.intake.last, id-1)
		}
	}
	q.mu.Unlock()
	if err != nil {
		q.rest(ctx)
	}
	return unavailable(err)
}

// remove ends events; those that are invalid are kept aside.
func remove(tx *sqlitedb.Tx, ends map[int64]*queue.Verdict) error {
	aside := false
	for _, id := range slices.Sorted(maps.Keys(ends)) {
		if v := ends[id]; v.Result == "invalid" {
			aside = true
			if _, err := tx.Exec(`INSERT INTO intake_invalid (body, update_id, source, received_at, field, reason)
				SELECT body, update_id, source, received_at, ?, ? FROM intake WHERE id = ?`, v.Field, v.Reason, id); err != nil {
				return err
			}
		}
		if _, err := tx.Exec("DELETE FROM intake WHERE id = ?", id); err != nil {
			return err
		}
	}
	if !aside {
		return nil
	}
	_, err := tx.Exec("DELETE FROM intake_invalid WHERE id <= (SELECT max(id) FROM intake_invalid) - ?", invalidKept)
	return err
}
