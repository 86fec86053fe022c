package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/tocsin/tocsin/internal/peer"
)

// TestServeBoundsAStorm: a phone hears of an incident once in ten minutes, over a
// restart too, and of its end; a mailbox beside it hears of everything.
func TestServeBoundsAStorm(t *testing.T) {
	var mu sync.Mutex
	var heard []int
	centre, err := peer.StartSMSC(peer.SMSCOptions{SystemID: "tocsin", Password: "secret", Quiet: true, Take: func(r peer.Receipt) {
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, r.Sequence)
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer centre.Close()
	_, at, _ := strings.Cut(strings.TrimPrefix(centre.URL(), "smpp://"), "@")
	relay, mails := startForeignRelay(t)
	config := fmt.Sprintf(`
egress: {allow: ["127.0.0.0/8"], http: true}
smtp: [{name: relay, url: "%s", from: "Status <status@example.com>"}]
smpp: [{name: centre, url: "smpp://tocsin:secret@%s", source: "STATUS"}]
`, mails, at)
	data := t.TempDir()
	base, stop := serving(t, data, config)
	post(t, base+"/v1/targets/import", "application/x-ndjson", fmt.Sprintf(
		`{"external_id":"p","channel":"smpp","address":%q}`+"\n"+`{"external_id":"m","channel":"smtp","address":"a@example.com"}`+"\n",
		peer.PhoneNumber(1)), 200)
	for n, status := range []string{"investigating", "identified", "monitoring", "resolved"} {
		if n == 2 {
			stop()
			base, _ = serving(t, data, config)
		}
		post(t, base+"/v1/incidents", "application/json", fmt.Sprintf(`{"incident_id":"INC-1","update_id":%q,"status":%q,
			"affected_components":[],"impact":"major","started_at":"2026-11-21T05:00:00Z","title":"Logins fail"}`, status, status), 202)
		eventually(t, func() bool {
			_, all := get(base + "/v1/incidents/INC-1/deliveries")
			return strings.Count(all, `"target"`) == 2*(n+1) && !strings.Contains(all, `"outcome":"open"`)
		})
	}
	mu.Lock()
	if got := fmt.Sprint(heard); got != "[1 4]" {
		t.Errorf("the phone heard of updates %s", got)
	}
	mu.Unlock()
	if n := len(relay.received()); n != 4 {
		t.Errorf("the mailbox got %d mails", n)
	}
	_, body := get(base + "/v1/incidents/INC-1/deliveries?outcome=suppressed")
	if strings.Count(body, `"detail":"over budget: at most 1/10m for each incident and target"`) != 2 {
		t.Errorf("suppressed: %s", body)
	}
	if _, metrics := get(base + "/metrics"); !strings.Contains(metrics, `tocsin_deliveries_total{channel="smpp",outcome="suppressed"} 1`) {
		t.Error("the metrics don't count what was suppressed since the restart")
	}
	if code, out, errs := tocsin(t, t.Context(), "", nil, "deliveries", "--api", base,
		"--incident", "INC-1", "--outcome", "suppressed"); code != exitDone || strings.Count(out, "over budget") != 2 {
		t.Errorf("tocsin deliveries: %d %s %s", code, out, errs)
	}
}
