package soak

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/tocsin/tocsin/internal/peer"
)

// desk is where the receivers' receipts and what was published come together. Its
// methods are safe for concurrent use.
type desk struct {
	mu      sync.Mutex
	stories map[string]*story // by incident
	cuts    []cut
	late    int // requests about stories that had been judged
	lateFor []string
}

// story is one incident as far as it has come.
type story struct {
	id        string
	published int  // updates that were accepted
	told      bool // there will be no more
	receipts  map[string][]peer.Receipt
	looked    time.Time // when the ledger was last asked
	open      int       // rows, then
	closed    time.Time // when all rows were seen closed
}

// cut is a time in which connections of a channel were ended. to is zero while it
// lasts.
type cut struct {
	channel  string
	from, to time.Time
}

// lossy is how long before the cut of a connection an answer may have been written
// that nobody read.
const lossy = time.Second

// covers reports whether an answer of that moment may have been lost.
func (c cut) covers(channel string, at time.Time) bool {
	return c.channel == channel && at.After(c.from.Add(-lossy)) && (c.to.IsZero() || at.Before(c.to.Add(lossy)))
}

func newDesk() *desk { return &desk{stories: make(map[string]*story)} }

// begin opens a story, before anybody can hear of it.
func (d *desk) begin(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stories[id] = &story{id: id, receipts: make(map[string][]peer.Receipt)}
}

// accepted counts an update of it; last says that none follows.
func (d *desk) accepted(id string, last bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stories[id].published++
	d.stories[id].told = last
}

// maxLate bounds the late ones that are named.
const maxLate = 10

// take keeps a receipt.
func (d *desk) take(channel string, r peer.Receipt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.stories[r.Incident]
	if s == nil {
		d.late++
		if len(d.lateFor) < maxLate {
			d.lateFor = append(d.lateFor, "late: "+channel+" "+peer.Delivery{Target: r.Target, Incident: r.Incident, Sequence: r.Sequence}.String())
		}
		return
	}
	s.receipts[channel] = append(s.receipts[channel], r)
}

// lateOnes counts the requests about stories that had been judged, and names some.
func (d *desk) lateOnes() (n int, named []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.late, slices.Clone(d.lateFor)
}

func (d *desk) cutting(channel string, from time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cuts = append(d.cuts, cut{channel: channel, from: from})
}

func (d *desk) cutEnded(channel string, to time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cuts[len(d.cuts)-1].to = to
}

// due returns the story that was not looked at for longest, if that is pause ago; nil
// if there is none. The pointer's fields, but for receipts and published, are the
// caller's.
func (d *desk) due(now time.Time, pause time.Duration) (oldest *story) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.stories {
		if now.Sub(s.looked) >= pause && (oldest == nil || s.looked.Before(oldest.looked)) {
			oldest = s
		}
	}
	return oldest
}

// open sums the open rows up, as they were last seen, and counts the stories.
func (d *desk) open() (rows, stories int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.stories {
		rows += s.open
	}
	return rows, len(d.stories)
}

// state returns what the publisher did for a story so far.
func (d *desk) state(s *story) (published int, told bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return s.published, s.told
}

// file takes a story away: what comes for it later is late.
func (d *desk) file(s *story) (receipts map[string][]peer.Receipt, cuts []cut) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.stories, s.id)
	return s.receipts, slices.Clone(d.cuts)
}

// left returns the ids of the stories that were not judged.
func (d *desk) left() (all []*story) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.stories {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *story) int { return cmp.Compare(a.id, b.id) })
	return all
}

// seen keeps how many rows of a story are open.
func (d *desk) seen(s *story, open int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s.open = open
}
