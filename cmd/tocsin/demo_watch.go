package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

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
	screen   *screen
	channels []*channelWatch
	healthy  int                     // targets
	accepted [len(updates)]time.Time // when each update was
	sent     int                     // updates published

	asked  time.Time
	closed bool // every delivery is
	ended  time.Time

	rate     float64 // deliveries/s of the last while
	rateFrom time.Time
	rateSeen int
}

// channelWatch is a channel of a demo as it is seen.
type channelWatch struct {
	*demoChannel
	judge   peer.Judge
	healthy int     // targets
	told    []uint8 // by target: bit sequence-1 is set once it answered 2xx
	updates [len(updates)]updateWatch

	from     string // offset of the receipts that come next
	pending  int    // requests at the peer without a receipt
	received *peer.Report
}

// updateWatch is one update on its way on one channel.
type updateWatch struct {
	planned, closed int // as the engine says
	told            int // targets that answered 2xx
	// Of healthy targets: how many, when the last one answered, how long it
	// took since accepted.
	healthy   int
	last      time.Time
	latencies *peer.Distribution
}

func newDemoWatch(d *demo) *demoWatch {
	w := &demoWatch{demo: d, screen: newScreen(d.stderr)}
	for _, c := range d.channels {
		watch := &channelWatch{demoChannel: c, healthy: c.healthy(), told: make([]uint8, c.targets+1), from: "0"}
		for i := range watch.updates {
			watch.updates[i].latencies = peer.NewDistribution()
		}
		w.channels = append(w.channels, watch)
		w.healthy += watch.healthy
	}
	return w
}

// untilClosed publishes the updates one after the other and returns when every
// delivery is closed, or when all should long have been: the report tells.
func (w *demoWatch) untilClosed(ctx context.Context) error {
	defer w.screen.close()
	begun := time.Now()
	for !w.closed {
		if err := w.alive(); err != nil {
			return err
		}
		if w.mayPublish(time.Now()) {
			accepted, err := w.publish(ctx, w.sent+1, begun.Add(-2*time.Minute))
			if err != nil {
				return err
			}
			w.accepted[w.sent] = accepted
			w.sent++
		}
		if err := w.collect(ctx); err != nil {
			return err
		}
		if err := w.ask(ctx); err != nil {
			return err
		}
		w.draw(time.Now(), begun)
		if w.sent == len(updates) && time.Since(w.accepted[w.sent-1]) > w.expiry()+overdue {
			break
		}
		if err := sleep(ctx, tick); err != nil {
			return err
		}
	}
	w.ended = time.Now()
	return nil
}

// alive returns why a child has ended, if one has.
func (w *demoWatch) alive() error {
	err := w.engine.alive()
	for _, c := range w.channels {
		err = errors.Join(err, c.peers.alive())
	}
	return err
}

// mayPublish says whether it is time for the next update.
func (w *demoWatch) mayPublish(now time.Time) bool {
	if w.sent == 0 {
		return true
	}
	if w.sent == len(updates) {
		return false
	}
	told := 0
	for _, c := range w.channels {
		told += c.updates[w.sent-1].healthy
	}
	since := now.Sub(w.accepted[w.sent-1])
	return since >= w.command.Pause && (told*100 >= w.healthy*95 || since >= mostPause+w.command.Hold)
}

// collect takes the receipts that are new.
func (w *demoWatch) collect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	for _, c := range w.channels {
		if err := w.collectFrom(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (w *demoWatch) collectFrom(ctx context.Context, c *channelWatch) error {
	response, err := w.askPeers(ctx, c, "/receipts?from="+c.from)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	err = peer.ReadReceipts(response.Body, func(r peer.Receipt) {
		if r.Incident == w.incident { // else left on a broker by somebody else
			c.take(r, &w.accepted)
		}
	})
	if err == nil {
		c.pending, err = strconv.Atoi(response.Header.Get(peer.OpenHeader))
	}
	if err != nil {
		return fmt.Errorf("receipts of the %s: %w", c.plural, err)
	}
	c.from = response.Header.Get(peer.NextHeader)
	return nil
}

func (w *demoWatch) askPeers(ctx context.Context, c *channelWatch, path string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.at.Control+path, nil)
	if err != nil {
		return nil, fmt.Errorf("ask the %s: %w", c.plural, err)
	}
	response, err := w.api.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask the %s: %w", c.plural, err)
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, fmt.Errorf("ask the %s: %s", c.plural, response.Status)
	}
	return response, nil
}

// take counts a receipt, and keeps it for the judge.
func (c *channelWatch) take(r peer.Receipt, accepted *[len(updates)]time.Time) {
	c.judge.Receive(r)
	if !r.Accepted() || r.Sequence > len(c.updates) || r.Target >= len(c.told) {
		return // the judge has its say on what should not be there
	}
	bit := uint8(1) << (r.Sequence - 1)
	if c.told[r.Target]&bit != 0 {
		return
	}
	c.told[r.Target] |= bit
	u := &c.updates[r.Sequence-1]
	u.told++
	if c.mix.Behaviour(r.Target).Kind == peer.OK {
		u.healthy++
		u.latencies.Add(r.AnsweredAt.Sub(accepted[r.Sequence-1]))
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
	for i := range updates {
		// By sequence: an update published by somebody else's client is the
		// same update, though its id may not be.
		for _, u := range view.Updates {
			if u.Sequence != i+1 {
				continue
			}
			for _, c := range w.channels {
				planned := total(u.Progress[c.name])
				c.updates[i].planned, c.updates[i].closed = planned, planned-u.Progress[c.name]["open"]
			}
			if _, all := u.closed(); all {
				done++
			}
		}
	}
	w.closed = done == len(updates)
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
		if w.pending() == 0 || time.Now().After(deadline) {
			return nil
		}
	}
}

// pending counts the requests at the peers without a receipt.
func (w *demoWatch) pending() (n int) {
	for _, c := range w.channels {
		n += c.pending
	}
	return n
}

// askForReports asks the peers what they have to say of themselves.
func (w *demoWatch) askForReports(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	for _, c := range w.channels {
		response, err := w.askPeers(ctx, c, "/report")
		if err != nil {
			return err
		}
		err = json.NewDecoder(response.Body).Decode(&c.received)
		response.Body.Close()
		if err != nil {
			return fmt.Errorf("report of the %s: %w", c.plural, err)
		}
	}
	return nil
}
