package soak

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/peer"
)

const webhook, mail = incident.ChannelWebhook, incident.ChannelSMTP

var zero = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

// request is one that was answered within a millisecond.
func request(target, sequence, ms, status int) peer.Receipt {
	at := zero.Add(time.Duration(ms) * time.Millisecond)
	return peer.Receipt{Target: target, Incident: "INC", Sequence: sequence, Status: status, ID: fmt.Sprintf("%d.%d", target, sequence),
		ReceivedAt: at, AnsweredAt: at.Add(time.Millisecond)}
}

// sound is a story of two updates in which everything happened that may:
//
//   - webhook 1 hears both, and refuses one at first;
//   - webhook 2 wants every update, and its answer to the first was cut off;
//   - webhook 3 hears the second, which took the first one's place when that one's
//     answer was cut off;
//   - mailbox 1 hears both;
//   - guest 1,000,000 heard the first and left.
func sound() *evidence {
	return &evidence{
		story: "INC", updates: 2,
		residents: map[address]bool{{webhook, 1}: false, {webhook, 2}: true, {webhook, 3}: false, {mail, 1}: false},
		receipts: map[string][]peer.Receipt{
			webhook: {
				request(1, 1, 100, 500), request(1, 1, 600, 200), request(1, 2, 5000, 200),
				request(2, 1, 3100, 200), request(2, 1, 3700, 200), request(2, 2, 5000, 200),
				request(3, 1, 3100, 200), request(3, 2, 5000, 200),
				request(1_000_000, 1, 100, 200),
			},
			mail: {request(1, 1, 100, 250), request(1, 2, 5000, 250)},
		},
		rows: []ledgerRow{
			{address{webhook, 1}, 1, "delivered", ""}, {address{webhook, 1}, 2, "delivered", ""},
			{address{webhook, 2}, 1, "delivered", ""}, {address{webhook, 2}, 2, "delivered", ""},
			{address{webhook, 3}, 1, "superseded", ""}, {address{webhook, 3}, 2, "delivered", ""},
			{address{mail, 1}, 1, "delivered", ""}, {address{mail, 1}, 2, "delivered", ""},
			{address{webhook, 1_000_000}, 1, "delivered", ""}, {address{webhook, 1_000_000}, 2, "suppressed", ""},
		},
		cuts: []cut{{webhook, zero.Add(3 * time.Second), zero.Add(4 * time.Second)}},
	}
}

func TestASoundStory(t *testing.T) {
	p := newPromises()
	p.judge(sound())
	if p.Broken() != 0 || len(p.Examples) > 0 {
		t.Errorf("broken where nothing is: %+v", p)
	}
	if p.CutOff != 2 || p.Requests != 11 || p.Refused != 3 || p.Stories != 1 || p.Outcomes[webhook]["superseded"] != 1 {
		t.Errorf("counted wrongly: %+v", p)
	}
}

// drop removes the requests for a delivery.
func (e *evidence) drop(channel string, target, sequence int) {
	e.receipts[channel] = slices.DeleteFunc(e.receipts[channel], func(r peer.Receipt) bool { return r.Target == target && r.Sequence == sequence })
}

// set changes the outcome of a row; with none it removes the row.
func (e *evidence) set(channel string, target, sequence int, outcome string) {
	at := slices.IndexFunc(e.rows, func(r ledgerRow) bool { return r.address == address{channel, target} && r.sequence == sequence })
	if e.rows[at].outcome = outcome; outcome == "" {
		e.rows = slices.Delete(e.rows, at, at+1)
	}
}

