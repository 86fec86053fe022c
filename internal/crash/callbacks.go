package crash

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/peer"
)

// callbackKey is what the engine signs callbacks with.
const callbackKey = "whsec_Y3Jhc2ggdGVzdHMsIDI0IGJ5dGVzIC4u"

// calls is what producers are told of the ends of their updates. Every third call
// is refused.
type calls struct {
	server *httptest.Server

	mu     sync.Mutex
	bodies map[string][]string // of those that were taken, by webhook-id
	count  int
}

func startCalls(t Host) *calls {
	c := &calls{bodies: make(map[string][]string)}
	c.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.count++; err != nil || c.count%3 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		id := r.Header.Get("Webhook-Id")
		c.bodies[id] = append(c.bodies[id], string(body))
	}))
	t.Cleanup(c.server.Close)
	return c
}

// toldOf waits until the producer was told of the end of every update, and checks
// that it was told the same each time, and how each delivery ended.
func (tr *trial) toldOf() {
	t := tr.t
	t.Helper()
	stay := tr.count(func(k peer.Kind) bool { return k != peer.Gone })
	for _, u := range tr.updates {
		id := incident.CallbackID("default", u.incident, u.sequence)
		var bodies []string
		eventually(t, u.id+" is told of", 50*time.Millisecond, func(context.Context) (bool, error) {
			tr.calls.mu.Lock()
			defer tr.calls.mu.Unlock()
			bodies = slices.Clone(tr.calls.bodies[id])
			return len(bodies) > 0, nil
		})
		if len(slices.Compact(bodies)) != 1 {
			t.Errorf("C: %s was told of in several ways: %q", u.id, bodies)
		}
		var told struct {
			Data struct {
				UpdateID string `json:"update_id"`
				Audience int
				Outcomes map[string]map[string]int
			}
		}
		if err := json.Unmarshal([]byte(bodies[0]), &told); err != nil {
			t.Errorf("C: %s: %v in %s", u.id, err, bodies[0])
			continue
		}
		total := 0
		for _, n := range told.Data.Outcomes[tr.peers.channel] {
			total += n
		}
		// Who answered that it is gone is told of no later update.
		if d := told.Data; d.UpdateID != u.id || d.Audience > tr.targets || d.Audience < stay || total != d.Audience || d.Outcomes[tr.peers.channel]["open"] != 0 {
			t.Errorf("C: %s was told of as %s", u.id, bodies[0])
		}
	}
	tr.calls.mu.Lock()
	defer tr.calls.mu.Unlock()
	if len(tr.calls.bodies) != len(tr.updates) {
		t.Errorf("C: told of %d updates, and there are %d", len(tr.calls.bodies), len(tr.updates))
	}
	t.Logf("%d callbacks for %d updates", tr.calls.count, len(tr.updates))
}
