package config

import (
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// hidden stands where a secret was.
const hidden = "xxxxx"

// Redacted returns c as YAML without its secrets: tokens, signing keys, and the
// passwords and queries of URLs. It is for logs and for people, and can be loaded
// again once they are put back.
func (c Config) Redacted() string {
	r := c
	r.Queue, r.Store, r.Rates = redactURL(c.Queue), redactURL(c.Store), redactURL(c.Rates)
	r.Tokens, r.Callback.Secrets = redactList(c.Tokens), redactList(c.Callback.Secrets)
	r.Sources = slices.Clone(c.Sources)
	for i := range r.Sources {
		s := &r.Sources[i]
		s.Bearer, s.Keys, s.HMAC.Secrets = redactList(s.Bearer), redactList(s.Keys), redactList(s.HMAC.Secrets)
	}
	r.SMTP, r.SMPP = slices.Clone(c.SMTP), slices.Clone(c.SMPP)
	for i := range r.SMTP {
		r.SMTP[i].URL = redactRelay(r.SMTP[i].URL)
	}
	for i := range r.SMPP {
		r.SMPP[i].URL = redactURL(r.SMPP[i].URL)
	}
	text, err := yaml.Marshal(r)
	if err != nil {
		// Every type above can be written; a test does.
		return fmt.Sprintf("# the configuration can't be printed: %v\n", err)
	}
	return string(text)
}

func redactList(secrets []string) []string {
	list := make([]string, len(secrets))
	for i := range list {
		list[i] = hidden
	}
	return list
}

func redactURL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return hidden
	}
	if _, ok := u.User.Password(); ok {
		u.User = url.UserPassword(u.User.Username(), hidden)
	}
	if u.RawQuery != "" {
		u.RawQuery = hidden
	}
	return u.String()
}

// redactRelay leaves the query of a relay's URL, which says how it is encrypted
// and has no secrets where the URL is valid.
func redactRelay(s string) string {
	if relayURL(s) != "" {
		return redactURL(s)
	}
	before, query, found := strings.Cut(s, "?")
	if found {
		query = "?" + query
	}
	return redactURL(before) + query
}

// String is Redacted, so that no verb of fmt shows a secret.
func (c Config) String() string { return c.Redacted() }

// GoString is Redacted.
func (c Config) GoString() string { return c.Redacted() }

// LogValue keeps secrets out of logs.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.Redacted()) }

// The parts that hold secrets hide them too, if printed alone.

// String names the relay.
func (r SMTP) String() string { return "smtp:" + r.Name }

// GoString is String.
func (r SMTP) GoString() string { return r.String() }

// String names the account.
func (a SMPP) String() string { return "smpp:" + a.Name }

// GoString is String.
func (a SMPP) GoString() string { return a.String() }

// Secrets returns what must not be shown of c, wherever it turns up: tokens, the secrets of
// callbacks and sources, and the passwords of URLs, plain and as a URL has them.
func (c *Config) Secrets() []string {
	secrets := slices.Concat(c.Tokens, c.Callback.Secrets)
	for _, s := range c.Sources {
		secrets = slices.Concat(secrets, s.Bearer, s.Keys, s.HMAC.Secrets)
	}
	urls := []string{c.Queue, c.Store, c.Rates}
	for i := range c.SMTP {
		urls = append(urls, c.SMTP[i].URL)
	}
	for i := range c.SMPP {
		urls = append(urls, c.SMPP[i].URL)
	}
	for _, raw := range urls {
		u, err := url.Parse(raw)
		if err != nil {
			continue
		}
		password, ok := u.User.Password()
		if !ok || password == "" {
			continue
		}
		_, written, _ := strings.Cut(u.User.String(), ":")
		secrets = append(secrets, password, written)
	}
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) }) // one may be a part of another
	return slices.Compact(secrets)
}

// String says how many keys there are.
func (c Callback) String() string { return fmt.Sprintf("callback with %d keys", len(c.Secrets)) }

// GoString is String.
func (c Callback) GoString() string { return c.String() }
