package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/tocsin/tocsin/internal/peer"
)

type peerCommand struct {
	Webhook webhookPeerCommand `cmd:"" help:"Be every webhook in 127/8."`
}

type webhookPeerCommand struct {
	Mix      string        `help:"Who behaves how, as demo --mix; all are ok without it."`
	Hold     time.Duration `help:"Healthy targets answer after this."`
	Receipts string        `placeholder:"FILE" help:"Write receipts there as they come."`
}

// Help is shown by --help.
func (*webhookPeerCommand) Help() string {
	return `Prints one line of JSON, {"port":…,"control":"http://127.0.0.1:…"}, and runs until it is told to end. Target n is ` +
		`http://127.x.y.z:port/t/n with the address 127.1.0.0 + n. GET /report and /receipts?from=N of control tell what came in.`
}

// peerAddress is what a peer prints once it listens.
type peerAddress struct {
	Port    int    `json:"port"`
	Control string `json:"control"`
}

// Run plays the receivers until ctx ends.
func (c *webhookPeerCommand) Run(ctx context.Context, p *program) (err error) {
	mix, err := peer.ParseMix(c.Mix)
	if err != nil {
		return usageError(err)
	}
	mix.Hold = c.Hold
	webhook, err := peer.StartWebhook(peer.Options{Script: mix.Behaviour, Receipts: c.Receipts})
	if err != nil {
		return err
	}
	defer func() {
		if closing := webhook.Close(); err == nil {
			err = closing
		}
	}()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("peer control: %w", err)
	}
	control := &http.Server{Handler: webhook.Control(), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- control.Serve(listener) }()
	err = json.NewEncoder(p.stdout).Encode(peerAddress{webhook.Port(), "http://" + listener.Addr().String()})
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-served:
			return fmt.Errorf("peer control: %w", err)
		}
	}
	control.Close()
	<-served
	return err
}
