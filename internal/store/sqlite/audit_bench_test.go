package sqlite

import (
	"fmt"
	"testing"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/store"
)

// BenchmarkAuditLog exports a log of 100,000 updates that producers published, 500
// entries at a time, as the gateway does: all, one incident of ten updates, and the last
// minute, for which all is looked at.
func BenchmarkAuditLog(b *testing.B) {
	s := benchStore(b)
	const updates = 100_000
	for first := 0; first < updates; first += 1000 {
		arrivals := make([]*dispatcher.Arrival, 1000)
		for i := range arrivals {
			n := first + i
			e := &incident.Event{Page: "default", IncidentID: fmt.Sprint("INC-", n%(updates/10)), Status: incident.Identified, Impact: incident.ImpactMajor,
				AffectedComponents: []string{"api", "web"}, StartedAt: benchTime, Title: "API down", Message: fmt.Sprint("We look into it: ", n), Visibility: incident.Public}
			arrivals[i] = &dispatcher.Arrival{Event: e, Sender: "token 1", UpdateID: fmt.Sprint("update-", n), ReceivedAt: benchTime, Hash: e.ContentHash()}
		}
		if _, err := s.Accept(b.Context(), arrivals, dispatcher.Decide(benchTime.Add(time.Duration(first)*time.Second), time.Hour)); err != nil {
			b.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		f    store.AuditFilter
		want int
	}{
		{"all", store.AuditFilter{}, updates},
		{"an incident", store.AuditFilter{Page: "default", IncidentID: "INC-7"}, 10},
		{"an incident by its name", store.AuditFilter{IncidentID: "INC-7"}, 10},
		{"the end", store.AuditFilter{From: benchTime.Add((updates - 1000) * time.Second)}, 1000},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f, got := c.f, 0
				f.Limit = 500
				for more := true; more; {
					part, err := s.AuditLog(b.Context(), f)
					if err != nil {
						b.Fatal(err)
					}
					got += len(part.Entries)
					more, f.After = part.More, part.Next
				}
				if got != c.want {
					b.Fatalf("%d entries, want %d", got, c.want)
				}
			}
		})
	}
}
