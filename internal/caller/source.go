package caller

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Routes of the intake, by the words of the configuration.
const (
	Events    = "events"    // POST /v1/incidents
	Alerts    = "alerts"    // POST /v1/alerts, /v1/update
	PagerDuty = "pagerduty" // POST /v2/enqueue
)

// Own is the route that one source has for itself, POST /v1/sources/NAME.
func Own(name string) string { return "sources/" + name }

// Routes lists the routes that a source may name, besides its own.
func Routes() []string { return []string{Events, Alerts, PagerDuty} }

// What refusals are counted as that are no single source's.
const (
	// Tokens stands for the control API's tokens, where a route has no source.
	Tokens = "tokens"
	// Several stands for the sources of a route, where none alone was meant.
	Several = "several"
)

// Source is someone who may send to some routes. All the parts it has must hold; it
// has at least one besides Networks, or Networks alone.
type Source struct {
	// Name is for logs, metrics and the history.
	Name string
	// Routes are some of those of [Routes], and its [Own].
	Routes []string
	// Bearer are tokens (RFC 6750, section 2.1), of which one must be sent.
	Bearer []string
	// Keys are secrets of senders that can set no header. One must be the parameter
	// key of the URL, or what [WithKey] found in the body.
	Keys []string
	// Networks are those that a peer may have its address in. A proxy in between is
	// the peer.
	Networks []netip.Prefix
	// Certificates are names, one of which the client's verified certificate must
	// have.
	Certificates []Identity
	// Signature must be there unless it is the zero value.
	Signature Signature
}

// source is a [Source] made ready.
type source struct {
	name         string
	tokens       [][sha256.Size]byte // digests, of one length whatever was sent
	keys         [][sha256.Size]byte // likewise
	networks     []netip.Prefix
	certificates []Identity
	signature    *verifier
	taken        *taken
}

func newSource(s Source) (*source, error) {
	made := &source{name: s.Name, tokens: digests(s.Bearer), keys: digests(s.Keys), networks: s.Networks, certificates: s.Certificates}
	if s.Signature.Form != "" {
		v, err := newVerifier(s.Signature)
		if err != nil {
			return nil, fmt.Errorf("source %s: %w", s.Name, err)
		}
		made.signature = v
		made.taken = newTaken(maxTaken)
	}
	switch {
	case len(made.tokens)+len(made.keys)+len(made.networks)+len(made.certificates) == 0 && made.signature == nil:
		return nil, fmt.Errorf("source %s: asks for nothing; give it a token, a key, networks, certificates or a signature", s.Name)
	case len(s.Routes) == 0:
		return nil, fmt.Errorf("source %s: names no route", s.Name)
	}
	for _, route := range s.Routes {
		if !slices.Contains(Routes(), route) && route != Own(s.Name) {
			return nil, fmt.Errorf("source %s: a route is none of %s", s.Name, strings.Join(Routes(), ", "))
		}
	}
	return made, nil
}

func digests(secrets []string) (all [][sha256.Size]byte) {
	for _, secret := range secrets {
		all = append(all, sha256.Sum256([]byte(secret)))
	}
	return all
}

// near says whether the peer is in the source's networks.
func (s *source) near(peer netip.Addr) bool {
	return len(s.networks) == 0 || slices.ContainsFunc(s.networks, func(n netip.Prefix) bool { return n.Contains(peer) })
}

// knows looks at the token, the key and the certificate of a request, all whatever
// comes of the others.
func (s *source) knows(r *http.Request, now time.Time) (why string) {
	if len(s.tokens) > 0 && !s.tokenHolds(r.Header) {
		why = "the token is missing or wrong"
	}
	if len(s.keys) > 0 && !oneOf(s.keys, keyOf(r)) {
		why = "the key is missing or wrong"
	}
	if len(s.certificates) > 0 && !s.certificateHolds(r, now) {
		why = "the certificate is missing, has ended, or has none of the names"
	}
	return why
}

