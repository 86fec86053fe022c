package config

import (
	"fmt"
	"log/slog"
	"net/url"
	"slices"

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
	r.SMTP, r.SMPP = slices.Clone(c.SMTP), slices.Clone(c.SMPP)
	for i := range r.SMTP {
		r.SMTP[i].URL = redactURL(r.SMTP[i].URL)
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

// String says how many keys there are.
func (c Callback) String() string { return fmt.Sprintf("callback with %d keys", len(c.Secrets)) }

// GoString is String.
func (c Callback) GoString() string { return c.String() }
