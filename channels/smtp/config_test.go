package smtp

import (
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/internal/egress"
)

func TestTemplatesAreTriedAtStart(t *testing.T) {
	for name, tc := range map[string]struct{ file, text, want string }{
		"syntax":           {"tocsin.txt.tmpl", "one\ntwo {{if}}", "tocsin.txt.tmpl:2:"},
		"html syntax":      {"tocsin.html.tmpl", "one\n\n{{end}}", "tocsin.html.tmpl:3:"},
		"html escaping":    {"tocsin.html.tmpl", "one\n<a href=\"{{if .Test}}?{{else}}x{{end}}{{.Title}}\">x</a><script>", "tocsin.html.tmpl:2:"},
		"unknown field":    {"tocsin.txt.tmpl", "{{.Nothing}}", "tocsin.txt.tmpl:1:2: executing"},
		"fails at a value": {"tocsin.txt.tmpl", "{{index .Components 0}}", "index out of range"},
		"unknown function": {"tocsin.html.tmpl", "{{exec .Title}}", "exec"},
		"empty subject":    {"tocsin.subject.tmpl", "  {{/* nothing */}}\n", "subject is empty"},
		"link in subject":  {"tocsin.subject.tmpl", "{{.Unsubscribe}}", "subject can't have"},
		"link cut":         {"tocsin.txt.tmpl", "{{slice .Unsubscribe 8}}", "as it is"},
		"link encoded":     {"tocsin.txt.tmpl", "{{.Unsubscribe | urlquery}}", "as it is"},
		"link in a query":  {"tocsin.html.tmpl", `<a href="https://x.example/?to={{.Unsubscribe}}">x</a>`, "as it is"},
		"name":             {"tocsin.tmpl", "", "must end in"},
		"no format":        {".txt.tmpl", "", "must end in"},
		"none at all":      {"tocsin.txt", "", "there are none"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, tc.file), []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := tryChannel(t, "smtp://127.0.0.1?tls=none", func(c *Config, _ *egress.Config) {
				c.Templates, c.Unsubscribe = dir, func(int64) string { return sampleLink }
			})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v; want it to say %q", err, tc.want)
			}
		})
	}
	if _, err := tryChannel(t, "smtp://127.0.0.1", func(c *Config, _ *egress.Config) { c.Templates = "testdata/none" }); err == nil {
		t.Error("a directory that does not exist is taken")
	}
}

