package egress

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// ErrBlocked is the answer for an address that the policy refuses. Its text is all
// that may be said: which address a name led to would tell a stranger about our
// network.
var ErrBlocked = errors.New("ssrf_blocked")

// Rules are what an operator says about the way out. The zero value allows https
// to public addresses at the usual ports.
type Rules struct {
	// Allow and Deny are CIDRs or addresses, with a port or for all ports:
	// "127.0.0.0/8", "10.0.0.0/8:8443", "[fd00::/8]:443". Deny wins over Allow;
	// Allow wins over what is refused for not being public, and over Ports.
	Allow, Deny []string
	// HTTP allows http:// URLs.
	HTTP bool
	// Ports that URLs may name; 80, 443 and 8443 if empty.
	Ports []int
	// Own are our own listeners, broker and database. Nothing allows these. An
	// unspecified address stands for all addresses of this machine, port 0 for
	// all ports.
	Own []netip.AddrPort
}

// Policy decides what may be dialled. It is immutable.
type Policy struct {
	allow, deny, own []rule
	local            []netip.Addr
	ports            []uint16
	http             bool
}

// rule is a set of addresses at one port, or at all if port is 0.
type rule struct {
	prefix netip.Prefix
	port   uint16
}

func (r rule) covers(to netip.AddrPort) bool {
	return (r.port == 0 || r.port == to.Port()) && r.prefix.Contains(to.Addr())
}

func anyCovers(rules []rule, to netip.AddrPort) bool {
	return slices.ContainsFunc(rules, func(r rule) bool { return r.covers(to) })
}

// NewPolicy reads the rules. An error names the entry and says how to write it.
func NewPolicy(r Rules) (*Policy, error) {
	p := &Policy{http: r.HTTP, ports: []uint16{80, 443, 8443}, local: localAddrs()}
	var err error
	if p.allow, err = parseRules("allow", r.Allow); err != nil {
		return nil, err
	}
	if p.deny, err = parseRules("deny", r.Deny); err != nil {
		return nil, err
	}
	if len(r.Ports) > 0 {
		p.ports = nil
	}
	for i, port := range r.Ports {
		if port < 1 || port > 65535 {
			return nil, fmt.Errorf("ports[%d]: %d is not a port; write a number from 1 to 65535", i, port)
		}
		p.ports = append(p.ports, uint16(port))
	}
	for _, own := range r.Own {
		p.own = append(p.own, p.ownRules(own)...)
	}
	return p, nil
}

// localAddrs are the addresses of this machine's interfaces. Where they can't be
// listed there are none: those that are not public are refused all the same.
func localAddrs() []netip.Addr {
	var out []netip.Addr
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, prefix.Addr().Unmap())
		}
	}
	return out
}

func (p *Policy) ownRules(own netip.AddrPort) []rule {
	exactly := func(a netip.Addr) rule { return rule{netip.PrefixFrom(a, a.BitLen()), own.Port()} }
	addr := own.Addr().Unmap().WithZone("")
	if !addr.IsUnspecified() {
		return []rule{exactly(addr)}
	}
	rules := []rule{
		{netip.MustParsePrefix("127.0.0.0/8"), own.Port()},
		exactly(netip.IPv6Loopback()), exactly(netip.IPv4Unspecified()), exactly(netip.IPv6Unspecified()),
	}
	for _, a := range p.local {
		rules = append(rules, exactly(a))
	}
	return rules
}

func parseRules(list string, texts []string) ([]rule, error) {
	var rules []rule
	for i, text := range texts {
		r, err := parseRule(text)
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %q %w", list, i, text, err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

var errRule = errors.New("is not a CIDR with an optional port; write it like 10.0.0.0/8, 10.0.0.0/8:8443 or [fd00::/8]:443")

func parseRule(text string) (rule, error) {
	network, port, hasPort := text, "", false
	if inner, ok := strings.CutPrefix(text, "["); ok {
		var tail string
		if network, tail, ok = strings.Cut(inner, "]"); !ok {
			return rule{}, errRule
		}
		if port, hasPort = strings.CutPrefix(tail, ":"); !hasPort && tail != "" {
			return rule{}, errRule
		}
	} else if strings.Count(text, ":") == 1 {
		network, port, hasPort = strings.Cut(text, ":")
	}
	var r rule
	if hasPort {
		n, err := parsePort(port)
		if err != nil {
			return rule{}, errors.New("has a port that is not a number from 1 to 65535")
		}
		r.port = n
	}
	if addr, err := netip.ParseAddr(network); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		r.prefix = netip.PrefixFrom(addr, addr.BitLen())
		return r, nil
	}
	prefix, err := netip.ParsePrefix(network)
	if err != nil || prefix.Addr().Is4In6() {
		return rule{}, errRule
	}
	if prefix != prefix.Masked() {
		return rule{}, fmt.Errorf("has bits set after the first %d; write %s", prefix.Bits(), prefix.Masked())
	}
	r.prefix = prefix
	return r, nil
}

// parsePort reads a port from 1 to 65535 without sign or leading zeros.
func parsePort(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 || text[0] == '0' {
		return 0, errors.New("not a port")
	}
	return uint16(n), nil
}

// CheckAddr returns [ErrBlocked] unless connections to the address are allowed: by
// the rules or, where these say nothing, because it is a public unicast address
// and not one of this machine.
func (p *Policy) CheckAddr(to netip.AddrPort) error {
	addr := to.Addr().Unmap()
	to = netip.AddrPortFrom(addr, to.Port())
	switch {
	case !addr.IsValid() || addr.Zone() != "" || to.Port() == 0,
		anyCovers(p.own, to), anyCovers(p.deny, to):
		return ErrBlocked
	case anyCovers(p.allow, to):
		return nil
	case !public(addr) || slices.Contains(p.local, addr):
		return ErrBlocked
	}
	return nil
}

// public reports whether an address, not in 4-in-6 form, is in the public unicast
// space: of IPv6 what IANA hands out (2000::/3), of IPv4 what is left over.
func public(addr netip.Addr) bool {
	reserved := reserved4
	if addr.Is6() {
		if !global6.Contains(addr) {
			return false
		}
		reserved = reserved6
	}
	return !slices.ContainsFunc(reserved, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// The IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890), read
// strictly: what is marked globally reachable there but serves no web server is
// out as well.
var (
	global6   = netip.MustParsePrefix("2000::/3")
	reserved6 = prefixes(
		"2001::/23",     // IETF protocol assignments, Teredo among them
		"2001:db8::/32", // documentation
		"2002::/16",     // 6to4, carries any IPv4 address
		"3fff::/20",     // documentation
	)
	reserved4 = prefixes(
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
		"192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24",
		"192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
		"224.0.0.0/4", "240.0.0.0/4",
		"168.63.129.16/32", // Azure's platform channel, inside public space
	)
)

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		out[i] = netip.MustParsePrefix(text)
	}
	return out
}
