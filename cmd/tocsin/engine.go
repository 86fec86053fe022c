package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/channels/webhook"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/config"
	"github.com/tocsin/tocsin/internal/egress"
	"github.com/tocsin/tocsin/internal/gateway"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
	storesqlite "github.com/tocsin/tocsin/internal/store/sqlite"
	"github.com/tocsin/tocsin/internal/telemetry"
	"github.com/tocsin/tocsin/queue"
	"github.com/tocsin/tocsin/queue/rabbitmq"
	queuesqlite "github.com/tocsin/tocsin/queue/sqlite"
)

// groups are the delivery queues that this version serves.
var groups = []dispatcher.Group{{Name: incident.ChannelWebhook}}

// How long the parts may take to begin and to end.
const (
	brokerPatience = 30 * time.Second
	serverPatience = 5 * time.Second
	idleTime       = 75 * time.Second
)

// runEngine runs the engine of cfg until ctx ends, then ends it cleanly; logs go
// to stderr. Its error is of one of the kinds in exit.go.
//
// Everything is put together here. What is opened is closed in the opposite
// order: the listener stops taking requests first; the dispatcher then finishes
// what is in flight, commits and acks; then the queue, the connections and the
// store are closed.
func runEngine(ctx context.Context, cfg *config.Config, stderr io.Writer) (err error) {
	log := telemetry.NewLogger(stderr, slog.LevelInfo)
	var open teardown
	defer func() { err = errors.Join(err, open.close()) }()

	files, err := egress.RaiseFileLimit()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return unavailableError(fmt.Errorf("can't listen on %s: %w", cfg.Listen, err))
	}
	open.add("listener", listener.Close)

	// The store, and the embedded queue in it.
	db, err := sqlitedb.Open(ctx, sqlitedb.Options{Dir: cfg.Data, Log: log})
	if err != nil {
		return unavailableError(err)
	}
	open.add("store", db.Close)
	ledger := storesqlite.New(db, route)

	queues, err := openQueue(ctx, cfg, db, log)
	if err != nil {
		return err
	}
	open.add("queue", queues.Close)

	// The way out.
	policy, err := egress.NewPolicy(egressRules(ctx, cfg, listener))
	if err != nil {
		return usageError(fmt.Errorf("egress: %w", err))
	}
	budget := egress.NewBudget(egress.BudgetOf(files), idleTime)
	open.add("connections", func() error { budget.Close(); return nil })
	dialer := egress.NewDialer(egress.Config{
		Policy: policy, Budget: budget, Source: cfg.Egress.Source, Gate: egress.NewGate(cfg.Egress.Gate, budget.Limit()/4),
	})
	hooks := webhook.New(webhookConfig(cfg), dialer)
	open.add("webhooks", hooks.Close)

	metrics := telemetry.New(telemetry.Options{
		Version: version(), Groups: groupNames(), Log: log,
	})
	engine, err := dispatcher.New(dispatcherOptions(cfg, budget.Limit()), dispatcher.Ports{
		Ledger: ledger, Queue: queues, Intake: queues,
		Channels: map[string]channels.Channel{incident.ChannelWebhook: hooks},
		Meter:    metrics, Log: log,
	})
	if err != nil {
		return err
	}
	metrics.SetSource(func() telemetry.Snapshot {
		return telemetry.Snapshot{
			Engine: engine.Snapshot(), Queues: queues.depths(log), FDUsed: budget.Used(), FDBudget: budget.Limit(),
			BrokerConnected: queues.connected(),
		}
	})

	server := gateway.NewServer(gateway.New(gateway.Deps{
		Intake: queues, Targets: ledger, History: ledger, Engine: engine, Meter: metrics,
		CheckTarget: checkTarget(policy), Metrics: metrics.Handler(), Log: log,
		Ready: func(ctx context.Context) map[string]string {
			return map[string]string{"store": said(ledger.Ping(ctx)), "broker": said(queues.ready(ctx))}
		},
	}, gateway.Options{Tokens: cfg.Tokens, Listen: cfg.Listen}), log)

	running, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	ended := make(chan error, 1)
	go func() {
		err := engine.Run(running)
		fail(err)
		ended <- err
	}()
	served := make(chan error, 1)
	go func() {
		err := server.Serve(gateway.Limit(listener))
		fail(err)
		served <- err
	}()
	log.Info("tocsin is ready", "version", version(), "listen", listener.Addr().String(), "data", cfg.Data,
		"queue", queues.name, "connections", budget.Limit())

	<-running.Done()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), serverPatience)
	defer cancel()
	err = server.Shutdown(stop)
	if serveErr := <-served; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return errors.Join(err, <-ended)
}

// queues is the queue and the intake in use, and what readiness asks of them.
type queues struct {
	queue.Queue
	queue.Intake
	name      string
	ready     func(context.Context) error
	connected func() bool
}

