package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/tocsin/tocsin/internal/peer"
)

type peerCommand struct {
	Webhook webhookPeerCommand `cmd:"" help:"Be every webhook in 127/8."`
	SMTP    smtpPeerCommand    `cmd:"" name:"smtp" help:"Be a mail relay and every mailbox behind it."`
	SMPP    smppPeerCommand    `cmd:"" name:"smpp" help:"Be an SMS centre and every phone behind it."`
	RSS     rssPeerCommand     `cmd:"" name:"rss" help:"Be a subscriber who reads feeds again and again."`
}

// peerFlags are those of peers that follow a script.
type peerFlags struct {
	Mix      string        `help:"Who behaves how, as demo --mix; all are ok without it."`
	Hold     time.Duration `help:"Healthy targets answer after this."`
	Receipts string        `placeholder:"FILE" help:"Write receipts there as they come."`
}

func (f *peerFlags) options() (peer.Options, error) {
	mix, err := peer.ParseMix(f.Mix)
	if err != nil {
		return peer.Options{}, usageError(err)
	}
	mix.Hold = f.Hold
	return peer.Options{Script: mix.Behaviour, Receipts: f.Receipts}, nil
}

const peerHelp = `Prints one line of JSON with "control":"http://127.0.0.1:…", and runs until it is told to end. GET /report and ` +
	`/receipts?from=N of control tell what came in.`

type webhookPeerCommand struct{ peerFlags }

// Help is shown by --help.
func (*webhookPeerCommand) Help() string {
	return peerHelp + ` Target n is http://127.x.y.z:port/t/n with the address 127.1.0.0 + n.`
}

// Run plays the webhooks until ctx ends.
func (c *webhookPeerCommand) Run(ctx context.Context, p *program) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	w, err := peer.StartWebhook(o)
	if err != nil {
		return err
	}
	return play(ctx, p, w, peerAddress{Port: w.Port()})
}

type smtpPeerCommand struct{ peerFlags }

// Help is shown by --help.
func (*smtpPeerCommand) Help() string { return peerHelp + ` Target n is tN@peer.example.` }

// Run plays the relay until ctx ends.
func (c *smtpPeerCommand) Run(ctx context.Context, p *program) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	s, err := peer.StartSMTP(o)
	if err != nil {
		return err
	}
	return play(ctx, p, s, peerAddress{Port: s.Port(), URL: s.URL()})
}

type smppPeerCommand struct{ peerFlags }

// Help is shown by --help.
func (*smppPeerCommand) Help() string { return peerHelp + ` Target n is +999 and n in eight digits.` }

// Run plays the SMS centre until ctx ends.
func (c *smppPeerCommand) Run(ctx context.Context, p *program) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	s, err := peer.StartSMSC(peer.SMSCOptions{Script: o.Script, Receipts: o.Receipts})
	if err != nil {
		return err
	}
	return play(ctx, p, s, peerAddress{Port: s.Port(), URL: s.URL()})
}

type rssPeerCommand struct {
	Base     string `required:"" placeholder:"URL" help:"Where /feeds/ is."`
	Count    int    `required:"" placeholder:"N" help:"How many feeds there are."`
	Receipts string `placeholder:"FILE" help:"Write receipts there as they come."`
}

// Help is shown by --help.
func (*rssPeerCommand) Help() string {
	return peerHelp + ` The feeds are read before each answer. Feed n is /feeds/default/feed-N, as Atom, RSS and JSON by turns.`
}

// Run plays the subscriber until ctx ends.
func (c *rssPeerCommand) Run(ctx context.Context, p *program) error {
	if c.Count < 0 || c.Count > peer.MaxTargets {
		return usageError(fmt.Errorf("--count must be from 0 to %d", peer.MaxTargets))
	}
	urls := make([]string, c.Count)
	for i := range urls {
		urls[i] = peer.FeedURL(c.Base, "default", i+1)
	}
	f, err := peer.NewFeeds(urls, c.Receipts)
	if err != nil {
		return err
	}
	return play(ctx, p, f, peerAddress{})
}

// peerAddress is what a peer prints once it listens.
type peerAddress struct {
	Port int `json:"port,omitempty"`
	// URL is where the engine finds it, as its configuration has it; webhooks
	// have a port alone.
	URL     string `json:"url,omitempty"`
	Control string `json:"control"`
}

// player is a peer of any kind.
type player interface {
	Control() http.Handler
	Close() error
}

// play says where the peer is, answers for it until ctx ends, and closes it.
func play(ctx context.Context, p *program, who player, at peerAddress) (err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(fmt.Errorf("peer control: %w", err), who.Close())
	}
	at.Control = "http://" + listener.Addr().String()
	control := &http.Server{Handler: who.Control(), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- control.Serve(listener) }()
	if err = json.NewEncoder(p.stdout).Encode(at); err == nil {
		select {
		case <-ctx.Done():
		case err = <-served:
			return errors.Join(fmt.Errorf("peer control: %w", err), who.Close())
		}
	}
	control.Close()
	<-served
	return errors.Join(err, who.Close())
}
