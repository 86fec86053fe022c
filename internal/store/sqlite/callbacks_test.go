package sqlite

import (
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/queue"
)

// threeTargets plans an update with a callback for three targets.
func threeTargets(t *testing.T, now time.Time) (*Store, *queue.Batch) {
	t.Helper()
	s := openFixture(t, t.TempDir(), func(*incident.Target) (string, string, error) { return "webhook", "h:443", nil }).Store.(*Store)
	ctx := t.Context()
	b := &queue.Batch{ID: 1, Sequence: 1, Group: "webhook"}
	for _, address := range []string{"https://a.example/", "https://b.example/", "https://c.example/"} {
		target := &incident.Target{Channel: incident.ChannelWebhook, Address: address, Page: "default"}
		if err := target.Validate(); err != nil {
			t.Fatal(err)
		}
		done, err := s.Upsert(ctx, []*incident.Target{target})
		if err != nil {
			t.Fatal(err)
		}
		b.Deliveries = append(b.Deliveries, queue.Delivery{Target: done[0].ID, Provider: "h:443", Address: address, Since: now})
	}
	event := &incident.Event{IncidentID: "INC-1", Status: incident.Resolved, Impact: incident.ImpactMinor, AffectedComponents: []string{},
		StartedAt: now, CallbackURL: "https://producer.example/done"}
	if err := event.Validate(); err != nil {
		t.Fatal(err)
	}
	accepted, err := s.Accept(ctx, []*dispatcher.Arrival{{Event: event, UpdateID: "u", ReceivedAt: now}}, dispatcher.Decide(now, time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	p := accepted[0].Plan
	b.Incident = p.Incident
	if err := s.CommitPage(ctx, p, &dispatcher.PlannedPage{Batches: []*queue.Batch{b}, Last: true, At: now}); err != nil {
		t.Fatal(err)
	}
	return s, b
}

// TestCallbackKeepsLittle looks at what the ports don't show: the look at an
// update's rows goes on where the last one ended, and a URL is not kept longer than
// it is needed.
func TestCallbackKeepsLittle(t *testing.T) {
	ctx, now := t.Context(), benchTime
	s, b := threeTargets(t, now)
	var looked int64
	var url string
	kept := func() {
		t.Helper()
		if err := s.read(ctx, func(tx *sqlitedb.Tx) error {
			rows := tx.Query("SELECT looked, url FROM callbacks")
			for rows.Next() {
				looked, url = rows.Int(0), rows.Text(1)
			}
			return rows.Err()
		}); err != nil {
			t.Fatal(err)
		}
	}
	for i, d := range b.Deliveries {
		if _, err := s.Complete(ctx, now); err != nil {
			t.Fatal(err)
		}
		if kept(); looked != d.Target || url == "" {
			t.Errorf("with %d closed the next look begins at %d, want %d; url %q", i, looked, d.Target, url)
		}
		if err := s.Settle(ctx, []dispatcher.Settlement{{Row: dispatcher.Row{Incident: b.Incident, Target: d.Target, Sequence: 1},
			Outcome: dispatcher.Delivered, Class: channels.Delivered, DoneAt: now}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.Complete(ctx, now); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if err := s.SettleCallback(ctx, dispatcher.CallbackSettlement{Incident: b.Incident, Sequence: 1, State: dispatcher.CallbackDelivered, Attempt: 1, DoneAt: now}); err != nil {
		t.Fatal(err)
	}
	if kept(); url != "" {
		t.Errorf("the URL is kept: %q", url)
	}
}
