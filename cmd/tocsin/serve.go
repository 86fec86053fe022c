package main

import (
	"context"

	"github.com/tocsin/tocsin/internal/config"
)

type serveCommand struct {
	configFlags
}

// configFlags name a configuration and override some of its keys.
type configFlags struct {
	Config       string `short:"c" placeholder:"FILE" help:"Configuration file (YAML)."`
	Listen       string `placeholder:"ADDR" help:"Address of the API, intake and metrics (127.0.0.1:8080)."`
	PublicListen string `placeholder:"ADDR" help:"Address of feeds and unsubscribe links. Without it feeds are on --listen, and mails have no such links."`
	Data         string `placeholder:"DIR" help:"Folder for everything that has to last (./data)."`
	Queue        string `placeholder:"sqlite|URL" help:"sqlite, embedded, or an amqp:// URL of RabbitMQ."`
}

// Help is shown by --help.
func (*serveCommand) Help() string {
	return `With nothing given the engine listens on 127.0.0.1:8080, keeps everything in ./data, and needs no other service:

    tocsin serve

With RabbitMQ as its queue, and a configuration file:

    tocsin serve --config tocsin.yaml --queue amqp://user:password@broker:5672/

Flags win over the environment (TOCSIN_ and the key in capitals, as in TOCSIN_RETRY_BASE), which wins over the file. ` +
		`Without a token configured it listens on loopback addresses only.

SIGTERM or Ctrl-C ends it cleanly: nothing new is started, what is under way finishes or is handed back. A second one ` +
		`ends it at once; that loses nothing either.`
}

// Run runs the engine until ctx ends.
func (c *serveCommand) Run(ctx context.Context, p *program) error {
	cfg, err := c.load(p)
	if err != nil {
		return err
	}
	if err := newOutlets(cfg).check(); err != nil {
		return err // before anything is waited for
	}
	if err := runEngine(ctx, cfg, p.stderr); err != nil {
		return err
	}
	if ctx.Err() != nil && !terminated(ctx) {
		return context.Canceled
	}
	return nil
}

// load reads the configuration as the flags name and change it.
func (f *configFlags) load(p *program) (*config.Config, error) {
	var settings []config.Setting
	for _, s := range []config.Setting{
		{Flag: "--listen", Key: "listen", Value: f.Listen},
		{Flag: "--public-listen", Key: "public_listen", Value: f.PublicListen},
		{Flag: "--data", Key: "data", Value: f.Data},
		{Flag: "--queue", Key: "queue", Value: f.Queue},
	} {
		if s.Value != "" {
			settings = append(settings, s)
		}
	}
	cfg, err := config.Load(f.Config, p.environ, settings...)
	if err != nil {
		return nil, usageError(err)
	}
	return cfg, nil
}
