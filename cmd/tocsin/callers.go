package main

import (
	"crypto/tls"
	"log/slog"
	"net"
	"time"

	"github.com/tocsin/tocsin/internal/config"
	"github.com/tocsin/tocsin/internal/gateway"
)

// controlTLS returns what makes the control listener speak TLS, if it is to.
func controlTLS(cfg *config.Config, log *slog.Logger) (func(net.Listener) net.Listener, error) {
	if !cfg.TLS.On() {
		return func(l net.Listener) net.Listener { return l }, nil
	}
	terms, err := gateway.NewTLS(gateway.TLSFiles{Cert: cfg.TLS.Cert, Key: cfg.TLS.Key, ClientCA: cfg.TLS.ClientCA}, log, time.Now)
	if err != nil {
		return nil, usageError(err)
	}
	return func(l net.Listener) net.Listener { return tls.NewListener(l, terms) }, nil
}

func sourceNames(cfg *config.Config) []string {
	names := make([]string, len(cfg.Sources))
	for i, s := range cfg.Sources {
		names[i] = s.Name
	}
	return names
}
