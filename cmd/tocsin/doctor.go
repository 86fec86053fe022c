package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/tocsin/tocsin/channels/smpp"
	"github.com/tocsin/tocsin/channels/smtp"
	"github.com/tocsin/tocsin/internal/config"
	"github.com/tocsin/tocsin/internal/doctor"
	"github.com/tocsin/tocsin/internal/egress"
	"github.com/tocsin/tocsin/queue/rabbitmq"
)

type doctorCommand struct {
	configFlags
	JSON    bool          `name:"json" help:"One JSON object, for machines."`
	Timeout time.Duration `default:"5s" placeholder:"TIME" help:"How long a check may take (5s); all run at once."`
}

// Help is shown by --help.
func (*doctorCommand) Help() string {
	return `Compares limits, kernel settings, memory, clock, data folder, listeners, broker, relays and SMS centres with what ` +
		`the configuration needs, and says of each what was found, what is wanted, what the difference does and how to end it. ` +
		`What needs you comes last.

    tocsin doctor --config tocsin.yaml
    tocsin doctor --config tocsin.yaml --json | jq -r '.checks[] | select(.result == "failure") | .fix'

Take the flags, the environment and the user that serve has. It may run beside the engine: nothing is sent, changed or ` +
		`left behind, and an SMS account marked exclusive isn't bound.

Exit code 0, 1 if a check failed, 2 if the configuration can't be run.`
}

// Run makes the checks and prints them.
func (c *doctorCommand) Run(ctx context.Context, p *program) error {
	if c.Timeout <= 0 {
		return usageError(errors.New("--timeout must be longer than nothing"))
	}
	cfg, err := c.load(p)
	if err != nil {
		return err
	}
	options, closeAll, err := doctorOptions(ctx, cfg, c.Timeout)
	if err != nil {
		return err
	}
	defer closeAll()
	findings := doctor.Examine(ctx, options, c.Timeout)
	if ctx.Err() != nil {
		return context.Canceled
	}
	write := doctor.WriteText
	if c.JSON {
		write = doctor.WriteJSON
	}
	if err := write(p.stdout, findings); err != nil {
		return err
	}
	switch n := doctor.Count(findings, doctor.Failure); n {
	case 0:
		return nil
	case 1:
		return errors.New("a check failed")
	default:
		return fmt.Errorf("%d checks failed", n)
	}
}

// probeConnections is enough for one of each at the same time.
const probeConnections = 2000

// doctorOptions gives the doctor the adapters' probes, which connect as the engine's
// channels do. The function it returns closes what they keep.
func doctorOptions(ctx context.Context, cfg *config.Config, timeout time.Duration) (doctor.Options, func(), error) {
	budget := egress.NewBudget(probeConnections, cfg.Egress.IdleTime)
	resolving, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	dialer, err := newDialer(resolving, cfg, cfg.Listen, budget, slog.New(slog.DiscardHandler))
	if err != nil {
		return doctor.Options{}, nil, err
	}
	ways := newOutlets(cfg)
	options := doctor.Options{
		Config: cfg, System: doctor.Machine(), Built: built(), Policy: dialer.Policy, Lookup: dialer.Lookup, PublicURL: ways.publicURL(),
		Broker: func(ctx context.Context) doctor.Broker { return examineBroker(ctx, cfg, ways, timeout) },
	}
	closeAll := budget.Close
	if len(cfg.SMTP) > 0 {
		settings := ways.smtpConfig(nil)
		settings.ConnectTimeout, settings.Timeout = timeout, timeout
		mails, err := smtp.New(settings, dialer)
		if err != nil {
			return doctor.Options{}, nil, usageError(err)
		}
		options.Relay = func(ctx context.Context, name string) doctor.Relay { return examineRelay(ctx, mails, name) }
	}
	if len(cfg.SMPP) > 0 {
		settings := ways.smppConfig(nil, nil, slog.New(slog.DiscardHandler))
		for _, account := range settings.Accounts {
			if err := account.Check(); err != nil {
				return doctor.Options{}, nil, usageError(err)
			}
		}
		settings.ConnectTimeout, settings.ResponseTimeout, settings.CloseTimeout = timeout, timeout, min(timeout, settings.CloseTimeout)
		options.Centre = func(ctx context.Context, name string) doctor.Centre {
			return examineCentre(ctx, settings, name, dialer)
		}
	}
	return options, closeAll, nil
}

func examineBroker(ctx context.Context, cfg *config.Config, ways *outlets, timeout time.Duration) doctor.Broker {
	p, err := rabbitmq.Probe(ctx, rabbitmq.Options{
		URL: cfg.Queue, Deployment: cfg.Deployment, Groups: ways.groupNames(), ConnectTimeout: timeout, WriteTimeout: timeout,
	})
	return doctor.Broker{
		Err: err, Refused: errors.Is(err, rabbitmq.ErrRefused), Product: p.Product, Version: p.Version, Alarm: p.Alarm,
		Denied: p.Denied, Different: p.Different, Missing: p.Missing, Queues: p.Queues, Owned: p.Owned, Parked: p.Parked,
	}
}

func examineRelay(ctx context.Context, mails *smtp.Channel, name string) doctor.Relay {
	p, err := mails.Probe(ctx, name)
	return doctor.Relay{
		Err: err, Step: p.Step, Encrypted: p.Encrypted, Certificate: p.Certificate, LoggedIn: p.LoggedIn, Pipelining: p.Pipelining,
	}
}

func examineCentre(ctx context.Context, settings smpp.Config, name string, dialer *egress.Dialer) doctor.Centre {
	for _, account := range settings.Accounts {
		if account.Name == name {
			p, err := smpp.Probe(ctx, settings, account, dialer)
			return doctor.Centre{Err: err, Connected: p.Connected, Refused: p.Refused, Taken: p.Taken, Bound: p.Bound, Unbound: p.Unbound}
		}
	}
	return doctor.Centre{Err: fmt.Errorf("there is no account named %q", name)}
}

// built is when the commit was made that this program is of; zero if it doesn't know.
func built() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return time.Time{}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			at, err := time.Parse(time.RFC3339, s.Value)
			if err == nil {
				return at
			}
		}
	}
	return time.Time{}
}
