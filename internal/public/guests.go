package public

import (
	"math"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/tocsin/tocsin/ratelimit"
)

// maxGuests is how many guests are remembered, and half of how many at most.
const maxGuests = 8192

// guests keeps a bucket for each guest. The memory is bounded: when recent is full it
// becomes before, and what nobody asked for since is forgotten, full bucket or not.
type guests struct {
	limit ratelimit.Limit
	most  int

	mu             sync.Mutex
	recent, before map[netip.Prefix]ratelimit.Bucket
}

func newGuests(limit ratelimit.Limit) *guests {
	return &guests{limit: limit, most: maxGuests, recent: make(map[netip.Prefix]ratelimit.Bucket)}
}

// admit takes one token of a guest's bucket, or says how long to wait.
func (g *guests) admit(from netip.Prefix, now time.Time) (ok bool, wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	bucket, known := g.recent[from]
	if !known {
		bucket = g.before[from]
		if len(g.recent) >= g.most {
			g.before, g.recent = g.recent, make(map[netip.Prefix]ratelimit.Bucket)
		}
	}
	ok, wait = bucket.Take(now, g.limit, 1)
	g.recent[from] = bucket
	return ok, wait
}

// network returns whose requests count together.
func network(ip net.IP) netip.Prefix {
	addr, _ := netip.AddrFromSlice(ip)
	addr = addr.Unmap()
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits) // of what is no address, the zero one
	return p
}

// seconds writes a Retry-After (RFC 9110, section 10.2.3), rounded up.
func seconds(d time.Duration) string {
	return strconv.Itoa(int(math.Ceil(d.Seconds())))
}
