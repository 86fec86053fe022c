package rss

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/feeds"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store/sqlite"
)

// TestOverSQLite publishes from the real store, and again from the same file after a
// restart.
func TestOverSQLite(t *testing.T) {
	dir := t.TempDir()
	documents := func(accept bool) (all [][]byte) {
		db, err := sqlitedb.Open(t.Context(), sqlitedb.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		store := sqlite.New(db, func(*incident.Target) (string, string, error) { return "rss", "feeds", nil })
		shelf := feeds.NewShelf()
		config := Defaults("1")
		config.Base, config.Log = "https://status.example.com", slog.New(slog.DiscardHandler)
		c, err := New(config, store, shelf, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if accept {
			if _, err := store.Upsert(t.Context(), []*incident.Target{target(0, "default")}); err != nil {
				t.Fatal(err)
			}
			for n := range 3 {
				acceptOver(t, store, n+1)
				u := &channels.Update{Page: "default", IncidentID: "INC-1", Sequence: n + 1}
				if got := c.Send(t.Context(), message("default", u)); got.Class != channels.Delivered {
					t.Fatalf("update %d: %+v", n+1, got)
				}
			}
		} else if err := c.Warm(t.Context()); err != nil {
			t.Fatal(err)
		}
		for f := range feeds.Formats {
			recorder := httptest.NewRecorder()
			shelf.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/feeds/default"+f.Extension(), nil))
			if recorder.Code != http.StatusOK || bytes.Count(recorder.Body.Bytes(), []byte("Update ")) < 3 {
				t.Fatalf("%d: %s", recorder.Code, recorder.Body)
			}
			all = append(all, recorder.Body.Bytes())
		}
		return all
	}
	before := documents(true)
	for f, after := range documents(false) {
		if !bytes.Equal(before[f], after) {
			t.Errorf("%s is another after a restart", feeds.Format(f).Extension())
		}
	}
}

func acceptOver(t *testing.T, store *sqlite.Store, n int) {
	t.Helper()
	e := &incident.Event{IncidentID: "INC-1", Status: incident.Identified, Impact: incident.ImpactMajor, AffectedComponents: []string{"api"},
		StartedAt: start, UpdatedAt: start.Add(time.Duration(n) * time.Minute), Message: fmt.Sprintf("Update %d.", n)}
	if err := e.Validate(); err != nil {
		t.Fatal(err)
	}
	arrival := &dispatcher.Arrival{Event: e, UpdateID: fmt.Sprint("u-", n), ReceivedAt: start, Hash: e.ContentHash()}
	if _, err := store.Accept(t.Context(), []*dispatcher.Arrival{arrival}, dispatcher.Decide(start.Add(time.Hour), 24*time.Hour)); err != nil {
		t.Fatal(err)
	}
}
