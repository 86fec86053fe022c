package peer

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Delivery is the notification of one target of one update: what a peer should
// accept once.
type Delivery struct {
	Target   int
	Incident string
	Sequence int
}

// String is how complaints name the delivery.
func (d Delivery) String() string {
	return fmt.Sprintf("target %d, %s, sequence %d", d.Target, d.Incident, d.Sequence)
}

// Judge compares what the targets of one channel received with what had been accepted and with the
// ledger. Collect everything first, in any order; then ask for the [Verdict].
// The zero Judge is ready. It is pure: no clock, no network; and it is for one
// goroutine.
type Judge struct {
	receipts []Receipt
	expected map[Delivery]struct{}
	ledger   map[Delivery]string
}

// Receive takes a receipt.
func (j *Judge) Receive(r Receipt) { j.receipts = append(j.receipts, r) }

// Expect says that a delivery follows from an accepted event, so that it must
// have a row in the ledger or be at its peer.
func (j *Judge) Expect(d Delivery) {
	if j.expected == nil {
		j.expected = make(map[Delivery]struct{})
	}
	j.expected[d] = struct{}{}
}

// Row takes a row of the ledger, with its outcome as the API names it. It
// replaces an earlier row of the same delivery.
func (j *Judge) Row(d Delivery, outcome string) {
	if j.ledger == nil {
		j.ledger = make(map[Delivery]string)
	}
	j.ledger[d] = outcome
	j.Expect(d)
}

// Verdict is what a [Judge] found. Everything from Duplicates on is a fault.
type Verdict struct {
	// Requests counts receipts; Unanswered those with status 0.
	Requests   int `json:"requests"`
	Unanswered int `json:"unanswered"`
	// Delivered counts deliveries answered 2xx, each once.
	Delivered  int         `json:"delivered"`
	BySequence map[int]int `json:"by_sequence"`
	// Duplicates counts requests for a delivery that the peer had answered 2xx
	// before.
	Duplicates int `json:"duplicates"`
	// OrderViolations counts requests that came after one with a higher
	// sequence of the same incident at the same target.
	OrderViolations int `json:"order_violations"`
	// IDFaults counts deliveries that came under more than one id, or under one
	// that another delivery had.
	IDFaults int `json:"id_faults"`
	// Lost counts accepted deliveries that are neither at their peer nor closed
	// otherwise.
	Lost int `json:"lost"`
	// Open counts rows that are not closed.
	Open int `json:"open"`
	// Unreceived counts rows closed as delivered that no peer answered 2xx.
	Unreceived int `json:"unreceived"`
	// Unrecorded counts deliveries answered 2xx that the ledger, if there is
	// one, has not as delivered.
	Unrecorded int `json:"unrecorded"`
	// Examples names the first few faults.
	Examples []string `json:"examples,omitempty"`
}

// Sound reports whether nothing is wrong.
func (v *Verdict) Sound() bool {
	return v.Duplicates+v.OrderViolations+v.IDFaults+v.Lost+v.Open+v.Unreceived+v.Unrecorded == 0
}

const maxExamples = 20

func (v *Verdict) fault(count *int, format string, args ...any) {
	*count++
	if len(v.Examples) < maxExamples {
		v.Examples = append(v.Examples, fmt.Sprintf(format, args...))
	}
}

// Verdict judges what was collected so far.
func (j *Judge) Verdict() *Verdict {
	v := &Verdict{BySequence: make(map[int]int)}
	answered := j.judgeReceipts(v)
	for _, d := range sortedKeys(answered) {
		v.Delivered++
		v.BySequence[d.Sequence]++
		if j.ledger != nil && j.ledger[d] != "delivered" {
			v.fault(&v.Unrecorded, "unrecorded: %v: answered 2xx, but %s", d, described(j.ledger[d]))
		}
	}
	for _, d := range sortedKeys(j.expected) {
		outcome := j.ledger[d]
		if outcome == "open" {
			v.fault(&v.Open, "open: %v", d)
		}
		if _, ok := answered[d]; ok {
			continue
		}
		switch outcome {
		case "delivered":
			v.fault(&v.Unreceived, "unreceived: %v: delivered in the ledger, but no peer answered 2xx", d)
			v.Lost++
		case "", "open":
			v.fault(&v.Lost, "lost: %v: %s, and no peer answered 2xx", d, described(outcome))
		}
	}
	return v
}

func described(outcome string) string {
	if outcome == "" {
		return "not in the ledger"
	}
	return outcome + " in the ledger"
}

// judgeReceipts goes through the receipts of each target and incident in the
// order of their arrival, and returns when each delivery was first answered 2xx.
func (j *Judge) judgeReceipts(v *Verdict) map[Delivery]time.Time {
	slices.SortStableFunc(j.receipts, func(a, b Receipt) int {
		return cmp.Or(cmp.Compare(a.Target, b.Target), cmp.Compare(a.Incident, b.Incident),
			a.ReceivedAt.Compare(b.ReceivedAt), cmp.Compare(a.Sequence, b.Sequence))
	})
	answered := make(map[Delivery]time.Time)
	ids := make(map[string]Delivery)
	named := make(map[Delivery]string)
	highest := 0
	for i, r := range j.receipts {
		d := Delivery{r.Target, r.Incident, r.Sequence}
		if i == 0 || j.receipts[i-1].Target != r.Target || j.receipts[i-1].Incident != r.Incident {
			highest = 0
		}
		v.Requests++
		if r.Status == 0 {
			v.Unanswered++
		}
		if r.Sequence < highest {
			v.fault(&v.OrderViolations, "order: %v: came after sequence %d", d, highest)
		}
		highest = max(highest, r.Sequence)
		at, before := answered[d]
		if before && !r.ReceivedAt.Before(at) {
			v.fault(&v.Duplicates, "duplicate: %v: came again %v after it was answered 2xx", d, r.ReceivedAt.Sub(at))
		}
		if r.Accepted() && (!before || r.AnsweredAt.Before(at)) {
			answered[d] = r.AnsweredAt
		}
		if id, ok := named[d]; ok && id != r.ID {
			v.fault(&v.IDFaults, "id: %v: came under two ids", d)
		}
		named[d] = r.ID
		if other, ok := ids[r.ID]; ok && other != d {
			v.fault(&v.IDFaults, "id: %v: has the id of %v", d, other)
		}
		ids[r.ID] = d
	}
	return answered
}

// sortedKeys makes verdicts, examples included, a function of their input.
func sortedKeys[V any](m map[Delivery]V) []Delivery {
	keys := make([]Delivery, 0, len(m))
	for d := range m {
		keys = append(keys, d)
	}
	slices.SortFunc(keys, func(a, b Delivery) int {
		return cmp.Or(cmp.Compare(a.Target, b.Target), cmp.Compare(a.Incident, b.Incident),
			cmp.Compare(a.Sequence, b.Sequence))
	})
	return keys
}
