package config

import (
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/tocsin/tocsin/internal/egress"
	"github.com/tocsin/tocsin/ratelimit"
)

// Words for the parts that are built in.
const (
	// Embedded is the queue and the store in one SQLite file below data.
	Embedded = "sqlite"
	// Local keeps rates in the process.
	Local = "local"
)

// Config is an immutable snapshot: nobody changes it after [Load], and whoever
// needs another one loads it anew. The tags min and max bound a number, a
// duration, or each number of a list; [Load] enforces them.
type Config struct {
	// Listen is the address of the control API, the intake and the metrics,
	// as host:port. Without a token it must be a loopback address.
	Listen string `yaml:"listen"`
	// PublicListen is the address of feeds, unsubscribe links and WebSub; ""
	// serves them on Listen.
	PublicListen string `yaml:"public_listen"`
	// PublicURL is where readers and subscribers reach the public listener, as
	// in https://status.example.com; "" is http:// and its address.
	PublicURL string `yaml:"public_url"`
	// Data is the folder of the store, the embedded queue and the spool. One
	// process at a time uses it.
	Data string `yaml:"data"`
	// Queue is "sqlite" or an AMQP 0-9-1 URL (amqp, amqps).
	Queue string `yaml:"queue"`
	// Store is "sqlite" or a PostgreSQL URL.
	Store string `yaml:"store"`
	// Rates is "local" or a Redis URL (redis, rediss).
	Rates string `yaml:"rates"`
	// Tokens are the bearer tokens of the control API (RFC 6750), each of at
	// least 16 characters. Empty means no token is asked for.
	Tokens []string `yaml:"tokens"`
	// TLS is what Listen speaks; without it that is plain HTTP.
	TLS TLS `yaml:"tls"`
	// Sources are those who may send to routes of the intake without a token, by
	// unique names.
	Sources []Source `yaml:"sources"`
	// Deployment names this engine on the broker: 1 to 40 of a-z 0-9 -,
	// beginning with a letter or digit.
	Deployment string `yaml:"deployment"`
	// Admission is how many deliveries a worker holds at most.
	Admission int     `yaml:"admission" min:"100" max:"1000000"`
	Egress    Egress  `yaml:"egress"`
	Webhook   Webhook `yaml:"webhook"`
	// Mail is what all relays have in common.
	Mail Mail `yaml:"mail"`
	// SMTP lists mail relays, by unique names.
	SMTP []SMTP `yaml:"smtp"`
	// SMS is what all accounts have in common.
	SMS SMS `yaml:"sms"`
	// SMPP lists accounts at SMS centres, by unique names.
	SMPP []SMPP `yaml:"smpp"`
	RSS  RSS    `yaml:"rss"`
	// Budgets bound what a storm of updates sends.
	Budgets Budgets `yaml:"budgets"`
	Retry   Retry   `yaml:"retry"`
	// Callback is how producers are told that an update is complete.
	Callback Callback `yaml:"callback"`
	// Alerts is what Alertmanager's alerts mean.
	Alerts    Alerts    `yaml:"alerts"`
	Lifecycle Lifecycle `yaml:"lifecycle"`
	Probes    Probes    `yaml:"probes"`
	Audit     Audit     `yaml:"audit"`
}

// Egress says where connections may go.
type Egress struct {
	// Allow permits networks besides public ones; Deny forbids, and wins. Both
	// are written as [egress.Rules] has them.
	Allow []string `yaml:"allow"`
	Deny  []string `yaml:"deny"`
	// HTTP permits webhooks without TLS.
	HTTP bool `yaml:"http"`
	// Ports are those a webhook may have, besides those named in Allow.
	Ports []int `yaml:"ports" min:"1" max:"65535"`
	// Source lists local addresses to connect from; empty leaves it to the
	// system.
	Source []netip.Addr `yaml:"source"`
	// Gate is how many dials and handshakes run at once.
	Gate int `yaml:"gate" min:"1" max:"65536"`
	// Sessions is how many TLS sessions are kept to be resumed, by host name.
	Sessions int `yaml:"sessions" min:"1" max:"1000000"`
	// IdleTime is how long connections are kept that nobody uses.
	IdleTime time.Duration `yaml:"idle_time" min:"1s" max:"1h"`
}

// Rules are the part of e that decides what may be dialled.
func (e *Egress) Rules() egress.Rules {
	return egress.Rules{Allow: e.Allow, Deny: e.Deny, HTTP: e.HTTP, Ports: e.Ports}
}

// HostLimits is what one webhook provider, a host and port, is given. An absent
// burst is what the rate gives in two seconds, at least 1.
type HostLimits struct {
	Rate  Rate `yaml:"rate"`
	Burst int  `yaml:"burst" min:"1" max:"1000000"`
	// Window is how many requests are under way at once.
	Window int `yaml:"window" min:"1" max:"10000"`
	// Connections is how many are open at once, idle ones too.
	Connections int `yaml:"connections" min:"1" max:"10000"`
	// ConnectTimeout bounds dialling and the TLS handshake, from the moment
	// the gate is passed; Timeout bounds the whole attempt from there.
	ConnectTimeout time.Duration `yaml:"connect_timeout" min:"1ms" max:"1m"`
	Timeout        time.Duration `yaml:"timeout" min:"1ms" max:"1m"`
}

