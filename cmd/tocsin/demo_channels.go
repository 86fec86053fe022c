package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/peer"
)

// demoChannel is a demo's part on one channel: targets, numbered from 1, and the
// peer that plays them in a process of its own.
type demoChannel struct {
	name    string
	plural  string // of its targets, for people
	targets int
	mix     peer.Mix
	// address is that of target n, number its inverse, 0 for what is no target.
	address func(n int) string
	number  func(address string) int

	peers *child
	at    peerAddress
}

// defaultChannels is what a demo mixes.
const defaultChannels = "webhook=70,smtp=20,smpp=9,rss=1"

// The mixes of mailboxes and phones. They share one relay and one SMS account, so
// nothing here makes these pause as a whole, which throttling does, or takes them
// for broken, which many targets do that fail for good at once.
const (
	mailMix  = "slow=2:50ms-500ms,500=2,gone=1"
	phoneMix = "slow=3:300ms-2s,500=2,gone=1"
)

// channelOf returns a channel without targets, nil if the demo has none of that
// name.
func channelOf(name string) *demoChannel {
	c := &demoChannel{name: name}
	switch name {
	case incident.ChannelWebhook:
		c.plural, c.number = "webhooks", peer.TargetNumber
		c.address = func(n int) string { return peer.TargetURL(n, c.at.Port) }
	case incident.ChannelSMTP:
		c.plural, c.number, c.address = "mailboxes", peer.MailboxTarget, peer.Mailbox
		c.mix = fixedMix(mailMix)
	case incident.ChannelSMPP:
		c.plural, c.number, c.address = "phones", peer.PhoneTarget, peer.PhoneNumber
		c.mix = fixedMix(phoneMix)
	case incident.ChannelRSS:
		c.plural, c.number, c.address = "feeds", peer.FeedTarget, peer.FeedName
	default:
		return nil
	}
	return c
}

func fixedMix(text string) peer.Mix {
	mix, err := peer.ParseMix(text)
	if err != nil {
		panic("tocsin: a mix of the demo is at fault: " + err.Error())
	}
	return mix
}

// parseChannels reads shares such as [defaultChannels], which have to be 100
// percent together, and deals out the targets, in whole ones. Every channel that
// is named has one if there are enough for all; one without any is left out.
func parseChannels(text string, targets int) ([]*demoChannel, error) {
	var all []*demoChannel
	var shares []float64
	sum := 0.0
	for part := range strings.SplitSeq(text, ",") {
		name, percent, found := strings.Cut(strings.TrimSpace(part), "=")
		c := channelOf(name)
		share, err := strconv.ParseFloat(percent, 64)
		switch {
		case !found || c == nil:
			return nil, fmt.Errorf("--channels: %q must be channel=percent, with webhook, smtp, smpp or rss", part)
		case err != nil || !(share > 0 && share <= 100):
			return nil, fmt.Errorf("--channels: %q must have a percentage above 0, up to 100", part)
		}
		for _, other := range all {
			if other.name == name {
				return nil, fmt.Errorf("--channels: %s is there twice; name each channel once", name)
			}
		}
		all, shares, sum = append(all, c), append(shares, share), sum+share
	}
	if math.Abs(sum-100) > 1e-6 {
		return nil, fmt.Errorf("--channels: the shares are %g percent together; they must be 100", sum)
	}
	deal(all, shares, targets)
	var used []*demoChannel
	for _, c := range all {
		if c.targets > 0 {
			used = append(used, c)
		}
	}
	return used, nil
}

// deal gives each channel its percentage of the targets, rounded down; those that
// remain go to who is owed most, and then one of the richest to each that has none.
func deal(all []*demoChannel, shares []float64, targets int) {
	owed := make([]float64, len(all))
	left := targets
	for i, c := range all {
		exact := shares[i] / 100 * float64(targets)
		c.targets = int(exact)
		owed[i] = exact - float64(c.targets)
		left -= c.targets
	}
	for ; left > 0; left-- {
		most := 0
		for i := range all {
			if owed[i] > owed[most] {
				most = i
			}
		}
		all[most].targets++
		owed[most]--
	}
	for _, poor := range all {
		rich := poor
		for _, c := range all {
			if c.targets > rich.targets {
				rich = c
			}
		}
		if poor.targets == 0 && rich.targets > 1 {
			rich.targets--
			poor.targets++
		}
	}
}

// healthy counts the targets that answer at once, or after --hold.
func (c *demoChannel) healthy() int {
	n := 0
	for target := 1; target <= c.targets; target++ {
		if c.mix.Behaviour(target).Kind == peer.OK {
			n++
		}
	}
	return n
}

// startPeers starts a process for each channel, and waits until they listen. Feeds
// are read where the engine is going to serve them.
func (d *demo) startPeers(ctx context.Context) error {
	for _, c := range d.channels {
		args := []string{"peer", c.name, "--receipts", filepath.Join(d.folder, c.plural+".receipts")}
		if c.name == incident.ChannelRSS {
			args = append(args, "--base", "http://"+d.public, "--count", strconv.Itoa(c.targets))
		} else {
			args = append(args, "--mix", c.mix.String(), "--hold", c.mix.Hold.String())
		}
		var err error
		if c.peers, err = startChild(c.plural, d.folder, d.environ(), args...); err != nil {
			return err
		}
	}
	for _, c := range d.channels {
		line, err := bufio.NewReader(c.peers.stdout).ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, &c.at)
		}
		if err != nil {
			return fmt.Errorf("the %s did not say where they are (%w): %w", c.plural, err,
				cmp.Or(c.peers.stop(time.Second), errors.New("no reason given")))
		}
	}
	return ctx.Err()
}
