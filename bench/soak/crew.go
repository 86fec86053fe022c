package soak

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tocsin/tocsin/bench/run"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/peer"
)

// crew is everyone whom the engine tells, in this process: one receiver for each
// channel, each under a weather of its own, and a reader of the feeds.
type crew struct {
	webhooks *peer.Webhook
	relay    *peer.SMTP
	centre   *peer.SMSC
	feeds    *peer.Feeds

	weather map[string]*atomic.Pointer[weather] // by channel
}

// weather is how the targets of a channel behave now.
type weather struct {
	mix peer.Mix
	// shift has each fault fall on others.
	shift int
}

func (w *weather) behaviour(n int) peer.Behaviour { return w.mix.Behaviour(n + w.shift) }

// dialled are the channels whose receivers the engine connects to.
func dialled() []string {
	return []string{incident.ChannelWebhook, incident.ChannelSMTP, incident.ChannelSMPP}
}

// station is what peers have in common that are dialled.
type station interface {
	CutAll()
	Close() error
}

// newCrew starts the receivers, all well. take is given what they receive.
func newCrew(take func(channel string, r peer.Receipt)) (_ *crew, err error) {
	c := &crew{weather: make(map[string]*atomic.Pointer[weather])}
	options := func(channel string) peer.Options {
		now := new(atomic.Pointer[weather])
		now.Store(new(weather))
		c.weather[channel] = now
		return peer.Options{Script: func(n int) peer.Behaviour { return now.Load().behaviour(n) },
			Take: func(r peer.Receipt) { take(channel, r) }}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if c.webhooks, err = peer.StartWebhook(options(incident.ChannelWebhook)); err != nil {
		return nil, err
	}
	if c.relay, err = peer.StartSMTP(options(incident.ChannelSMTP)); err != nil {
		return nil, err
	}
	phones := options(incident.ChannelSMPP)
	c.centre, err = peer.StartSMSC(peer.SMSCOptions{Script: phones.Script, Take: phones.Take})
	return c, err
}

// follow has the feeds read below base from now on.
func (c *crew) follow(base string, feeds int) (err error) {
	urls := make([]string, feeds)
	for i := range urls {
		urls[i] = peer.FeedURL(base, page, i+1)
	}
	c.feeds, err = peer.NewFeeds(urls, "")
	return err
}

// station returns the receiver of a channel, nil for one that isn't dialled.
func (c *crew) station(channel string) station {
	switch {
	case channel == incident.ChannelWebhook && c.webhooks != nil:
		return c.webhooks
	case channel == incident.ChannelSMTP && c.relay != nil:
		return c.relay
	case channel == incident.ChannelSMPP && c.centre != nil:
		return c.centre
	}
	return nil
}

// set changes the weather of a channel.
func (c *crew) set(channel string, w *weather) { c.weather[channel].Store(w) }

// cut ends the connections of a channel again and again until ctx ends: who dials
// anew is cut again.
func (c *crew) cut(ctx context.Context, channel string) {
	for ctx.Err() == nil {
		c.station(channel).CutAll()
		_ = run.Sleep(ctx, cutEvery)
	}
}

// cutEvery is what a connection lives meanwhile.
const cutEvery = 100 * time.Millisecond

// address is that of target n, number its inverse, 0 for what is none of ours.
func (c *crew) address(channel string, n int) string {
	switch channel {
	case incident.ChannelWebhook:
		return c.webhooks.URL(n)
	case incident.ChannelSMTP:
		return peer.Mailbox(n)
	case incident.ChannelSMPP:
		return peer.PhoneNumber(n)
	}
	return peer.FeedName(n)
}

func number(channel, address string) int {
	switch channel {
	case incident.ChannelWebhook:
		return peer.TargetNumber(address)
	case incident.ChannelSMTP:
		return peer.MailboxTarget(address)
	case incident.ChannelSMPP:
		return peer.PhoneTarget(address)
	}
	return peer.FeedTarget(address)
}

// invalid counts, by reason, what no receiver could have understood. A body that a
// cut left in pieces is none of it.
func (c *crew) invalid() map[string]int {
	all := make(map[string]int)
	add := func(what string, counts map[string]int) {
		for reason, n := range counts {
			all[what+": "+reason] += n
		}
	}
	add("webhooks", c.webhooks.Report().Invalid)
	add("mail", c.relay.Report().Invalid)
	add("SMS", c.centre.Report().Invalid)
	if c.feeds != nil {
		add("feeds", c.feeds.Report().Invalid)
	}
	return all
}

// close ends all of them.
func (c *crew) close() error {
	var errs []error
	for _, channel := range dialled() {
		if s := c.station(channel); s != nil {
			if err := s.Close(); err != nil {
				errs = append(errs, fmt.Errorf("%s receivers: %w", channel, err))
			}
		}
	}
	if c.feeds != nil {
		errs = append(errs, c.feeds.Close())
	}
	return errors.Join(errs...)
}
