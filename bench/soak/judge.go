package soak

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/tocsin/tocsin/internal/peer"
)

// Promises counts what was broken, of all stories that were judged. Everything up to
// Invalid has to be 0.
type Promises struct {
	// These are those of [peer.Verdict].
	Lost            int `json:"lost"`
	Open            int `json:"open"`
	Duplicates      int `json:"duplicates"`
	OrderViolations int `json:"order_violations"`
	IDFaults        int `json:"id_faults"`
	Unreceived      int `json:"unreceived"`
	Unrecorded      int `json:"unrecorded"`
	// Untold counts targets that were there all the time and did not hear how the
	// story ended, or, if they want every update, one of those before; and guests
	// whose last row says neither that they were told nor that they had left.
	Untold int `json:"untold"`
	// Unexpected counts rows of updates that were not published.
	Unexpected int `json:"unexpected"`
	// Late counts requests about stories whose rows had all been closed for long.
	Late int `json:"late"`
	// Invalid counts, by reason, what no receiver could have understood.
	Invalid map[string]int `json:"invalid"`

	// CutOff counts requests that a receiver said yes to while its connections were
	// being cut, and whose answer the engine can't have read: it sent again, under
	// the same key, or a newer update took the place.
	CutOff int `json:"cut_off"`
	// Requests counts what receivers were sent, Refused those of them that they
	// answered with anything but yes.
	Requests int `json:"requests"`
	Refused  int `json:"refused"`
	// Stories counts those that were judged, Unjudged those that an interruption
	// left.
	Stories  int `json:"stories"`
	Unjudged int `json:"unjudged"`
	// Outcomes counts the rows of the ledger by channel and outcome.
	Outcomes map[string]map[string]int `json:"outcomes"`
	// Examples names the first faults.
	Examples []string `json:"examples"`
}

func newPromises() *Promises {
	return &Promises{Invalid: make(map[string]int), Outcomes: make(map[string]map[string]int), Examples: []string{}}
}

// Broken counts what must not be.
func (p *Promises) Broken() int {
	sum := p.Lost + p.Open + p.Duplicates + p.OrderViolations + p.IDFaults + p.Unreceived + p.Unrecorded + p.Untold + p.Unexpected + p.Late
	for _, n := range p.Invalid {
		sum += n
	}
	return sum
}

const maxExamples = 20

func (p *Promises) example(text string) {
	if len(p.Examples) < maxExamples {
		p.Examples = append(p.Examples, text)
	}
}

// address is one target of a channel.
type address struct {
	channel string
	number  int
}

// evidence is all that is known of a story.
type evidence struct {
	story    string
	updates  int // published
	receipts map[string][]peer.Receipt
	rows     []ledgerRow
	// residents were there from before the story until after it, and say whether
	// they want every update.
	residents map[address]bool
	cuts      []cut
}

type ledgerRow struct {
	address
	sequence int
	outcome  string
	detail   string
}

// judge adds what the evidence shows.
func (p *Promises) judge(e *evidence) {
	p.Stories++
	judges := make(map[string]*peer.Judge)
	of := func(channel string) *peer.Judge {
		if judges[channel] == nil {
			judges[channel] = new(peer.Judge)
		}
		return judges[channel]
	}
	told := make(map[string]map[peer.Delivery]bool)
	for _, r := range e.rows {
		if told[r.channel] == nil {
			told[r.channel] = make(map[peer.Delivery]bool)
		}
		told[r.channel][peer.Delivery{Target: r.number, Incident: e.story, Sequence: r.sequence}] = r.outcome == "delivered"
	}
	for channel, receipts := range e.receipts {
		for _, r := range p.excuse(channel, receipts, e.cuts, told[channel]) {
			of(channel).Receive(r)
			p.Requests++
			if !r.Accepted() {
				p.Refused++
			}
		}
	}
	last := make(map[address]ledgerRow)
	for _, r := range e.rows {
		of(r.channel).Row(peer.Delivery{Target: r.number, Incident: e.story, Sequence: r.sequence}, r.outcome)
		p.count(r)
		if r.sequence > e.updates {
			p.Unexpected++
			p.example(fmt.Sprintf("unexpected: %s target %d, %s, sequence %d: there were %d updates", r.channel, r.number, e.story, r.sequence, e.updates))
		}
		if r.sequence >= last[r.address].sequence {
			last[r.address] = r
		}
		if e.residents[r.address] && r.outcome != "delivered" && r.sequence < e.updates {
			p.untold(e, r)
		}
	}
	for a := range e.residents {
		for sequence := 1; sequence <= e.updates; sequence++ {
			of(a.channel).Expect(peer.Delivery{Target: a.number, Incident: e.story, Sequence: sequence})
		}
		if r := last[a]; r.outcome != "" && r.outcome != "delivered" {
			p.untold(e, r)
		}
	}
	for a, r := range last {
		if _, resident := e.residents[a]; !resident && r.outcome != "delivered" && r.outcome != "suppressed" {
			p.untold(e, r)
		}
	}
	for _, channel := range slices.Sorted(maps.Keys(judges)) {
		p.add(channel, judges[channel].Verdict())
	}
}

func (p *Promises) untold(e *evidence, r ledgerRow) {
	p.Untold++
	p.example(fmt.Sprintf("untold: %s target %d, %s, sequence %d of %d: %s %s", r.channel, r.number, e.story, r.sequence, e.updates, r.outcome, r.detail))
}

func (p *Promises) count(r ledgerRow) {
	if p.Outcomes[r.channel] == nil {
		p.Outcomes[r.channel] = make(map[string]int)
	}
	p.Outcomes[r.channel][r.outcome]++
}

func (p *Promises) add(channel string, v *peer.Verdict) {
	p.Lost += v.Lost
	p.Open += v.Open
	p.Duplicates += v.Duplicates
	p.OrderViolations += v.OrderViolations
	p.IDFaults += v.IDFaults
	p.Unreceived += v.Unreceived
	p.Unrecorded += v.Unrecorded
	for _, text := range v.Examples {
		p.example(channel + " " + text)
	}
}

// excuse returns the receipts with those whose answer was lost in a cut as not
// answered: the receiver said yes while connections were being ended, but was asked
// again, or has no row that says delivered. What came again is then none of the
// duplicates, but still has to have the same key and its place in the order.
func (p *Promises) excuse(channel string, receipts []peer.Receipt, cuts []cut, told map[peer.Delivery]bool) []peer.Receipt {
	sorted := slices.Clone(receipts)
	slices.SortStableFunc(sorted, func(a, b peer.Receipt) int {
		return cmp.Or(cmp.Compare(a.Target, b.Target), cmp.Compare(a.Sequence, b.Sequence), a.ReceivedAt.Compare(b.ReceivedAt))
	})
	for i := range sorted {
		r := &sorted[i]
		again := i+1 < len(sorted) && sorted[i+1].Target == r.Target && sorted[i+1].Sequence == r.Sequence
		heard := told[peer.Delivery{Target: r.Target, Incident: r.Incident, Sequence: r.Sequence}]
		if !r.Accepted() || heard && !again {
			continue
		}
		if slices.ContainsFunc(cuts, func(c cut) bool { return c.covers(channel, r.AnsweredAt) }) {
			r.Status = 0
			p.CutOff++
		}
	}
	return sorted
}
