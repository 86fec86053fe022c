package main

import (
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/config"
)

// A link that nobody answers would be a promise to people and to mail providers.
func TestMailsHaveLinksOnlyWhereSomebodyAnswersThem(t *testing.T) {
	link := func(int64) string { return "https://status.example.com/u/1" }
	cfg := config.Default()
	if newOutlets(cfg).smtpConfig(link).Unsubscribe != nil {
		t.Error("mails have an unsubscribe link without a public listener")
	}
	cfg.PublicListen = "127.0.0.1:0"
	if newOutlets(cfg).smtpConfig(link).Unsubscribe == nil {
		t.Error("mails have no unsubscribe link")
	}
}

// What may be sent until its answer comes is claimed for longer than that.
func TestLongestSendFollowsTheConfiguration(t *testing.T) {
	cfg := config.Default()
	expect := func(what string, want time.Duration) {
		t.Helper()
		if got := newOutlets(cfg).longestSend(); got != want {
			t.Errorf("%s: a send takes at most %v, want %v", what, got, want)
		}
	}
	expect("webhooks", 5*time.Second+2*15*time.Second)
	cfg.Webhook.Hosts = map[string]config.Host{"slow.example.com": {HostLimits: config.HostLimits{ConnectTimeout: time.Second, Timeout: 50 * time.Second}}}
	expect("a slow host", 101*time.Second)
	cfg.SMTP = []config.SMTP{{Name: "a"}}
	expect("mail", 5*time.Second+3*15*time.Second+time.Minute)
	cfg.Mail.FinalTimeout = 90 * time.Second
	expect("a slow relay", 140*time.Second)
	cfg.SMPP = []config.SMPP{{Name: "b"}}
	cfg.SMS.ResponseTimeout = 20 * time.Second
	expect("SMS", 5*time.Second+12*20*time.Second)
	if opt := dispatcherOptions(cfg, newOutlets(cfg), 100); opt.LongestSend != newOutlets(cfg).longestSend() {
		t.Errorf("the engine is told of %v", opt.LongestSend)
	}
}
