package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/config"
)

// Lookups that run at once, and how many names of webhook hosts are looked up.
const (
	lookupsAtOnce = 8
	maxHosts      = 200
)

func (x *examination) names(ctx context.Context) []Finding {
	return []Finding{x.serviceNames(ctx), x.webhookHosts(ctx)}
}

// serviceNames resolves the hosts of the broker, the relays and the centres.
func (x *examination) serviceNames(ctx context.Context) Finding {
	f := Finding{
		Check: "names", Wanted: "all hosts of broker, relays and SMS centres resolve",
		Effect: "what goes there waits and is tried again until it expires",
		Fix:    "correct the names, or /etc/resolv.conf; the engine asks for full names only, without search domains",
	}
	hosts := serviceHosts(x.Config)
	if len(hosts) == 0 {
		return f.skip("the configuration has no such names")
	}
	failed := x.lookUp(ctx, hosts, func(host string) error {
		_, err := x.addresses(ctx, host)
		return err
	})
	if len(failed) > 0 {
		return f.fail(strings.Join(failed, "; "))
	}
	return f.ok(strings.Join(hosts, ", "))
}

// serviceHosts are the names, sorted, without addresses.
func serviceHosts(c *config.Config) []string {
	urls := []string{c.Queue}
	for _, r := range c.SMTP {
		urls = append(urls, r.URL)
	}
	for _, a := range c.SMPP {
		urls = append(urls, a.URL)
	}
	set := make(map[string]bool)
	for _, raw := range urls {
		if u, err := url.Parse(raw); err == nil && u.Hostname() != "" && !isAddress(u.Hostname()) {
			set[strings.ToLower(u.Hostname())] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// lookUp looks at all of the names and returns what is wrong with them, in their
// order.
func (x *examination) lookUp(ctx context.Context, names []string, look func(name string) error) []string {
	problems := make([]error, len(names))
	var lookups errgroup.Group
	lookups.SetLimit(lookupsAtOnce)
	for i, name := range names {
		lookups.Go(func() error {
			problems[i] = look(name)
			return nil
		})
	}
	_ = lookups.Wait() // none of them returns one
	var failed []string
	for i, err := range problems {
		if err != nil {
			failed = append(failed, names[i]+": "+err.Error())
		}
	}
	return failed
}

// addresses resolves a host as the engine does.
func (x *examination) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	addrs, err := x.Lookup(ctx, host)
	if err != nil {
		return nil, lookupProblem(err)
	}
	if len(addrs) == 0 {
		return nil, errors.New("has no address")
	}
	return addrs, nil
}

func lookupProblem(err error) error {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		switch {
		case dns.IsNotFound:
			return errors.New("no such host")
		case dns.IsTimeout:
			return errors.New("the name server doesn't answer")
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("the name server doesn't answer in time")
	}
	return errors.New("the name server has a failure")
}

// webhookHosts holds the hosts that have limits of their own against the rules of
// egress: who configures limits for one means to reach it.
func (x *examination) webhookHosts(ctx context.Context) Finding {
	f := Finding{
		Check: "webhook hosts", Wanted: "those with limits of their own resolve and may be dialled",
		Effect: "webhooks there are refused when targets are added, or are not delivered",
		Fix:    "correct the name in webhook.hosts, or name its network and port in egress.allow",
	}
	hosts := slices.Sorted(maps.Keys(x.Config.Webhook.Hosts))
	if len(hosts) == 0 {
		return f.skip("webhook.hosts is empty")
	}
	looked := hosts[:min(len(hosts), maxHosts)]
	failed := x.lookUp(ctx, looked, func(name string) error { return x.webhookHost(ctx, name) })
	if len(failed) > 0 {
		return f.warn(strings.Join(failed, "; "))
	}
	return f.ok(fmt.Sprintf("%d of %d looked at", len(looked), len(hosts)))
}

// webhookHost looks at a host with or without a port; without one 443 stands for all.
func (x *examination) webhookHost(ctx context.Context, name string) error {
	u, err := x.Policy.CheckURL("https://" + name + "/")
	if refused, ok := errors.AsType[*incident.Invalid](err); ok {
		return errors.New(refused.Reason)
	}
	if err != nil {
		return err
	}
	addrs, err := x.addresses(ctx, u.Host)
	if err != nil {
		return err
	}
	for _, addr := range addrs {
		if x.Policy.CheckAddr(netip.AddrPortFrom(addr.Unmap(), u.Port)) != nil {
			return errors.New("leads to an address that egress does not allow")
		}
	}
	return nil
}
