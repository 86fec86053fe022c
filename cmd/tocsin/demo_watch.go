package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/tocsin/tocsin/internal/peer"
)

// The demo's pace.
const (
	tick = 250 * time.Millisecond
	// askEvery is how often the engine is asked: it counts rows to answer, and
	// should be busy with other things.
	askEvery = time.Second
	// mostPause is how long an update waits for the healthy to have the one
	// before.
	mostPause = 15 * time.Second
	// settled is ample for a result to reach the ledger once its peer answered.
	settled = 500 * time.Millisecond
	// overdue is how long after the last expiry the demo still waits.
	overdue = 30 * time.Second
	// apiPatience bounds one question to the engine or the peers.
	apiPatience = 30 * time.Second
)

// demoWatch follows a demo from both ends: what the engine says, and the
// receipts of the peers. One goroutine does everything.
type demoWatch struct {
	*demo
	screen  *screen
	judge   peer.Judge
	healthy int     // targets
	told    []uint8 // by target: bit sequence-1 is set once it answered 2xx
	updates [len(updates)]updateWatch
	sent    int // updates published

	from    string // offset of the receipts that come next
	pending int    // requests at the peers without a receipt
	asked   time.Time
	closed  bool // every delivery is
	ended   time.Time

	rate     float64 // deliveries/s of the last while
	rateFrom time.Time
	rateSeen int
}

// updateWatch is one update on its way.
type updateWatch struct {
	accepted          time.Time
	audience, settled int // as the engine says
	delivered         int // targets that answered 2xx
	// Of healthy targets: how many, when the last one answered, how long it
	// took since accepted.
	healthy   int
	last      time.Time
	latencies *peer.Distribution
}

func newDemoWatch(d *demo) *demoWatch {
	w := &demoWatch{demo: d, screen: newScreen(d.stderr), told: make([]uint8, d.command.Targets+1), from: "0"}
	for n := 1; n <= d.command.Targets; n++ {
		if d.mix.Behaviour(n).Kind == peer.OK {
			w.healthy++
		}
	}
	for i := range w.updates {
		w.updates[i].latencies = peer.NewDistribution()
	}
	return w
}

// untilClosed publishes the updates one after the other and returns when every
// delivery is closed, or when all should long have been: the report tells.
func (w *demoWatch) untilClosed(ctx context.Context) error {
	defer w.screen.close()
	begun := time.Now()
	for !w.closed {
		if err := errors.Join(w.engine.alive(), w.peers.alive()); err != nil {
			return err
		}
		if w.mayPublish(time.Now()) {
			accepted, err := w.publish(ctx, w.sent+1, begun.Add(-2*time.Minute))
			if err != nil {
				return err
			}
			w.updates[w.sent].accepted = accepted
			w.sent++
		}
		if err := w.collect(ctx); err != nil {
			return err
		}
		if err := w.ask(ctx); err != nil {
			return err
		}
		w.draw(time.Now(), begun)
		if w.sent == len(updates) && time.Since(w.updates[w.sent-1].accepted) > w.expiry()+overdue {
			break
		}
		if err := sleep(ctx, tick); err != nil {
			return err
		}
	}
	w.ended = time.Now()
	return nil
}

// mayPublish says whether it is time for the next update.
func (w *demoWatch) mayPublish(now time.Time) bool {
	if w.sent == 0 {
		return true
	}
	if w.sent == len(updates) {
		return false
	}
	last := &w.updates[w.sent-1]
	since := now.Sub(last.accepted)
	most := last.healthy*100 >= w.healthy*95
	return since >= w.command.Pause && (most || since >= mostPause+w.mix.Hold)
}

// collect takes the receipts that are new.
func (w *demoWatch) collect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	response, err := w.askPeers(ctx, "/receipts?from="+w.from)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if err := peer.ReadReceipts(response.Body, w.take); err != nil {
		return fmt.Errorf("receipts of the peers: %w", err)
	}
	if w.pending, err = strconv.Atoi(response.Header.Get(peer.OpenHeader)); err != nil {
		return fmt.Errorf("receipts of the peers: %w", err)
	}
	w.from = response.Header.Get(peer.NextHeader)
	return nil
}

func (w *demoWatch) askPeers(ctx context.Context, path string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.receivers.Control+path, nil)
	if err != nil {
		return nil, fmt.Errorf("ask the peers: %w", err)
	}
	response, err := w.api.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask the peers: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, fmt.Errorf("ask the peers: %s", response.Status)
	}
	return response, nil
}

// take counts a receipt, and keeps it for the judge.
func (w *demoWatch) take(r peer.Receipt) {
	if r.Incident != w.incident {
		return // left on a broker by somebody else
	}
	w.judge.Receive(r)
	if !r.Accepted() || r.Sequence > len(w.updates) || r.Target >= len(w.told) {
		return // the judge has its say on what should not be there
	}
	bit := uint8(1) << (r.Sequence - 1)
	if w.told[r.Target]&bit != 0 {
		return
	}
	w.told[r.Target] |= bit
	u := &w.updates[r.Sequence-1]
	u.delivered++
	if w.mix.Behaviour(r.Target).Kind == peer.OK {
		u.healthy++
		u.latencies.Add(r.AnsweredAt.Sub(u.accepted))
		if r.AnsweredAt.After(u.last) {
			u.last = r.AnsweredAt
		}
	}
}

