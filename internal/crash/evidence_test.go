package crash

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tocsin/tocsin/internal/peer"
)

// uncommitted is how old a peer's answer may be without its result being
// committed: the promise is one group commit of at most 50 ms, and a result may
// have to wait for the one before.
const uncommitted = 100 * time.Millisecond

// evidence is everything a verdict rests on: what was accepted, what the peers
// received, what the ledger says, and when the engine was killed. All times are
// of one clock.
type evidence struct {
	// updates are those that the intake answered for, in the order of publishing.
	updates  []accepted
	audience []target
	receipts []peer.Receipt
	// ledger has the outcome of each delivery, in the words of the API.
	ledger map[peer.Delivery]string
	kills  []kill
}

// accepted is an update that a producer may forget.
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
	// at is just before the SIGKILL. Between it and over, which is when the last
	// request that the dead engine had sent was read, nothing new was started.
	at, over time.Time
}

// cut says whether the kill cut a request short: it was sent, and was not
// answered before.
func (k kill) cut(r peer.Receipt) bool {
	return !r.ReceivedAt.After(k.over) && !r.AnsweredAt.Before(k.at)
}

// fresh says whether an acceptance came so shortly before the kill that it may
// not have been committed.
func (k kill) fresh(r peer.Receipt) bool {
	return r.Accepted() && r.AnsweredAt.Before(k.at) && !r.AnsweredAt.Before(k.at.Add(-uncommitted))
}

// forgot says whether the kill may have made the engine forget that r was
// accepted.
func (k kill) forgot(r peer.Receipt) bool { return r.Accepted() && (k.cut(r) || k.fresh(r)) }

// verdict is what the evidence comes to.
type verdict struct {
	faults     []fault
	losses     []loss // by kill
	duplicates int
	outcomes   map[string]int
}

// fault is a promise that was not kept: A, D, O or L as the package's doc names
// them, or I for webhook-ids.
type fault struct{ promise, text string }

// loss is what one kill cost.
type loss struct {
	cut, fresh int // requests
	duplicates int // of those: sent again though accepted
	// earliest is how long before the kill the first of the answers was given
	// that were forgotten.
	earliest time.Duration
}

func (v *verdict) fault(promise, format string, args ...any) {
	v.faults = append(v.faults, fault{promise, fmt.Sprintf(format, args...)})
}

// judge is pure: what it says follows from the evidence alone.
func (e *evidence) judge() *verdict {
	v := &verdict{losses: make([]loss, len(e.kills)), outcomes: make(map[string]int)}
	for i, k := range e.kills {
		for _, r := range e.receipts {
			switch {
			case k.cut(r):
				v.losses[i].cut++
			case k.fresh(r):
				v.losses[i].fresh++
			}
		}
	}
	byDelivery := e.judgeRequests(v)
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
	for _, r := range e.receipts {
		d := deliveryOf(r)
		if d.Target != newest.Target || d.Incident != newest.Incident {
			newest = d
		}
		if d.Sequence < newest.Sequence {
			v.fault("O", "%v came after sequence %d", d, newest.Sequence)
		}
		newest.Sequence = max(newest.Sequence, d.Sequence)
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

// judgeDuplicates asks of every request for a delivery that had been accepted
// which kill made the engine forget that.
func (e *evidence) judgeDuplicates(v *verdict, byDelivery map[peer.Delivery][]peer.Receipt) {
	most := 0
	for _, l := range v.losses {
		most += l.cut + l.fresh
	}
	for _, d := range slices.SortedFunc(maps.Keys(byDelivery), compare) {
		requests := byDelivery[d]
		for i, again := range requests {
			answered := lastAccepted(requests[:i], again.ReceivedAt)
			if answered == nil {
				continue
			}
			v.duplicates++
			k := slices.IndexFunc(e.kills, func(k kill) bool { return k.forgot(*answered) && again.ReceivedAt.After(k.over) })
			if k < 0 {
				v.fault("D", "%v came again %v after it was accepted, %s", d, again.ReceivedAt.Sub(answered.AnsweredAt), e.between(*answered, again))
				continue
			}
			l := &v.losses[k]
			l.duplicates++
			l.earliest = max(l.earliest, e.kills[k].at.Sub(answered.AnsweredAt))
		}
	}
	if v.duplicates > most {
		v.fault("D", "%d duplicates are more than the %d requests that kills can have made the engine forget", v.duplicates, most)
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

// between tells a reader how far an answer is from the kill after it.
func (e *evidence) between(answered, again peer.Receipt) string {
	for _, k := range e.kills {
		if k.at.After(answered.AnsweredAt) && k.at.Before(again.ReceivedAt) {
			return fmt.Sprintf("which was %v before a kill", k.at.Sub(answered.AnsweredAt))
		}
	}
	return "with no kill between"
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
	told := slices.ContainsFunc(requests, peer.Receipt.Accepted)
	switch outcome {
	case "delivered":
		if !told {
			v.fault("L", "%v is delivered in the ledger, but its peer accepted nothing", d)
		}
		return
	case "", "open":
		if outcome == "" && t.dead {
			break // given up after too many updates without success
		}
		v.fault("A", "%v is %s", d, cmp.Or(outcome, "not in the ledger"))
	case "superseded":
		if t.everyUpdate || d.Sequence == latest {
			v.fault("A", "%v is superseded, but the target is to be told every update, or there is no newer one", d)
		}
	default: // expired, suppressed, dead
		if !t.dead {
			v.fault("A", "%v is %s, but its peer would have accepted it", d, outcome)
		}
	}
	for _, r := range requests {
		if r.Accepted() && !slices.ContainsFunc(e.kills, func(k kill) bool { return k.forgot(r) }) {
			v.fault("L", "%v was accepted by its peer, far from any kill, but is %s in the ledger", d, cmp.Or(outcome, "not"))
			return
		}
	}
}
