package crash

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tocsin/tocsin/internal/peer"
)

// evidence is everything a verdict rests on: what was accepted, what the peers
// received, what the ledger says, and what it said at each death of the engine.
// All times are of one clock.
type evidence struct {
	// updates are those that the intake answered for.
	updates  []accepted
	audience []target
	receipts []peer.Receipt
	// ledger has the outcome of each delivery, in the words of the API.
	ledger map[peer.Delivery]string
	kills  []kill // in the order of time
	// uncommitted is for how long the result of an accepted delivery may take to
	// be on the disk. One group commit is at most 50 ms; but the engine has to
	// get at a processor, among other tests.
	uncommitted time.Duration
}

// accepted is an update that its producer may forget.
type accepted struct {
	incident string
	sequence int
}

// target is one of the audience.
type target struct {
	number int
	// everyUpdate targets are told every update, so that none is superseded.
	everyUpdate bool
	// dead targets never take anything: their deliveries may expire, and the
	// engine may give them up.
	dead bool
}

// kill is one death of the engine.
type kill struct {
	// at is just before the SIGKILL. Between it and over, when the last request
	// of the dead engine had been read, nothing new was started.
	at, over time.Time
	// open holds the deliveries that were open in the ledger as the engine left
	// it: all that the next one may send.
	open map[peer.Delivery]bool
}

// cut says whether the kill met a request in flight: sent, and not answered.
func (k *kill) cut(r peer.Receipt) bool {
	return !r.ReceivedAt.After(k.over) && !r.AnsweredAt.Before(k.at)
}

// verdict is what the evidence comes to.
type verdict struct {
	faults               []fault
	losses               Losses // by kill
	requests, duplicates int
	outcomes             map[string]int
}

// fault is a promise that was not kept: A, D, O or L as the package's doc names
// them, or I for webhook-ids.
type fault struct{ promise, text string }

func (v *verdict) fault(promise, format string, args ...any) {
	v.faults = append(v.faults, fault{promise, fmt.Sprintf(format, args...)})
}

// broken counts the faults of each promise.
func (v *verdict) broken() map[string]int {
	counts := make(map[string]int)
	for _, f := range v.faults {
		counts[f.promise]++
	}
	return counts
}

// judge is pure: what it says follows from the evidence alone.
func (e *evidence) judge() *verdict {
	v := &verdict{losses: make(Losses, len(e.kills)), requests: len(e.receipts), outcomes: make(map[string]int)}
	byDelivery := e.judgeRequests(v)
	e.countLosses(v)
	e.judgeDuplicates(v, byDelivery)
	e.judgeLedger(v, byDelivery)
	return v
}

// judgeRequests looks at the requests to each target about each incident in the
// order of their arrival, and returns them by delivery.
func (e *evidence) judgeRequests(v *verdict) map[peer.Delivery][]peer.Receipt {
	slices.SortStableFunc(e.receipts, func(a, b peer.Receipt) int {
		return cmp.Or(cmp.Compare(a.Target, b.Target), cmp.Compare(a.Incident, b.Incident), a.ReceivedAt.Compare(b.ReceivedAt))
	})
	byDelivery := make(map[peer.Delivery][]peer.Receipt)
	ids := make(map[string]peer.Delivery)
	var newest peer.Delivery
	var last peer.Receipt
	for _, r := range e.receipts {
		d := deliveryOf(r)
		if d.Target != newest.Target || d.Incident != newest.Incident {
			newest, last = d, peer.Receipt{}
		}
		if d.Sequence < newest.Sequence {
			v.fault("O", "%v came after sequence %d", d, newest.Sequence)
		}
		newest.Sequence = max(newest.Sequence, d.Sequence)
		if last.AnsweredAt.After(r.ReceivedAt) {
			v.fault("O", "%v came while sequence %d was under way", d, last.Sequence)
		}
		last = r
		if other, known := ids[r.ID]; known && other != d {
			v.fault("I", "%v has the webhook-id of %v", d, other)
		}
		ids[r.ID] = d
		if before := byDelivery[d]; len(before) > 0 && before[0].ID != r.ID {
			v.fault("I", "%v came under two webhook-ids", d)
		}
		byDelivery[d] = append(byDelivery[d], r)
	}
	return byDelivery
}

func deliveryOf(r peer.Receipt) peer.Delivery {
	return peer.Delivery{Target: r.Target, Incident: r.Incident, Sequence: r.Sequence}
}

// killAfter returns the first kill that can have made the engine forget r, nil if
// it lived on.
func (e *evidence) killAfter(r peer.Receipt) (k *kill, index int) {
	for i := range e.kills {
		if !r.ReceivedAt.After(e.kills[i].over) {
			return &e.kills[i], i
		}
	}
	return nil, -1
}

// forgotten says whether r was accepted and the engine died before it had that on
// its disk.
func (e *evidence) forgotten(r peer.Receipt) bool {
	k, _ := e.killAfter(r)
	return r.Accepted() && k != nil && k.open[deliveryOf(r)]
}

