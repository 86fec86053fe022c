package sqlite

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/internal/store"
	"github.com/tocsin/tocsin/queue"
)

// A data folder in which deliveries were keyed by incident, target and sequence, left
// in the middle of its work: one update is sent, one half planned, with a batch in the
// queue and a retry to come.
func TestDataOfAnEarlierVersionGoesOn(t *testing.T) {
	dir := t.TempDir()
	at := benchTime
	batch := &queue.Batch{ID: 77, Incident: 3, Sequence: 2, Group: "webhook", AcceptedAt: at, ExpiresAt: at.Add(time.Hour),
		Deliveries: []queue.Delivery{{Target: 1, Provider: "h:443", Address: "https://h.example/1", Since: at}, {Target: 2, Provider: "h:443", Address: "https://h.example/2", Since: at}}}
	payload, err := batch.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	us, expires := at.UnixMicro(), at.Add(time.Hour).UnixMicro()
	const target = `INSERT INTO targets (id, incident, page, external_id, channel, grp, provider, stripe, address, locale, format,
		secrets, components, min_impact, min_rank, private, every_update, test, state) VALUES (?, 0, 'default', ?, 'webhook', 'webhook', 'h:443', 0, ?, '', '', '', '', 'none', 0, 0, 0, 0, 0)`
	const update = `INSERT INTO updates (id, incident, sequence, hash, event, private, test, updated_at, accepted_at, expires_at,
		highest, components, whole, planning, cursor, audience, page) VALUES (?, 3, ?, '', '{}', 0, 0, ?3, ?3, ?4, 'major', '', 1, ?5, ?6, ?7, 'default')`
	earlier(t, dir, 12, func(exec func(string, ...any)) {
		exec(`INSERT INTO incidents (id, page, incident_id, sequence, hash, status, impact, affected, updated_at, highest, components, whole)
			VALUES (3, 'default', 'INC-1', 2, '', 'identified', 'major', '', ?, 'major', '', 1)`, us)
		for id, address := range map[int]string{1: "https://h.example/1", 2: "https://h.example/2", 3: "https://h.example/3", 4: "https://h.example/4"} {
			exec(target, id, address, address)
		}
		exec(update, 10, 1, us, expires, 0, "0 4 h:443", 4)
		exec(update, 12, 2, us, expires, 1, "0 2 h:443", 2)
		exec(`INSERT INTO deliveries (incident, target, sequence, outcome, batch, attempt, class, since, due_at) VALUES
			(3, 1, 1, 1, 70, 1, 1, ?1, NULL), (3, 2, 1, 1, 70, 1, 1, ?1, NULL), (3, 3, 1, 1, 70, 1, 1, ?1, NULL),
			(3, 4, 1, 0, NULL, 1, 2, ?1 - 1000000, ?1), (3, 1, 2, 0, 77, 0, 0, ?1, NULL), (3, 2, 2, 0, 77, 0, 0, ?1, NULL)`, us)
		exec("INSERT INTO batches (id, incident, sequence, grp, urgent, written_at, payload) VALUES (77, 3, 2, 'webhook', 0, ?, ?)", us, payload)
	})

	s := openFixture(t, dir, nil).Store.(*Store)
	ctx := t.Context()
	answers, err := s.Claim(ctx, 1, at.Add(time.Minute), []dispatcher.ClaimRequest{{Batch: batch, Verify: true, Newer: true, Now: at}})
	if err != nil || answers[0].State != dispatcher.Claimed || len(answers[0].Exceptions) > 0 {
		t.Fatalf("the batch of before: %+v, %v", answers, err)
	}
	var rows []dispatcher.Settlement
	for _, d := range batch.Deliveries {
		rows = append(rows, dispatcher.Settlement{Row: dispatcher.Row{Incident: 3, Target: d.Target, Sequence: 2}, Batch: 77,
			Outcome: dispatcher.Delivered, Class: channels.Delivered, Attempt: 1, SentAt: at, DoneAt: at})
	}
	if err := s.Settle(ctx, rows, []int64{77}); err != nil {
		t.Fatal(err)
	}
	if due, err := s.Due(ctx, at, 10); err != nil || len(due) != 1 || due[0].Row != (dispatcher.Row{Incident: 3, Target: 4, Sequence: 1}) || due[0].Newer {
		t.Errorf("the retry of before: %+v, %v", due, err)
	}

	plans, err := s.Unplanned(ctx, 10)
	if err != nil || len(plans) != 1 || plans[0].Sequence != 2 {
		t.Fatalf("plans to go on with: %+v, %v", plans, err)
	}
	audience, err := s.Audience(ctx, plans[0], 10)
	if err != nil || len(audience.Targets) != 2 || audience.Targets[0].Target != 3 || audience.Targets[1].Target != 4 {
		t.Fatalf("the rest of the audience: %+v, %v", audience, err)
	}
	if older := audience.Targets[1]; len(older.Waiting) != 1 || older.Waiting[0] != 1 || !older.Since.Equal(at.Add(-time.Second)) {
		t.Errorf("the older row that waits: %+v", older)
	}
	rest := &queue.Batch{ID: 78, Incident: 3, Sequence: 2, Group: "webhook", Deliveries: []queue.Delivery{{Target: 3, Since: at}, {Target: 4, Since: at}}}
	if err := s.CommitPage(ctx, plans[0], &dispatcher.PlannedPage{Batches: []*queue.Batch{rest}, Last: true, At: at,
		Superseded: []dispatcher.Row{{Incident: 3, Target: 4, Sequence: 1}}}); err != nil {
		t.Fatal(err)
	}
	want := []store.Delivery{
		{Target: 1, Sequence: 1, Outcome: dispatcher.Delivered}, {Target: 1, Sequence: 2, Outcome: dispatcher.Delivered},
		{Target: 2, Sequence: 1, Outcome: dispatcher.Delivered}, {Target: 2, Sequence: 2, Outcome: dispatcher.Delivered},
		{Target: 3, Sequence: 1, Outcome: dispatcher.Delivered}, {Target: 3, Sequence: 2, Outcome: dispatcher.Open},
		{Target: 4, Sequence: 1, Outcome: dispatcher.Superseded}, {Target: 4, Sequence: 2, Outcome: dispatcher.Open},
	}
	list, err := s.Deliveries(ctx, 3, store.DeliveryFilter{})
	if err != nil || len(list) != len(want) {
		t.Fatalf("the ledger has %+v, %v", list, err)
	}
	for i, w := range want {
		if d := list[i]; d.Target != w.Target || d.Sequence != w.Sequence || d.Outcome != w.Outcome {
			t.Errorf("row %d is %+v, want %+v", i, d, w)
		}
	}
}

