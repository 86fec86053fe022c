package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/channels/rss"
	"github.com/tocsin/tocsin/channels/smpp"
	"github.com/tocsin/tocsin/channels/smtp"
	"github.com/tocsin/tocsin/channels/webhook"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/config"
	"github.com/tocsin/tocsin/internal/egress"
	"github.com/tocsin/tocsin/internal/feeds"
	"github.com/tocsin/tocsin/internal/store"
	"github.com/tocsin/tocsin/ratelimit"
)

// feedProvider is the one provider of the rss pool: the feeds of this process.
const feedProvider = "feeds"

// outlets are the ways out: which groups there are, who serves a target, and how
// much each provider takes. It follows from the configuration alone.
type outlets struct {
	cfg    *config.Config
	policy *egress.Policy
	groups []dispatcher.Group
	named  map[string]dispatcher.ProviderPolicy // by provider
}

func newOutlets(cfg *config.Config) *outlets {
	o := &outlets{
		cfg:    cfg,
		groups: []dispatcher.Group{{Name: incident.ChannelWebhook}, {Name: incident.ChannelRSS}},
		named:  make(map[string]dispatcher.ProviderPolicy),
	}
	var relays, accounts []string
	for i, r := range cfg.SMTP {
		relays = append(relays, r.Name)
		o.named[r.Name] = dispatcher.ProviderPolicy{
			Limit: ratelimit.Limit{PerSecond: float64(r.Rate), Burst: r.Burst}, Window: r.Connections, Named: true,
		}
		if i == 0 {
			o.groups = append(o.groups, dispatcher.Group{Name: incident.ChannelSMTP + ":" + r.Name, Provider: r.Name})
		}
	}
	for i, a := range cfg.SMPP {
		accounts = append(accounts, a.Name)
		o.named[a.Name] = dispatcher.ProviderPolicy{
			Limit: ratelimit.Limit{PerSecond: float64(a.Rate), Burst: a.Burst}, Window: a.Window * a.Binds, Named: true,
		}
		if i == 0 {
			o.groups = append(o.groups, dispatcher.Group{Name: incident.ChannelSMPP + ":" + a.Name, Provider: a.Name})
		}
	}
	o.failover(relays)
	o.failover(accounts)
	return o
}

// failover lets the later of several providers take over from the first.
func (o *outlets) failover(providers []string) {
	if len(providers) > 1 {
		first := o.named[providers[0]]
		first.Failover = providers[1:]
		o.named[providers[0]] = first
	}
}

// groupNames are the delivery queues.
func (o *outlets) groupNames() []string {
	names := make([]string, len(o.groups))
	for i, g := range o.groups {
		names[i] = g.Name
	}
	return names
}

// limits says how much a provider takes, as dispatcher.Options.Policy.
func (o *outlets) limits(group, provider string) dispatcher.ProviderPolicy {
	if p, ok := o.named[provider]; ok {
		return p
	}
	if group == incident.ChannelRSS {
		return dispatcher.ProviderPolicy{Limit: ratelimit.Limit{PerSecond: 10_000, Burst: 10_000}, Window: 256}
	}
	h := o.cfg.Webhook.For(provider)
	return dispatcher.ProviderPolicy{Limit: h.Limit(), Window: min(h.Window, h.Connections)}
}

// budgets bound what a storm of updates sends, as dispatcher.Options.Budgets.
func (o *outlets) budgets() map[string]dispatcher.Budget {
	budget := func(b config.Budget) dispatcher.Budget {
		return dispatcher.Budget{PerIncident: ratelimit.Quota(b.PerIncident), PerHour: b.PerHour, PerDay: b.PerDay}
	}
	all := &o.cfg.Budgets
	return map[string]dispatcher.Budget{
		incident.ChannelWebhook: budget(all.Webhook), incident.ChannelSMTP: budget(all.SMTP), incident.ChannelSMPP: budget(all.SMPP),
	}
}

