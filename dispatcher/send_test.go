package dispatcher

import (
	"testing"
	"testing/synctest"
	"time"
)

// After a burst, those who send stay for the next; once nobody needs so many, they end.
func TestSendersThatNobodyNeedsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const burst, steady = 100, 5
		hold := make(chan struct{})
		s := newSenders(func(*held) { <-hold })
		send := func(n int) {
			for range n {
				s.send(new(held))
			}
			synctest.Wait()
			for range n {
				hold <- struct{}{}
			}
			synctest.Wait()
		}
		trim := func() int {
			s.trim(time.Now())
			synctest.Wait()
			return int(s.idle.Load())
		}
		trim()
		send(burst)
		for range 3 {
			time.Sleep(trimEvery / 2)
			send(burst)
			if n := trim(); n != burst {
				t.Errorf("%d stay though all were needed, want %d", n, burst)
			}
		}
		time.Sleep(trimEvery)
		trim()
		for range 2 {
			send(steady)
			time.Sleep(trimEvery)
		}
		if n := trim(); n != steady {
			t.Errorf("%d stay, want the %d that are needed", n, steady)
		}
		send(burst) // and whoever is missing is there again
		s.close()
		s.Wait()
	})
}
