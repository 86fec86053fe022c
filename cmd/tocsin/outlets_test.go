package main

import (
	"testing"

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
