package egress

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// parked makes an idle connection that releases its descriptor when evicted, and
// notes that in gone.
func parked(b *Budget, gone *[]int, id int) *Idle {
	return &Idle{Evict: func() {
		*gone = append(*gone, id)
		b.Release()
	}}
}

func TestBudgetWaitsWhenItIsSpent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(2, time.Minute)
		must(t, b.Acquire(t.Context()))
		must(t, b.Acquire(t.Context()))
		var order []int
		ctx, cancel := context.WithCancel(t.Context())
		var gaveUp error
		go func() { gaveUp = b.Acquire(ctx) }()
		synctest.Wait()
		for id := range 2 {
			go func() {
				if b.Acquire(t.Context()) == nil {
					order = append(order, id)
				}
			}()
			synctest.Wait()
		}
		cancel()
		synctest.Wait()
		if gaveUp != context.Canceled || len(order) != 0 || b.Used() != 2 {
			t.Fatalf("error %v, %d served, %d used", gaveUp, len(order), b.Used())
		}
		b.Release()
		synctest.Wait()
		b.Release()
		synctest.Wait()
		if !slices.Equal(order, []int{0, 1}) || b.Used() != 2 {
			t.Fatalf("served %v, %d used; want first come, first served", order, b.Used())
		}
		b.Release()
		b.Release()
		if b.Used() != 0 {
			t.Errorf("%d used at the end", b.Used())
		}
	})
}

func TestTheLongestParkedGoWhen90PercentAreUsed(t *testing.T) {
	b := NewBudget(10, time.Minute)
	var gone []int
	for id := range 8 {
		must(t, b.Acquire(t.Context()))
		b.Park(parked(b, &gone, id))
	}
	must(t, b.Acquire(t.Context()))
	if len(gone) != 0 {
		t.Fatalf("evicted %v with 9 of 10 used", gone)
	}
	must(t, b.Acquire(t.Context()))
	must(t, b.Acquire(t.Context()))
	if !slices.Equal(gone, []int{0, 1}) || b.Used() != 9 {
		t.Fatalf("evicted %v, %d used; want 0 and 1 gone", gone, b.Used())
	}
	for range 7 {
		must(t, b.Acquire(t.Context()))
	}
	if len(gone) != 8 || b.Used() != 10 {
		t.Fatalf("evicted %v, %d used", gone, b.Used())
	}
	for range 10 {
		b.Release()
	}
	b.Close()
}

func TestParkedConnectionsGoAfterTheIdleTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(10, time.Minute)
		var gone []int
		idle := map[int]*Idle{}
		park := func(id int) {
			must(t, b.Acquire(t.Context()))
			idle[id] = parked(b, &gone, id)
			b.Park(idle[id])
		}
		park(0)
		time.Sleep(30 * time.Second)
		park(1)
		time.Sleep(29 * time.Second)
		if !b.Unpark(idle[0]) {
			t.Fatal("evicted before its time")
		}
		b.Park(idle[0]) // used again: its minute starts anew
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if !slices.Equal(gone, []int{1}) {
			t.Fatalf("evicted %v; want 1 alone", gone)
		}
		if b.Unpark(idle[1]) {
			t.Fatal("what is evicted can't be taken back")
		}
		time.Sleep(29 * time.Second)
		synctest.Wait()
		if !slices.Equal(gone, []int{1, 0}) || b.Used() != 0 {
			t.Fatalf("evicted %v, %d used", gone, b.Used())
		}
		park(2)
		b.Close()
		park(3)
		if !slices.Equal(gone, []int{1, 0, 2, 3}) {
			t.Fatalf("evicted %v; want nothing parked after Close", gone)
		}
	})
}

func TestBudgetOf(t *testing.T) {
	for files, want := range map[int]int{512: 416, 1024: 922, 20000: 18000, 64: 16} {
		if got := BudgetOf(files); got != want {
			t.Errorf("of %d files %d are for connections; want %d", files, got, want)
		}
	}
}

func TestRaiseFileLimit(t *testing.T) {
	n, err := RaiseFileLimit()
	if err != nil || n < 64 {
		t.Errorf("%d, %v", n, err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
