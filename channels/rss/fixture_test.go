package rss

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/feeds"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)

// memory is a store that can be held up and can fail.
type memory struct {
	mu      sync.Mutex
	targets []*incident.Target
	updates []*channels.Update // newest first
	asked   int                // calls of Feed
	before  func(ctx context.Context) error
}

func (m *memory) FeedTargets(context.Context) ([]*incident.Target, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.before != nil {
		if err := m.before(context.Background()); err != nil {
			return nil, err
		}
	}
	var list []*incident.Target
	for _, t := range m.targets {
		list = append(list, new(*t))
	}
	return list, nil
}

func (m *memory) Feed(ctx context.Context, page, name string, limit int) (*incident.Target, []*channels.Update, bool, error) {
	m.mu.Lock()
	m.asked++
	before := m.before
	m.mu.Unlock()
	if before != nil {
		if err := before(ctx); err != nil {
			return nil, nil, false, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range m.targets {
		if t.Page != page || t.Address != name {
			continue
		}
		var shown []*channels.Update
		for _, u := range m.updates {
			vis := incident.Public
			if len(u.Details) > 0 {
				vis = incident.Private // these stories' private updates are those with details
			}
			if t.Matches(u.Page, u.AffectedComponents, u.Impact, vis, u.Test) {
				shown = append(shown, u)
			}
		}
		return new(*t), shown[:min(len(shown), limit)], len(shown) > limit, nil
	}
	return nil, nil, false, nil
}

func (m *memory) add(updates ...*channels.Update) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.updates = slices.Concat(updates, m.updates)
}

func (m *memory) set(targets ...*incident.Target) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.targets = targets
}

func (m *memory) hook(before func(context.Context) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.before = before
}

func target(id int64, name string) *incident.Target {
	t := &incident.Target{ID: id, Channel: incident.ChannelRSS, Address: name}
	if err := t.Validate(); err != nil {
		panic(err)
	}
	return t
}

// update is the nth update of INC-n's first incident, a minute after the one before.
func update(n int) *channels.Update {
	at := start.Add(time.Duration(n) * time.Minute)
	return &channels.Update{
		Page: "default", IncidentID: "INC-1", Sequence: n, Status: incident.Identified, Impact: incident.ImpactMajor,
		Title: "Logins fail", Message: fmt.Sprintf("Update %d.\n\nMore soon.", n), AffectedComponents: []string{"auth-api"},
		StartedAt: start, UpdatedAt: at, AcceptedAt: at.Add(time.Second),
	}
}

// kit is a channel with what is around it.
type kit struct {
	*testing.T
	*Channel
	store *memory
	shelf *feeds.Shelf
	now   time.Time
}

func newKit(t *testing.T, store *memory, directory *feeds.Directory) *kit {
	t.Helper()
	k := &kit{T: t, store: store, shelf: feeds.NewShelf(), now: start.Add(time.Hour)}
	config := Defaults("1.2.3")
	config.Title, config.Link, config.Base = "Example Status", "https://www.example.com/status", "https://status.example.com"
	config.Clock = func() time.Time { return k.now }
	config.Log = slog.New(slog.DiscardHandler)
	c, err := New(config, store, k.shelf, directory)
	if err != nil {
		t.Fatal(err)
	}
	k.Channel = c
	t.Cleanup(func() { c.Close() })
	return k
}

// get reads a feed as the public does; the body is empty unless it is there.
func (k *kit) get(path string) []byte {
	k.Helper()
	recorder := httptest.NewRecorder()
	k.shelf.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, nil))
	if recorder.Code != http.StatusOK {
		return nil
	}
	return recorder.Body.Bytes()
}

// shown returns the sequences of a JSON feed as "3 2 1", and "none" if there is no
// feed.
func (k *kit) shown(path string) (list string) {
	k.Helper()
	body := k.get(path)
	if body == nil {
		return "none"
	}
	var f jsonFeed
	if err := json.Unmarshal(body, &f); err != nil {
		k.Fatal(err)
	}
	for i, item := range f.Items {
		if i > 0 {
			list += " "
		}
		list += fmt.Sprint(item.Tocsin.Sequence)
	}
	return list
}

func (k *kit) send(name string, u *channels.Update) channels.Result {
	k.Helper()
	return k.Send(k.Context(), message(name, u))
}

func message(name string, u *channels.Update) *channels.Message {
	return &channels.Message{ID: "msg_1", Address: name, Target: 1, Attempt: 1, Update: u, Payload: rendered{}}
}

func (k *kit) equal(what string, got, want any) {
	k.Helper()
	if got != want {
		k.Errorf("%s: got %v, want %v", what, got, want)
	}
}
