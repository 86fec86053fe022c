package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	goodFor     = 30 * time.Second
	badFor      = 5 * time.Second
	cachedNames = 16384
	// maxAddrs is how many addresses of a name are kept; a stranger's name server
	// may send thousands.
	maxAddrs = 32
)

// Lookup resolves a host name to its addresses.
type Lookup func(ctx context.Context, host string) ([]netip.Addr, error)

// systemLookup asks the system's resolvers. The dot keeps search domains out:
// they would send the names of our customers to others, and theirs to our hosts.
func systemLookup(ctx context.Context, host string) ([]netip.Addr, error) {
	resolver := net.Resolver{PreferGo: true}
	return resolver.LookupNetIP(ctx, "ip", host+".")
}

// errConnectTimeout is the cause of a dial's context that ended by its timeout, and
// not because the caller gave up.
var errConnectTimeout = errors.New("connect timeout")

// resolver remembers what names resolve to, failures for a shorter time, and asks
// once for all who want the same name.
type resolver struct {
	lookup Lookup
	// slots bounds the lookups under way; each takes two descriptors that are not
	// of the budget.
	slots chan struct{}

	mu    sync.Mutex
	names map[string]*name
}

// name is the answer for one name. All but first is written before done is closed
// and not after.
type name struct {
	done      chan struct{}
	addrs     []netip.Addr
	err       *Error
	until     time.Time
	abandoned bool // whoever asked gave up; ask again
	// first is the index of the address that answered last.
	first atomic.Int32
}

func newResolver(lookup Lookup, slots int) *resolver {
	return &resolver{lookup: lookup, slots: make(chan struct{}, slots), names: map[string]*name{}}
}

// resolve returns an answer without error, an [*Error], or the error of ctx.
func (r *resolver) resolve(ctx context.Context, host string) (*name, error) {
	for {
		n, mine := r.find(host)
		if mine {
			r.ask(ctx, host, n)
		} else {
			select {
			case <-n.done:
			case <-ctx.Done():
			}
		}
		if err := ctx.Err(); err != nil {
			if context.Cause(ctx) == errConnectTimeout {
				return nil, errDNSTimeout
			}
			return nil, err
		}
		if n.abandoned {
			continue
		}
		if n.err != nil {
			return nil, n.err
		}
		return n, nil
	}
}

// find returns what is known or being asked, or a new entry that the caller must
// ask for.
func (r *resolver) find(host string) (n *name, mine bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.names[host]; n != nil {
		select {
		case <-n.done:
			if time.Now().Before(n.until) {
				return n, false
			}
		default:
			return n, false
		}
	}
	if len(r.names) >= cachedNames {
		r.evict()
	}
	n = &name{done: make(chan struct{})}
	r.names[host] = n
	return n, true
}

// evict removes what is out of date among some entries, and one if nothing is.
func (r *resolver) evict() {
	const looked = 64
	now, i := time.Now(), 0
	for host, n := range r.names {
		select {
		case <-n.done:
			if i == 0 || now.After(n.until) {
				delete(r.names, host)
			}
			i++
		default: // being asked: others wait for it
		}
		if i == looked {
			return
		}
	}
}

func (r *resolver) ask(ctx context.Context, host string, n *name) {
	defer close(n.done)
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		r.abandon(host, n)
		return
	}
	addrs, err := r.lookup(ctx, host)
	switch {
	case ctx.Err() != nil && context.Cause(ctx) != errConnectTimeout:
		r.abandon(host, n)
		return
	case ctx.Err() != nil:
		n.err = errDNSTimeout
	case err != nil:
		n.err = lookupError(err)
	case len(addrs) == 0:
		n.err = errNoSuchHost
	}
	if n.err != nil {
		n.until = time.Now().Add(badFor)
		return
	}
	n.addrs = interleave(addrs[:min(len(addrs), maxAddrs)])
	n.until = time.Now().Add(goodFor)
}

func (r *resolver) abandon(host string, n *name) {
	n.abandoned = true
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.names, host)
}

// interleave puts an address of the other family second, so that a network where
// one family is broken costs one attempt (RFC 8305, section 4).
func interleave(addrs []netip.Addr) []netip.Addr {
	var same, other []netip.Addr
	for _, a := range addrs {
		if a = a.Unmap(); a.Is4() == addrs[0].Unmap().Is4() {
			same = append(same, a)
		} else {
			other = append(other, a)
		}
	}
	out := make([]netip.Addr, 0, len(addrs))
	for i := range max(len(same), len(other)) {
		if i < len(same) {
			out = append(out, same[i])
		}
		if i < len(other) {
			out = append(out, other[i])
		}
	}
	return out
}
