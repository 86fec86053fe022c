package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/caller"
	"github.com/tocsin/tocsin/internal/cases"
	"github.com/tocsin/tocsin/internal/config"
	"github.com/tocsin/tocsin/internal/doctor"
	"github.com/tocsin/tocsin/internal/egress"
	"github.com/tocsin/tocsin/internal/feeds"
	"github.com/tocsin/tocsin/internal/gateway"
	"github.com/tocsin/tocsin/internal/probing"
	"github.com/tocsin/tocsin/internal/public"
	"github.com/tocsin/tocsin/internal/senders"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	storesqlite "github.com/tocsin/tocsin/internal/store/sqlite"
	"github.com/tocsin/tocsin/internal/telemetry"
)

// How long the parts may take to begin and to end.
const (
	brokerPatience = 30 * time.Second
	serverPatience = 5 * time.Second
	readyPatience  = 500 * time.Millisecond // for the broker, when asked whether it is
)

// garbage is GOGC where nobody sets it, in percent of what is in use. What each delivery
// leaves behind is little, and what is in use is not much: Go's 100 collects too often.
const garbage = 150

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

	if limit := doctor.MemoryFor(doctor.Machine()); limit > 0 && debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(limit) // else garbage may grow until the kernel ends us
		log.Info("Go is told of the memory limit; GOMEMLIMIT sets another", "bytes", limit)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
	files, err := egress.RaiseFileLimit()
	if err != nil {
		return err
	}
	withTLS, err := controlTLS(cfg, log)
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
	ways := newOutlets(cfg)
	ledger := storesqlite.New(db, ways.route)

	queues, err := openQueue(ctx, cfg, ways.groupNames(), db, log)
	if err != nil {
		return err
	}
	open.add("queue", queues.Close)
	if err := ways.reroute(ctx, ledger, log); err != nil {
		return unavailableError(err)
	}

	// The way out, and what the public may read.
	budget := egress.NewBudget(egress.BudgetOf(files), cfg.Egress.IdleTime)
	open.add("connections", func() error { budget.Close(); return nil })
	dialer, err := newDialer(ctx, cfg, listener.Addr().String(), budget, log)
	if err != nil {
		return err
	}
	shelf := feeds.NewShelf()
	var told recaller
	guests, err := newPublic(cfg, ways.publicURL(), ledger, told.TargetsChanged, shelf, log)
	if err != nil {
		return err
	}
	out, published, err := ways.open(dialer, ledger, shelf, guests.Link, told.TargetsChanged, log, &open)
	if err != nil {
		return err
	}

	metrics := telemetry.New(telemetry.Options{
		Version: version(), Groups: ways.groupNames(), Providers: slices.Sorted(maps.Keys(ways.named)), Sources: sourceNames(cfg), Log: log,
	})
	callers, err := caller.New(caller.Options{Sources: cfg.Callers(), Refused: metrics.CallerRefused, Memory: ledger, Log: log})
	if err != nil {
		return usageError(err)
	}
	if err := callers.Recall(ctx); err != nil {
		return unavailableError(err)
	}
	producers := &callbacks{webhooks: out[incident.ChannelWebhook], policy: dialer.Policy, secrets: cfg.Callback.Secrets}
	engine, err := dispatcher.New(dispatcherOptions(cfg, ways, budget.Limit()), dispatcher.Ports{
		Ledger: ledger, Queue: queues, Intake: queues, Channels: out, Callbacks: producers, Meter: metrics, Log: log,
	})
	if err != nil {
		return err
	}
	told.engine.Store(engine)
	alerts, err := senders.NewAlertmanager(cfg.Alerts.Mapping())
	if err != nil {
		return usageError(fmt.Errorf("alerts: %w", err))
	}
	own, err := cfg.Own()
	if err != nil {
		return usageError(err)
	}
	keeper := cases.New(ledger, queues, cases.Options{Rules: cfg.Lifecycle.Rules(), KeepAudit: cfg.Audit.Keep, Log: log})
	watch, err := probing.New(ctx, ledger, keeper, probing.Options{Page: cfg.Probes.Page, Rules: cfg.Probes.Rules(), Meter: metrics, Log: log})
	if err != nil {
		return unavailableError(err)
	}
	open.add("watch over services", func() error { watch.Close(); return nil })
	metrics.SetSource(func() telemetry.Snapshot {
		depths, _ := queues.measure(context.Background()) // a queue in trouble has no figures
		return telemetry.Snapshot{
			Engine: engine.Snapshot(), Queues: depths, FDUsed: budget.Used(), FDBudget: budget.Limit(),
			PortShortages: dialer.PortShortages(), BrokerConnected: queues.connected(), Services: watch.Count(),
		}
	})
	control := gateway.New(gateway.Deps{
		Intake: queues, Lifecycle: keeper, Alerts: alerts.Reports, Probes: watch, PageOf: cfg.PageOf, PublicOf: cfg.PublicOf, Own: own, Targets: feedTargets{ledger, published.Changed}, History: ledger, Audit: ledger, Engine: engine, Meter: metrics,
		CheckTarget: ways.checkTarget, Callers: callers, CheckCallback: producers.Check, Groups: ways.groups, Policy: ways.limits,
		WebhookProvider: ways.webhookProvider,
		Depths:          queues.measure, Metrics: metrics.Handler(), Log: log, Ended: metrics.Ended,
		Connections: func() (used, most int) { return budget.Used(), budget.Limit() },
		Ready: func(ctx context.Context) map[string]string {
			return readiness(ctx, map[string]func(context.Context) error{"store": ledger.Ping, "broker": queues.ready})
		},
	}, gateway.Options{Tokens: cfg.Tokens, Listen: cfg.Listen})
	var routes http.Handler = control
	if cfg.PublicListen == "" {
		routes = withFeeds(control, shelf)
	}

	if err := published.Warm(ctx); err != nil {
		log.Warn("some feeds are not published yet; trying again", "error", err)
	}
	ctx, running := newWork(ctx)
	running.run(ctx, "engine", engine.Run)
	running.run(ctx, "lifecycle", keeper.Run)
	running.run(ctx, "watch over services", watch.Run)
	if queues.probes != nil {
		running.run(ctx, "results of probes", func(ctx context.Context) error { return watch.Consume(ctx, queues.probes) })
	}
	running.run(ctx, "feeds", func(ctx context.Context) error { published.Run(ctx); return nil })
	running.run(ctx, "live page", control.Run)
	running.run(ctx, "control listener", serveControl(gateway.NewServer(routes, log), withTLS(gateway.NewCrowd(listener, log))))
	if cfg.PublicListen != "" {
		public, err := net.Listen("tcp", cfg.PublicListen)
		if err != nil {
			running.end(unavailableError(fmt.Errorf("can't listen on %s: %w", cfg.PublicListen, err)))
		} else {
			running.run(ctx, "public listener", servePublic(guests, shelf, public, log))
		}
	}
	log.Info("tocsin is ready", "version", version(), "listen", listener.Addr().String(), "data", cfg.Data,
		"queue", queues.name, "connections", budget.Limit())
	return running.wait()
}

