package sink

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/tocsin/tocsin/internal/peer"
)

// Command is a sink in a process of its own, for kong. It prints one line of JSON,
// its [Address], and runs until it is told to end.
type Command struct {
	Port      int           `help:"Port on every address; any free one without it."`
	Targets   int           `required:"" help:"How many targets there are."`
	Sequences int           `default:"1" help:"How many updates each may get."`
	Hosts     int           `required:"" help:"How many addresses the targets share."`
	Shared    bool          `help:"Take the addresses for hosts of many targets."`
	Hot       int           `help:"How many targets, from the first on, live at one address."`
	Mixed     int           `help:"How many targets, from the first on, behave as --mix and --hold say; the others answer 200 at once."`
	Mix       string        `help:"Who behaves how, as tocsin demo --mix."`
	Hold      time.Duration `help:"Healthy targets answer after this."`
	CA        string        `name:"ca" placeholder:"FILE" help:"Speak HTTPS, and write the authority of the certificates there."`
}

// Run is the far side until ctx ends.
func (c *Command) Run(ctx context.Context, out io.Writer) (err error) {
	// It allocates next to nothing for a request; what it holds should not make
	// it collect while something is measured.
	debug.SetGCPercent(400)
	mix, err := peer.ParseMix(c.Mix)
	if err != nil {
		return err
	}
	mix.Hold = c.Hold
	o := Options{Port: c.Port, Targets: c.Targets, Sequences: c.Sequences, Mix: mix, Mixed: c.Mixed, Addresses: Addresses{Hosts: c.Hosts, Hot: c.Hot, Shared: c.Shared}}
	if c.CA != "" {
		if o.TLS, err = NewTLS(o.Addresses, c.CA); err != nil {
			return err
		}
	}
	s, err := Start(o)
	if err != nil {
		return err
	}
	defer func() {
		if closing := s.Close(); err == nil {
			err = closing
		}
	}()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("control of the sink: %w", err)
	}
	control := &http.Server{Handler: s.Control(), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- control.Serve(listener) }()
	err = json.NewEncoder(out).Encode(Address{Port: s.Port(), Control: "http://" + listener.Addr().String(), CA: c.CA})
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-served:
			return fmt.Errorf("control of the sink: %w", err)
		}
	}
	control.Close()
	<-served
	return err
}
