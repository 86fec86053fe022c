package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/peer"
)

// TestServeBoundsAStorm: a phone hears of an incident once in ten minutes, over a
// restart too, and of its end; a mailbox beside it hears of everything.
func TestServeBoundsAStorm(t *testing.T) {
	centre, err := peer.StartSMSC(peer.SMSCOptions{SystemID: "tocsin", Password: "secret", Quiet: true})
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
	var heard []int
	for _, r := range centre.Receipts() {
		heard = append(heard, r.Sequence)
	}
	if got := fmt.Sprint(heard); got != "[1 4]" {
		t.Errorf("the phone heard of updates %s", got)
	}
	if n := len(relay.received()); n != 4 {
		t.Errorf("the mailbox got %d mails", n)
	}
	_, body := get(base + "/v1/incidents/INC-1/deliveries?outcome=suppressed")
	if strings.Count(body, `"detail":"over budget: at most 1/10m for each incident and target"`) != 2 {
		t.Errorf("suppressed: %s", body)
	}
	eventually(t, func() bool { // the metrics count what was suppressed since the restart, once it is in the ledger
		_, metrics := get(base + "/metrics")
		return strings.Contains(metrics, `tocsin_deliveries_total{channel="smpp",outcome="suppressed"} 1`)
	})
	if code, out, errs := tocsin(t, t.Context(), "", nil, "deliveries", "--api", base,
		"--incident", "INC-1", "--outcome", "suppressed"); code != exitDone || strings.Count(out, "over budget") != 2 {
		t.Errorf("tocsin deliveries: %d %s %s", code, out, errs)
	}
}

// countingCentre is an SMS centre that counts what it took.
type countingCentre struct {
	*peer.SMSC
	at string
}

func startCountingCentre(t *testing.T) *countingCentre {
	t.Helper()
	centre, err := peer.StartSMSC(peer.SMSCOptions{SystemID: "tocsin", Password: "secret", Quiet: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = centre.Close() })
	_, at, _ := strings.Cut(strings.TrimPrefix(centre.URL(), "smpp://"), "@")
	return &countingCentre{centre, at}
}

// account returns the configuration of the centre's one account.
func (c *countingCentre) account(more string) string {
	return fmt.Sprintf("smpp: [{name: centre, url: \"smpp://tocsin:secret@%s\", source: STATUS%s}]\n", c.at, more)
}

func (c *countingCentre) took() int { return len(c.Receipts()) }

// subscribe adds targets of a channel.
func subscribe(t *testing.T, base, channel string, addresses ...string) {
	t.Helper()
	var b strings.Builder
	for i, address := range addresses {
		fmt.Fprintf(&b, "{\"external_id\":\"%s-%d\",\"channel\":%q,\"address\":%q}\n", channel, i, channel, address)
	}
	post(t, base+"/v1/targets/import", "application/x-ndjson", b.String(), 200)
}

// tell publishes an update of an incident and waits until its deliveries, so many so far,
// have ended.
func tell(t *testing.T, base, name, status string, deliveries int) {
	t.Helper()
	post(t, base+"/v1/incidents", "application/json", fmt.Sprintf(`{"incident_id":%q,"update_id":%q,"status":%q,
		"affected_components":[],"impact":"major","started_at":"2026-11-21T05:00:00Z","title":"Logins fail"}`, name, status, status), 202)
	eventually(t, func() bool {
		_, all := get(base + "/v1/incidents/" + name + "/deliveries")
		return strings.Count(all, `"target"`) == deliveries && !strings.Contains(all, `"outcome":"open"`)
	})
}

// TestServeBoundsProviders: a relay and an account send what their budgets allow, over a
// restart, and the ends to those who heard.
func TestServeBoundsProviders(t *testing.T) {
	began := time.Now().UTC().YearDay()
	centre := startCountingCentre(t)
	relay, mails := startForeignRelay(t)
	config := fmt.Sprintf(`
egress: {allow: ["127.0.0.0/8"]}
budgets: {smpp: {per_incident: 0}}
smtp: [{name: relay, url: "%s", from: "Status <status@example.com>", budget: {per_day: 4}}]
`, mails) + centre.account(", budget: {per_day: 2}")
	data := t.TempDir()
	base, stop := serving(t, data, config)
	subscribe(t, base, "smpp", peer.PhoneNumber(1), peer.PhoneNumber(2), peer.PhoneNumber(3))
	subscribe(t, base, "smtp", "a@example.com", "b@example.com", "c@example.com")
	tell(t, base, "A", "investigating", 6) // three mails, two messages
	stop()
	base, _ = serving(t, data, config)
	tell(t, base, "B", "investigating", 6) // one mail
	if time.Now().UTC().YearDay() != began {
		t.Skip("a day began, and with it another budget")
	}
	suppressed := func(name, reason string, want int) {
		t.Helper()
		_, body := get(base + "/v1/incidents/" + name + "/deliveries?outcome=suppressed")
		if got := strings.Count(body, fmt.Sprintf(`"detail":"over budget: at most %s"`, reason)); got != want {
			t.Errorf("%s: %d are suppressed for %q, want %d: %s", name, got, reason, want, body)
		}
	}
	suppressed("A", "2 a day by this account", 1)
	suppressed("B", "2 a day by this account", 3)
	suppressed("B", "4 a day by this relay", 2)
	if m, s := len(relay.received()), centre.took(); m != 4 || s != 2 {
		t.Errorf("%d mails and %d messages arrived", m, s)
	}
	tell(t, base, "A", "resolved", 12)
	if time.Now().UTC().YearDay() != began {
		t.Skip("a day began, and with it another budget")
	}
	if m, s := len(relay.received()), centre.took(); m != 7 || s != 4 {
		t.Errorf("%d mails and %d messages arrived with the ends", m, s)
	}
	suppressed("A", "2 a day by this account", 2)
}

// TestServeBoundsATarget: a phone hears of two of three incidents, over a restart, and of
// the ends of those two.
func TestServeBoundsATarget(t *testing.T) {
	centre := startCountingCentre(t)
	config := "egress: {allow: [\"127.0.0.0/8\"]}\nbudgets: {smpp: {per_target: 2/24h}}\n" + centre.account("")
	data := t.TempDir()
	base, stop := serving(t, data, config)
	subscribe(t, base, "smpp", peer.PhoneNumber(1))
	for n, name := range []string{"A", "B", "C"} {
		if n == 2 {
			stop()
			base, _ = serving(t, data, config)
		}
		tell(t, base, name, "investigating", 1)
	}
	for _, name := range []string{"A", "B", "C"} {
		tell(t, base, name, "resolved", 2)
	}
	if got := centre.took(); got != 4 {
		t.Errorf("the phone got %d messages", got)
	}
	for _, name := range []string{"A", "B", "C"} {
		want := map[string]int{"C": 2}[name]
		_, body := get(base + "/v1/incidents/" + name + "/deliveries?outcome=suppressed")
		if strings.Count(body, `"detail":"over budget: at most 2/24h for each target"`) != want {
			t.Errorf("%s: suppressed: %s", name, body)
		}
	}
}
