package caller

import (
	"net/netip"
	"sync"
	"time"

	"github.com/tocsin/tocsin/ratelimit"
)

// How refusals are bounded: those of a peer before its bodies are not read any more,
// the peers that are remembered, and the lines in the log.
const (
	peerBurst  = 20
	peerRate   = 1       // a second
	maxPeers   = 4 << 10 // beyond it, one is forgotten
	linesBurst = 10
	linesRate  = 10.0 / 60 // a second
)

// refusals knows who was refused lately. It is safe for concurrent use.
type refusals struct {
	mu     sync.Mutex
	peers  map[netip.Prefix]ratelimit.Bucket
	lines  ratelimit.Bucket
	unsaid int // since the last line
}

func newRefusals() *refusals { return &refusals{peers: make(map[netip.Prefix]ratelimit.Bucket)} }

// peerOf is what counts as one peer: an IPv4 address, or the /64 that a single host
// may have all of.
func peerOf(address netip.Addr) netip.Prefix {
	bits := address.BitLen()
	if address.Is6() {
		bits = 64
	}
	p, _ := address.Prefix(bits) // the zero address has the zero prefix
	return p
}

func peerLimit() ratelimit.Limit { return ratelimit.Limit{PerSecond: peerRate, Burst: peerBurst} }

// tooMany says whether a peer has been refused so often that its bodies aren't worth
// reading.
func (f *refusals) tooMany(peer netip.Addr, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	bucket, known := f.peers[peerOf(peer)]
	return known && bucket.Tokens(now, peerLimit()) < 1
}

// add counts a refusal of a peer.
func (f *refusals) add(peer netip.Addr, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := peerOf(peer)
	bucket, known := f.peers[at]
	if !known && len(f.peers) >= maxPeers {
		for other := range f.peers {
			delete(f.peers, other)
			break
		}
	}
	bucket.Take(now, peerLimit(), 1)
	f.peers[at] = bucket
}

// line says whether there may be a line now, and how many were left out since the
// last.
func (f *refusals) line(now time.Time) (say bool, unsaid int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if say, _ = f.lines.Take(now, ratelimit.Limit{PerSecond: linesRate, Burst: linesBurst}, 1); !say {
		f.unsaid++
		return false, 0
	}
	unsaid, f.unsaid = f.unsaid, 0
	return true, unsaid
}
