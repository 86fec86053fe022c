package doctor

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/internal/sqlitedb"
)

// answering is a control listener that gives one answer, and its address.
func answering(t *testing.T, status int, body string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" || r.Method != http.MethodGet {
			t.Errorf("asked for %s %s", r.Method, r.URL.Path)
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func TestListeners(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		body   string
		want   Result
		found  string
	}{
		"ready":          {200, `{"ready":true,"parts":{"store":"ok","broker":"ok"}}`, OK, "which is ready"},
		"not ready":      {503, `{"ready":false,"parts":{"store":"ok","broker":"connecting"}}`, Failure, "not ready (broker: connecting)"},
		"something else": {200, "<html>", Failure, "is no Tocsin"},
		"endless":        {200, `{"ready":true,"parts":{"store":"` + strings.Repeat("x", 2*maxAnswer) + `"}}`, Failure, "is no Tocsin"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, "")
			o.Config.Listen = answering(t, tc.status, tc.body)
			db, err := sqlitedb.Open(t.Context(), sqlitedb.Options{Dir: o.Config.Data})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			wantFinding(t, examine(t, o)["listen "+o.Config.Listen], tc.want, tc.found)
			o.Config.PublicListen = o.Config.Listen
			wantFinding(t, examine(t, o)["public_listen "+o.Config.Listen], tc.want, tc.found)
		})
	}
	for address, want := range map[string]string{"192.0.2.1:8080": "not an address of this machine", "nonsense": "missing port"} {
		o := options(t, "")
		o.Config.Listen = address
		wantFinding(t, examine(t, o)["listen "+address], Failure, want)
	}
	o := options(t, "")
	wantFinding(t, examine(t, o)["listen 127.0.0.1:0"], OK, "free")
	o.Config.Listen = answering(t, 200, `{"ready":true,"parts":{"store":"ok"}}`)
	wantFinding(t, examine(t, o)["listen "+o.Config.Listen], Failure, "a Tocsin with another data folder")
}

func TestReachable(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:8080": "127.0.0.1:8080", ":8080": "127.0.0.1:8080", "0.0.0.0:8080": "127.0.0.1:8080",
		"[::]:8080": "[::1]:8080", "status.example.com:80": "status.example.com:80",
	} {
		if got := reachable(listen); got != want {
			t.Errorf("%s is reached at %s, want %s", listen, got, want)
		}
	}
}

// An engine that has the store is asked instead of it.
func TestStoreOfAnEngine(t *testing.T) {
	o := options(t, "")
	db, err := sqlitedb.Open(t.Context(), sqlitedb.Options{Dir: o.Config.Data})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for body, want := range map[string]Result{
		`{"ready":true,"parts":{"store":"ok"}}`:                  OK,
		`{"ready":false,"parts":{"store":"the disk is full"}}`:   Failure,
		`{"ready":false,"parts":{"broker":"no store in there"}}`: Warning,
	} {
		o.Config.Listen = answering(t, 200, body)
		wantFinding(t, examine(t, o)["store"], want, "in use by a running engine")
	}
}
