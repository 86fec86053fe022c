package crash

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/peer"
)

var zero = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }

// request is one that was answered within a millisecond; 0 as its status says
// that it was not.
func request(target, sequence, ms, status int) peer.Receipt {
	return peer.Receipt{Target: target, Incident: "INC", Sequence: sequence, Status: status, ID: fmt.Sprintf("%d.%d", target, sequence),
		ReceivedAt: at(ms), AnsweredAt: at(ms + 1)}
}

func delivery(target, sequence int) peer.Delivery {
	return peer.Delivery{Target: target, Incident: "INC", Sequence: sequence}
}

// sound is evidence of two updates, three kills and everything that may happen:
//
//   - target 1 accepts both updates far from any kill;
//   - target 2 accepts the first just before a kill and is told again;
//   - target 3 accepts the first during that kill and is told again, accepts the
//     second just before another, is told again into the third, and once more;
//   - target 4 hears nothing until the second update, which supersedes the first;
//   - target 5 wants every update, and is refused at first;
//   - target 6 is dead.
func sound() *evidence {
	kills := []kill{
		{at: at(1000), over: at(1010), open: map[peer.Delivery]bool{}},
		{at: at(2000), over: at(2010), open: map[peer.Delivery]bool{delivery(3, 2): true, delivery(6, 2): true}},
		{at: at(2100), over: at(2110), open: map[peer.Delivery]bool{delivery(3, 2): true, delivery(6, 2): true}},
	}
	for target := 2; target <= 6; target++ {
		kills[0].open[delivery(target, 1)] = true
	}
	e := &evidence{
		updates:  []accepted{{"INC", 1}, {"INC", 2}},
		audience: []target{{number: 1}, {number: 2}, {number: 3}, {number: 4}, {number: 5, everyUpdate: true}, {number: 6, dead: true}},
		kills:    kills, uncommitted: time.Second,
		receipts: []peer.Receipt{
			request(1, 1, 100, 200), request(1, 2, 1500, 200),
			request(2, 1, 995, 200), request(2, 1, 1100, 200), request(2, 2, 1500, 200),
			request(3, 1, 1005, 200), request(3, 1, 1100, 200), request(3, 2, 1998, 200), request(3, 2, 2101, 0), request(3, 2, 2200, 200),
			request(4, 2, 1500, 200),
			request(5, 1, 100, 500), request(5, 1, 1100, 200), request(5, 2, 1500, 200),
			request(6, 1, 100, 500), request(6, 2, 1500, 500), request(6, 2, 3000, 500),
		},
		ledger: map[peer.Delivery]string{
			delivery(1, 1): "delivered", delivery(1, 2): "delivered", delivery(2, 1): "delivered", delivery(2, 2): "delivered",
			delivery(3, 1): "delivered", delivery(3, 2): "delivered", delivery(4, 1): "superseded", delivery(4, 2): "delivered",
			delivery(5, 1): "delivered", delivery(5, 2): "delivered", delivery(6, 1): "superseded", delivery(6, 2): "expired",
		},
	}
	return e
}

func TestVerdictOnSoundEvidence(t *testing.T) {
	v := sound().judge()
	if len(v.faults) > 0 {
		t.Errorf("faults where there are none: %v", v.faults)
	}
	if v.duplicates != 4 {
		t.Errorf("%d duplicates, want 4", v.duplicates)
	}
	for i, want := range []Loss{
		{Cut: 1, Recent: 1, Forgotten: 1, Oldest: 4 * time.Millisecond, Duplicates: 2},
		{Recent: 1, Forgotten: 1, Oldest: time.Millisecond, Duplicates: 1},
		{Cut: 1, Duplicates: 1},
	} {
		if v.losses[i] != want {
			t.Errorf("kill %d cost %+v, want %+v", i+1, v.losses[i], want)
		}
	}
}

// Each case spoils the sound evidence in one way.
func TestVerdictFinds(t *testing.T) {
	for _, test := range []struct {
		name    string
		promise string
		spoil   func(*evidence)
	}{
		{"a lost delivery", "A", func(e *evidence) {
			e.drop(1, 2)
			delete(e.ledger, delivery(1, 2))
		}},
		{"a delivery left open", "A", func(e *evidence) {
			e.drop(1, 2)
			e.ledger[delivery(1, 2)] = "open"
		}},
		{"an update superseded by none", "A", func(e *evidence) {
			e.drop(4, 2)
			e.ledger[delivery(4, 2)] = "superseded"
		}},
		{"an update withheld from who wants all", "A", func(e *evidence) {
			e.drop(5, 1)
			e.ledger[delivery(5, 1)] = "superseded"
		}},
		{"an update expired though its peer listens", "A", func(e *evidence) {
			e.drop(1, 2)
			e.ledger[delivery(1, 2)] = "expired"
		}},
		{"a duplicate with no kill between", "D", func(e *evidence) {
			e.receipts = append(e.receipts, request(1, 2, 1600, 200))
		}},
		{"a duplicate of what was committed", "D", func(e *evidence) {
			e.receipts = append(e.receipts, request(1, 1, 1100, 200))
		}},
		{"a duplicate before the kill that is to explain it", "D", func(e *evidence) {
			e.receipts = append(e.receipts, request(2, 1, 998, 200))
		}},
		{"more duplicates than a kill explains", "D", func(e *evidence) {
			e.receipts = append(e.receipts, request(2, 1, 1050, 0))
		}},
		{"an acceptance not committed for long", "D", func(e *evidence) {
			e.receipts = append(e.receipts, request(4, 1, 10, 200))
			e.kills[0].at, e.kills[0].over = at(1030), at(1040)
		}},
		{"an older update after a newer one", "O", func(e *evidence) {
			e.receipts = append(e.receipts, request(4, 1, 2500, 500))
		}},
		{"two sends at once", "O", func(e *evidence) {
			r := request(4, 1, 1499, 500)
			r.AnsweredAt = at(1700)
			e.receipts = append(e.receipts, r)
		}},
		{"a delivery that no peer accepted", "L", func(e *evidence) { e.drop(1, 2) }},
		{"an acceptance that the ledger doesn't have", "L", func(e *evidence) {
			e.receipts = append(e.receipts, request(4, 1, 1100, 200))
		}},
		{"a request that nobody asked for", "L", func(e *evidence) {
			e.receipts = append(e.receipts, request(1, 3, 2500, 200))
		}},
		{"a row that nobody asked for", "L", func(e *evidence) { e.ledger[delivery(1, 3)] = "superseded" }},
		{"a delivery under two ids", "I", func(e *evidence) {
			i := slices.IndexFunc(e.receipts, func(r peer.Receipt) bool { return r.Target == 2 && r.ReceivedAt.Equal(at(1100)) })
			e.receipts[i].ID = "other"
		}},
		{"two deliveries under one id", "I", func(e *evidence) {
			i := slices.IndexFunc(e.receipts, func(r peer.Receipt) bool { return r.Target == 4 })
			e.receipts[i].ID = "1.2"
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := sound()
			test.spoil(e)
			faults := e.judge().faults
			if len(faults) == 0 {
				t.Fatal("it was not found")
			}
			for _, f := range faults {
				if f.promise != test.promise {
					t.Errorf("found as %s: %s", f.promise, f.text)
				}
			}
		})
	}
}

// drop removes the requests for a delivery.
func (e *evidence) drop(target, sequence int) {
	e.receipts = slices.DeleteFunc(e.receipts, func(r peer.Receipt) bool { return deliveryOf(r) == delivery(target, sequence) })
}
