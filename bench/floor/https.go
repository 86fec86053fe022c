package floor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
)

// HTTPSCommand is the floor for webhooks over HTTPS: as [HTTPCommand], over TLS 1.3
// with Go's default key exchange, which is the engine's. Each peer is verified, by its
// address.
type HTTPSCommand struct {
	Webhooks
	Rounds
	Gate   int    `default:"256" help:"Dials and handshakes under way at once."`
	CA     string `required:"" name:"ca" placeholder:"FILE" help:"Certificates (PEM) that vouch for the peers."`
	Resume bool   `help:"Tell everybody once over new sessions, which is not measured, then connect again and resume them."`
}

// Run sends, see [Result].
func (c *HTTPSCommand) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	if err := c.check(); err != nil {
		return err
	}
	if c.Resume && c.Warm || c.Gate < 1 {
		return errors.New("--resume measures new connections and --warm kept ones: use one of them, and a gate of 1 or more")
	}
	config, err := c.config()
	if err != nil {
		return err
	}
	total, skip, err := c.total()
	if err != nil {
		return err
	}
	var first *fleet
	sequence := 1
	if c.Resume {
		first = &fleet{lanes: c.lanes(), gate: c.Gate, secure: config}
		if first.rounds, err = c.rounds(1, 1); err != nil {
			return err
		}
		sequence = 2
	}
	f := &fleet{lanes: c.lanes(), gate: c.Gate, window: c.Window, secure: config, skip: skip, resumed: c.Resume}
	if f.rounds, err = c.rounds(sequence, total); err != nil {
		return err
	}
	return perform(ctx, in, out, c.Limit, func(ctx context.Context) (Result, error) {
		if first != nil {
			if _, err := first.measure(ctx); err != nil {
				return Result{}, fmt.Errorf("before there were sessions to resume: %w", err)
			}
		}
		return f.measure(ctx)
	})
}

func (c *HTTPSCommand) config() (*tls.Config, error) {
	pem, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, fmt.Errorf("read the certificates of --ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate in PEM form", c.CA)
	}
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13, ClientSessionCache: tls.NewLRUClientSessionCache(c.Targets)}, nil
}
