package config

import (
	"fmt"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// What the channels refuse is refused here, with its place in the file.

var (
	relayName   = regexp.MustCompile(`^[a-z0-9_-]{1,32}$`)
	callingCode = regexp.MustCompile(`^[1-9][0-9]{0,2}$`)
	smsSender   = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9 ]{0,9}[A-Za-z0-9])?|\+?[0-9]{1,20})$`)
	// localPart is a dot-atom (RFC 5322, section 3.2.3) that no command line takes
	// for an option.
	localPart = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+/=?^_`{|}~][A-Za-z0-9!#$%&'*+/=?^_`{|}~-]*(\\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*$")
	// dnsName is letters, digits and hyphens (RFC 1123, section 2.1), perhaps a
	// single label.
	dnsName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$`)
)

func isDNSName(s string) bool { return len(s) <= 253 && dnsName.MatchString(s) }

// checkNames wants providers that can be told apart.
func (c *Config) checkNames(f *faults) {
	seen := make(map[string]bool)
	name := func(list string, i int, name string) {
		key := fmt.Sprintf("%s[%d].name", list, i)
		if !relayName.MatchString(name) {
			f.at(key, "must be 1 to 32 of a-z 0-9 _ -")
		} else if seen[name] {
			f.at(key, "is used twice; give each relay and account its own")
		}
		seen[name] = true
	}
	for i := range c.SMTP {
		name("smtp", i, c.SMTP[i].Name)
	}
	for i := range c.SMPP {
		name("smpp", i, c.SMPP[i].Name)
	}
}

func (c *Config) checkMail(f *faults) {
	for _, name := range []struct{ key, value string }{{"mail.domain", c.Mail.Domain}, {"mail.hello", c.Mail.Hello}} {
		if name.value != "" && !isDNSName(name.value) {
			f.at(name.key, "must be a name in the DNS such as mail.example.com, or empty")
		}
	}
}

func (c *Config) checkRelays(f *faults) {
	for i, r := range c.SMTP {
		key := func(name string) string { return fmt.Sprintf("smtp[%d].%s", i, name) }
		if reason := relayURL(r.URL); reason != "" {
			f.at(key("url"), "%s", reason)
		}
		from, err := mail.ParseAddress(r.From)
		if err != nil || !isMailbox(from.Address) {
			f.at(key("from"), `must be a mailbox, such as "Status <status@example.com>"`)
		}
		switch d := r.DKIM; {
		case d == DKIM{}:
		case d.KeyFile == "":
			f.at(key("dkim.key_file"), "must name the file with the private key; leave out all of dkim to send without a signature")
		case !isDNSName(d.Selector):
			f.at(key("dkim.selector"), "must name the key in the DNS: SELECTOR._domainkey.DOMAIN has its public half")
		case d.Domain != "" && !isDNSName(d.Domain):
			f.at(key("dkim.domain"), "must be a domain such as example.com, or empty for that of from")
		}
	}
}

// relayURL says what is wrong with the URL of a relay.
func relayURL(text string) (reason string) {
	const example = "must be a URL such as smtp://user:password@relay.example.com:587"
	u, ok := serverURL(text, "smtp", "smtps")
	if !ok {
		return example
	}
	if u.User != nil {
		if password, _ := u.User.Password(); password == "" || u.User.Username() == "" {
			return example + ", with user and password or neither"
		}
	}
	const modes = "may end in ?tls=starttls (required, the default of smtp://), ?tls=implicit (that of smtps://) or ?tls=none, " +
		"which sends everything in the clear, and in nothing else"
	query, err := url.ParseQuery(u.RawQuery)
	switch {
	case err != nil, len(query) > 1, len(query) == 1 && len(query["tls"]) != 1:
		return modes
	case len(query) == 1 && u.Scheme == "smtps" && query.Get("tls") != "implicit":
		return "must not be smtps:// together with another tls than implicit; smtps:// is TLS from the start"
	case len(query) == 1 && !slices.Contains([]string{"starttls", "implicit", "none"}, query.Get("tls")):
		return modes
	}
	return ""
}

// serverURL parses a URL of one of the schemes that ends after its host and port,
// but for a query.
func serverURL(text string, schemes ...string) (u *url.URL, ok bool) {
	if !isURL(text, schemes...) {
		return nil, false
	}
	u, err := url.Parse(text)
	return u, err == nil && (u.Path == "" || u.Path == "/") && u.Opaque == ""
}

func isMailbox(address string) bool {
	local, domain, ok := strings.Cut(address, "@")
	return ok && len(local) <= 64 && localPart.MatchString(local) && isDNSName(domain)
}

func (c *Config) checkAccounts(f *faults) {
	for i, a := range c.SMPP {
		key := func(name string) string { return fmt.Sprintf("smpp[%d].%s", i, name) }
		if reason := accountURL(a.URL); reason != "" {
			f.at(key("url"), "%s", reason)
		}
		if !smsSender.MatchString(a.Source) {
			f.at(key("source"), "must be up to 11 letters and digits, or a number of up to 20 digits")
		}
		if a.Country != "" && !callingCode.MatchString(a.Country) {
			f.at(key("country"), "must be a calling code of up to 3 digits, such as \"49\"")
		}
		if a.Exclusive && a.Binds > 1 {
			f.at(key("binds"), "must be 1 for an exclusive account")
		}
	}
}

// accountURL says what is wrong with the URL of an account. The limits are those
// of SMPP 3.4, sections 5.2.1 and 5.2.2, but for longer passwords, which many
// centres take.
func accountURL(text string) (reason string) {
	u, ok := serverURL(text, "smpp", "smpps")
	if !ok || u.User == nil || u.RawQuery != "" {
		return "must be a URL such as smpp://system_id:password@smsc.example.com:2775"
	}
	password, _ := u.User.Password()
	switch id := u.User.Username(); {
	case id == "" || len(id) > 15 || strings.ContainsRune(id, 0):
		return "must have a system_id of 1 to 15 characters"
	case len(password) > 64 || strings.ContainsRune(password, 0):
		return "must have a password of at most 64 characters"
	}
	return ""
}

func (c *Config) checkFeeds(f *faults) {
	if c.RSS.Link != "" && !isURL(c.RSS.Link, "http", "https") {
		f.at("rss.link", "must be an http or https URL, or empty")
	}
	if c.RSS.Authority != "" && !isDNSName(c.RSS.Authority) {
		f.at("rss.authority", "must be a host name such as status.example.com, or empty")
	}
}