// serveControl serves until ctx ends, and then lets requests finish.
func serveControl(server *http.Server, listener net.Listener) func(context.Context) error {
	return func(ctx context.Context) error {
		stopped := make(chan error, 1)
		defer context.AfterFunc(ctx, func() {
			patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), serverPatience)
			defer cancel()
			err := server.Shutdown(patience)
			if errors.Is(err, context.DeadlineExceeded) {
				err = server.Close() // clients that take their time have no answer, and so no promise
			}
			stopped <- err
		})()
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return <-stopped
	}
}

// servePublic does so for feeds and links.
func servePublic(handler *public.Handler, shelf *feeds.Shelf, listener net.Listener, log *slog.Logger) func(context.Context) error {
	server := public.NewServer(handler, log)
	return func(ctx context.Context) error {
		stopped := make(chan error, 1)
		defer context.AfterFunc(ctx, func() {
			patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), serverPatience)
			defer cancel()
			stopped <- server.ShutdownWithContext(patience)
		})()
		if err := server.Serve(feeds.Direct(feeds.Limit(listener), shelf, server)); err != nil {
			return err
		}
		return <-stopped
	}
}

// withFeeds puts the feeds on the control listener: whoever may reach it may
// read them, without a token.
func withFeeds(control http.Handler, shelf *feeds.Shelf) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/feeds/") {
			shelf.ServeHTTP(w, r)
			return
		}
		control.ServeHTTP(w, r)
	})
}

