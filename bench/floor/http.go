package floor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/tocsin/tocsin/internal/peer"
)

// Webhooks are the flags that the floors for webhooks have in common.
type Webhooks struct {
	Port     int           `required:"" help:"Port of the webhook peer."`
	Targets  int           `default:"10000" help:"Distinct targets, each with an address of its own."`
	Body     int           `default:"1024" help:"Bytes of the first update's body."`
	Incident string        `default:"FLOOR-1" help:"The incident. Take another for each run against one peer."`
	Limit    time.Duration `default:"2m" help:"Give up after this."`
}

// Rounds are the flags of floors that send several updates over kept connections.
type Rounds struct {
	Window  int  `default:"512" help:"Requests under way at once over kept connections."`
	Updates int  `default:"1" help:"Updates that are measured, each sent once the one before is answered everywhere."`
	Warm    bool `help:"Connect with one more update first, which is not measured."`
}

func (w *Webhooks) check() error {
	if w.Port < 1 || w.Port > 65535 || w.Targets < 1 || w.Targets > peer.MaxTargets {
		return fmt.Errorf("a port is 1 to 65535, and there are 1 to %d targets", peer.MaxTargets)
	}
	return nil
}

// rounds prepares so many updates of the story, from a sequence on.
func (w *Webhooks) rounds(first, count int) ([]*request, error) {
	story, err := NewStory(w.Incident, w.Body)
	if err != nil {
		return nil, err
	}
	rounds := make([]*request, count)
	for k := range rounds {
		rounds[k] = newRequest(&story, first+k, time.Now())
	}
	return rounds, nil
}

// lanes has one for each target.
func (w *Webhooks) lanes() []lane {
	lanes := make([]lane, w.Targets)
	for i := range lanes {
		lanes[i] = laneTo(i+1, netip.AddrPortFrom(peer.Host(i+1), uint16(w.Port)))
	}
	return lanes
}

// total is how many updates are sent, and skip how many of them first without being
// measured.
func (r *Rounds) total() (total, skip int, err error) {
	if r.Updates < 1 || r.Updates > 1000 || r.Window < 1 {
		return 0, 0, errors.New("there are 1 to 1000 updates, and a window of 1 or more")
	}
	if r.Warm {
		skip = 1
	}
	return r.Updates + skip, skip, nil
}

// HTTPCommand is the floor for webhooks over HTTP: a goroutine for each connection,
// one write for each request.
type HTTPCommand struct {
	Webhooks
	Rounds
	Socket
	Gate       int           `default:"256" help:"Dials under way at once."`
	Hold       time.Duration `help:"Peers answer after this: an answer that comes earlier is an error."`
	Hosts      int           `help:"Send one update to --deliveries targets that share so many hosts, over kept connections."`
	Deliveries int           `default:"1000000" help:"With --hosts: how many targets there are."`
	PerHost    int           `default:"1" help:"With --hosts: connections to each."`
}

// Run sends, see [Result].
func (c *HTTPCommand) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	f, err := c.fleet()
	if err != nil {
		return err
	}
	return perform(ctx, in, out, c.Limit, f.measure)
}

func (c *HTTPCommand) fleet() (*fleet, error) {
	if err := c.Webhooks.check(); err != nil {
		return nil, err
	}
	if c.Gate < 1 {
		return nil, fmt.Errorf("a gate of %d lets nobody in; use 1 or more", c.Gate)
	}
	if err := c.Socket.check(); err != nil {
		return nil, err
	}
	total, skip, err := c.total()
	if err != nil {
		return nil, err
	}
	f := &fleet{gate: c.Gate, window: c.Window, skip: skip, hold: c.Hold, socket: c.Socket}
	if f.rounds, err = c.rounds(1, total); err != nil {
		return nil, err
	}
	if c.Hosts == 0 {
		f.lanes = c.Webhooks.lanes()
		return f, nil
	}
	f.lanes, err = c.sharedLanes()
	return f, err
}

// sharedLanes deals the targets out to the connections of the hosts: target n is at
// host 1 + (n-1) mod hosts.
func (c *HTTPCommand) sharedLanes() ([]lane, error) {
	connections := c.Hosts * c.PerHost
	if c.Hosts < 1 || c.Hosts > peer.MaxShared || c.PerHost < 1 || c.Deliveries < connections || c.Deliveries > peer.MaxTargets {
		return nil, fmt.Errorf("there are 1 to %d hosts, and at least as many deliveries as connections to them, at most %d", peer.MaxShared, peer.MaxTargets)
	}
	lanes := make([]lane, connections)
	slot := 0
	for i := range lanes {
		count := (c.Deliveries - i + connections - 1) / connections
		to := netip.AddrPortFrom(peer.SharedHost(i%c.Hosts+1), uint16(c.Port))
		lanes[i] = lane{to: to, first: i + 1, step: connections, count: count, slot: slot}
		slot += count
	}
	return lanes, nil
}
