package rss

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/channels/channeltest"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/feeds"
)

// TestContract holds the channel to the kit as far as a feed has a far side: its
// reader. The kit's other scripts are about what peers answer; a feed has the store
// and the disk instead, see TestStoreDown and TestFullDisk.
func TestContract(t *testing.T) {
	var world reader
	channeltest.Run(t, channeltest.Fixture{
		New:  func(t *testing.T, s channeltest.Script) channels.Channel { return world.open(t, s) },
		Play: func(t *testing.T, s channeltest.Script) *channeltest.Peer { return world.play(t, s) },
	})
}

// reader is a channel and, at the far side, who reads the feed each time the channel
// says that something was delivered. What the feed has then is what was received.
type reader struct {
	*Channel
	shelf *feeds.Shelf

	mu       sync.Mutex
	received []channeltest.Receipt
}

func (r *reader) play(_ *testing.T, s channeltest.Script) *channeltest.Peer {
	if s != channeltest.Accept {
		return nil
	}
	r.received = nil
	return &channeltest.Peer{
		Address: private, Private: []string{private},
		Received: func() []channeltest.Receipt {
			r.mu.Lock()
			defer r.mu.Unlock()
			return append([]channeltest.Receipt(nil), r.received...)
		},
	}
}

func (r *reader) open(t *testing.T, s channeltest.Script) *reader {
	f := target(1, private)
	f.Visibility = incident.Private
	at := time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)
	store := &memory{targets: []*incident.Target{f}, updates: []*channels.Update{{Page: "default", IncidentID: "INC-1", Sequence: 1,
		Status: incident.Investigating, Impact: incident.ImpactMajor, AffectedComponents: []string{"auth-api"}, UpdatedAt: at, AcceptedAt: at}}}
	config := Defaults("1")
	config.Base, config.Patience, config.Log = "https://status.example.com", s.Patience(), slog.New(slog.DiscardHandler)
	r.shelf = feeds.NewShelf()
	c, err := New(config, store, r.shelf, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Channel = c
	return r
}

// Send sends, and reads.
func (r *reader) Send(ctx context.Context, m *channels.Message) channels.Result {
	result := r.Channel.Send(ctx, m)
	if result.Class != channels.Delivered {
		return result
	}
	recorder := httptest.NewRecorder()
	r.shelf.ServeHTTP(recorder, httptest.NewRequest("GET", "/feeds/default/"+m.Address+".json", nil))
	var f struct {
		Items []struct {
			ID string `json:"id"`
		} `json:"items"`
	}
	if json.Unmarshal(recorder.Body.Bytes(), &f) != nil {
		return result
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, item := range f.Items {
		if item.ID == r.site.updateID(m.Update.Page, m.Update.IncidentID, m.Update.Sequence) {
			r.received = append(r.received, channeltest.Receipt{ID: m.ID, Body: []byte(item.ID)})
		}
	}
	return result
}
