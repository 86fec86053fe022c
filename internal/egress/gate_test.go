package egress

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// enter starts a goroutine that enters, and reports where it stands.
func enter(t *testing.T, ctx context.Context, g *Gate, slow bool) <-chan *Pass {
	in := make(chan *Pass, 1)
	go func() {
		if p, err := g.Enter(ctx, slow); err == nil {
			in <- p
		}
		close(in)
	}()
	synctest.Wait()
	return in
}

func entered(in <-chan *Pass) bool { return len(in) == 1 }

func TestGateLetsInTheFirstInLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(1, 1)
		a := enter(t, t.Context(), g, false)
		b := enter(t, t.Context(), g, false)
		c := enter(t, t.Context(), g, false)
		if !entered(a) || entered(b) || entered(c) {
			t.Fatal("want a alone inside")
		}
		(<-a).Leave()
		synctest.Wait()
		if !entered(b) || entered(c) {
			t.Fatal("want b inside")
		}
		(<-b).Leave()
		synctest.Wait()
		if !entered(c) {
			t.Fatal("want c inside")
		}
		(<-c).Leave()
	})
}

func TestADialOlderThan100msMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(2, 2)
		stuck := []<-chan *Pass{enter(t, t.Context(), g, false), enter(t, t.Context(), g, false)}
		time.Sleep(60 * time.Millisecond)
		next := enter(t, t.Context(), g, false)
		time.Sleep(39 * time.Millisecond)
		synctest.Wait()
		if entered(next) {
			t.Fatal("inside while both dials are younger than 100 ms")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if !entered(next) {
			t.Fatal("outside although both dials are 100 ms old")
		}
		// The slow class is full: what comes next must wait for somebody to leave.
		more := []<-chan *Pass{enter(t, t.Context(), g, false), enter(t, t.Context(), g, false)}
		if !entered(more[0]) || entered(more[1]) {
			t.Fatal("want one more inside")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if entered(more[1]) {
			t.Fatal("more dials than both classes hold")
		}
		(<-stuck[0]).Leave()
		synctest.Wait()
		if !entered(more[1]) {
			t.Fatal("a place in the slow class must move an old dial there")
		}
		for _, in := range []<-chan *Pass{stuck[1], next, more[0], more[1]} {
			(<-in).Leave()
		}
		if g.fast.used != 0 || g.slow.used != 0 || g.young.Len() != 0 {
			t.Errorf("left behind: %d fast, %d slow, %d young", g.fast.used, g.slow.used, g.young.Len())
		}
	})
}

func TestFailingHostsDoNotHoldUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(1, 1)
		bad := enter(t, t.Context(), g, true)
		waiting := enter(t, t.Context(), g, true)
		good := enter(t, t.Context(), g, false)
		if !entered(bad) || entered(waiting) || !entered(good) {
			t.Fatal("the classes must not take each other's places")
		}
		// An old dial of the fast class goes before those who wait for the slow one.
		next := enter(t, t.Context(), g, false)
		time.Sleep(youth)
		(<-bad).Leave()
		synctest.Wait()
		if !entered(next) || entered(waiting) {
			t.Fatal("the old dial must have moved first")
		}
		(<-good).Leave()
		synctest.Wait()
		if !entered(waiting) {
			t.Fatal("want the failing host inside at last")
		}
		(<-next).Leave()
		(<-waiting).Leave()
	})
}

func TestWaitingForTheGateEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(1, 1)
		in := enter(t, t.Context(), g, false)
		ctx, cancel := context.WithCancel(t.Context())
		gone := enter(t, ctx, g, false)
		next := enter(t, t.Context(), g, false)
		cancel()
		synctest.Wait()
		if _, ok := <-gone; ok {
			t.Fatal("entered with a context that ended")
		}
		(<-in).Leave()
		synctest.Wait()
		if !entered(next) {
			t.Fatal("who gave up still holds the place")
		}
		(<-next).Leave()
		if _, err := g.Enter(ctx, false); err != context.Canceled {
			t.Errorf("error %v; want that of the context", err)
		}
	})
}
