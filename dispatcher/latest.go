package dispatcher

import "sync"

// latest is what this worker knows of the newest sequence of each incident:
// whether a claim has to look for newer rows. It forgets the incidents noted
// longest ago, and what it doesn't know it takes for changed.
type latest struct {
	mu    sync.Mutex
	seq   map[int64]int
	order []int64 // ring of the incidents in seq, oldest at head
	head  int
}

// latestKept bounds what latest remembers, in incidents.
const latestKept = 16_384

func newLatest() *latest { return &latest{seq: make(map[int64]int)} }

func (l *latest) note(incident int64, sequence int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known, ok := l.seq[incident]; ok {
		l.seq[incident] = max(known, sequence)
		return
	}
	if len(l.order) < latestKept {
		l.order = append(l.order, incident)
	} else {
		delete(l.seq, l.order[l.head])
		l.order[l.head] = incident
		l.head = (l.head + 1) % latestKept
	}
	l.seq[incident] = sequence
}

// maybeNewer is false only if no newer sequence than this one can have rows.
func (l *latest) maybeNewer(incident int64, sequence int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	known, ok := l.seq[incident]
	return !ok || known > sequence
}
