package egress

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/tocsin/tocsin/incident"
)

// maxURL is the longest URL taken, in bytes.
const maxURL = 2048

// Endpoint is what connections are made to and kept for.
type Endpoint struct {
	// Host is a name in lower case, or an address without brackets.
	Host string
	Port uint16
	// TLS asks for a handshake before anything else.
	TLS bool
}

// Provider returns host:port, the key under which limits are kept.
func (e Endpoint) Provider() string {
	if strings.Contains(e.Host, ":") {
		return "[" + e.Host + "]:" + strconv.Itoa(int(e.Port))
	}
	return e.Host + ":" + strconv.Itoa(int(e.Port))
}

// literal returns the address that Host is, if it is one. (ParseAddr would allocate
// an error for nearly every name.)
func (e Endpoint) literal() (netip.Addr, bool) {
	if e.Host == "" {
		return netip.Addr{}, false
	}
	last := e.Host[len(e.Host)-1]
	if !strings.Contains(e.Host, ":") && (last < '0' || last > '9') {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(e.Host)
	return addr, err == nil
}

// URL is an http or https URL that passed [Policy.CheckURL], in the parts a
// request is made of.
type URL struct {
	Endpoint
	// Authority is for the Host header: host and port as they were written.
	Authority string
	// Path is the request target (RFC 9112, section 3.2.1) as it was written,
	// with the query; "/" if there is neither.
	Path string
}

// CheckURL refuses every URL that could mean two things to two readers, or leads
// where the policy does not allow by its text alone. What a name resolves to is
// checked when it is dialled. The error is an [*incident.Invalid] of the field
// "address", and [ErrBlocked] as well for an address that must not be dialled. It does not allocate for a good URL in lower case.
func (p *Policy) CheckURL(raw string) (URL, error) {
	u, reason := splitURL(raw)
	if reason == "" {
		reason = p.refusal(u.Endpoint)
	}
	switch reason {
	case "":
		return u, nil
	case notPublic:
		return URL{}, blockedURL{&incident.Invalid{Field: "address", Reason: reason}}
	}
	return URL{}, &incident.Invalid{Field: "address", Reason: reason}
}

const notPublic = "must lead to a public address; this one is private, reserved or not allowed here"

// blockedURL is the refusal of an address that is given literally.
type blockedURL struct{ *incident.Invalid }

func (b blockedURL) Unwrap() []error { return []error{b.Invalid, ErrBlocked} }

// ProviderKey returns the host:port of a URL, whatever the policy; "" for one that
// no policy takes.
func ProviderKey(raw string) string {
	u, reason := splitURL(raw)
	if reason != "" {
		return ""
	}
	return u.Provider()
}

// refusal says why an endpoint is not allowed, "" if it is.
func (p *Policy) refusal(e Endpoint) string {
	if !e.TLS && !p.http {
		return "must begin with https://; plain http is not allowed here"
	}
	if addr, ok := e.literal(); ok {
		to := netip.AddrPortFrom(addr, e.Port)
		if p.CheckAddr(to) != nil {
			return notPublic
		}
		if anyCovers(p.allow, netip.AddrPortFrom(addr.Unmap(), e.Port)) {
			return ""
		}
	}
	if !slices.Contains(p.ports, e.Port) {
		return "must use one of the ports allowed here"
	}
	return ""
}

// splitURL takes an absolute http or https URL (RFC 3986) apart. It is stricter
// than the RFC and than browsers, which guess. A refusal is a reason.
func splitURL(raw string) (URL, string) {
	if len(raw) > maxURL {
		return URL{}, "must be at most 2 KiB"
	}
	for i := range len(raw) {
		switch c := raw[i]; {
		case c <= ' ' || c == 0x7f:
			return URL{}, "must not contain spaces or control characters"
		case c > 0x7f:
			return URL{}, "must be ASCII; write other letters of a host as xn--… and of a path as %XX"
		case c == '\\':
			return URL{}, `must not contain a \`
		case c == '#':
			return URL{}, "must not have a fragment; remove what begins with #"
		}
	}
	u := URL{Endpoint: Endpoint{Port: 80}}
	rest, ok := cutScheme(raw, "http://")
	if !ok {
		if rest, ok = cutScheme(raw, "https://"); !ok {
			return URL{}, "must begin with https:// (or http://, where that is allowed)"
		}
		u.TLS, u.Port = true, 443
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	u.Authority, u.Path = rest[:end], rest[end:]
	switch {
	case u.Path == "":
		u.Path = "/"
	case u.Path[0] == '?':
		u.Path = "/" + u.Path
	}
	return u, u.splitAuthority()
}

func cutScheme(raw, scheme string) (string, bool) {
	if len(raw) < len(scheme) || !strings.EqualFold(raw[:len(scheme)], scheme) {
		return raw, false
	}
	return raw[len(scheme):], true
}

// splitAuthority sets Host and Port, or returns why it can't.
func (u *URL) splitAuthority() string {
	host, port, hasPort := u.Authority, "", false
	if strings.Contains(host, "@") {
		return "must not have a user or password; sign with a secret instead"
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		if host, port, ok = strings.Cut(inner, "]"); !ok {
			return "has a [ without its ] in the host"
		}
		if port, hasPort = strings.CutPrefix(port, ":"); !hasPort && port != "" {
			return "has something other than a port after the address in brackets"
		}
		if addr, err := netip.ParseAddr(host); err != nil || !addr.Is6() || addr.Zone() != "" {
			return "must have an IPv6 address without zone in the brackets"
		}
	} else {
		if host, port, hasPort = strings.Cut(host, ":"); hasPort && strings.Contains(port, ":") {
			return "must have an IPv6 address in brackets, and at most one port"
		}
		if reason := checkHost(host); reason != "" {
			return reason
		}
	}
	if hasPort {
		n, err := parsePort(port)
		if err != nil {
			return "must have a port from 1 to 65535"
		}
		u.Port = n
	}
	u.Host = strings.ToLower(host)
	return ""
}

// checkHost says why host is neither a dotted IPv4 address nor a full DNS name
// (RFC 1123, with the underscore that is met in the wild), "" if it is one.
func checkHost(host string) string {
	if host == "" {
		return "must have a host"
	}
	if len(host) > 253 {
		return "must have a host of at most 253 characters"
	}
	if host[len(host)-1] == '.' {
		return "must have a host without a dot at its end"
	}
	last, labels := "", 0
	for label := range strings.SplitSeq(host, ".") {
		if !validLabel(label) {
			return "must have a host of letters, digits and hyphens, in parts of 1 to 63 characters with dots between"
		}
		last = label
		labels++
	}
	if last[0] >= '0' && last[0] <= '9' {
		// Every top-level domain begins with a letter; what begins with a digit is
		// read as an octal, hexadecimal or short IPv4 address by some.
		if _, err := netip.ParseAddr(host); err == nil {
			return ""
		}
		return "must have a name as its host, or an address written as four decimal numbers"
	}
	if labels == 1 {
		return "must have a full host name with a domain"
	}
	for _, reserved := range [...]string{"localhost", "local", "internal", "onion", "home.arpa"} {
		if tail := len(host) - len(reserved); tail > 0 && host[tail-1] == '.' && strings.EqualFold(host[tail:], reserved) {
			return "must have a public host name; this domain is for private networks"
		}
	}
	return ""
}

func validLabel(label string) bool {
	if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for i := range len(label) {
		c := label[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
