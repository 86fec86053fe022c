package smpp

import (
	"sync"

	"github.com/fiorix/go-smpp/smpp/pdu"
)

// answer is what a submit came to.
type answer struct {
	segment int
	status  pdu.Status
	id      string    // the centre's, if status is ESME_ROK
	lost    linkError // not "": the link ended first; status says nothing
}

// waiter is a submit that waits for its response.
type waiter struct {
	segment int
	answers chan<- answer // with room for every segment of the message
}

// key finds a waiter. The command is part of it: a deliver_sm of the centre may
// have the same number as a submit of ours.
type key struct {
	response pdu.ID
	sequence uint32
}

// maxSequence is the highest sequence_number (section 5.1.4); 1 follows.
const maxSequence = 0x7FFFFFFF

// window holds what waits for responses on one bind.
type window struct {
	mu       sync.Mutex
	waiting  map[key]waiter
	sequence uint32    // the last one given out
	lost     linkError // "" while the link is up
}

// next gives out a sequence number that nothing waits under.
func (w *window) next() uint32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.advance()
}

func (w *window) advance() uint32 {
	for {
		w.sequence++
		if w.sequence > maxSequence {
			w.sequence = 1
		}
		if _, taken := w.waiting[key{pdu.SubmitSMRespID, w.sequence}]; !taken {
			return w.sequence
		}
	}
}

// add takes a waiter for a submit and returns its number, or why the link ended.
func (w *window) add(who waiter) (sequence uint32, lost linkError) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lost != "" {
		return 0, w.lost
	}
	sequence = w.advance()
	w.waiting[key{pdu.SubmitSMRespID, sequence}] = who
	return sequence, ""
}

// take removes and returns who waits under k.
func (w *window) take(k key) (waiter, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	who, ok := w.waiting[k]
	delete(w.waiting, k)
	return who, ok
}

// lose tells everyone that the link ended, and whoever comes later.
func (w *window) lose(why linkError) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lost != "" {
		return
	}
	w.lost = why
	for k, who := range w.waiting {
		delete(w.waiting, k)
		who.answers <- answer{segment: who.segment, lost: why}
	}
}
