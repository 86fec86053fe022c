package sqlite

import (
	"fmt"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/queue"
)

// Whatever had a row wait, the plan of the next update finds it; where all are closed
// it doesn't look at rows.
func TestThePlanFindsOlderRowsThatWait(t *testing.T) {
	ctx, now := t.Context(), benchTime
	for name, c := range map[string]struct {
		wait func(*testing.T, *Store, *queue.Batch)
		want bool
	}{
		"a retry": {func(t *testing.T, s *Store, b *queue.Batch) {
			settleAs(t, s, b, dispatcher.Open, channels.Temporary)
		}, true},
		"handed back": {func(t *testing.T, s *Store, b *queue.Batch) {
			settleAs(t, s, b, dispatcher.Open, 0)
		}, true},
		"its batch freed": {func(t *testing.T, s *Store, b *queue.Batch) {
			if err := s.write(ctx, sqlitedb.Plan, func(tx *sqlitedb.Tx) error { _, err := freeBatch(tx, b, now); return err }); err != nil {
				t.Fatal(err)
			}
		}, true},
		"sent again": {func(t *testing.T, s *Store, b *queue.Batch) {
			settleAs(t, s, b, dispatcher.Dead, channels.Permanent)
			begun, err := s.BeginResend(ctx, dispatcher.Resend{Incident: b.Incident, Choice: dispatcher.Choice{Outcome: dispatcher.Dead}, At: now})
			if err == nil {
				begun, err = s.ContinueResend(ctx, begun.Key, now)
			}
			if err != nil || begun.Sent != 3 {
				t.Fatal(begun, err)
			}
		}, true},
		"none": {func(t *testing.T, s *Store, b *queue.Batch) {
			settleAs(t, s, b, dispatcher.Delivered, channels.Delivered)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, b := threeTargets(t, now)
			c.wait(t, s, b)
			p := nextUpdate(t, s, now, 2)
			audience, err := s.Audience(ctx, p, 10)
			if err != nil || len(audience.Targets) != 3 {
				t.Fatal(audience, err)
			}
			for _, a := range audience.Targets {
				if waits := len(a.Waiting) == 1 && a.Waiting[0] == 1; waits != c.want || len(a.Waiting) > 1 {
					t.Errorf("of target %d the updates %v wait", a.Target, a.Waiting)
				}
			}
			if looked := len(unsettledOf(t, s, p)) > 0; looked != c.want {
				t.Errorf("rows of older updates are looked at: %v", looked)
			}
		})
	}

	t.Run("nobody serves it", func(t *testing.T) {
		s, b := threeTargets(t, now)
		settleAs(t, s, b, dispatcher.Delivered, channels.Delivered)
		p := nextUpdate(t, s, now, 2)
		unserved := []dispatcher.Audient{{Target: b.Deliveries[1].Target, Since: now}}
		if err := s.CommitPage(ctx, p, &dispatcher.PlannedPage{Unserved: unserved, Last: true, At: now}); err != nil {
			t.Fatal(err)
		}
		audience, err := s.Audience(ctx, nextUpdate(t, s, now, 3), 10)
		if err != nil || len(audience.Targets) != 3 {
			t.Fatal(audience, err)
		}
		if w := audience.Targets[1].Waiting; len(w) != 1 || w[0] != 2 {
			t.Errorf("of the target without a provider the updates %v wait", w)
		}
	})
	t.Run("in a batch", func(t *testing.T) {
		s, b := threeTargets(t, now)
		audience, err := s.Audience(ctx, nextUpdate(t, s, now, 2), 10)
		if err != nil || len(audience.Targets) != 3 {
			t.Fatal(audience, err)
		}
		for i, a := range audience.Targets {
			if !a.Since.Equal(b.Deliveries[i].Since) || a.Waiting != nil {
				t.Errorf("target %d has waited since %v, in no batch for updates %v", a.Target, a.Since, a.Waiting)
			}
		}
	})
}

func settleAs(t *testing.T, s *Store, b *queue.Batch, o dispatcher.Outcome, class channels.Class) {
	t.Helper()
	var rows []dispatcher.Settlement
	for _, d := range b.Deliveries {
		rows = append(rows, dispatcher.Settlement{Row: dispatcher.Row{Incident: b.Incident, Target: d.Target, Sequence: b.Sequence},
			Batch: b.ID, Outcome: o, Class: class, DueAt: benchTime.Add(time.Minute), DoneAt: benchTime})
	}
	if err := s.Settle(t.Context(), rows, []int64{b.ID}); err != nil {
		t.Fatal(err)
	}
}

// nextUpdate accepts one more update of the incident of threeTargets.
func nextUpdate(t *testing.T, s *Store, now time.Time, n int) *dispatcher.Plan {
	t.Helper()
	e := &incident.Event{IncidentID: "INC-1", Status: incident.Resolved, Impact: incident.ImpactMinor, AffectedComponents: []string{},
		StartedAt: now, Message: fmt.Sprint("update ", n)}
	if err := e.Validate(); err != nil {
		t.Fatal(err)
	}
	accepted, err := s.Accept(t.Context(), []*dispatcher.Arrival{{Event: e, UpdateID: fmt.Sprint("u", n), ReceivedAt: now, Hash: e.ContentHash()}},
		dispatcher.Decide(now, time.Hour))
	if err != nil || accepted[0].Plan == nil {
		t.Fatal(accepted, err)
	}
	return accepted[0].Plan
}

func unsettledOf(t *testing.T, s *Store, p *dispatcher.Plan) (updates []int64) {
	t.Helper()
	if err := s.read(t.Context(), func(tx *sqlitedb.Tx) error {
		rows := tx.Query(unsettled, p.Incident, p.Sequence)
		for rows.Next() {
			updates = append(updates, rows.Int(0))
		}
		return rows.Err()
	}); err != nil {
		t.Fatal(err)
	}
	return updates
}
