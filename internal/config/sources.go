package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/caller"
	"github.com/tocsin/tocsin/internal/lifecycle"
	"github.com/tocsin/tocsin/internal/senders"
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
	// Routes are some of [caller.Routes], or one of [OwnRoutes].
	Routes []string `yaml:"routes"`
	// Bearer are tokens, as those of the control API.
	Bearer []string `yaml:"bearer"`
	// Networks are those that the peer's address may be in.
	Networks []string `yaml:"networks"`
	// Certificates are names that a client's certificate may have, as
	// [caller.ParseIdentity] reads them.
	Certificates []string `yaml:"certificates"`
	// Keys are secrets that are in the URL or the body.
	Keys []string `yaml:"keys"`
	HMAC HMAC     `yaml:"hmac"`
	// Page is that of what names none.
	Page       string     `yaml:"page"`
	Statuspage Statuspage `yaml:"statuspage"`
	PagerDuty  PagerDuty  `yaml:"pagerduty"`
	Mapping    Mapping    `yaml:"mapping"`
}

// Routes that are a source's own, POST /v1/sources/NAME.
const (
	ownStatuspage = "statuspage"
	ownMapping    = "mapping"
)

// OwnRoutes are what a source may send to its own route, by the words of its routes.
func OwnRoutes() []string { return []string{ownStatuspage, ownMapping} }

// Statuspage says what of Atlassian Statuspage's webhooks counts.
type Statuspage struct {
	// ComponentUpdates says that a component's status is a signal, too.
	ComponentUpdates bool `yaml:"component_updates"`
}

// PagerDuty says what of events for PagerDuty counts.
type PagerDuty struct {
	// PublicDetails are the names of those custom_details that everyone may know.
	PublicDetails []string `yaml:"public_details"`
}

// Mapping has an expression of CEL for each part of an incident.
type Mapping struct {
	Each       string `yaml:"each"`
	Page       string `yaml:"page"`
	Group      string `yaml:"group"`
	Key        string `yaml:"key"`
	Firing     string `yaml:"firing"`
	Component  string `yaml:"component"`
	Impact     string `yaml:"impact"`
	Visibility string `yaml:"visibility"`
	Title      string `yaml:"title"`
	Message    string `yaml:"message"`
	// PublicDetails is like the others.
	PublicDetails string `yaml:"public_details"`
	StartedAt     string `yaml:"started_at"`
}

// own is what the source may send to its own route; "" if it has none.
func (s *Source) own() string {
	for _, route := range s.Routes {
		if slices.Contains(OwnRoutes(), route) {
			return route
		}
	}
	return ""
}

// asks says whether a caller has to show anything to be the source.
func (s *Source) asks() bool {
	return len(s.Bearer)+len(s.Keys)+len(s.Networks)+len(s.Certificates) > 0 || s.HMAC.Form != ""
}

// reader reads what comes to the source's own route.
func (s *Source) reader() (senders.Own, error) {
	if s.own() == ownStatuspage {
		return senders.NewStatuspage(s.Page, s.Statuspage.ComponentUpdates)
	}
	m, err := senders.NewMapping(senders.Expressions(s.Mapping), s.Page)
	if err != nil {
		return senders.Own{}, err
	}
	return senders.Own{Kind: senders.SourceMapping, Read: m.Read}, nil
}

// Own reads what sources send to their own routes, by their names.
func (c *Config) Own() (map[string]senders.Own, error) {
	all := make(map[string]senders.Own)
	for i := range c.Sources {
		if c.Sources[i].own() == "" {
			continue
		}
		reader, err := c.Sources[i].reader()
		if err != nil {
			return nil, fmt.Errorf("source %s: %w", c.Sources[i].Name, err)
		}
		all[c.Sources[i].Name] = reader
	}
	return all, nil
}

// PageOf is the page of what a source sends that names none; "" is the default page.
func (c *Config) PageOf(source string) string {
	for i := range c.Sources {
		if c.Sources[i].Name == source {
			return c.Sources[i].Page
		}
	}
	return ""
}

// PublicOf are the names of those custom_details of a source's events that everyone may
// know.
func (c *Config) PublicOf(source string) []string {
	for i := range c.Sources {
		if c.Sources[i].Name == source {
			return c.Sources[i].PagerDuty.PublicDetails
		}
	}
	return nil
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
	for _, list := range []*[]string{&s.Routes, &s.Bearer, &s.Networks, &s.Certificates, &s.Keys, &s.HMAC.Secrets, &s.PagerDuty.PublicDetails} {
		if *list == nil {
			*list = []string{}
		}
	}
}