// Limit is the rate and burst as a bucket takes them.
func (h HostLimits) Limit() ratelimit.Limit {
	return ratelimit.Limit{PerSecond: float64(h.Rate), Burst: h.Burst}
}

// Webhook limits every webhook host.
type Webhook struct {
	HostLimits `yaml:",inline"`
	// Hosts overrides the limits of single ones, by "host" for every port or
	// by "host:port", which wins. What an entry leaves out is as for all
	// hosts, but for the burst that goes with a rate of its own.
	Hosts map[string]HostLimits `yaml:"hosts"`
}

// For returns the limits of a provider named as "host:port".
func (w *Webhook) For(provider string) HostLimits {
	provider = strings.ToLower(provider)
	if limits, ok := w.Hosts[provider]; ok {
		return limits
	}
	if host, _, err := net.SplitHostPort(provider); err == nil {
		if limits, ok := w.Hosts[host]; ok {
			return limits
		}
	}
	return w.HostLimits
}

// Retry paces attempts that failed for a time: full jitter below Base × 2ⁿ and
// Cap, until the update expires.
type Retry struct {
	Base time.Duration `yaml:"base" min:"1ms" max:"1h"`
	Cap  time.Duration `yaml:"cap" min:"1ms" max:"24h"`
	// ExpiresAfter is how long after its acceptance an update expires that
	// does not say itself.
	ExpiresAfter time.Duration `yaml:"expires_after" min:"1s" max:"720h"`
}

// Callback is how producers are told that an update is complete.
type Callback struct {
	// Secrets sign what they are told, each of them: "whsec_" and the base64 of 24
	// to 64 bytes (Standard Webhooks), 5 at most. Without one nobody is called.
	Secrets []string `yaml:"secrets"`
}

// Default returns what holds where nothing else is said.
func Default() *Config {
	c := bare()
	c.fill()
	return c
}

// bare is Default before derived values are filled in.
func bare() *Config {
	return &Config{
		Listen: "127.0.0.1:8080", Data: "./data", Queue: Embedded, Store: Embedded, Rates: Local,
		Tokens: []string{}, Sources: []Source{}, Deployment: "default", Admission: 50_000,
		Egress: Egress{Allow: []string{}, Deny: []string{}, Ports: []int{80, 443, 8443},
			Source: []netip.Addr{}, Gate: 256, Sessions: egress.DefaultSessions, IdleTime: 75 * time.Second},
		Webhook: Webhook{Hosts: map[string]HostLimits{}, HostLimits: HostLimits{Rate: 100, Window: 64,
			Connections: 64, ConnectTimeout: 5 * time.Second, Timeout: 15 * time.Second}},
		Mail: Mail{ConnectTimeout: 5 * time.Second, Timeout: 15 * time.Second, FinalTimeout: time.Minute},
		SMTP: []SMTP{},
		SMS: SMS{ConnectTimeout: 5 * time.Second, ResponseTimeout: 10 * time.Second, EnquireLink: 30 * time.Second,
			IdleTime: time.Minute},
		SMPP: []SMPP{}, RSS: RSS{Title: "Status", Entries: 50},
		Budgets:  defaultBudgets(),
		Retry:    Retry{Base: 2 * time.Second, Cap: time.Hour, ExpiresAfter: 24 * time.Hour},
		Callback: Callback{Secrets: []string{}},
		Alerts:   defaultAlerts(), Lifecycle: defaultLifecycle(), Probes: defaultProbes(), Audit: Audit{Keep: 365 * 24 * time.Hour},
	}
}

// fill derives what was left out from what was said.
func (c *Config) fill() {
	for i := range c.Sources {
		c.Sources[i].fill()
	}
	c.Lifecycle.fill()
	c.Webhook.inherit(HostLimits{})
	for name, limits := range c.Webhook.Hosts {
		limits.inherit(c.Webhook.HostLimits)
		c.Webhook.Hosts[name] = limits
	}
	for i := range c.SMTP {
		r := &c.SMTP[i]
		orDefault(&r.Rate, 100)
		orDefault(&r.Burst, r.Rate.twoSeconds())
		orDefault(&r.Connections, 20)
	}
	for i := range c.SMPP {
		a := &c.SMPP[i]
		orDefault(&a.Rate, 100)
		orDefault(&a.Burst, a.Rate.twoSeconds())
		orDefault(&a.Window, 50)
		orDefault(&a.Binds, 1)
	}
}

func (h *HostLimits) inherit(from HostLimits) {
	if h.Rate == 0 {
		orDefault(&h.Burst, from.Burst)
	}
	orDefault(&h.Rate, from.Rate)
	orDefault(&h.Burst, h.Rate.twoSeconds())
	orDefault(&h.Window, from.Window)
	orDefault(&h.Connections, from.Connections)
	orDefault(&h.ConnectTimeout, from.ConnectTimeout)
	orDefault(&h.Timeout, from.Timeout)
}

func orDefault[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}
