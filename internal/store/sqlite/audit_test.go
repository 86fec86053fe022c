package sqlite

import (
	"fmt"
	"testing"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/store"
)

// TestAuditLogIsReadInParts: however long nothing is chosen, one reading looks at no more
// rows than a part has, and the next one begins behind them.
func TestAuditLogIsReadInParts(t *testing.T) {
	s := openFixture(t, t.TempDir(), func(*incident.Target) (string, string, error) { return "", "", nil }).Store.(*Store)
	at := time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)
	accept := func(n int, sender string) {
		t.Helper()
		e := &incident.Event{Page: "default", IncidentID: fmt.Sprint("INC-", n), Status: incident.Identified, Impact: incident.ImpactMinor, StartedAt: at}
		_, err := s.Accept(t.Context(), []*dispatcher.Arrival{{Event: e, Sender: sender, ReceivedAt: at, Hash: e.ContentHash()}}, dispatcher.Decide(at, time.Hour))
		if err != nil {
			t.Fatal(err)
		}
	}
	for n := range 3 * s.auditRows {
		accept(n, "")
	}
	accept(1000, "amqp")
	f := store.AuditFilter{Limit: 500}
	for i := int64(1); i <= 3; i++ {
		part, err := s.AuditLog(t.Context(), f)
		if err != nil || len(part.Entries) > 0 || !part.More || part.Next.Update != i*int64(s.auditRows) {
			t.Fatalf("part %d is %+v, %v", i, part, err)
		}
		f.After = part.Next
	}
	part, err := s.AuditLog(t.Context(), f)
	if err != nil || len(part.Entries) != 1 || part.More || part.Entries[0].IncidentID != "INC-1000" {
		t.Errorf("the last part is %+v, %v", part, err)
	}
}
