package sqlite

import (
	"fmt"
	"testing"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
)

// BenchmarkUnheard asks who has not heard of an incident with 1,000,000 targets, a
// hundred of them dead and a hundred waiting for a retry; the aim is 1 s. All but
// "all, a page" read every row to the last.
func BenchmarkUnheard(b *testing.B) {
	const targets = 1_000_000
	for _, updates := range []int{1, 3} {
		s := benchStore(b)
		var p *dispatcher.Plan
		for n := range updates {
			p = benchPlan(b, s, 1, n+1)
			fillUpdate(b, s, p.Incident, n+1, targets)
		}
		for _, c := range []struct {
			name   string
			filter store.DeliveryFilter
			want   int
		}{
			{"unheard", store.DeliveryFilter{Standing: store.Unheard, Limit: 1000}, 200},
			{"dead", store.DeliveryFilter{Outcome: new(dispatcher.Dead), Sequence: updates, Limit: 1000}, 100},
			{"retrying", store.DeliveryFilter{Standing: store.Retrying, Sequence: updates, Limit: 1000}, 100},
			{"all, a page", store.DeliveryFilter{Limit: 1000}, 1000},
		} {
			b.Run(fmt.Sprintf("%d updates/%s", updates, c.name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					rows, err := s.Deliveries(b.Context(), p.Incident, c.filter)
					if err != nil || len(rows) != c.want {
						b.Fatalf("%d rows, %v", len(rows), err)
					}
				}
			})
		}
	}
}

// fillUpdate writes an update's rows as they are after its fan-out: delivered, but
// for the hundred dead and the hundred that wait.
func fillUpdate(b *testing.B, s *Store, incident int64, sequence, targets int) {
	b.Helper()
	const at = 100_000
	for from := 0; from < targets; from += at {
		err := s.write(b.Context(), sqlitedb.Plan, func(tx *sqlitedb.Tx) error {
			_, err := tx.Exec(`WITH RECURSIVE n(i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)
				INSERT INTO deliveries (id, outcome, batch, attempt, class, since, due_at, sent_at, done_at, detail)
				SELECT ((SELECT id FROM updates WHERE incident = ?3 AND sequence = ?4) << 32) + i, CASE i % 10000 WHEN 17 THEN 5 WHEN 4711 THEN 0 ELSE 1 END,
					CASE i % 10000 WHEN 4711 THEN NULL ELSE 123456789012 + i / 100 END, 1, CASE i % 10000 WHEN 17 THEN 5 ELSE 1 END,
					1795237200123000, CASE i % 10000 WHEN 4711 THEN 1795237300123000 END, 1795237200123000 + i, 1795237200223000 + i,
					'http 200' FROM n`, from+1, from+at, incident, sequence)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