func TestConfigurationsRefused(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(key, []byte("-----BEGIN NONSENSE-----"), 0o600); err != nil {
		t.Fatal(err)
	}
	const good = "smtp://127.0.0.1:25?tls=none"
	for name, change := range map[string]func(*Config){
		"no relay":           func(c *Config) { c.Relays = nil },
		"no name":            func(c *Config) { c.Relays[0].Name = "" },
		"a name with spaces": func(c *Config) { c.Relays[0].Name = "a b" },
		"a name twice":       func(c *Config) { c.Relays = append(c.Relays, c.Relays[0]) },
		"no URL":             func(c *Config) { c.Relays[0].URL = "" },
		"another scheme":     func(c *Config) { c.Relays[0].URL = "http://hunter2:hunter2@127.0.0.1" },
		"no host":            func(c *Config) { c.Relays[0].URL = "smtp://hunter2:hunter2@:25" },
		"a path":             func(c *Config) { c.Relays[0].URL = "smtp://hunter2:hunter2@127.0.0.1/x" },
		"a bad port":         func(c *Config) { c.Relays[0].URL = "smtp://hunter2:hunter2@127.0.0.1:99999" },
		"not even a URL":     func(c *Config) { c.Relays[0].URL = "smtp://hunter2:hunter2%zz@127.0.0.1" },
		"a user alone":       func(c *Config) { c.Relays[0].URL = "smtp://hunter2@127.0.0.1" },
		"tls that is not":    func(c *Config) { c.Relays[0].URL = "smtp://hunter2:hunter2@127.0.0.1?tls=maybe" },
		"tls twice":          func(c *Config) { c.Relays[0].URL = "smtp://127.0.0.1?tls=none&tls=starttls" },
		"smtps without":      func(c *Config) { c.Relays[0].URL = "smtps://127.0.0.1?tls=none" },
		"an unknown option":  func(c *Config) { c.Relays[0].URL = "smtp://127.0.0.1?starttls=off" },
		"no from":            func(c *Config) { c.Relays[0].From = "" },
		"a from with CRLF":   func(c *Config) { c.Relays[0].From = "\"a\r\nBcc: x\" <a@b.example>" },
		"two from":           func(c *Config) { c.Relays[0].From = "a@b.example, c@d.example" },
		"a quoted from":      func(c *Config) { c.Relays[0].From = `"a b"@c.example` },
		"too many sessions":  func(c *Config) { c.Relays[0].Connections = 1001 },
		"a domain with CRLF": func(c *Config) { c.Domain = "x\r\ny" },
		"a hello with CRLF":  func(c *Config) { c.Hello = "x\r\ny" },
		"a link that is not": func(c *Config) { c.Unsubscribe = func(int64) string { return "hunter2" } },
		"no key":             func(c *Config) { c.Relays[0].DKIM = &DKIM{"example.com", "s", "testdata/none"} },
		"a key that is not":  func(c *Config) { c.Relays[0].DKIM = &DKIM{"example.com", "s", key} },
		"no selector":        func(c *Config) { c.Relays[0].DKIM = &DKIM{"example.com", "", key} },
	} {
		_, err := tryChannel(t, good, func(c *Config, _ *egress.Config) { change(c) })
		if err == nil {
			t.Errorf("%s is taken", name)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows a password: %v", name, err)
		}
	}
	for url, want := range map[string]egress.Endpoint{
		"smtp://Relay.example.com":          {Host: "relay.example.com", Port: 25},
		"smtp://u:p@relay:587?tls=starttls": {Host: "relay", Port: 587},
		"smtps://u:p@relay":                 {Host: "relay", Port: 465, TLS: true},
		"smtp://u:p%40x@relay?tls=implicit": {Host: "relay", Port: 25, TLS: true},
		"smtp://[::1]:2525/?tls=none":       {Host: "::1", Port: 2525},
	} {
		c, err := tryChannel(t, url, nil)
		if err != nil {
			t.Errorf("%s: %v", url, err)
		} else if c.first.endpoint != want {
			t.Errorf("%s: %+v", url, c.first.endpoint)
		}
	}
	if c := newChannel(t, "smtp://u:p%40x@relay", nil); c.first.password != "p@x" || cap(c.first.slots) != defaultConnections {
		t.Errorf("%+v", c.first)
	}
}

func TestSendersWithNames(t *testing.T) {
	for from, want := range map[string]string{
		"status@example.com":                   "status@example.com",
		"Status <status@example.com>":          `"Status" <status@example.com>`,
		"Störungen & Co <status@example.com>":  "=?utf-8?b?U3TDtnJ1bmdlbiAmIENv?=\r\n <status@example.com>",
		`"=?utf-8?q?x?=" <status@example.com>`: "=?utf-8?b?PT91dGYtOD9xP3g/PQ==?=\r\n <status@example.com>",
		`"Status, Inc. \"x\"" <s@example.com>`: `"Status, Inc. \"x\"" <s@example.com>`,
	} {
		parsed, err := mail.ParseAddress(from)
		if err != nil {
			t.Fatal(err)
		}
		if got := sender(parsed); got != want && from[0] != '"' {
			t.Errorf("%s: %q; want %q", from, got, want)
		}
		if back, err := mail.ParseAddress(strings.ReplaceAll(sender(parsed), "\r\n", "")); err != nil || *back != *parsed {
			t.Errorf("%s: %v, %v", from, back, err)
		}
	}
}
