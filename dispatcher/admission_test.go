package dispatcher

import (
	"fmt"
	"testing"

	"github.com/tocsin/tocsin/queue"
	"github.com/tocsin/tocsin/ratelimit"
)

// admitting returns an admission for named relays of one policy, beside a pool.
func admitting(total, relays int, p ProviderPolicy) *admission {
	groups := []Group{{Name: "webhook"}}
	for i := range relays {
		groups = append(groups, Group{Name: fmt.Sprint("smtp:", i), Provider: fmt.Sprint(i)})
	}
	return newAdmission(total, groups, func(string, string) ProviderPolicy { return p })
}

func (a *admission) freeIn(group string) int { return a.free(a.groups[group]) }

// settlementsOf are settlements of a group's deliveries.
func settlementsOf(group string, n int) []settlement {
	h := &held{hold: &hold{lease: &queue.Lease{Batch: &queue.Batch{Group: group}}}}
	list := make([]settlement, n)
	for i := range list {
		list[i].held = h
	}
	return list
}

func TestHowMuchIsHeldForANamedProvider(t *testing.T) {
	for _, c := range []struct {
		rate   float64
		window int
		relays int
		want   int
	}{
		{100, 20, 1, 200},        // two batches
		{100, 300, 1, 600},       // twice the window
		{10_000, 20, 1, 500},     // 50 ms of the rate
		{1_000_000, 20, 1, 1000}, // the most
		{1_000_000, 20, 10, 625}, // an eighth of the total among ten
		{1_000_000, 20, 90, 200}, // but two batches each
	} {
		a := admitting(50_000, c.relays, ProviderPolicy{Limit: ratelimit.Limit{PerSecond: c.rate, Burst: 1}, Window: c.window, Named: true})
		if got := a.freeIn("smtp:0"); got != c.want {
			t.Errorf("%v/s, window %d, one of %d: %d, want %d", c.rate, c.window, c.relays, got, c.want)
		}
		all := a.freeIn("webhook")
		for _, g := range a.groups {
			all += g.limit + g.settling
		}
		if all > 50_000 {
			t.Errorf("%d relays: %d are admitted of 50,000", c.relays, all)
		}
	}
}

func TestANamedProviderIsReceivedForWhileItsSettlementsAreCommitted(t *testing.T) {
	a := admitting(50_000, 1, ProviderPolicy{Limit: ratelimit.Limit{PerSecond: 100, Burst: 1}, Window: 100, Named: true})
	free := func(want int, when string) {
		t.Helper()
		if got := a.freeIn("smtp:0"); got != want {
			t.Errorf("%s: %d, want %d", when, got, want)
		}
	}
	pool := a.freeIn("webhook")
	a.add("smtp:0", 200)
	free(0, "all held")
	room := make(chan int)
	go func() { room <- a.room(t.Context(), "smtp:0") }()
	a.end(append(settlementsOf("smtp:0", 150), settlementsOf("webhook", 5)...))
	if got := <-room; got != 150 {
		t.Errorf("who waits is told of room for %d, want 150", got)
	}
	free(150, "150 settled")
	a.add("smtp:0", 150)
	free(0, "150 more held")
	a.settled("smtp:0", 150)
	free(0, "150 durable")
	for range 10 {
		a.end(settlementsOf("smtp:0", 200))
		a.add("smtp:0", 200)
	}
	a.add("smtp:0", -100)
	free(0, "2,000 not durable yet")
	a.settled("smtp:0", 1)
	free(100, "one of them durable")
	if got := a.freeIn("webhook"); got != pool {
		t.Errorf("the pool has %d, want %d: its settlements count until they are durable", got, pool)
	}
}