// Callers are the sources as a [caller.Guard] takes them. One that asks for nothing
// isn't among them: its own route asks for a token of the control API.
func (c *Config) Callers() []caller.Source {
	all := make([]caller.Source, 0, len(c.Sources))
	for _, s := range c.Sources {
		if !s.asks() {
			continue
		}
		made := caller.Source{Name: s.Name, Bearer: s.Bearer, Keys: s.Keys, Signature: caller.Signature{
			Form: caller.Form(s.HMAC.Form), Secrets: s.HMAC.Secrets, TimestampHeader: s.HMAC.TimestampHeader}}
		for _, route := range s.Routes {
			if route == s.own() {
				route = caller.Own(s.Name)
			}
			made.Routes = append(made.Routes, route)
		}
		for _, text := range s.Networks {
			network, _ := caller.ParseNetwork(text) // checked, as the next
			made.Networks = append(made.Networks, network)
		}
		for _, text := range s.Certificates {
			name, _ := caller.ParseIdentity(text)
			made.Certificates = append(made.Certificates, name)
		}
		all = append(all, made)
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
		known := append(caller.Routes(), OwnRoutes()...)
		if len(s.Routes) == 0 {
			f.at(at+".routes", "must name what it may send to: %s", strings.Join(known, ", "))
		}
		for j, route := range s.Routes {
			switch own := slices.Contains(OwnRoutes(), route); {
			case !slices.Contains(known, route) || slices.Contains(s.Routes[:j], route):
				f.at(fmt.Sprintf("%s.routes[%d]", at, j), "must be one of %s, once", strings.Join(known, ", "))
			case own && route != s.own():
				f.at(fmt.Sprintf("%s.routes[%d]", at, j), "must be a source of its own: a source has one route by its name")
			}
		}
		c.checkParts(f, at, s)
		checkReader(f, at, s)
	}
}

// checkReader checks what is made of what the source sends.
func checkReader(f *faults, at string, s Source) {
	if e := (&incident.Event{Page: s.Page}); s.Page != "" && fieldOf(e.Validate()) == "page" {
		f.at(at+".page", "must be 1 to 64 of a-z A-Z 0-9 . _ - and not dots alone")
		return
	}
	if len(s.PagerDuty.PublicDetails) > lifecycle.MaxPublicDetails {
		f.at(at+".pagerduty.public_details", "must have at most %d entries", lifecycle.MaxPublicDetails)
	}
	for j, name := range s.PagerDuty.PublicDetails {
		if err := senders.CheckPublicName(name); err != nil {
			f.at(fmt.Sprintf("%s.pagerduty.public_details[%d]", at, j), "%s", err)
		}
	}
	switch {
	case s.own() != ownMapping && s.Mapping != (Mapping{}):
		f.at(at+".mapping", "must be left out, or routes must have mapping")
		return
	case s.own() != ownStatuspage && s.Statuspage != (Statuspage{}):
		f.at(at+".statuspage", "must be left out, or routes must have statuspage")
		return
	case !slices.Contains(s.Routes, caller.PagerDuty) && len(s.PagerDuty.PublicDetails) > 0:
		f.at(at+".pagerduty", "must be left out, or routes must have pagerduty")
		return
	case s.own() == "":
		return
	}
	if _, err := s.reader(); err != nil {
		if invalid, ok := errors.AsType[*incident.Invalid](err); ok {
			f.at(at+"."+s.own()+"."+invalid.Field, "%s", invalid.Reason)
		} else {
			f.at(at, "%s", err)
		}
	}
}

func fieldOf(err error) string {
	if invalid, ok := errors.AsType[*incident.Invalid](err); ok {
		return invalid.Field
	}
	return ""
}

// checkParts checks what a source is asked for.
func (c *Config) checkParts(f *faults, at string, s Source) {
	if !s.asks() && (len(s.Routes) > 1 || s.own() == "") {
		f.at(at, "must ask for something: bearer, keys, networks, certificates or hmac with a form")
	}
	checkTokens(f, at+".bearer", s.Bearer)
	checkTokens(f, at+".keys", s.Keys)
	for j, text := range s.Networks {
		network, err := caller.ParseNetwork(text)
		switch {
		case err != nil:
			f.at(fmt.Sprintf("%s.networks[%d]", at, j), "%s", err)
		case len(s.Bearer)+len(s.Keys)+len(s.Certificates) == 0 && s.HMAC.Form == "" && wide(network):
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