// newPublic makes the handler of the public listener, which signs and takes the
// links that unsubscribe.
func newPublic(cfg *config.Config, base string, s *storesqlite.Store, changed func([]int64), shelf *feeds.Shelf, log *slog.Logger) (*public.Handler, error) {
	key, err := public.LoadKey(cfg.Data)
	if err != nil {
		return nil, unavailableError(err)
	}
	return public.New(public.Options{
		Feeds: shelf.Serve, Key: key, BaseURL: base, Clock: time.Now, Log: log,
		Describe: func(ctx context.Context, id int64) (public.Subscription, error) {
			t, err := s.Target(ctx, id)
			if err != nil {
				return public.Subscription{}, err
			}
			return public.Describe(t), nil
		},
		Unsubscribe: func(ctx context.Context, id int64) error {
			ended, err := s.Unsubscribe(ctx, id)
			if ended {
				changed([]int64{id})
			}
			return err
		},
	})
}

// recaller tells the engine of changed targets, once there is one: what it holds
// before that it claims afresh.
type recaller struct {
	engine atomic.Pointer[dispatcher.Engine]
}

func (r *recaller) TargetsChanged(ids []int64) {
	if e := r.engine.Load(); e != nil && len(ids) > 0 {
		e.TargetsChanged(ids)
	}
}

// newDialer makes the dialer of everything outbound; listen is where we listen.
func newDialer(ctx context.Context, cfg *config.Config, listen string, budget *egress.Budget, log *slog.Logger) (*egress.Dialer, error) {
	policy, err := egress.NewPolicy(egressRules(ctx, cfg, listen))
	if err != nil {
		return nil, usageError(fmt.Errorf("egress: %w", err))
	}
	return egress.NewDialer(egress.Config{
		Policy: policy, Budget: budget, Gate: egress.NewGate(cfg.Egress.Gate, budget.Limit()/4), Source: cfg.Egress.Source,
		Sessions: cfg.Egress.Sessions, Log: log,
	}), nil
}

// readiness asks all parts at once: one that is stuck doesn't put the others in the
// wrong.
func readiness(ctx context.Context, parts map[string]func(context.Context) error) map[string]string {
	var asking sync.WaitGroup
	var mu sync.Mutex
	words := make(map[string]string, len(parts))
	for name, ask := range parts {
		asking.Go(func() {
			word := said(ask(ctx))
			mu.Lock()
			defer mu.Unlock()
			words[name] = word
		})
	}
	asking.Wait()
	return words
}

// said is a part's word for readiness.
func said(err error) string {
	if err != nil {
		return telemetry.Redact(err.Error())
	}
	return "ok"
}

// egressRules are the configured rules, with our own listener and broker ruled
// out.
func egressRules(ctx context.Context, cfg *config.Config, listen string) egress.Rules {
	rules := cfg.Egress.Rules()
	own := []string{listen}
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

func dispatcherOptions(cfg *config.Config, ways *outlets, connections int) dispatcher.Options {
	opt := dispatcher.DefaultOptions()
	opt.Worker = cfg.Deployment
	opt.Groups = ways.groups
	opt.EmbeddedQueue = cfg.Queue == config.Embedded
	opt.Admission = cfg.Admission
	opt.MaxInFlight = connections
	opt.LongestSend = ways.longestSend()
	opt.MaxStarting = cfg.Egress.Gate // as many as may dial at once
	opt.MaxFresh = 256 * runtime.GOMAXPROCS(0)
	opt.Backoff = dispatcher.Backoff{Base: cfg.Retry.Base, Cap: cfg.Retry.Cap}
	opt.ExpiresAfter = cfg.Retry.ExpiresAfter
	opt.Policy = ways.limits
	opt.Budgets = ways.budgets()
	return opt
}
