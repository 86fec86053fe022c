package smpp

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/internal/egress"
)

func TestConfigurationsThatCannotWork(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"Receipt and OptOut must be set":        func(c *Config) { c.OptOut = nil },
		"there is no account":                   func(c *Config) { c.Accounts = nil },
		`account "": name: must be set`:         func(c *Config) { c.Accounts[0].Name = "" },
		`account "acme": window`:                func(c *Config) { c.Accounts[0].Window = 0 },
		`account "acme": binds: must be from`:   func(c *Config) { c.Accounts[0].Binds = 101 },
		`account "acme": binds: must be 1`:      func(c *Config) { c.Accounts[0].Binds, c.Accounts[0].Exclusive = 2, true },
		`account "acme": is there twice`:        func(c *Config) { c.Accounts = append(c.Accounts, c.Accounts[0]) },
		`account "acme": source`:                func(c *Config) { c.Accounts[0].Source = "TOO LONG A NAME" },
		`account "acme": source: must`:          func(c *Config) { c.Accounts[0].Source = "A\x00B" },
		`account "acme": source: must be`:       func(c *Config) { c.Accounts[0].Source = "" },
		`account "acme": url: must be like`:     func(c *Config) { c.Accounts[0].URL = "smpp://centre.example/" + testPassword },
		`account "acme": url: must be`:          func(c *Config) { c.Accounts[0].URL = "http://u:" + testPassword + "@h" },
		`account "acme": url: must`:             func(c *Config) { c.Accounts[0].URL = "smpp://u:" + testPassword + "@h:port" },
		`account "acme": url: must have a port`: func(c *Config) { c.Accounts[0].URL = "smpp://u:" + testPassword + "@h:0" },
		`account "acme": url: must end after`:   func(c *Config) { c.Accounts[0].URL = "smpp://u:" + testPassword + "@h/x" },
		`account "acme": url: must have a sys`:  func(c *Config) { c.Accounts[0].URL = "smpp://:" + testPassword + "@h" },
		`account "acme": url: must have a pass`: func(c *Config) { c.Accounts[0].URL = "smpp://u:" + strings.Repeat(testPassword, 10) + "@h" },
	} {
		_, err := open(testConfig(change), func(context.Context, egress.Endpoint) (net.Conn, error) {
			return nil, errors.New("dialled")
		})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), testPassword) {
			t.Errorf("got %v; want %q, and no password", err, want)
		}
	}
}

func TestEndpoints(t *testing.T) {
	for url, want := range map[string]egress.Endpoint{
		"smpp://u:p@SMSC.example.com":  {Host: "smsc.example.com", Port: 2775},
		"smpps://u:p@smsc.example.com": {Host: "smsc.example.com", Port: 3550, TLS: true},
		"smpp://u@[fd00::1]:2776/":     {Host: "fd00::1", Port: 2776},
		"smpp://u:p%40%3A@10.0.0.1:1":  {Host: "10.0.0.1", Port: 1},
	} {
		var a account
		if err := a.parseURL(url); err != nil || a.endpoint != want {
			t.Errorf("%s: %+v, %v", url, a.endpoint, err)
		}
		if url == "smpp://u:p%40%3A@10.0.0.1:1" && a.password != "p@:" {
			t.Errorf("password %q", a.password)
		}
	}
}
