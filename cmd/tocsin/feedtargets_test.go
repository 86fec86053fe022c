package main

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels/rss"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/config"
	"github.com/tocsin/tocsin/internal/feeds"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	storesqlite "github.com/tocsin/tocsin/internal/store/sqlite"
)

// TestFeedsFollowTheirTargets changes targets as the control API does, with feeds
// that look for changes by themselves once in an hour.
func TestFeedsFollowTheirTargets(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	db, err := sqlitedb.Open(t.Context(), sqlitedb.Options{Dir: t.TempDir(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ledger, shelf := storesqlite.New(db, newOutlets(config.Default()).route), feeds.NewShelf()
	c := rss.Defaults("1")
	c.Base, c.Log, c.Every = "https://status.example.com", log, time.Hour
	published, err := rss.New(c, ledger, shelf, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer published.Close()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); published.Run(ctx) }()
	defer func() { stop(); <-ended }()

	shown := func(want int) {
		t.Helper()
		eventually(t, func() bool {
			answer := httptest.NewRecorder()
			shelf.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/feeds/default.atom", nil))
			return answer.Code == want
		})
	}
	targets := feedTargets{ledger, published.Changed}
	feed := &incident.Target{ExternalID: "f", Channel: "rss", Address: "default", Page: "default", State: incident.StateActive}
	upsert := func(t *testing.T, target *incident.Target) int64 {
		t.Helper()
		done, err := targets.Upsert(t.Context(), []*incident.Target{target})
		if err != nil {
			t.Fatal(err)
		}
		return done[0].ID
	}
	patch := func(id int64, change func(*incident.Target)) {
		t.Helper()
		if _, err := targets.Patch(t.Context(), id, func(t *incident.Target) error { change(t); return nil }); err != nil {
			t.Fatal(err)
		}
	}

	shown(http.StatusNotFound)
	id := upsert(t, feed)
	shown(http.StatusOK)
	patch(id, func(t *incident.Target) { t.State = incident.StatePaused })
	shown(http.StatusNotFound)
	patch(id, func(t *incident.Target) { t.State = incident.StateActive })
	shown(http.StatusOK)
	// A feed that becomes something else is a feed no more.
	patch(id, func(t *incident.Target) { t.Channel, t.Address = "webhook", "https://hooks.example.com/" })
	shown(http.StatusNotFound)
	upsert(t, feed)
	shown(http.StatusOK)
	upsert(t, &incident.Target{ExternalID: "f", Channel: "webhook", Address: "https://hooks.example.com/", Page: "default", State: incident.StateActive})
	shown(http.StatusNotFound)
	upsert(t, feed)
	shown(http.StatusOK)
	if err := targets.Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	shown(http.StatusNotFound)

	// What is no feed doesn't have the feeds looked through.
	asked := 0
	targets.published = func() { asked++ }
	hook := upsert(t, &incident.Target{Channel: "webhook", Address: "https://hooks.example.com/1", Page: "default", State: incident.StateActive})
	patch(hook, func(t *incident.Target) { t.State = incident.StatePaused })
	if err := targets.Delete(t.Context(), hook); err != nil {
		t.Fatal(err)
	}
	if err := targets.Delete(t.Context(), hook); err == nil || asked != 0 {
		t.Errorf("a second time %v; feeds were asked for %d times", err, asked)
	}
}
