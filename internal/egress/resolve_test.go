package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// zone is a name server that answers after a while.
type zone struct {
	asked  atomic.Int32
	takes  time.Duration
	addrs  []netip.Addr
	failed error
}

func (z *zone) lookup(ctx context.Context, _ string) ([]netip.Addr, error) {
	z.asked.Add(1)
	select {
	case <-time.After(z.takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return z.addrs, z.failed
}

func addrs(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, text := range texts {
		out = append(out, netip.MustParseAddr(text))
	}
	return out
}

func TestNamesAreAskedForOnceAndKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{takes: time.Second, addrs: addrs("8.8.8.8")}
		r := newResolver(z.lookup, 4)
		var served atomic.Int32
		for range 10 {
			go func() {
				if n, err := r.resolve(t.Context(), "h.example.com"); err == nil && n.addrs[0] == z.addrs[0] {
					served.Add(1)
				}
			}()
			synctest.Wait()
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if served.Load() != 10 || z.asked.Load() != 1 {
			t.Fatalf("%d served, asked %d times", served.Load(), z.asked.Load())
		}
		time.Sleep(goodFor - time.Millisecond)
		if _, err := r.resolve(t.Context(), "h.example.com"); err != nil || z.asked.Load() != 1 {
			t.Fatalf("%v, asked %d times; want it kept for 30 s", err, z.asked.Load())
		}
		time.Sleep(time.Millisecond)
		if _, err := r.resolve(t.Context(), "h.example.com"); err != nil || z.asked.Load() != 2 {
			t.Fatalf("%v, asked %d times; want it asked again", err, z.asked.Load())
		}
	})
}

func TestFailedLookupsAreKeptForAShortTime(t *testing.T) {
	for _, tc := range []struct {
		failed error
		want   *Error
	}{
		{&net.DNSError{IsNotFound: true}, errNoSuchHost},
		{&net.DNSError{IsTimeout: true}, errDNSTimeout},
		{&net.DNSError{IsTemporary: true}, errDNSFailed},
		{nil, errNoSuchHost}, // no addresses
	} {
		synctest.Test(t, func(t *testing.T) {
			z := &zone{failed: tc.failed}
			r := newResolver(z.lookup, 4)
			for i, wait := range []time.Duration{0, badFor - time.Millisecond, time.Millisecond} {
				time.Sleep(wait)
				if _, err := r.resolve(t.Context(), "h.example.com"); err != tc.want {
					t.Fatalf("%v; want %v", err, tc.want)
				}
				if asked := int(z.asked.Load()); asked != i/2+1 {
					t.Fatalf("asked %d times after look-up %d", asked, i)
				}
			}
		})
	}
}

func TestALookupThatIsGivenUpIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{takes: time.Second, addrs: addrs("8.8.8.8")}
		r := newResolver(z.lookup, 4)
		ctx, cancel := context.WithCancel(t.Context())
		var first, second error = nil, errors.New("not served")
		go func() { _, first = r.resolve(ctx, "h.example.com") }()
		synctest.Wait()
		go func() { _, second = r.resolve(t.Context(), "h.example.com") }()
		synctest.Wait()
		cancel()
		time.Sleep(time.Second)
		synctest.Wait()
		if first != context.Canceled || second != nil || z.asked.Load() != 2 {
			t.Errorf("first %v, second %v, asked %d times", first, second, z.asked.Load())
		}
	})
}

func TestALookupThatOutlastsTheConnectTimeoutIsADNSTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{takes: time.Hour}
		r := newResolver(z.lookup, 1)
		for range 2 { // the second time from what is kept
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errConnectTimeout)
			if _, err := r.resolve(ctx, "h.example.com"); err != errDNSTimeout {
				t.Errorf("%v; want a DNS timeout", err)
			}
			cancel()
		}
		if z.asked.Load() != 1 {
			t.Errorf("asked %d times", z.asked.Load())
		}
	})
}

func TestWhoGotNoSlotForALookupSaysNothingOfTheName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{takes: time.Hour}
		r := newResolver(z.lookup, 1)
		go r.resolve(t.Context(), "slow.example.com")
		synctest.Wait()
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errConnectTimeout)
		defer cancel()
		if _, err := r.resolve(ctx, "h.example.com"); err != errDNSTimeout {
			t.Errorf("%v; want a DNS timeout", err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		z.takes, z.addrs = 0, addrs("8.8.8.8")
		if _, err := r.resolve(t.Context(), "h.example.com"); err != nil {
			t.Error(err)
		}
	})
}

func TestNamesKeptAreBounded(t *testing.T) {
	z := &zone{addrs: addrs("8.8.8.8")}
	r := newResolver(z.lookup, 1)
	for i := range cachedNames + 500 {
		if _, err := r.resolve(t.Context(), fmt.Sprintf("h%d.example.com", i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.names) > cachedNames {
		t.Errorf("%d names kept", len(r.names))
	}
}

func TestAddressesAreTriedInTurnOfTheirFamilies(t *testing.T) {
	got := fmt.Sprint(interleave(addrs("2600::1", "2600::2", "2600::3", "8.8.8.8", "::ffff:8.8.4.4")))
	if got != "[2600::1 8.8.8.8 2600::2 8.8.4.4 2600::3]" {
		t.Error(got)
	}
}
