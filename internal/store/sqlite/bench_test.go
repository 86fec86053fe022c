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

// benchPage is how many targets a page of the benchmarks has.
const benchPage = 4000

var benchTime = time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)

func benchStore(b *testing.B) *Store {
	b.Helper()
	db, err := sqlitedb.Open(b.Context(), sqlitedb.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	return New(db, func(t *incident.Target) (string, string, error) { return "webhook", t.Address[8:20], nil })
}

// benchPlan accepts an update of an incident.
func benchPlan(b *testing.B, s *Store, n, update int) *dispatcher.Plan {
	b.Helper()
	e := &incident.Event{Page: "default", IncidentID: fmt.Sprint("INC-", n), Message: fmt.Sprint("update ", update), Status: incident.Identified, Impact: incident.ImpactMajor,
		AffectedComponents: []string{"api", "web"}, StartedAt: benchTime, Visibility: incident.Public}
	acc, err := s.Accept(b.Context(), []*dispatcher.Arrival{{Event: e, Hash: [16]byte{byte(update)}, ReceivedAt: benchTime}}, dispatcher.Decide(benchTime, time.Hour))
	if err != nil {
		b.Fatal(err)
	}
	return acc[0].Plan
}

// BenchmarkAccept accepts what producers publish, each event a new incident: as many at
// once as a busy engine takes, and one at a time. cpu-µs is the time of the CPU alone.
func BenchmarkAccept(b *testing.B) {
	for _, slice := range []int{256, 1} {
		b.Run(fmt.Sprint(slice), func(b *testing.B) {
			s := benchStore(b)
			arrivals := make([]*dispatcher.Arrival, slice)
			b.ReportAllocs()
			before := cpuTime(b)
			for n := 0; b.Loop(); {
				for i := range arrivals {
					n++
					e := &incident.Event{Page: "default", IncidentID: fmt.Sprint("INC-", n), Status: incident.Identified, Impact: incident.ImpactMajor,
						AffectedComponents: []string{"api", "web"}, StartedAt: benchTime, Title: "API down", Message: "We look into it.", Visibility: incident.Public}
					arrivals[i] = &dispatcher.Arrival{Event: e, Sender: "token 1", UpdateID: fmt.Sprint("update-", n), ReceivedAt: benchTime, Hash: e.ContentHash()}
				}
				if _, err := s.Accept(b.Context(), arrivals, dispatcher.Decide(benchTime, time.Hour)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/1e3/float64(b.N*slice), "µs/event")
			b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/1e3/float64(b.N*slice), "cpu-µs/event")
		})
	}
}

// benchBatches makes a page of batches for a plan.
func benchBatches(p *dispatcher.Plan, page int) *dispatcher.PlannedPage {
	planned := &dispatcher.PlannedPage{Cursor: fmt.Sprint(page), At: benchTime}
	for i := range benchPage / queue.MaxDeliveries {
		batch := &queue.Batch{ID: int64(page*benchPage + i + 1), Incident: p.Incident, Sequence: p.Sequence, Group: "webhook", AcceptedAt: benchTime}
		for j := range queue.MaxDeliveries {
			n := page*benchPage + i*queue.MaxDeliveries + j
			batch.Deliveries = append(batch.Deliveries, queue.Delivery{Target: int64(n), Provider: fmt.Sprint("h", n%1000, ".example:443"),
				Address: fmt.Sprint("https://h", n%1000, ".example/hooks/", n), Locale: "en", Format: "tocsin", Since: benchTime})
		}
		planned.Batches = append(planned.Batches, batch)
	}
	return planned
}

func perRow(b *testing.B, rows int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/1e3/float64(b.N*rows), "µs/row")
}

// BenchmarkCommitPage plans pages of 4,000 rows; the aim is 150,000 rows/s, which is
// 6.7 µs a row, encoding and commit included.
func BenchmarkCommitPage(b *testing.B) {
	s := benchStore(b)
	p := benchPlan(b, s, 1, 1)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		b.StopTimer()
		page := benchBatches(p, n)
		b.StartTimer()
		if err := s.CommitPage(b.Context(), p, page); err != nil {
			b.Fatal(err)
		}
		p.Cursor = page.Cursor
	}
	perRow(b, benchPage)
}

// BenchmarkSettle settles groups of one page's rows, as delivered or to wait; the
// aim is as above.
func BenchmarkSettle(b *testing.B) {
	for _, group := range []int{500, 1000, 2000} {
		for _, o := range []dispatcher.Outcome{dispatcher.Delivered, dispatcher.Open} {
			b.Run(fmt.Sprintf("%v/%d", o, group), func(b *testing.B) { benchSettle(b, group, o) })
		}
	}
}

func benchSettle(b *testing.B, group int, o dispatcher.Outcome) {
	s := benchStore(b)
	p := benchPlan(b, s, 1, 1)
	var rows []dispatcher.Settlement
	var finished []int64
	b.ReportAllocs()
	for n := 0; b.Loop(); {
		if len(rows) == 0 {
			b.StopTimer()
			page := benchBatches(p, n)
			if err := s.CommitPage(b.Context(), p, page); err != nil {
				b.Fatal(err)
			}
			p.Cursor, n = page.Cursor, n+1
			for _, batch := range page.Batches {
				finished = append(finished, batch.ID)
				for _, d := range batch.Deliveries {
					rows = append(rows, dispatcher.Settlement{Row: dispatcher.Row{Incident: p.Incident, Target: d.Target, Sequence: 1},
						Batch: batch.ID, Outcome: o, Class: channels.Delivered, Detail: "http 200", Attempt: 1, DueAt: benchTime,
						SentAt: benchTime, DoneAt: benchTime})
				}
			}
			b.StartTimer()
		}
		if err := s.Settle(b.Context(), rows[:group], finished[:group/queue.MaxDeliveries]); err != nil {
			b.Fatal(err)
		}
		rows, finished = rows[group:], finished[group/queue.MaxDeliveries:]
	}
	perRow(b, group)
}

// BenchmarkAudience reads a page of 4,000 of 40,000 targets: all matching, or chosen
// by component, for a first update, and for a second while the first has open rows.
func BenchmarkAudience(b *testing.B) {
	s := benchStore(b)
	for chunk := range 40 {
		list := make([]*incident.Target, 1000)
		for i := range list {
			n := chunk*1000 + i
			list[i] = &incident.Target{Channel: incident.ChannelWebhook, Page: "default", Address: fmt.Sprintf("https://host%05d.example/hooks/%d", n%5000, n),
				MinImpact: incident.ImpactNone, Visibility: incident.Public, Locale: "en", State: incident.StateActive, Format: "tocsin"}
			if n%2 == 0 {
				list[i].Components = []string{"web", "db", "mail"}
			}
		}
		if _, err := s.Upsert(b.Context(), list); err != nil {
			b.Fatal(err)
		}
	}
	p := benchPlan(b, s, 1, 1)
	if err := s.CommitPage(b.Context(), p, benchBatches(p, 0)); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		whole bool
		seq   int
	}{{"all", true, 1}, {"by component", false, 1}, {"all, second update", true, 2}} {
		b.Run(c.name, func(b *testing.B) {
			plan := *p
			plan.Whole, plan.Sequence = c.whole, c.seq
			b.ReportAllocs()
			for b.Loop() {
				page, err := s.Audience(b.Context(), &plan, benchPage)
				if err != nil {
					b.Fatal(err)
				}
				if plan.Cursor = page.Cursor; page.Last {
					plan.Cursor = ""
				}
			}
			perRow(b, benchPage)
		})
	}
}
