package dispatcher

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tocsin/tocsin/queue"
)

// BenchmarkSchedule takes batches of 100 deliveries through the scheduler: admitted,
// started, answered, settled. The figures are for one delivery.
func BenchmarkSchedule(b *testing.B) {
	for _, providers := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("providers=%d", providers), func(b *testing.B) { benchmarkSchedule(b, providers) })
	}
}

func benchmarkSchedule(b *testing.B, providers int) {
	const size = 100
	names := make([]string, providers)
	for i := range names {
		names[i] = fmt.Sprintf("127.0.%d.%d:443", i/250, i%250)
	}
	now := time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)
	s := newScheduler(now, schedulerOptions{
		Policy:    func(string, string) ProviderPolicy { return wide },
		Admission: 50_000, MaxInFlight: 10_000, LaneWait: 30 * time.Second, HoldFor: 100 * time.Second,
		Backoff: Backoff{Base: 2 * time.Second, Cap: time.Hour}, Breaker: DefaultBreaker(), Rand: rand.New(rand.NewPCG(1, 2)),
	})
	batch := func(id int64) *hold {
		ds := make([]queue.Delivery, size)
		for i := range ds {
			target := id*size + int64(i)
			ds[i] = queue.Delivery{Target: target, Provider: names[target%int64(providers)], Since: now}
		}
		return &hold{lease: &queue.Lease{Takes: 1, ReceivedAt: now, Batch: &queue.Batch{
			ID: id, Incident: 1, Sequence: 1, Group: "webhook", AcceptedAt: now, ExpiresAt: now.Add(time.Hour), Deliveries: ds}}}
	}
	var in inputs
	var out outputs
	settled, id := 0, int64(0)
	step := func() {
		out.reset()
		s.step(now, &in, &out)
		settled += len(out.settle)
		in.holds, in.results = in.holds[:0], in.results[:0]
		for _, d := range out.start {
			in.results = append(in.results, attempt{held: d, result: ok, sentAt: now, doneAt: now})
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += size {
		b.StopTimer() // a batch comes decoded
		next := batch(id)
		id++
		b.StartTimer()
		in.holds = append(in.holds, next)
		now = now.Add(time.Millisecond)
		step()
	}
	for len(in.results) > 0 {
		step()
	}
	b.StopTimer()
	if want := int(id) * size; settled != want || s.holding != 0 {
		b.Fatalf("%d of %d deliveries were settled, %d are held", settled, want, s.holding)
	}
}
