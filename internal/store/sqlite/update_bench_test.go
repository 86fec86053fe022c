package sqlite

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/queue"
)

// BenchmarkUpdate takes updates of one incident through the ledger as the engine does:
// 100,000 targets over 1,000 hosts, read page by page, planned, and settled in groups of
// 1,000 in about the order of the plan. What it reports is the time of the CPU, per row.
func BenchmarkUpdate(b *testing.B) {
	s := benchStore(b)
	const targets = 100_000
	for first := 0; first < targets; first += 1000 {
		list := make([]*incident.Target, 1000)
		for i := range list {
			n := first + i
			list[i] = &incident.Target{Channel: incident.ChannelWebhook, Page: "default", ExternalID: fmt.Sprint("t", n),
				Address:   fmt.Sprintf("https://host%05d.example/hooks/%d", n%1000, n),
				MinImpact: incident.ImpactNone, Visibility: incident.Public, Locale: "en", State: incident.StateActive, Format: "tocsin"}
		}
		if _, err := s.Upsert(b.Context(), list); err != nil {
			b.Fatal(err)
		}
	}
	var read, planned, settled time.Duration
	r := rand.New(rand.NewPCG(1, 2))
	timed := func(d *time.Duration, f func() error) {
		before := cpuTime(b)
		if err := f(); err != nil {
			b.Fatal(err)
		}
		*d += cpuTime(b) - before
	}
	id := int64(0)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		p := benchPlan(b, s, n, 1)
		p.Whole = true
		var open []dispatcher.Settlement
		var finished []int64
		settle := func(n int) {
			for ; len(open) >= n && len(open) > 0; n = max(n, 1) {
				size := min(1000, len(open))
				window := open[:min(len(open), 4*size)]
				r.Shuffle(len(window), func(i, j int) { window[i], window[j] = window[j], window[i] })
				batches := finished[:min(len(finished), size/queue.MaxDeliveries)]
				half := size / 2
				timed(&settled, func() error { // the second shares the transaction of the first, as do those of a busy engine
					var second error
					var both sync.WaitGroup
					both.Go(func() { second = s.Settle(b.Context(), open[half:size], batches) })
					first := s.Settle(b.Context(), open[:half], nil)
					both.Wait()
					return errors.Join(first, second)
				})
				open, finished = open[size:], finished[len(batches):]
			}
		}
		for last := false; !last; {
			var audience *dispatcher.AudiencePage
			timed(&read, func() (err error) { audience, err = s.Audience(b.Context(), p, benchPage); return err })
			page := &dispatcher.PlannedPage{Cursor: audience.Cursor, Last: audience.Last, At: benchTime}
			for rest := audience.Targets; len(rest) > 0; {
				some := rest[:min(len(rest), queue.MaxDeliveries)]
				rest = rest[len(some):]
				id++
				batch := &queue.Batch{ID: time.Now().UnixMilli()<<20 | id&(1<<20-1), Incident: p.Incident, Sequence: p.Sequence, Group: "webhook", AcceptedAt: benchTime, ExpiresAt: benchTime.Add(time.Hour)}
				for _, t := range some {
					batch.Deliveries = append(batch.Deliveries, queue.Delivery{Target: t.Target, Provider: t.Provider, Address: t.Address, Locale: t.Locale, Format: t.Format, Since: benchTime})
					open = append(open, dispatcher.Settlement{Row: dispatcher.Row{Incident: p.Incident, Target: t.Target, Sequence: p.Sequence},
						Batch: batch.ID, Outcome: dispatcher.Delivered, Class: channels.Delivered, Detail: "http 200", Attempt: 1,
						SentAt: benchTime, DoneAt: benchTime})
				}
				finished = append(finished, batch.ID)
				page.Batches = append(page.Batches, batch)
			}
			timed(&planned, func() error { return s.CommitPage(b.Context(), p, page) })
			p.Cursor, last = page.Cursor, page.Last
			settle(20_000)
		}
		settle(0)
	}
	for name, d := range map[string]time.Duration{"read": read, "plan": planned, "settle": settled} {
		b.ReportMetric(float64(d.Nanoseconds())/1e3/float64(n*targets), name+"-µs/row")
	}
	b.ReportMetric(0, "ns/op")
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