func (s *source) tokenHolds(h http.Header) bool {
	scheme, token, _ := strings.Cut(h.Get("Authorization"), " ")
	return oneOf(s.tokens, strings.TrimSpace(token)) && strings.EqualFold(scheme, "Bearer")
}

// oneOf compares what was sent with all of them.
func oneOf(digests [][sha256.Size]byte, text string) bool {
	sent := sha256.Sum256([]byte(text))
	match := 0
	for _, own := range digests {
		match |= subtle.ConstantTimeCompare(own[:], sent[:])
	}
	return match == 1
}

type keyInBody struct{}

// WithKey is r with the key that its body has.
func WithKey(r *http.Request, key string) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), keyInBody{}, key))
}

// keyOf is "" where there is none. A route that has keys in its bodies takes none from
// the URL.
func keyOf(r *http.Request) string {
	if key, ok := r.Context().Value(keyInBody{}).(string); ok {
		return key
	}
	return r.URL.Query().Get("key")
}

// certificateHolds looks at what the handshake verified. A connection may outlive
// its certificate.
func (s *source) certificateHolds(r *http.Request, now time.Time) bool {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return false
	}
	leaf := r.TLS.VerifiedChains[0][0]
	return !now.Before(leaf.NotBefore) && !now.After(leaf.NotAfter) &&
		slices.ContainsFunc(s.certificates, func(i Identity) bool { return i.names(leaf) })
}

// shows says whether a request has something for each part that is sent, right or
// wrong: whether it means to be this source.
func (s *source) shows(r *http.Request) bool {
	return (len(s.tokens) == 0 || r.Header.Get("Authorization") != "") &&
		(len(s.keys) == 0 || keyOf(r) != "") &&
		(len(s.certificates) == 0 || r.TLS != nil && len(r.TLS.PeerCertificates) > 0) &&
		(s.signature == nil || r.Header.Get(s.signature.header) != "")
}

// Identity is a name that a client's certificate has to have.
type Identity struct{ kind, name string }

// ParseIdentity reads "dns:NAME", "uri:URI", "email:ADDRESS" (subject alternative
// names, RFC 5280, section 4.2.1.6) or "cn:NAME" (the subject's common name). Names
// are compared whole; those in the DNS whatever their case. Its errors complete the
// sentence that a key begins.
func ParseIdentity(text string) (Identity, error) {
	kind, name, _ := strings.Cut(text, ":")
	if !slices.Contains([]string{"dns", "uri", "email", "cn"}, kind) || name == "" || strings.TrimSpace(name) != name ||
		strings.Contains(name, "*") {
		return Identity{}, errors.New("must be dns:, uri:, email: or cn: and the whole name that the certificate has, such as dns:alertmanager.example.com")
	}
	if kind == "dns" {
		name = strings.ToLower(name)
	}
	return Identity{kind, name}, nil
}

func (i Identity) names(c *x509.Certificate) bool {
	switch i.kind {
	case "dns":
		return slices.ContainsFunc(c.DNSNames, func(name string) bool { return strings.ToLower(name) == i.name })
	case "email":
		return slices.Contains(c.EmailAddresses, i.name)
	case "cn":
		return c.Subject.CommonName == i.name
	case "uri":
		for _, u := range c.URIs {
			if u.String() == i.name {
				return true
			}
		}
	}
	return false
}

// ParseNetwork reads a network in CIDR form without bits after its prefix, or a
// single address. Its errors complete the sentence that a key begins.
func ParseNetwork(text string) (netip.Prefix, error) {
	bad := errors.New("must be an address or a network in CIDR form without bits after its prefix, such as 10.0.0.0/8 or 192.0.2.7")
	if address, err := netip.ParseAddr(text); err == nil {
		if address.Zone() != "" {
			return netip.Prefix{}, bad
		}
		address = address.Unmap()
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	if err != nil || network != network.Masked() || network.Addr().Is4In6() {
		return netip.Prefix{}, bad
	}
	return network, nil
}