// earlier makes a database as programs with an earlier schema left it.
func earlier(t *testing.T, dir string, version int64, fill func(exec func(query string, args ...any))) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "tocsin.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	p, err := goose.NewProvider(goose.DialectSQLite3, db, os.DirFS("../../sqlitedb/migrations"), goose.WithDisableGlobalRegistry(true))
	if err == nil {
		_, err = p.UpTo(t.Context(), version)
	}
	if err != nil {
		t.Fatal(err)
	}
	fill(func(query string, args ...any) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
			t.Fatal(err)
		}
	})
}

// What can't be numbered is refused, and never takes another's place.
func TestIDsHaveAnEnd(t *testing.T) {
	if id := idOf(5, maxTarget); updateOf(id) != 5 || targetOf(id) != maxTarget {
		t.Errorf("the last target of update 5 has the id %d", id)
	}
	if id := idOf(maxUpdate, maxTarget); id != 1<<63-1 {
		t.Errorf("the last id is %d", id)
	}
	for _, target := range []int64{-1, maxTarget + 1} {
		if id := idOf(5, target); id != -1 {
			t.Errorf("%d, which is no target, has the id %d", target, id)
		}
	}
	if checkTargetID(maxTarget) != nil || checkTargetID(maxTarget+1) == nil || checkUpdateID(maxUpdate) != nil || checkUpdateID(maxUpdate+1) == nil {
		t.Error("the limits are elsewhere")
	}
}
