package main

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels/smpp"
	"github.com/tocsin/tocsin/channels/smtp"
	"github.com/tocsin/tocsin/internal/config"
	"github.com/tocsin/tocsin/internal/egress"
)

// TestConfigurationAgreesWithChannels asks both what they think of the same
// relays and accounts: what a channel refuses must be refused with its place in
// the file, and nothing else.
func TestConfigurationAgreesWithChannels(t *testing.T) {
	budget := egress.NewBudget(16, time.Minute)
	defer budget.Close()
	policy, err := egress.NewPolicy(egress.Rules{Allow: []string{"127.0.0.0/8"}})
	if err != nil {
		t.Fatal(err)
	}
	dialer := egress.NewDialer(egress.Config{Policy: policy, Budget: budget, Gate: egress.NewGate(4, 4)})
	file := filepath.Join(t.TempDir(), "tocsin.yaml")
	load := func(key string, entry map[string]any) (*config.Config, error) {
		text, err := json.Marshal(map[string]any{key: []any{entry}}) // JSON is YAML
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return config.Load(file, nil)
	}
	agree := func(what string, refused, opened error) {
		t.Helper()
		if (refused == nil) != (opened == nil) {
			t.Errorf("%s: the configuration says %v, the channel %v", what, refused, opened)
		}
	}

	relay := func(url, from string) {
		t.Helper()
		cfg, refused := load("smtp", map[string]any{"name": "a", "url": url, "from": from})
		if cfg == nil {
			cfg = config.Default()
			cfg.SMTP = []config.SMTP{{Name: "a", URL: url, From: from, Connections: 1}}
		}
		mails, opened := smtp.New(newOutlets(cfg).smtpConfig(nil), dialer)
		agree(url+" "+from, refused, opened)
		if opened == nil {
			mails.Close()
		}
	}
	for _, url := range []string{
		"smtp://h", "smtp://u:p@h:587", "smtps://u:p@h", "smtp://h/", "smtp://[::1]:25", "smtp://u:p%40@h",
		"smtp://h?tls=starttls", "smtp://h?tls=implicit", "smtp://h?tls=none", "smtps://h?tls=implicit",
		"smtps://h?tls=none", "smtps://h?tls=starttls", "smtp://h?tls=", "smtp://h?tls", "smtp://h?tls=maybe", "smtp://h?tls=none&tls=none",
		"smtp://h?tls=none&x=1", "smtp://h?x=1", "smtp://u@h", "smtp://u:@h", "smtp://:p@h", "smtp://@h", "smtp://h/x", "smtp://h#x", "smtp://h:0",
		"smtp://h:99999", "smtp://h:x", "smtp://", "smtp:h", "http://h", "h:25", "",
	} {
		relay(url, "Status <status@example.com>")
	}
	for _, from := range []string{
		"a@b", "a@b.example", "A B <a@b.example>", "Störung <a@b.example>", "a.b+c@d.example", "a!#$%&'*+/=?^_`{|}~-@b.example",
		"", "a", "a@", "@b.example", "-a@b.example", ".a@b.example", "a.@b.example", "a..b@c.example", `"a b"@c.example`, "a@[127.0.0.1]",
		"a@-b.example", "a@b-.example", "a@b..example", "ä@b.example", "a@ä.example", "a@b.example, c@d.example",
	} {
		relay("smtp://h", from)
	}

	account := func(url, source string, binds int, exclusive bool) {
		t.Helper()
		cfg, refused := load("smpp", map[string]any{"name": "a", "url": url, "source": source, "binds": binds, "exclusive": exclusive})
		if cfg == nil {
			cfg = config.Default()
			cfg.SMPP = []config.SMPP{{Name: "a", URL: url, Source: source, Window: 1, Binds: binds, Exclusive: exclusive}}
		}
		texts, opened := smpp.New(newOutlets(cfg).smppConfig(nil, nil, slog.New(slog.DiscardHandler)), dialer)
		agree(url+" "+source, refused, opened)
		if opened == nil {
			texts.Close()
		}
	}
	for _, url := range []string{
		"smpp://u:p@127.0.0.1:1", "smpps://u:p@127.0.0.1:1", "smpp://u@127.0.0.1:1", "smpp://u:@127.0.0.1:1/", "smpp://127.0.0.1:1",
		"smpp://:p@127.0.0.1:1", "smpp://0123456789abcdef:p@127.0.0.1:1", "smpp://u:p@127.0.0.1:1/x", "smpp://u:p@127.0.0.1:1?x", "smpp://u:p@127.0.0.1:0",
		"smpp://u%00:p@127.0.0.1:1", "smpp://u:p%00@127.0.0.1:1", "smtp://u:p@127.0.0.1:1", "smpp://u:p@", "",
		"smpp://u:0123456789012345678901234567890123456789012345678901234567890123@127.0.0.1:1",
		"smpp://u:01234567890123456789012345678901234567890123456789012345678901234@127.0.0.1:1",
	} {
		account(url, "STATUS", 1, false)
	}
	for _, source := range []string{
		"A", "STATUS PAGE", "12345", "+14155550123", "01234567890123456789", "1 2",
		"", " ", " A", "A ", "STATUS PAGES", "012345678901234567890", "+", "+A", "Störung", "A-B",
	} {
		account("smpp://u:p@127.0.0.1:1", source, 1, false)
	}
	for _, code := range []string{"1", "49", "358", "", "0", "049", "+49", "1234", "de"} {
		cfg, refused := load("smpp", map[string]any{"name": "a", "url": "smpp://u:p@127.0.0.1:1", "source": "A", "country": code})
		if cfg == nil {
			cfg = config.Default()
			cfg.SMPP = []config.SMPP{{Name: "a", URL: "smpp://u:p@127.0.0.1:1", Source: "A", Window: 1, Binds: 1, Country: code}}
		}
		texts, opened := smpp.New(newOutlets(cfg).smppConfig(nil, nil, slog.New(slog.DiscardHandler)), dialer)
		agree("country "+code, refused, opened)
		if opened == nil {
			texts.Close()
		}
	}
	account("smpp://u:p@127.0.0.1:1", "A", 1, true)
	account("smpp://u:p@127.0.0.1:1", "A", 2, true)
}