// Each case spoils the sound story in one way.
func TestWhatIsBrokenIsFound(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(*evidence)
		of    func(*Promises) int
	}{
		{"a delivery that left no trace", func(e *evidence) {
			e.drop(webhook, 1, 2)
			e.set(webhook, 1, 2, "")
		}, func(p *Promises) int { return p.Lost }},
		{"a delivery that is said to have arrived", func(e *evidence) { e.drop(mail, 1, 2) }, func(p *Promises) int { return p.Unreceived }},
		{"a delivery left open", func(e *evidence) {
			e.drop(webhook, 1, 2)
			e.set(webhook, 1, 2, "open")
		}, func(p *Promises) int { return p.Open }},
		{"one that came twice", func(e *evidence) {
			e.receipts[webhook] = append(e.receipts[webhook], request(1, 2, 6000, 200))
		}, func(p *Promises) int { return p.Duplicates }},
		{"one that came twice though others were cut", func(e *evidence) { e.cuts[0].channel = mail }, func(p *Promises) int { return p.Duplicates }},
		{"one that came twice long before a cut", func(e *evidence) {
			e.cuts[0].from = e.cuts[0].from.Add(2 * time.Second)
			e.cuts[0].to = e.cuts[0].to.Add(2 * time.Second)
		}, func(p *Promises) int { return p.Duplicates }},
		{"one whose answer was cut off and came under another key", func(e *evidence) { e.receipts[webhook][4].ID = "other" }, func(p *Promises) int { return p.IDFaults }},
		{"an older update after a newer one", func(e *evidence) {
			e.receipts[webhook] = append(e.receipts[webhook], request(3, 1, 6000, 500))
		}, func(p *Promises) int { return p.OrderViolations }},
		{"an arrival that the ledger doesn't have", func(e *evidence) { e.set(webhook, 1, 1, "superseded") }, func(p *Promises) int { return p.Unrecorded }},
		{"an end that nobody was told", func(e *evidence) {
			e.drop(webhook, 3, 2)
			e.set(webhook, 3, 2, "dead")
		}, func(p *Promises) int { return p.Untold }},
		{"an end superseded by nothing", func(e *evidence) {
			e.drop(webhook, 3, 2)
			e.set(webhook, 3, 2, "superseded")
		}, func(p *Promises) int { return p.Untold }},
		{"an update withheld from who wants all", func(e *evidence) {
			e.drop(webhook, 2, 1)
			e.set(webhook, 2, 1, "superseded")
		}, func(p *Promises) int { return p.Untold }},
		{"a guest who expired", func(e *evidence) { e.set(webhook, 1_000_000, 2, "expired") }, func(p *Promises) int { return p.Untold }},
		{"an update that nobody published", func(e *evidence) {
			e.rows = append(e.rows, ledgerRow{address{webhook, 1}, 3, "superseded", ""})
		}, func(p *Promises) int { return p.Unexpected }},
	} {
		t.Run(test.name, func(t *testing.T) {
			e, p := sound(), newPromises()
			test.spoil(e)
			p.judge(e)
			if test.of(p) == 0 || p.Broken() == 0 || len(p.Examples) == 0 {
				t.Errorf("it was not found: %+v", p)
			}
			if err := (&Result{Promises: p}).Verdict(); err == nil || !strings.Contains(err.Error(), "promises") {
				t.Errorf("the verdict is %v", err)
			}
		})
	}
}

func TestWhatComesAfterTheEndIsLate(t *testing.T) {
	d := newDesk()
	d.begin("INC")
	d.take(webhook, request(1, 1, 100, 200))
	d.accepted("INC", true)
	if n, told := d.state(d.due(zero, 0)); n != 1 || !told {
		t.Errorf("%d updates, told to its end: %v", n, told)
	}
	receipts, _ := d.file(d.due(zero, 0))
	d.take(webhook, request(1, 1, 20_000, 200))
	if len(receipts[webhook]) != 1 || d.late != 1 {
		t.Errorf("%d in time, %d late, want one of each", len(receipts[webhook]), d.late)
	}
	if p := (&Promises{Late: d.late}); p.Broken() != 1 {
		t.Error("what is late breaks no promise")
	}
}

func TestAnEngineThatDiedIsNoSuccess(t *testing.T) {
	r := &Result{Promises: newPromises(), Errors: []string{"the engine ended early"}}
	if r.Verdict() == nil {
		t.Error("the verdict is good")
	}
	if err := r.Print(io.Discard); err != nil {
		t.Error(err)
	}
}

func TestEveryTroubleHasItsWeather(t *testing.T) {
	for _, kind := range troubles(true) {
		w, err := kind.weather(0)
		if err != nil {
			t.Errorf("%s: %v", kind.name, err)
			continue
		}
		hit := 0
		for n := range 1000 {
			// Late in a run as at its beginning, those that refuse do.
			if b := w.behaviour(n); b.Kind != peer.OK && b.Status(1_000_000) != 200 || b.After > 0 {
				hit++
			}
		}
		if does := kind.cuts || kind.broker != nil; does == (hit > 0) {
			t.Errorf("%s falls on %d of 1,000", kind.name, hit)
		}
	}
}

func TestMetricsAreSummed(t *testing.T) {
	sums := make(map[string]float64)
	const text = "# HELP a x\n# TYPE a gauge\na{b=\"c d\"} 1\na{b=\"e\"} 2.5\ngo_memstats_next_gc_bytes 8e+06\ngo_gc_gogc_percent 100\n"
	if err := addMetrics(sums, strings.NewReader(text)); err != nil || sums["a"] != 3.5 || liveHeap(sums) != 4e6 {
		t.Errorf("%v, %v", sums, err)
	}
}
