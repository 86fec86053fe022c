package peer

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// at is a moment of the tests' own time, in milliseconds.
func at(ms int) time.Time { return time.Unix(1_800_000_000, int64(ms)*1e6) }

func seen(target, sequence, status, received, answered int) Receipt {
	return Receipt{Target: target, ID: testID(target, sequence), Incident: "INC-1", Sequence: sequence,
		Status: status, ReceivedAt: at(received), AnsweredAt: at(answered)}
}

// testID is a webhook-id for tests.
func testID(target, sequence int) string {
	return "msg_" + string(rune('a'+target)) + string(rune('a'+sequence)) + "aaaaaaaaaaaaaaaaaaaaaaaa"
}

func row(target, sequence int) Delivery { return Delivery{target, "INC-1", sequence} }

// sound is a run without a fault: two targets, two updates, one retry, one
// superseded row, one dead row.
func sound() *Judge {
	j := &Judge{}
	j.Receive(seen(1, 1, 200, 10, 11))
	j.Receive(seen(1, 2, 200, 20, 21))
	j.Receive(seen(2, 1, 500, 10, 11))
	j.Receive(seen(2, 2, 0, 20, 25))
	j.Receive(seen(2, 2, 200, 30, 31))
	j.Receive(seen(3, 1, 410, 10, 11))
	j.Row(row(1, 1), "delivered")
	j.Row(row(1, 2), "delivered")
	j.Row(row(2, 1), "superseded")
	j.Row(row(2, 2), "delivered")
	j.Row(row(3, 1), "dead")
	return j
}

func TestJudgeAcceptsASoundRun(t *testing.T) {
	v := sound().Verdict()
	if !v.Sound() || v.Requests != 6 || v.Unanswered != 1 || v.Delivered != 3 || v.BySequence[2] != 2 {
		t.Fatalf("verdict %+v", v)
	}
}

func TestJudgeFinds(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Judge)
		want   Verdict
	}{
		"duplicate":                {func(j *Judge) { j.Receive(seen(1, 2, 200, 22, 23)) }, Verdict{Duplicates: 1}},
		"duplicate that failed":    {func(j *Judge) { j.Receive(seen(1, 2, 500, 22, 23)) }, Verdict{Duplicates: 1}},
		"two duplicates":           {func(j *Judge) { j.Receive(seen(1, 2, 200, 22, 23)); j.Receive(seen(1, 2, 0, 24, 25)) }, Verdict{Duplicates: 2}},
		"no duplicate: not before": {func(j *Judge) { j.Receive(seen(2, 2, 200, 30, 40)) }, Verdict{}},
		"reorder":                  {func(j *Judge) { j.Receive(seen(2, 1, 500, 40, 41)) }, Verdict{OrderViolations: 1}},
		"no reorder: received before, answered after": {
			func(j *Judge) { j.Receive(seen(2, 1, 500, 19, 60)) }, Verdict{}},
		"lost without a row":     {func(j *Judge) { j.Expect(row(4, 1)) }, Verdict{Lost: 1}},
		"lost with an open row":  {func(j *Judge) { j.Row(row(4, 1), "open") }, Verdict{Lost: 1, Open: 1}},
		"delivered, says ledger": {func(j *Judge) { j.Row(row(4, 1), "delivered") }, Verdict{Lost: 1, Unreceived: 1}},
		"open, but at the peer":  {func(j *Judge) { j.Row(row(1, 1), "open") }, Verdict{Open: 1, Unrecorded: 1}},
		"unrecorded":             {func(j *Judge) { j.Receive(seen(4, 1, 204, 10, 11)) }, Verdict{Unrecorded: 1}},
		"two ids": {func(j *Judge) {
			r := seen(2, 2, 0, 26, 27)
			r.ID = testID(9, 9)
			j.Receive(r)
		}, Verdict{IDFaults: 2}}, // there and back
		"shared id": {func(j *Judge) {
			r := seen(4, 1, 500, 10, 11)
			r.ID = testID(1, 1)
			j.Receive(r)
		}, Verdict{IDFaults: 1}},
		"another incident is another order": {func(j *Judge) {
			r := seen(2, 1, 500, 40, 41)
			r.Incident, r.ID = "INC-2", testID(8, 8)
			j.Receive(r)
		}, Verdict{}},
	} {
		t.Run(name, func(t *testing.T) {
			j := sound()
			test.change(j)
			// The order in which receipts come in must not matter.
			rand.New(rand.NewPCG(1, 2)).Shuffle(len(j.receipts), func(a, b int) {
				j.receipts[a], j.receipts[b] = j.receipts[b], j.receipts[a]
			})
			v := j.Verdict()
			got := Verdict{Duplicates: v.Duplicates, OrderViolations: v.OrderViolations, IDFaults: v.IDFaults,
				Lost: v.Lost, Open: v.Open, Unreceived: v.Unreceived, Unrecorded: v.Unrecorded}
			if !slices.Equal(faults(got), faults(test.want)) {
				t.Errorf("got %+v, want %+v: %q", got, test.want, v.Examples)
			}
			if v.Sound() != test.want.Sound() || v.Sound() != (len(v.Examples) == 0) {
				t.Errorf("sound %v with %q", v.Sound(), v.Examples)
			}
		})
	}
}

func faults(v Verdict) []int {
	return []int{v.Duplicates, v.OrderViolations, v.IDFaults, v.Lost, v.Open, v.Unreceived, v.Unrecorded}
}

// TestWhatPeersReceiveIsJudged has each peer take a newer update, an older one and
// the newer one again.
func TestWhatPeersReceiveIsJudged(t *testing.T) {
	for name, told := range map[string]func(t *testing.T, sequences []int) *Report{
		"webhook": func(t *testing.T, sequences []int) *Report {
			w := start(t, Options{})
			c := dial(t, w, 1)
			for _, s := range sequences {
				c.send(1, s)
				c.status()
			}
			w.Close()
			return w.Report()
		},
		"mail": func(t *testing.T, sequences []int) *Report {
			s := startSMTP(t, Options{})
			c := dialSMTP(t, s)
			for _, sequence := range sequences {
				deliver(c, Mailbox(1), letter(1, "INC-1", sequence))
			}
			s.Close()
			return s.Report().Report
		},
		"SMS": func(t *testing.T, sequences []int) *Report {
			s := startSMSC(t, SMSCOptions{Quiet: true})
			e := bindSMSC(t, s)
			for _, sequence := range sequences {
				e.submitTo(1, shortText(sequence), 0)
				e.status()
			}
			s.Close()
			return s.Report().Report
		},
	} {
		t.Run(name, func(t *testing.T) {
			if r := told(t, []int{1, 2}); !r.Sound() || r.Delivered != 2 || len(r.Invalid) > 0 {
				t.Errorf("what is right is at fault: %+v, %v", r.Verdict, r.Invalid)
			}
			if r := told(t, []int{2, 1, 2}); !slices.Equal(faults(*r.Verdict), faults(Verdict{Duplicates: 1, OrderViolations: 1})) || len(r.Invalid) > 0 {
				t.Errorf("verdict %+v, %v", r.Verdict, r.Invalid)
			}
		})
	}
}
