package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tocsin/tocsin/internal/caller"
)

// TLS names the files, all in PEM, that the control listener speaks TLS with. They
// are read again when they change.
type TLS struct {
	// Cert is the certificate, with those in between up to the root; Key is its key.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// ClientCA has the authorities of clients' certificates; "" believes none.
	ClientCA string `yaml:"client_ca"`
}

// On says whether the listener speaks TLS.
func (t TLS) On() bool { return t.Cert != "" }

// Source is someone who may send to routes of the intake without a token. Each part
// that is not empty has to hold.
type Source struct {
	// Name is 1 to 32 of a-z 0-9 _ -.
	Name string `yaml:"name"`
	// Routes are some of [caller.Routes].
	Routes []string `yaml:"routes"`
	// Bearer are tokens, as those of the control API.
	Bearer []string `yaml:"bearer"`
	// Networks are those that the peer's address may be in.
	Networks []string `yaml:"networks"`
	// Certificates are names that a client's certificate may have, as
	// [caller.ParseIdentity] reads them.
	Certificates []string `yaml:"certificates"`
	HMAC         HMAC     `yaml:"hmac"`
}

// HMAC is how a source signs its requests; the zero value asks for no signature.
type HMAC struct {
	// Form is one of [caller.Forms].
	Form string `yaml:"form"`
	// Secrets are up to [caller.MaxSecrets], all in use at once.
	Secrets []string `yaml:"secrets"`
	// TimestampHeader is what the sender was told to put its time into, for the form
	// of Grafana alone.
	TimestampHeader string `yaml:"timestamp_header"`
}

// fill makes lists of those that were left out.
func (s *Source) fill() {
	for _, list := range []*[]string{&s.Routes, &s.Bearer, &s.Networks, &s.Certificates, &s.HMAC.Secrets} {
		if *list == nil {
			*list = []string{}
		}
	}
}

// Callers are the sources as a [caller.Guard] takes them.
func (c *Config) Callers() []caller.Source {
	all := make([]caller.Source, len(c.Sources))
	for i, s := range c.Sources {
		all[i] = caller.Source{Name: s.Name, Routes: s.Routes, Bearer: s.Bearer, Signature: caller.Signature{
			Form: caller.Form(s.HMAC.Form), Secrets: s.HMAC.Secrets, TimestampHeader: s.HMAC.TimestampHeader}}
		for _, text := range s.Networks {
			network, _ := caller.ParseNetwork(text) // checked, as the next
			all[i].Networks = append(all[i].Networks, network)
		}
		for _, text := range s.Certificates {
			name, _ := caller.ParseIdentity(text)
			all[i].Certificates = append(all[i].Certificates, name)
		}
	}
	return all
}

func (c *Config) checkTLS(f *faults) {
	switch t := c.TLS; {
	case t.Cert == "" && t.Key != "":
		f.at("tls.cert", "must name the certificate that belongs to tls.key")
	case t.Cert != "" && t.Key == "":
		f.at("tls.key", "must name the key that belongs to tls.cert")
	case t.Cert == "" && t.ClientCA != "":
		f.at("tls.client_ca", "needs tls.cert and tls.key: clients show certificates over TLS alone")
	}
}

func (c *Config) checkSources(f *faults) {
	taken := []string{caller.Tokens, caller.Several, "other"}
	for i, s := range c.Sources {
		at := fmt.Sprintf("sources[%d]", i)
		switch {
		case !relayName.MatchString(s.Name):
			f.at(at+".name", "must be 1 to 32 of a-z 0-9 _ -")
		case slices.Contains(taken, s.Name):
			f.at(at+".name", "is used twice, or is one of %s, %s and other, which metrics use", caller.Tokens, caller.Several)
		}
		taken = append(taken, s.Name)
		if len(s.Routes) == 0 {
			f.at(at+".routes", "must name what it may send to: %s", strings.Join(caller.Routes(), ", "))
		}
		for j, route := range s.Routes {
			if !slices.Contains(caller.Routes(), route) || slices.Contains(s.Routes[:j], route) {
				f.at(fmt.Sprintf("%s.routes[%d]", at, j), "must be one of %s, once", strings.Join(caller.Routes(), ", "))
			}
		}
		c.checkParts(f, at, s)
	}
}

// checkParts checks what a source is asked for.
func (c *Config) checkParts(f *faults, at string, s Source) {
	if len(s.Bearer)+len(s.Networks)+len(s.Certificates) == 0 && s.HMAC.Form == "" {
		f.at(at, "must ask for something: bearer, networks, certificates or hmac with a form")
	}
	checkTokens(f, at+".bearer", s.Bearer)
	for j, text := range s.Networks {
		network, err := caller.ParseNetwork(text)
		switch {
		case err != nil:
			f.at(fmt.Sprintf("%s.networks[%d]", at, j), "%s", err)
		case len(s.Bearer)+len(s.Certificates) == 0 && s.HMAC.Form == "" && wide(network):
			f.at(fmt.Sprintf("%s.networks[%d]", at, j), "must not be everyone where nothing else is asked for")
		}
	}
	for j, text := range s.Certificates {
		if _, err := caller.ParseIdentity(text); err != nil {
			f.at(fmt.Sprintf("%s.certificates[%d]", at, j), "%s", err)
		}
	}
	if len(s.Certificates) > 0 && c.TLS.ClientCA == "" {
		f.at(at+".certificates", "needs tls.client_ca, which says whose certificates are believed")
	}
	checkHMAC(f, at+".hmac", s.HMAC)
}

func wide(n netip.Prefix) bool { return n.Bits() == 0 }

func checkHMAC(f *faults, at string, h HMAC) {
	form := caller.Form(h.Form)
	switch {
	case h.Form == "" && (len(h.Secrets) > 0 || h.TimestampHeader != ""), h.Form != "" && !slices.Contains(caller.Forms(), h.Form):
		f.at(at+".form", "must be one of %s", strings.Join(caller.Forms(), ", "))
		return
	case h.Form == "":
		return
	}
	if len(h.Secrets) == 0 || len(h.Secrets) > caller.MaxSecrets {
		f.at(at+".secrets", "must have 1 to %d entries", caller.MaxSecrets)
	}
	for j, secret := range h.Secrets {
		if err := form.CheckSecret(secret); err != nil {
			f.at(fmt.Sprintf("%s.secrets[%d]", at, j), "%s", err)
		}
	}
	switch {
	case form == caller.Grafana && !caller.HeaderName(h.TimestampHeader):
		f.at(at+".timestamp_header", "must be the header that Grafana's contact point has as its timestamp header, such as X-Grafana-Alerting-Timestamp")
	case form != caller.Grafana && h.TimestampHeader != "":
		f.at(at+".timestamp_header", "must be left out: only the form grafana has one to be named")
	}
}

// String names the source; it has secrets.
func (s Source) String() string { return "source:" + s.Name }

// GoString is String.
func (s Source) GoString() string { return s.String() }

// String names the form.
func (h HMAC) String() string { return "hmac:" + h.Form }

// GoString is String.
func (h HMAC) GoString() string { return h.String() }
