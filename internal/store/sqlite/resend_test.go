package sqlite

import (
	"errors"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/internal/sqlitedb"
)

// Two that go on with the same resend at once, a caller and the retry: each part is
// done and counted once.
func TestResendPartIsDoneOnce(t *testing.T) {
	ctx, now := t.Context(), benchTime
	s, b := threeTargets(t, now)
	s.sweepRows = 2
	for _, d := range b.Deliveries {
		settleDead(t, s, b.Incident, d.Target, b.ID, now)
	}
	begun, err := s.BeginResend(ctx, dispatcher.Resend{Incident: b.Incident, Choice: dispatcher.Choice{Outcome: dispatcher.Dead}, At: now})
	if err != nil {
		t.Fatal(err)
	}
	one, err := s.nextPart(ctx, begun.Key)
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.nextPart(ctx, begun.Key)
	if err != nil {
		t.Fatal(err)
	}
	if done, err := s.sendPart(ctx, one, now); err != nil || done.Sent != 2 || !done.DoneAt.IsZero() {
		t.Fatalf("the first came to %+v, %v", done, err)
	}
	if _, err := s.sendPart(ctx, other, now); !errors.Is(err, errMovedOn) {
		t.Errorf("the second came to %v", err)
	}
	last, err := s.ContinueResend(ctx, begun.Key, now)
	if err != nil || last.Sent != 3 || last.UnderWay != 0 || last.DoneAt.IsZero() {
		t.Errorf("the last part came to %+v, %v", last, err)
	}
}

// An update's end that was looked for before a resend, and noted after it.
func TestResendDuringALook(t *testing.T) {
	ctx, now := t.Context(), benchTime
	for name, last := range map[string]dispatcher.Outcome{"one is open": dispatcher.Open, "none is": dispatcher.Delivered} {
		t.Run(name, func(t *testing.T) {
			s, b := threeTargets(t, now)
			settleDead(t, s, b.Incident, b.Deliveries[0].Target, b.ID, now)
			for _, d := range b.Deliveries[1:] {
				if last == dispatcher.Open && d.Target == b.Deliveries[2].Target {
					break
				}
				if err := s.Settle(ctx, []dispatcher.Settlement{{Row: dispatcher.Row{Incident: b.Incident, Target: d.Target, Sequence: 1},
					Outcome: dispatcher.Delivered, Class: channels.Delivered, DoneAt: now}}, nil); err != nil {
					t.Fatal(err)
				}
			}
			var looks []look
			if err := s.read(ctx, func(tx *sqlitedb.Tx) (err error) {
				if looks, err = lookAt(tx, look{}); err == nil && looks[0].open == 0 {
					err = looks[0].sum(tx, now)
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
			begun, err := s.BeginResend(ctx, dispatcher.Resend{Incident: b.Incident, Choice: dispatcher.Choice{Outcome: dispatcher.Dead}, At: now})
			if err == nil {
				begun, err = s.ContinueResend(ctx, begun.Key, now)
			}
			if err != nil || begun.Sent != 1 {
				t.Fatalf("%+v, %v", begun, err)
			}
			if n, err := s.noteLooks(ctx, looks, now); n != 0 || err != nil {
				t.Errorf("%d are complete, %v", n, err)
			}
			var open int64
			if err := s.read(ctx, func(tx *sqlitedb.Tx) error {
				looks, err := lookAt(tx, look{})
				if len(looks) == 1 {
					open = looks[0].open
				}
				return err
			}); err != nil || open != b.Deliveries[0].Target {
				t.Errorf("the next look finds %d open, want %d, %v", open, b.Deliveries[0].Target, err)
			}
		})
	}
}

func settleDead(t *testing.T, s *Store, incident, target, batch int64, now time.Time) {
	t.Helper()
	if err := s.Settle(t.Context(), []dispatcher.Settlement{{Row: dispatcher.Row{Incident: incident, Target: target, Sequence: 1},
		Batch: batch, Outcome: dispatcher.Dead, Class: channels.Permanent, DoneAt: now}}, nil); err != nil {
		t.Fatal(err)
	}
}