// longestSend bounds one attempt over the configured channels: all its timeouts
// one after the other, with the first try on a kept connection that turns out to be
// stale. Claims of batches last longer.
func (o *outlets) longestSend() time.Duration {
	w := &o.cfg.Webhook
	longest := w.ConnectTimeout + 2*w.Timeout
	for _, h := range w.Hosts {
		longest = max(longest, h.ConnectTimeout+2*h.Timeout)
	}
	if m := &o.cfg.Mail; len(o.cfg.SMTP) > 0 { // opening a session, and the envelope
		longest = max(longest, m.ConnectTimeout+3*m.Timeout+m.FinalTimeout)
	}
	if s := &o.cfg.SMS; len(o.cfg.SMPP) > 0 { // to the bind, and to each segment
		longest = max(longest, s.ConnectTimeout+(2+smpp.MaxSegments)*s.ResponseTimeout)
	}
	return max(longest, 2*rss.Defaults(version()).Patience) // a round under way, and one's own
}

// route says who serves a target, as store.Route.
func (o *outlets) route(t *incident.Target) (group, provider string, err error) {
	switch t.Channel {
	case incident.ChannelWebhook:
		return incident.ChannelWebhook, egress.ProviderKey(t.Address), nil
	case incident.ChannelRSS:
		return incident.ChannelRSS, feedProvider, nil
	}
	for _, g := range o.groups {
		if channel, _, ok := strings.Cut(g.Name, ":"); ok && channel == t.Channel {
			return g.Name, g.Provider, nil
		}
	}
	return "", "", &incident.Invalid{Field: "channel", Reason: "has no provider; configure one under " + t.Channel}
}

// webhookProvider names the webhook provider at host:port, "" if there is none.
func (o *outlets) webhookProvider(hostport string) string {
	return egress.ProviderKey("https://" + hostport + "/")
}

// checkTarget refuses targets that can't be served.
func (o *outlets) checkTarget(t *incident.Target) error {
	if _, _, err := o.route(t); err != nil {
		return err
	}
	switch t.Channel {
	case incident.ChannelWebhook:
		_, err := o.policy.CheckURL(t.Address)
		return err
	case incident.ChannelRSS:
		return rss.CheckTarget(t)
	}
	return nil
}

// check reads what the configuration only names: the templates and keys of mail.
// It connects to nothing.
func (o *outlets) check() error {
	if len(o.cfg.SMTP) == 0 {
		return nil
	}
	budget := egress.NewBudget(1, o.cfg.Egress.IdleTime)
	defer budget.Close()
	link := func(int64) string { return o.publicURL() + "/unsubscribe" }
	mails, err := smtp.New(o.smtpConfig(link), egress.NewDialer(egress.Config{Budget: budget}))
	if err != nil {
		return usageError(err)
	}
	return mails.Close()
}

// open makes the channels, and returns the one of the feeds by itself as well.
// What has to be closed is added to the teardown.
func (o *outlets) open(dialer *egress.Dialer, s records, shelf *feeds.Shelf, unsubscribe func(int64) string, changed func([]int64), log *slog.Logger, open *teardown) (map[string]channels.Channel, *rss.Channel, error) {
	o.policy = dialer.Policy
	all := map[string]channels.Channel{incident.ChannelWebhook: webhook.New(o.webhookConfig(), dialer)}
	open.add("webhooks", all[incident.ChannelWebhook].Close)

	if len(o.cfg.SMTP) > 0 {
		mails, err := smtp.New(o.smtpConfig(unsubscribe), dialer)
		if err != nil {
			return nil, nil, usageError(err)
		}
		open.add("relays", mails.Close)
		all[incident.ChannelSMTP] = mails
	}
	if len(o.cfg.SMPP) > 0 {
		texts, err := smpp.New(o.smppConfig(s, changed, log), dialer)
		if err != nil {
			return nil, nil, usageError(err)
		}
		open.add("SMS accounts", texts.Close)
		all[incident.ChannelSMPP] = texts
	}

	var directory *feeds.Directory
	if o.cfg.RSS.Directory != "" {
		var err error
		if directory, err = feeds.OpenDirectory(filepath.Clean(o.cfg.RSS.Directory)); err != nil {
			return nil, nil, unavailableError(err)
		}
		open.add("feed directory", directory.Close)
	}
	published, err := rss.New(o.rssConfig(log), s, shelf, directory)
	if err != nil {
		return nil, nil, usageError(err)
	}
	open.add("feeds", published.Close)
	all[incident.ChannelRSS] = published
	return all, published, nil
}

