package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/peer"
)

// freeAddr returns a loopback address that nobody listens on. Its port is below those
// that the kernel takes for outgoing connections, of which other tests make thousands:
// nobody else gets it before it is listened on, or while what listened is down.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 1000 {
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(20_000+rand.IntN(12_000)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("found no free port between 20000 and 32000")
	return ""
}

// TestServeTellsMailboxesPhonesAndFeeds runs the engine as it is configured for
// mail, SMS and feeds, against peers, and follows one incident through them.
func TestServeTellsMailboxesPhonesAndFeeds(t *testing.T) {
	relay, err := peer.StartSMTP(peer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	centre, err := peer.StartSMSC(peer.SMSCOptions{SystemID: "tocsin", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	defer centre.Close()

	dir, listen, public := t.TempDir(), freeAddr(t), freeAddr(t)
	smsc := strings.Replace(centre.URL(), "smpp://", "smpp://tocsin:secret@", 1)
	if strings.Contains(centre.URL(), "@") {
		smsc = centre.URL()
	}
	file := filepath.Join(dir, "tocsin.yaml")
	yaml := fmt.Sprintf(`
listen: %s
public_listen: %s
data: %s
egress: {allow: ["127.0.0.0/8"], http: true}
smtp: [{name: relay, url: "%s", from: "Status <status@example.com>"}]
smpp: [{name: centre, url: "%s", source: "STATUS"}]
`, listen, public, filepath.Join(dir, "data"), relay.URL(), smsc)
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancelCause(t.Context())
	ended := make(chan int, 1)
	go func() {
		ended <- Main(ctx, []string{"serve", "--config", file}, strings.NewReader(""), io.Discard, t.Output(), nil)
	}()
	defer func() { stop(context.Canceled); <-ended }()

	base := "http://" + listen
	eventually(t, func() bool { code, _ := get(base + "/readyz"); return code == 200 })
	var lines strings.Builder
	for n := 1; n <= 20; n++ {
		fmt.Fprintf(&lines, `{"external_id":"m%d","channel":"smtp","address":%q}`+"\n", n, peer.Mailbox(n))
		fmt.Fprintf(&lines, `{"external_id":"p%d","channel":"smpp","address":%q}`+"\n", n, peer.PhoneNumber(n))
	}
	lines.WriteString(`{"external_id":"f","channel":"rss","address":"default","every_update":true}` + "\n")
	post(t, base+"/v1/targets/import", "application/x-ndjson", lines.String(), 200)
	for _, status := range []string{"investigating", "resolved"} {
		post(t, base+"/v1/incidents", "application/json", fmt.Sprintf(`{"incident_id":"INC-1","update_id":%q,"status":%q,
			"affected_components":[],"impact":"major","started_at":"2026-11-21T05:00:00Z","title":"Logins fail"}`, status, status), 202)
		// Everyone hears of this one before the next comes.
		eventually(t, func() bool {
			_, body := get(base + "/v1/incidents/INC-1/deliveries?outcome=delivered&limit=1000")
			return strings.Count(body, `"target"`) == map[string]int{"investigating": 41, "resolved": 82}[status]
		})
	}
	for name, r := range map[string]*peer.Report{"relay": relay.Report().Report, "SMS centre": centre.Report().Report} {
		if len(r.Invalid) > 0 || r.Duplicates != 0 || r.OrderViolations != 0 || r.Delivered != 40 {
			t.Errorf("%s: %+v, %+v", name, r.Verdict, r.Invalid)
		}
	}
	if code, feed := get("http://" + public + "/feeds/default.atom"); code != 200 || strings.Count(feed, "<entry>") != 2 {
		t.Errorf("the feed answers %d: %.300s", code, feed)
	}
}

func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !holds() {
		if sleep(ctx, 20*time.Millisecond) != nil {
			t.Fatal("it does not come about")
		}
	}
}

func get(url string) (int, string) {
	r, err := http.Get(url)
	if err != nil {
		return 0, ""
	}
	defer r.Body.Close()
	body, _ := io.ReadAll(r.Body)
	return r.StatusCode, string(body)
}

func post(t *testing.T, url, contentType, body string, want int) {
	t.Helper()
	r, err := http.Post(url, contentType, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	answer, _ := io.ReadAll(r.Body)
	if r.StatusCode != want {
		t.Fatalf("%s answers %d: %s", url, r.StatusCode, answer)
	}
}
