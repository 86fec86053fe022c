package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

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
	failed := x.lookUp(ctx, hosts, nil)
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

// lookUp resolves hosts and returns what is wrong with them, in their order. check
// judges the addresses of one, if it isn't nil.
func (x *examination) lookUp(ctx context.Context, hosts []string, check func(host string, addrs []netip.Addr) error) []string {
	problems := make([]error, len(hosts))
	var lookups errgroup.Group
	lookups.SetLimit(lookupsAtOnce)
	for i, host := range hosts {
		lookups.Go(func() error {
			addrs, err := []netip.Addr(nil), error(nil)
			if addr, literal := netip.ParseAddr(host); literal == nil {
				addrs = []netip.Addr{addr}
			} else {
				addrs, err = x.Lookup(ctx, host)
			}
			switch {
			case err != nil:
				problems[i] = lookupProblem(err)
			case len(addrs) == 0:
				problems[i] = errors.New("has no address")
			case check != nil:
				problems[i] = check(host, addrs)
			}
			return nil
		})
	}
	_ = lookups.Wait() // none of them returns one
	var failed []string
	for i, err := range problems {
		if err != nil {
			failed = append(failed, hosts[i]+": "+err.Error())
		}
	}
	return failed
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
	ports := make(map[string]uint16)
	for name := range x.Config.Webhook.Hosts {
		host, port := name, uint16(443)
		if h, p, err := net.SplitHostPort(name); err == nil {
			if n, err := strconv.ParseUint(p, 10, 16); err == nil {
				host, port = h, uint16(n)
			}
		}
		if len(ports) < maxHosts || ports[host] != 0 {
			ports[host] = port
		}
	}
	if len(ports) == 0 {
		return f.skip("webhook.hosts is empty")
	}
	hosts := slices.Sorted(maps.Keys(ports))
	failed := x.lookUp(ctx, hosts, func(host string, addrs []netip.Addr) error {
		for _, addr := range addrs {
			if x.Policy.CheckAddr(netip.AddrPortFrom(addr.Unmap(), ports[host])) != nil {
				return errors.New("leads to an address that egress does not allow")
			}
		}
		return nil
	})
	if len(failed) > 0 {
		return f.warn(strings.Join(failed, "; "))
	}
	return f.ok(fmt.Sprintf("%d of %d", len(hosts), len(x.Config.Webhook.Hosts)))
}

// feedFolder is made by the engine, but nothing above it.
func (x *examination) feedFolder(context.Context) []Finding {
	f := Finding{
		Check: "feed folder", Wanted: "there or can be made, can be written",
		Effect: "the engine doesn't start",
		Fix:    "make it for the engine's user; under the systemd unit also name it in ReadWritePaths=",
	}
	name := x.Config.RSS.Directory
	if name == "" {
		return one(f.skip("feeds are not written as files"))
	}
	at, err := lookAtFolder(filepath.Clean(name))
	return one(judgeFolder(f, at, err, 1))
}

func (x *examination) publicURL(context.Context) []Finding {
	return one(judgePublicURL(x.PublicURL, x.Config))
}

// judgePublicURL is about where links in mails and feeds lead.
func judgePublicURL(at string, c *config.Config) Finding {
	f := Finding{
		Check: "public URL", Wanted: "https:// and a public name",
		Effect: "links in mails (unsubscribe) and feeds lead nowhere for others",
		Fix:    "set public_url to where a proxy with TLS makes the public listener reachable, as in https://status.example.com",
	}
	u, err := url.Parse(at)
	if err != nil {
		return f.fail("not a URL")
	}
	host := u.Hostname()
	addr, err := netip.ParseAddr(host)
	inside := host == "localhost" || !strings.Contains(host, ".") && err != nil ||
		err == nil && (addr.IsLoopback() || addr.IsPrivate() || addr.IsUnspecified() || addr.IsLinkLocalUnicast())
	switch {
	case len(c.SMTP) == 0 && inside:
		return f.ok(at + ", for this machine or network; no mails are sent")
	case inside:
		return f.warn(at)
	case u.Scheme != "https":
		f.Effect = "mail providers offer unsubscribing with one click over https only (RFC 8058)"
		return f.warn(at)
	}
	return f.ok(at)
}