// ask takes what the engine says of the incident, now and then.
func (w *demoWatch) ask(ctx context.Context) error {
	if time.Since(w.asked) < askEvery {
		return nil
	}
	w.asked = time.Now()
	ctx, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	view, err := w.api.incident(ctx, "default", w.incident)
	if err != nil || view == nil {
		return err
	}
	done := 0
	for i := range w.updates {
		// By sequence: an update published by somebody else's client is the
		// same update, though its id may not be.
		for _, u := range view.Updates {
			if u.Sequence == i+1 {
				closed, all := u.closed()
				w.updates[i].audience, w.updates[i].settled = u.Audience, closed
				if all {
					done++
				}
			}
		}
	}
	w.closed = done == len(w.updates)
	return nil
}

// untilQuiet waits until the peers have no request without a receipt, at most
// for patience, and takes what came meanwhile.
func (w *demoWatch) untilQuiet(ctx context.Context, patience time.Duration) error {
	for deadline := time.Now().Add(patience); ; {
		if err := sleep(ctx, tick); err != nil {
			return err
		}
		if err := w.collect(ctx); err != nil {
			return err
		}
		if w.pending == 0 || time.Now().After(deadline) {
			return nil
		}
	}
}

// ledger is what the engine's answers to "who was told, who not, and why" come to.
type ledger struct {
	outcomes map[string]map[string]int // by channel and outcome
	causes   map[cause]int             // of those that ended without being told
}

type cause struct{ Outcome, Detail string }

// readLedger gives the judge every row, and what should be there.
func (w *demoWatch) readLedger(ctx context.Context) (*ledger, error) {
	if err := sleep(ctx, settled); err != nil {
		return nil, err
	}
	numbers := make(map[idText]int)
	for raw, err := range w.api.targets(ctx) {
		var t targetView
		if err == nil {
			err = json.Unmarshal(raw, &t)
		}
		if err != nil {
			return nil, fmt.Errorf("read the targets: %w", err)
		}
		n := peer.TargetNumber(t.Address)
		numbers[t.ID] = n
		if t.State != "active" {
			continue // disabled on the way: it has rows as far as it was told
		}
		for s := range w.sent {
			w.judge.Expect(peer.Delivery{Target: n, Incident: w.incident, Sequence: s + 1})
		}
	}
	l := &ledger{make(map[string]map[string]int), make(map[cause]int)}
	for row, err := range w.api.deliveries(ctx, "default", w.incident) {
		if err != nil {
			return nil, fmt.Errorf("read the ledger: %w", err)
		}
		w.judge.Row(peer.Delivery{Target: numbers[row.Target], Incident: w.incident, Sequence: row.Sequence}, row.Outcome)
		if l.outcomes[row.Channel] == nil {
			l.outcomes[row.Channel] = make(map[string]int)
		}
		l.outcomes[row.Channel][row.Outcome]++
		if row.Outcome == "dead" || row.Outcome == "expired" || row.Outcome == "suppressed" {
			l.causes[cause{row.Outcome, row.Detail}]++
		}
	}
	return l, nil
}

func (w *demoWatch) peersReport(ctx context.Context) (*peer.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	response, err := w.askPeers(ctx, "/report")
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var report peer.Report
	if err := json.NewDecoder(response.Body).Decode(&report); err != nil {
		return nil, fmt.Errorf("report of the peers: %w", err)
	}
	return &report, nil
}

func (w *demoWatch) draw(now, begun time.Time) {
	seen := 0
	for i := range w.updates {
		seen += w.updates[i].delivered
	}
	if since := now.Sub(w.rateFrom); since >= time.Second {
		w.rate = float64(seen-w.rateSeen) / since.Seconds()
		w.rateFrom, w.rateSeen = now, seen
	}
	comma := func(n int) string { return humanize.Comma(int64(n)) }
	elapsed := now.Sub(begun).Truncate(time.Second)
	if !w.screen.redraws() {
		var planned, closed int
		for i := range w.updates {
			planned, closed = planned+w.updates[i].audience, closed+w.updates[i].settled
		}
		w.screen.say(now, fmt.Sprintf("%v: %d of %d updates published (%s), %s deliveries planned, %s closed; %s told; %s at the receivers now, %s/s",
			elapsed, w.sent, len(updates), updates[w.sent-1].status, comma(planned), comma(closed), comma(seen), comma(w.pending), comma(int(w.rate))))
		return
	}
	lines := []string{fmt.Sprintf("%s  %s targets, %s healthy  %v", w.incident, comma(w.command.Targets), comma(w.healthy), elapsed)}
	for i := range w.updates {
		u := &w.updates[i]
		line := fmt.Sprintf("  %d %-13s ", i+1, updates[i].status)
		if i < w.sent {
			line += fmt.Sprintf("%s %6s planned %6s told %6s closed  p99 of the healthy %.0f ms", bar(u.settled, w.command.Targets, 20),
				comma(u.audience), comma(u.delivered), comma(u.settled), u.latencies.Latencies().P99)
		}
		lines = append(lines, line)
	}
	w.screen.draw(append(lines, fmt.Sprintf("  %s at the receivers now, %s/s", comma(w.pending), comma(int(w.rate)))))
}

func bar(n, of, width int) string {
	full := min(width, n*width/max(of, 1))
	return strings.Repeat("█", full) + strings.Repeat("░", width-full)
}
