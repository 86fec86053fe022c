package crash

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// 300 targets at one address, 200 of which may be told at once, and 48 local ports to
// tell them from. Sends wait for a connection; nothing fails, nothing is tried again
// for it, and nothing is held against the receiver.
func TestFault_22_PortsExhausted(t *testing.T) {
	t.Parallel()
	if !apart(t, "echo 40000 40047 > /proc/sys/net/ipv4/ip_local_port_range") {
		return
	}
	told := make(map[string]int)
	var mu sync.Mutex
	short := make(chan struct{}) // the engine has found no port
	host := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		told[r.URL.Path]++
		mu.Unlock()
		select { // until then each request holds its port, however slowly they come
		case <-short:
		case <-r.Context().Done():
		}
		time.Sleep(100 * time.Millisecond) // and for a while more
	}))
	t.Cleanup(host.Close)
	tr := beginWith(t, "sqlite", "", time.Hour, 10, func(e *engine) {
		e.allow(strings.TrimPrefix(host.URL, "http://"))
		e.configure("webhook: {connect_timeout: 5s, timeout: 10s, rate: 1000/s, burst: 1000, window: 200}\n")
	})
	var lines strings.Builder
	for n := range few {
		fmt.Fprintf(&lines, `{"channel":"webhook","address":"%s/%d"}`+"\n", host.URL, n)
	}
	if err := tr.api.importTargets(t.Context(), strings.NewReader(lines.String()), few); err != nil {
		t.Fatal(err)
	}
	if err := <-tr.publishNext(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a port is wanted", 20*time.Millisecond, func(context.Context) (bool, error) {
		return strings.Contains(tr.engine.logged(), "no local port is left"), nil
	})
	close(short)
	incident := tr.updates[0].incident
	eventually(t, "everybody is told", 200*time.Millisecond, func(ctx context.Context) (bool, error) {
		updates, err := tr.api.incident(ctx, incident)
		if err != nil || len(updates) == 0 {
			return false, err
		}
		return updates[0].Progress["webhook"]["delivered"] == few+10, fmt.Errorf("it has come to %+v", updates)
	})
	type attempts struct {
		Target  string
		Attempt int
	}
	var rows []attempts
	eventually(t, "the ledger is read", 200*time.Millisecond, func(ctx context.Context) (ok bool, err error) {
		rows, err = list[attempts](ctx, tr.api, "/v1/incidents/"+url.PathEscape(incident)+"/deliveries")
		return err == nil, err
	})
	for _, r := range rows {
		if r.Attempt != 1 {
			t.Errorf("target %s was told in attempt %d", r.Target, r.Attempt)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for path, n := range told {
		if n != 1 {
			t.Errorf("%s was told %d times", path, n)
		}
	}
	if n := strings.Count(tr.engine.logged(), "no local port is left"); len(told) != few || n != 1 {
		t.Errorf("%d of %d were told; the log speaks of ports %d times, which should be once", len(told), few, n)
	}
}
