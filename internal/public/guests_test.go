package public

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/tocsin/tocsin/ratelimit"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func guest(n int) netip.Prefix {
	return network(net.IPv4(10, byte(n>>16), byte(n>>8), byte(n)))
}

func TestGuestsHaveTheirOwnBuckets(t *testing.T) {
	g := newGuests(ratelimit.Limit{PerSecond: 2, Burst: 3})
	admitted := func(from netip.Prefix, at time.Time) (n int) {
		for range 5 {
			if ok, _ := g.admit(from, at); ok {
				n++
			}
		}
		return n
	}
	if one, other := admitted(guest(1), noon), admitted(guest(2), noon); one != 3 || other != 3 {
		t.Errorf("%d and %d of 5, want 3", one, other)
	}
	if ok, wait := g.admit(guest(1), noon); ok || seconds(wait) != "1" {
		t.Errorf("%v, %s s", ok, seconds(wait))
	}
	if n := admitted(guest(1), noon.Add(time.Second)); n != 2 {
		t.Errorf("%d after a second, want 2", n)
	}
}

func TestNetworks(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true}, {"192.0.2.1", "192.0.2.2", false}, {"192.0.2.1", "::ffff:192.0.2.1", true},
		{"2001:db8::1", "2001:db8::2:0:0:1", true}, {"2001:db8::1", "2001:db8:0:1::1", false}, {"::1", "127.0.0.1", false},
	} {
		if same := network(net.ParseIP(c.a)) == network(net.ParseIP(c.b)); same != c.same {
			t.Errorf("%s and %s: %v", c.a, c.b, same)
		}
	}
	if network(nil).IsValid() {
		t.Error("no address is a network")
	}
}

// However many come, the memory is bounded, and who keeps coming is not forgotten.
func TestGuestsAreForgotten(t *testing.T) {
	g := newGuests(ratelimit.Limit{PerSecond: 0.001, Burst: 2})
	g.most = 10
	refused := 0
	for n := range 1000 {
		g.admit(guest(n), noon)
		if ok, _ := g.admit(guest(1_000_000), noon); !ok {
			refused++
		}
		if held := len(g.recent) + len(g.before); held > 2*g.most {
			t.Fatalf("%d buckets", held)
		}
	}
	if refused != 998 {
		t.Errorf("one who came 1,000 times was refused %d times, want 998", refused)
	}
}