// openQueue opens the embedded queue or the broker's.
func openQueue(ctx context.Context, cfg *config.Config, db *sqlitedb.DB, log *slog.Logger) (*queues, error) {
	if cfg.Queue == config.Embedded {
		q, err := queuesqlite.New(ctx, db, queuesqlite.Options{Log: log})
		if err != nil {
			return nil, unavailableError(err)
		}
		return &queues{
			Queue: q, Intake: q, name: config.Embedded,
			ready: func(context.Context) error { return nil }, connected: func() bool { return true },
		}, nil
	}
	patience, cancel := context.WithTimeout(ctx, brokerPatience)
	defer cancel()
	b, err := rabbitmq.Open(patience, rabbitmq.Options{
		URL: cfg.Queue, Deployment: cfg.Deployment, Groups: groupNames(), Exclusive: true, Logger: log,
	})
	if err != nil {
		return nil, unavailableError(err)
	}
	return &queues{Queue: b, Intake: b, name: "rabbitmq", ready: b.Ready, connected: b.Connected}, nil
}

// Offer implements [gateway.Intake]. A full disk is not a queue that will be
// there again soon.
func (q *queues) Offer(ctx context.Context, e *queue.Event) error {
	err := q.Intake.Offer(ctx, e)
	if errors.Is(err, sqlitedb.ErrFull) {
		err = fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return err
}

// depths measures the queues for a scrape; a queue in trouble has no figures.
func (q *queues) depths(log *slog.Logger) []queue.Depth {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	depths, err := q.Depths(ctx)
	if err != nil {
		log.Debug("the queues can't be measured", "error", err)
	}
	return depths
}

// said is a part's word for readiness.
func said(err error) string {
	if err != nil {
		return telemetry.Redact(err.Error())
	}
	return "ok"
}

// route says who serves a target.
func route(t *incident.Target) (group, provider string, err error) {
	if t.Channel != incident.ChannelWebhook {
		return "", "", &incident.Invalid{Field: "channel", Reason: "has no provider configured: this version sends webhooks only"}
	}
	return incident.ChannelWebhook, egress.ProviderKey(t.Address), nil
}

// checkTarget refuses targets that can't be served.
func checkTarget(policy *egress.Policy) func(*incident.Target) error {
	return func(t *incident.Target) error {
		if _, _, err := route(t); err != nil {
			return err
		}
		_, err := policy.CheckURL(t.Address)
		return err
	}
}

// egressRules are the configured rules, with our own listener and broker ruled
// out.
func egressRules(ctx context.Context, cfg *config.Config, listener net.Listener) egress.Rules {
	rules := cfg.Egress.Rules()
	own := []string{listener.Addr().String()}
	if u, err := url.Parse(cfg.Queue); err == nil && u.Host != "" {
		port := u.Port()
		if port == "" {
			port = map[string]string{"amqp": "5672", "amqps": "5671"}[u.Scheme]
		}
		own = append(own, net.JoinHostPort(u.Hostname(), port))
	}
	for _, hostport := range own {
		host, port, err := net.SplitHostPort(hostport)
		if err != nil {
			continue
		}
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			continue
		}
		addrs, _ := net.DefaultResolver.LookupNetIP(ctx, "ip", host) // a name that leads nowhere can't be dialled
		for _, addr := range addrs {
			rules.Own = append(rules.Own, netip.AddrPortFrom(addr.Unmap(), uint16(number)))
		}
	}
	return rules
}

func webhookConfig(cfg *config.Config) webhook.Config {
	c := webhook.Defaults(version())
	c.ConnectTimeout, c.Timeout = cfg.Webhook.ConnectTimeout, cfg.Webhook.Timeout
	c.IdlePerHost = cfg.Webhook.Connections
	if len(cfg.Webhook.Hosts) > 0 {
		c.Hosts = func(provider string) (connect, timeout time.Duration) {
			limits := cfg.Webhook.For(provider)
			return limits.ConnectTimeout, limits.Timeout
		}
	}
	return c
}

func dispatcherOptions(cfg *config.Config, connections int) dispatcher.Options {
	opt := dispatcher.DefaultOptions()
	opt.Worker = cfg.Deployment
	opt.Groups = groups
	opt.EmbeddedQueue = cfg.Queue == config.Embedded
	opt.Admission = cfg.Admission
	opt.MaxInFlight = connections
	opt.Backoff = dispatcher.Backoff{Base: cfg.Retry.Base, Cap: cfg.Retry.Cap}
	opt.ExpiresAfter = cfg.Retry.ExpiresAfter
	opt.Policy = func(_, provider string) dispatcher.ProviderPolicy {
		limits := cfg.Webhook.For(provider)
		return dispatcher.ProviderPolicy{Limit: limits.Limit(), Window: min(limits.Window, limits.Connections)}
	}
	return opt
}

func groupNames() []string {
	names := make([]string, len(groups))
	for i, g := range groups {
		names[i] = g.Name
	}
	return names
}

// teardown closes what was opened, the last first.
type teardown []struct {
	name  string
	close func() error
}

func (t *teardown) add(name string, close func() error) {
	*t = append(*t, struct {
		name  string
		close func() error
	}{name, close})
}

func (t *teardown) close() (err error) {
	for i := len(*t) - 1; i >= 0; i-- {
		step := (*t)[i]
		if e := step.close(); e != nil && !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, fmt.Errorf("closing the %s: %w", step.name, e))
		}
	}
	return err
}