// records is what the channels keep in the store.
type records interface {
	rss.Store
	Receipt(ctx context.Context, provider, messageID string, delivered bool, detail string, at time.Time) error
	OptOut(ctx context.Context, channel, address string) ([]int64, error)
}

func (o *outlets) webhookConfig() webhook.Config {
	c := webhook.Defaults(version())
	c.ConnectTimeout, c.Timeout = o.cfg.Webhook.ConnectTimeout, o.cfg.Webhook.Timeout
	c.IdlePerHost = o.cfg.Webhook.Connections
	if len(o.cfg.Webhook.Hosts) > 0 {
		c.Hosts = func(provider string) (connect, timeout time.Duration) {
			h := o.cfg.Webhook.For(provider)
			return h.ConnectTimeout, h.Timeout
		}
	}
	return c
}

func (o *outlets) smtpConfig(unsubscribe func(int64) string) smtp.Config {
	c := smtp.Defaults()
	if o.cfg.PublicListen != "" { // else nobody answers the links
		c.Unsubscribe = unsubscribe
	}
	m := &o.cfg.Mail
	c.Templates, c.Domain, c.Hello = m.Templates, m.Domain, m.Hello
	c.ConnectTimeout, c.Timeout, c.FinalTimeout = m.ConnectTimeout, m.Timeout, m.FinalTimeout
	for _, r := range o.cfg.SMTP {
		relay := smtp.Relay{Name: r.Name, URL: r.URL, From: r.From, Connections: r.Connections}
		if r.DKIM.Signs() {
			relay.DKIM = &smtp.DKIM{Domain: r.DKIM.Domain, Selector: r.DKIM.Selector, KeyFile: r.DKIM.KeyFile}
		}
		c.Relays = append(c.Relays, relay)
	}
	return c
}

func (o *outlets) smppConfig(s records, changed func([]int64), log *slog.Logger) smpp.Config {
	c := smpp.Defaults()
	c.Logger = log
	all := &o.cfg.SMS
	c.ConnectTimeout, c.ResponseTimeout, c.EnquireLink, c.IdleTime = all.ConnectTimeout, all.ResponseTimeout, all.EnquireLink, all.IdleTime
	for _, a := range o.cfg.SMPP {
		c.Accounts = append(c.Accounts, smpp.Account{
			Name: a.Name, URL: a.URL, Source: a.Source, Window: a.Window, Binds: a.Binds,
			Exclusive: a.Exclusive, MessagePayload: a.MessagePayload, Country: a.Country,
		})
	}
	c.Receipt = func(ctx context.Context, r smpp.Receipt) error {
		err := s.Receipt(ctx, r.Provider, r.MessageID, r.State == smpp.StateDelivered, r.Detail(), r.Done)
		if errors.Is(err, store.ErrNotFound) {
			return smpp.ErrUnknown
		}
		return err
	}
	c.OptOut = func(ctx context.Context, _, number string) error {
		ids, err := s.OptOut(ctx, incident.ChannelSMPP, number)
		changed(ids)
		return err
	}
	return c
}

func (o *outlets) rssConfig(log *slog.Logger) rss.Config {
	c := rss.Defaults(version())
	c.Log = log
	if o.cfg.RSS.Title != "" {
		c.Title = o.cfg.RSS.Title
	}
	c.Link, c.Authority, c.Entries = o.cfg.RSS.Link, o.cfg.RSS.Authority, o.cfg.RSS.Entries
	c.Base = o.publicURL()
	return c
}

// publicURL is where readers and subscribers reach the public listener.
func (o *outlets) publicURL() string {
	switch {
	case o.cfg.PublicURL != "":
		return o.cfg.PublicURL
	case o.cfg.PublicListen != "":
		return "http://" + o.cfg.PublicListen
	case o.cfg.TLS.On():
		return "https://" + o.cfg.Listen
	}
	return "http://" + o.cfg.Listen
}
