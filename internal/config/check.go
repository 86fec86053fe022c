package config

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/egress"
)

// check reports what single values can't show: shapes of URLs, names used twice,
// and values that don't go together.
func (c *Config) check(f *faults) {
	c.checkListeners(f)
	if c.Data == "" {
		f.at("data", "must name a folder, such as ./data")
	}
	if !deploymentName.MatchString(c.Deployment) || slices.Contains(takenNames, c.Deployment) {
		f.at("deployment", "must be 1 to 40 of a-z 0-9 -, beginning with a letter or digit, and none of %s", strings.Join(takenNames, ", "))
	}
	c.checkTLS(f)
	c.checkSources(f)
	c.checkServices(f)
	c.checkEgress(f)
	c.checkHosts(f)
	c.checkNames(f)
	c.checkMail(f)
	c.checkRelays(f)
	c.checkAccounts(f)
	c.checkFeeds(f)
	c.checkBudgets(f)
	if c.PublicURL != "" && !isURL(c.PublicURL, "http", "https") {
		f.at("public_url", "must be an http or https URL, or empty")
	}
	if c.Retry.Base > c.Retry.Cap {
		f.at("retry.base", "must not be more than retry.cap")
	}
	c.checkCallback(f)
	c.checkLifecycle(f)
	c.checkProbes(f)
	c.checkAvailable(f)
}

func (c *Config) checkCallback(f *faults) {
	if len(c.Callback.Secrets) > 5 {
		f.at("callback.secrets", "must have at most 5 entries")
	}
	for i, secret := range c.Callback.Secrets {
		if !incident.ValidSecret(secret) {
			f.at(fmt.Sprintf("callback.secrets[%d]", i), "must be whsec_ and the base64 of 24 to 64 random bytes")
		}
	}
}

// checkAvailable refuses what is part of the configuration but not of this
// version, so that nobody believes it works.
func (c *Config) checkAvailable(f *faults) {
	const later = "is not available in this version; "
	if c.Store != Embedded {
		f.at("store", later+"use sqlite")
	}
	if c.Rates != Local {
		f.at("rates", later+"use local")
	}
}

var (
	deploymentName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)
	// takenNames begin the names of the default deployment's queues.
	takenNames = []string{"incidents", "deliver", "updates", "parked", "owner", "probes"}
	hostName   = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)
	// bearer is b64token of RFC 6750, section 2.1.
	bearer = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)
)

func (c *Config) checkListeners(f *faults) {
	checkTokens(f, "tokens", c.Tokens)
	switch host, ok := splitListen(c.Listen); {
	case !ok:
		f.at("listen", `must be an address and a port, such as "127.0.0.1:8080"`)
	case len(c.Tokens) == 0 && !isLoopback(host):
		f.at("listen", "must be a loopback address such as 127.0.0.1:8080 as long as there are no tokens; "+
			"set tokens to let others reach the control API")
	}
	if c.PublicListen == "" {
		return
	}
	switch _, ok := splitListen(c.PublicListen); {
	case !ok:
		f.at("public_listen", `must be an address and a port, such as "0.0.0.0:8081", or empty`)
	case c.PublicListen == c.Listen:
		f.at("public_listen", "must differ from listen; leave it empty to serve feeds there")
	}
}

func checkTokens(f *faults, key string, tokens []string) {
	for i, token := range tokens {
		if len(token) < 16 || !bearer.MatchString(token) {
			f.at(fmt.Sprintf("%s[%d]", key, i), "must be at least 16 letters, digits or . _ ~ + / -")
		}
	}
}

func splitListen(address string) (host string, ok bool) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return host, err == nil
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.Unmap().IsLoopback()
}

func (c *Config) checkServices(f *faults) {
	for _, service := range []struct {
		key, value, builtIn, example string
		schemes                      []string
	}{
		{"queue", c.Queue, Embedded, "amqp://user:password@host:5672/vhost", []string{"amqp", "amqps"}},
		{"store", c.Store, Embedded, "postgres://user:password@host:5432/database", []string{"postgres", "postgresql"}},
		{"rates", c.Rates, Local, "redis://user:password@host:6379/0", []string{"redis", "rediss"}},
	} {
		switch {
		case service.value == service.builtIn || isURL(service.value, service.schemes...):
		case slices.Contains(service.schemes, service.value):
			f.at(service.key, "needs the whole address, such as %s", service.example)
		default:
			f.at(service.key, "must be %s or a URL such as %s", service.builtIn, service.example)
		}
	}
}

// isURL says whether s is a URL with one of the schemes, a host and, if it names
// one, a valid port.
func isURL(s string, schemes ...string) bool {
	u, err := url.Parse(s)
	if err != nil || !slices.Contains(schemes, u.Scheme) || u.Hostname() == "" || u.Fragment != "" {
		return false
	}
	return u.Port() == "" || isPort(u.Port())
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

func (c *Config) checkEgress(f *faults) {
	if len(c.Egress.Ports) == 0 {
		f.at("egress.ports", "must have at least one port, such as 443")
	}
	network := func(key, text string) {
		if _, err := egress.NewPolicy(egress.Rules{Allow: []string{text}}); err != nil {
			f.at(key, "must be an address or a network in CIDR form without bits after its prefix, "+
				"with or without a port, such as 10.0.0.0/8, 10.1.2.3:8443 or [fd00::/8]:8443")
		}
	}
	for i, text := range c.Egress.Allow {
		network(fmt.Sprintf("egress.allow[%d]", i), text)
	}
	for i, text := range c.Egress.Deny {
		network(fmt.Sprintf("egress.deny[%d]", i), text)
	}
}

func (c *Config) checkHosts(f *faults) {
	for _, name := range slices.Sorted(maps.Keys(c.Webhook.Hosts)) {
		if !isHost(name) {
			f.at("webhook.hosts["+named(name)+"]", `must be named as a host, with or without a port, such as "hooks.example.com" or "[2001:db8::1]:8443"`)
		}
	}
}

func isHost(name string) bool {
	if host, port, err := net.SplitHostPort(name); err == nil {
		return isPort(port) && isHostAlone(host)
	}
	return isHostAlone(name)
}

func isHostAlone(host string) bool {
	address, err := netip.ParseAddr(host)
	return err == nil && address.Zone() == "" || len(host) <= 253 && hostName.MatchString(host)
}