// lost says whether a kill had the engine send again what r had brought or was
// about to bring.
func (e *evidence) lost(r peer.Receipt) bool {
	k, _ := e.killAfter(r)
	return e.forgotten(r) || k != nil && k.cut(r)
}

func (e *evidence) countLosses(v *verdict) {
	for _, r := range e.receipts {
		k, i := e.killAfter(r)
		if k == nil {
			continue
		}
		l, age := &v.losses[i], k.at.Sub(r.AnsweredAt)
		switch {
		case k.cut(r):
			l.Cut++
			continue
		case r.Accepted() && age <= time.Second/10:
			l.Recent++
		}
		if !e.forgotten(r) {
			continue
		}
		l.Forgotten++
		l.Oldest = max(l.Oldest, age)
		if age > e.uncommitted {
			v.fault("D", "%v was accepted %v before a kill and not committed", deliveryOf(r), age)
		}
	}
}

// judgeDuplicates finds every request for a delivery that had been accepted. Only
// what was forgotten may come again, and only after the kill. It counts for the
// kill that made the engine send again: the one that the request before met.
func (e *evidence) judgeDuplicates(v *verdict, byDelivery map[peer.Delivery][]peer.Receipt) {
	for _, d := range slices.SortedFunc(maps.Keys(byDelivery), compare) {
		requests := byDelivery[d]
		for i, again := range requests {
			first := lastAccepted(requests[:i], again.ReceivedAt)
			if first == nil {
				continue
			}
			v.duplicates++
			k, at := e.killAfter(*first)
			after := again.ReceivedAt.Sub(first.AnsweredAt)
			switch {
			case k == nil || !again.ReceivedAt.After(k.over):
				v.fault("D", "%v came again %v after it was accepted, with no kill between", d, after)
				continue
			case !e.forgotten(*first):
				v.fault("D", "%v came again %v after it was accepted, though it was closed in the ledger when the engine was killed", d, after)
				continue
			}
			if before := requests[i-1]; e.lost(before) {
				_, at = e.killAfter(before)
			}
			v.losses[at].Duplicates++
		}
	}
	for i, l := range v.losses {
		if l.Duplicates > l.Bound() {
			v.fault("D", "kill %d met %d requests in flight and %d not committed, but %d came again", i+1, l.Cut, l.Forgotten, l.Duplicates)
		}
	}
}

// lastAccepted returns the last of the requests that was accepted by then.
func lastAccepted(requests []peer.Receipt, by time.Time) (last *peer.Receipt) {
	for i, r := range requests {
		if r.Accepted() && !r.AnsweredAt.After(by) {
			last = &requests[i]
		}
	}
	return last
}

// judgeLedger compares the ledger with what was accepted and with the receipts.
func (e *evidence) judgeLedger(v *verdict, byDelivery map[peer.Delivery][]peer.Receipt) {
	latest := make(map[string]int)
	for _, u := range e.updates {
		latest[u.incident] = max(latest[u.incident], u.sequence)
	}
	due := make(map[peer.Delivery]bool)
	for _, u := range e.updates {
		for _, t := range e.audience {
			d := peer.Delivery{Target: t.number, Incident: u.incident, Sequence: u.sequence}
			due[d] = true
			e.judgeRow(v, d, t, latest[u.incident], byDelivery[d])
		}
	}
	for _, d := range slices.SortedFunc(maps.Keys(byDelivery), compare) {
		if !due[d] {
			v.fault("L", "%v was sent, but nobody published it", d)
		}
	}
	for _, d := range slices.SortedFunc(maps.Keys(e.ledger), compare) {
		if !due[d] {
			v.fault("L", "%v is in the ledger, but nobody published it", d)
		}
	}
}

func compare(a, b peer.Delivery) int {
	return cmp.Or(cmp.Compare(a.Incident, b.Incident), cmp.Compare(a.Sequence, b.Sequence), cmp.Compare(a.Target, b.Target))
}

// judgeRow compares what the ledger says of one delivery with its requests.
func (e *evidence) judgeRow(v *verdict, d peer.Delivery, t target, latest int, requests []peer.Receipt) {
	outcome := e.ledger[d]
	v.outcomes[outcome]++
	switch outcome {
	case "delivered":
		if !slices.ContainsFunc(requests, peer.Receipt.Accepted) {
			v.fault("L", "%v is delivered in the ledger, but its peer accepted nothing", d)
		}
		return
	case "":
		if !t.dead { // or given up, after too many updates without success
			v.fault("A", "%v is not in the ledger", d)
		}
	case "open":
		v.fault("A", "%v is open", d)
	case "superseded":
		if t.everyUpdate || d.Sequence == latest {
			v.fault("A", "%v is superseded, though there is no newer one or the target is to be told every update", d)
		}
	default: // expired, suppressed, dead
		if !t.dead {
			v.fault("A", "%v is %s, though its peer would have accepted it", d, outcome)
		}
	}
	if slices.ContainsFunc(requests, func(r peer.Receipt) bool { return r.Accepted() && !e.forgotten(r) }) {
		v.fault("L", "%v was accepted by its peer, and no kill explains that it is not delivered in the ledger but %s", d, cmp.Or(outcome, "missing"))
	}
}
