package sqlite

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/queue"
	"github.com/tocsin/tocsin/queue/queuetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) {
	queuetest.Run(t, func(t *testing.T) queuetest.Fixture { return openFixture(t, t.TempDir()) })
}

func openFixture(t *testing.T, dir string) queuetest.Fixture {
	t.Helper()
	db, err := sqlitedb.Open(t.Context(), sqlitedb.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	q, err := New(t.Context(), db, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return queuetest.Fixture{
		Queue: q, Intake: q,
		Reopen: func(t *testing.T) queuetest.Fixture {
			t.Helper()
			if err := q.Close(); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			return openFixture(t, dir)
		},
		Aside: func(t *testing.T) []queuetest.Aside {
			t.Helper()
			var list []queuetest.Aside
			err := db.Read(t.Context(), func(tx *sqlitedb.Tx) error {
				rows := tx.Query("SELECT body, update_id, field, reason FROM intake_invalid ORDER BY id")
				for rows.Next() {
					list = append(list, queuetest.Aside{Body: rows.Blob(0), UpdateID: rows.Text(1), Field: rows.Text(2), Reason: rows.Text(3)})
				}
				return rows.Err()
			})
			if err != nil {
				t.Fatal(err)
			}
			return list
		},
	}
}

// outbox writes a batch as the ledger does, with a row for each delivery.
func outbox(t *testing.T, db *sqlitedb.DB, b *queue.Batch) {
	t.Helper()
	payload, err := b.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Write(t.Context(), sqlitedb.Plan, func(tx *sqlitedb.Tx) error {
		if _, err := tx.Exec(`INSERT INTO updates (id, incident, sequence, hash, event, private, test, updated_at, accepted_at, highest,
			components, whole, planning) VALUES (?, ?, ?, '', '', 0, 0, 0, 0, '', '', 0, 0) ON CONFLICT DO NOTHING`,
			b.Incident<<8|int64(b.Sequence), b.Incident, b.Sequence); err != nil {
			return err
		}
		for _, d := range b.Deliveries {
			if _, err := tx.Exec("INSERT INTO deliveries (id, batch) VALUES (?, ?)",
				(b.Incident<<8|int64(b.Sequence))<<32+d.Target, b.ID); err != nil {
				return err
			}
		}
		_, err := tx.Exec("INSERT INTO batches (id, incident, sequence, grp, urgent, payload) VALUES (?, ?, ?, ?, ?, ?)",
			b.ID, b.Incident, b.Sequence, b.Group, b.Urgent, payload)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func openQueue(t *testing.T, dir string, o sqlitedb.Options) (*sqlitedb.DB, *Queue) {
	t.Helper()
	o.Dir = dir
	db, err := sqlitedb.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	q, err := New(t.Context(), db, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return db, q
}

func receiveOne(t *testing.T, q *Queue) *queue.Lease {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), queuetest.Patience)
	defer cancel()
	leases, err := q.Receive(ctx, queuetest.GroupA, 10)
	if err != nil || len(leases) != 1 {
		t.Fatalf("received %d batches, want 1: %v", len(leases), err)
	}
	return leases[0]
}

func TestTheOutboxIsTheQueue(t *testing.T) {
	dir := t.TempDir()
	db, q := openQueue(t, dir, sqlitedb.Options{})
	b := queuetest.Batch(1, queuetest.GroupA, false, 3)
	outbox(t, db, b)
	l := receiveOne(t, q) // though never published
	if !l.Claimed || l.Takes != 1 || len(l.Deliveries) != 3 {
		t.Errorf("lease: claimed %v, takes %d, %d deliveries", l.Claimed, l.Takes, len(l.Deliveries))
	}
	// The process dies: its leases are free, and that it had the batch is known.
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db, q = openQueue(t, dir, sqlitedb.Options{})
	l = receiveOne(t, q)
	if l.Takes != 2 {
		t.Errorf("after a crash the batch comes with %d takes, want 2", l.Takes)
	}
	// The ledger settles it; the planner's late Publish must not bring it back.
	if err := db.Write(t.Context(), sqlitedb.Settle, func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec("DELETE FROM batches WHERE id = ?", b.ID)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	q.Ack([]*queue.Lease{l})
	for id := range int64(2) { // the first one lets the ack take effect
		other := queuetest.Batch(2+id, queuetest.GroupA, false, 1)
		late := []*queue.Batch{b, other}[1-id:]
		if err := q.Publish(t.Context(), late); err != nil {
			t.Fatal(err)
		}
		if l := receiveOne(t, q); l.ID != other.ID {
			t.Errorf("batch %d came again although it was settled", l.ID)
		}
	}
}

func TestABatchThatCannotBeReadIsSetAside(t *testing.T) {
	db, q := openQueue(t, t.TempDir(), sqlitedb.Options{})
	if err := db.Write(t.Context(), sqlitedb.Plan, func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec("INSERT INTO batches (id, incident, sequence, grp, urgent, payload) VALUES (1, 1, 1, ?, 1, 'garbage')", queuetest.GroupA)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := q.Publish(t.Context(), []*queue.Batch{queuetest.Batch(2, queuetest.GroupA, false, 1)}); err != nil {
		t.Fatal(err)
	}
	if l := receiveOne(t, q); l.ID != 2 {
		t.Errorf("received batch %d, want 2", l.ID)
	}
}

func TestAFullDatabaseIsUnavailable(t *testing.T) {
	_, q := openQueue(t, t.TempDir(), sqlitedb.Options{MaxPages: 120})
	var err error
	taken := 0
	for ; err == nil && taken < 1000; taken++ {
		err = q.Offer(t.Context(), &queue.Event{Body: make([]byte, 32<<10), Source: "http"})
	}
	if !errors.Is(err, queue.ErrUnavailable) || !errors.Is(err, sqlitedb.ErrFull) {
		t.Fatalf("after %d events: %v", taken, err)
	}
	events, err := q.Take(t.Context(), 1000)
	if err != nil || len(events) != taken-1 {
		t.Errorf("%d events of %d are there: %v", len(events), taken-1, err)
	}
}

func TestRefusedEventsAreKeptBounded(t *testing.T) {
	db, q := openQueue(t, t.TempDir(), sqlitedb.Options{})
	if err := db.Write(t.Context(), sqlitedb.Plan, func(tx *sqlitedb.Tx) error {
		for _, id := range []int{1, invalidKept} {
			if _, err := tx.Exec("INSERT INTO intake_invalid VALUES (?, '', '', '', NULL, '', '')", id); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := q.Offer(t.Context(), &queue.Event{Body: []byte("{}"), Source: "http"}); err != nil {
		t.Fatal(err)
	}
	events, err := q.Take(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Conclude(t.Context(), events, []queue.Verdict{{Result: "invalid"}}); err != nil {
		t.Fatal(err)
	}
	var ids []int64
	if err := db.Read(t.Context(), func(tx *sqlitedb.Tx) error {
		rows := tx.Query("SELECT id FROM intake_invalid ORDER BY id")
		for rows.Next() {
			ids = append(ids, rows.Int(0))
		}
		return rows.Err()
	}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(ids, []int64{invalidKept, invalidKept + 1}) {
		t.Errorf("kept: %v", ids)
	}
}

func TestQueryPlans(t *testing.T) {
	db, _ := openQueue(t, t.TempDir(), sqlitedb.Options{})
	for query, want := range map[string]string{
		ready:       "SEARCH batches USING COVERING INDEX batches_ready (grp=?)",
		take:        "SEARCH batches USING INDEX batches_ready (grp=?)",
		readyDepths: "SCAN batches USING COVERING INDEX batches_ready",
		oldestReady: "SEARCH batches USING INTEGER PRIMARY KEY (rowid=?)",
	} {
		if err := db.Read(t.Context(), func(tx *sqlitedb.Tx) error {
			rows := tx.Query("EXPLAIN QUERY PLAN "+query, make([]any, strings.Count(query, "?"))...)
			var got []string
			for rows.Next() {
				got = append(got, rows.Text(3))
			}
			if !slices.Equal(got, []string{want}) {
				t.Errorf("%s\nruns as %q, want %q", query, got, want)
			}
			return rows.Err()
		}); err != nil {
			t.Fatal(err)
		}
	}
}
