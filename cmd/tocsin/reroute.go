package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/store"
)

// routes says who serves each channel of named providers.
func (o *outlets) routes() []store.ChannelRoute {
	routes := []store.ChannelRoute{{Channel: incident.ChannelSMTP}, {Channel: incident.ChannelSMPP}}
	for i := range routes {
		r := &routes[i]
		for _, g := range o.groups {
			if strings.HasPrefix(g.Name, r.Channel+":") {
				r.Group, r.Provider = g.Name, g.Provider
			}
		}
	}
	return routes
}

// reroute brings the targets of the store in line with the configuration, which may
// be another than they were written under. The queue has to be open: what earlier
// processes held of it is free again.
func (o *outlets) reroute(ctx context.Context, s store.Routes, log *slog.Logger) error {
	for _, r := range o.routes() {
		done, err := s.Reroute(ctx, r, time.Now())
		if err != nil {
			return fmt.Errorf("bringing the targets of channel %s in line with the configuration: %w", r.Channel, err)
		}
		if done.Targets+done.Freed+done.Resumed > 0 {
			log.Info("the provider of a channel changed", "channel", r.Channel, "provider", r.Provider,
				"targets", done.Targets, "deliveries_rerouted", done.Freed, "deliveries_resumed", done.Resumed)
		}
		if done.Unserved > 0 {
			log.Warn("targets have no provider: what is for them waits until it expires; configure a provider and restart, or delete them",
				"channel", r.Channel, "targets", done.Unserved)
		}
	}
	return nil
}
