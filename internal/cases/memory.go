package cases

import (
	"sync"

	"github.com/tocsin/tocsin/internal/lifecycle"
	"github.com/tocsin/tocsin/internal/store"
)

// remembered is how many reports are known again: those of as many groups, of which
// a sender repeats the last.
const remembered = 8192

// memory knows the last report of each case by the digest of its body. A body that
// is the last one of all its cases says nothing new, whatever was in between.
type memory struct {
	mu      sync.Mutex
	last    map[store.CaseKey]lastReport
	answers map[[32]byte]*recalled
	ring    [remembered][32]byte
	next    int
}

type lastReport struct {
	digest [32]byte
	order  uint64
}

type recalled struct {
	keys    []store.CaseKey
	answers []lifecycle.Answer
}

func newMemory() *memory {
	return &memory{last: make(map[store.CaseKey]lastReport), answers: make(map[[32]byte]*recalled)}
}

func (m *memory) recall(digest [32]byte) ([]lifecycle.Answer, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.answers[digest]
	if known == nil {
		return nil, false
	}
	for _, key := range known.keys {
		if m.last[key].digest != digest {
			return nil, false
		}
	}
	return known.answers, true
}

// remember is told of a report after its commit. order is that of the commits: of
// two reports of one case the later one counts, whoever comes here first.
func (m *memory) remember(digest [32]byte, order uint64, keys []store.CaseKey, answers []lifecycle.Answer) {
	again := make([]lifecycle.Answer, len(answers))
	for i, a := range answers {
		a.Duplicate = true
		again[i] = a
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.answers[digest] == nil {
		m.evict(m.ring[m.next])
		m.ring[m.next] = digest
		m.next = (m.next + 1) % len(m.ring)
	}
	m.answers[digest] = &recalled{keys, again}
	for _, key := range keys {
		if order > m.last[key].order {
			m.last[key] = lastReport{digest, order}
		}
	}
}

func (m *memory) evict(digest [32]byte) {
	known := m.answers[digest]
	if known == nil {
		return
	}
	delete(m.answers, digest)
	for _, key := range known.keys {
		if m.last[key].digest == digest {
			delete(m.last, key)
		}
	}
}

// forget makes the next report of a case a new one: the case has moved on by itself.
func (m *memory) forget(keys []store.CaseKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range keys {
		if last, ok := m.last[key]; ok {
			// The order stays, so that a report from before isn't taken for the last.
			m.last[key] = lastReport{order: last.order}
			m.evictUnless(last.digest)
		}
	}
}

// evictUnless frees what can't be recalled any more; its place in the ring is found
// empty later.
func (m *memory) evictUnless(digest [32]byte) {
	if known := m.answers[digest]; known != nil && len(known.keys) == 1 {
		delete(m.answers, digest)
	}
}
