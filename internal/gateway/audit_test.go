package gateway

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/store"
)

// audit exports the log, and checks that it tells nobody's address or secret.
func (f *fixture) audit(query string) (list []auditJSON) {
	f.Helper()
	a := f.get("/v1/audit?" + query)
	if a.status != 200 || a.header.Get("Content-Type") != mediaLines {
		f.Fatalf("%d %s", a.status, a.body)
	}
	for line := range strings.Lines(string(a.body)) {
		var e auditJSON
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			f.Fatal(err)
		}
		list = append(list, e)
		for _, hidden := range []string{"example", "h0.", "a-token", "hush", "https", "127.0.0.1"} {
			if strings.Contains(line, hidden) {
				f.Errorf("the audit log has %s: %s", hidden, line)
			}
		}
	}
	return list
}

// told is entries as "source actor action incident".
func told(entries []auditJSON) string {
	var list []string
	for _, e := range entries {
		list = append(list, strings.TrimSpace(e.Source+" "+e.Actor+" "+e.Action+" "+e.IncidentID))
	}
	return strings.Join(list, "; ")
}

// TestAudit does one of each that is audited, and reads it back in parts.
func TestAudit(t *testing.T) {
	f := start(t, func(f *fixture) { f.opt.Tokens = []string{"a-token-0123456789"} })
	f.header.Set("Authorization", "Bearer a-token-0123456789")
	ids := f.ended() // disables one target
	f.post("/v1/incidents/INC-8892/resend", `{"outcome":"dead","dry_run":true}`).want(200)
	f.post("/v1/incidents/INC-8892/resend", `{"outcome":"dead"}`).want(202)
	f.post("/v1/incidents/INC-8892/resend", `{"outcome":"dead"}`).want(202)
	f.post("/v1/incidents/INC-8892/stop", ``).want(202)
	f.send("POST", "/v1/providers/main/pause", "", nil).want(200)
	f.send("POST", "/v1/providers/hooks.example.com:443/pause", "", nil).want(200)
	f.send("POST", "/v1/resume", "", nil).want(200)
	f.send("PATCH", "/v1/targets/"+ids[3], mediaJSON, strings.NewReader(`{"locale":"de"}`)).want(200)
	f.send("DELETE", "/v1/targets/"+ids[3], "", nil).want(204)
	f.post("/v1/orders", openOrder).want(202)
	f.accept(1) // what was ordered is in the log already
	all := f.audit("")
	const want = "control token 1 disabled; control token 1 resent INC-8892; control token 1 stopped INC-8892; control token 1 paused; " +
		"control token 1 paused; control token 1 resumed; control token 1 deleted; manual alice (token 1) opened INC-7; events token 1 accepted INC-8892"
	if got := told(all); got != want {
		t.Fatalf("the audit log has\n%s", got)
	}
	var causes []string
	for _, e := range all[:7] {
		causes = append(causes, e.Cause)
	}
	if got, want := strings.Join(causes, "; "), "an operator: target "+ids[2]+"; an operator had sequence 1 sent again: resend 1; "+
		"an operator ended the fan-out of the updates so far; an operator: main; an operator: one provider; an operator: everything; an operator: target "+ids[3]; got != want {
		t.Errorf("the causes are %s", got)
	}
	if got := f.audit("incident=INC-7&page=default"); len(got) != 1 || got[0].Status != "investigating" || got[0].Impact != "major" || got[0].UpdateID != "k-1" {
		t.Errorf("of an incident: %v", got)
	}
	if got := f.audit("cursor=" + all[5].Cursor); told(got) != told(all[6:]) {
		t.Errorf("behind a cursor: %v", got)
	}
	if got := f.audit("from=2026-11-21T05:00:00.000001Z"); len(got) != 0 {
		t.Errorf("later: %v", got)
	}
	if got := f.audit("until=2026-11-21T05:00:01Z&from=2026-11-21T05:00:00Z"); len(got) != len(all) {
		t.Errorf("of a time: %v", got)
	}
	f.get("/v1/audit?from=yesterday").wantProblem(400, "from")
	f.get("/v1/audit?cursor=x").wantProblem(400, "cursor")
	f.get("/v1/audit?cursor="+encodeCursor("a", 1)).wantProblem(400, "cursor")
	if a := f.send("HEAD", "/v1/audit", "", nil); a.status != 200 || len(a.body) > 0 {
		t.Errorf("HEAD: %d %s", a.status, a.body)
	}
}

// TestAuditOfProducers publishes in every way there is; who did stands in the log.
func TestAuditOfProducers(t *testing.T) {
	f := start(t, withTokens, withSources)
	named := func(id string) string { return strings.Replace(minimal, "INC-8892", id, 1) }
	f.sign(named("A"), now)
	f.post("/v1/incidents", named("A")).want(202)
	f.header.Set("Authorization", "Bearer control-token-0123456789")
	f.post("/v1/incidents", strings.Replace(named("B"), `"impact"`, `"update_id":"b-1","page":"eu","impact"`, 1)).want(202)
	f.post("/v1/incidents", strings.Replace(named("A"), `"impact"`, `"updated_at":"2026-11-21T04:00:00Z","message":"late","impact"`, 1)).want(202)
	f.post("/v1/incidents", named("A")).want(202) // says nothing new
	f.accept(4)
	f.post("/v1/alerts", notice).want(202)
	f.accept(1) // the lifecycle's update has an entry already
	all := f.audit("")
	if got := told(all); got != "alerts  opened "+all[0].IncidentID+"; events source grafana accepted A; events token 1 accepted B; events token 1 stale A" {
		t.Fatalf("the audit log has\n%s", got)
	}
	e := all[2]
	if e.Page != "eu" || e.UpdateID != "b-1" || e.Status != "investigating" || e.Impact != "critical" || !e.At.Equal(now) || e.Cause != "a producer published it, as update 1" {
		t.Errorf("an entry is %+v", e)
	}
	if got := told(f.audit("incident=A")); got != told([]auditJSON{all[1], all[3]}) {
		t.Errorf("of an incident: %s", got)
	}
	if got := told(f.audit("page=eu")); got != told(all[2:3]) {
		t.Errorf("of a page: %s", got)
	}
	if got := told(f.audit("cursor=" + all[1].Cursor)); got != told(all[2:]) {
		t.Errorf("behind a cursor: %s", got)
	}
}

// TestAuditWithoutTokens: who is not asked for a name is local.
func TestAuditWithoutTokens(t *testing.T) {
	f := start(t)
	f.post("/v1/incidents", minimal).want(202)
	f.accept(1)
	if got := told(f.audit("")); got != "events local accepted INC-8892" {
		t.Errorf("the audit log has %s", got)
	}
}

// TestAuditOfManyEntries goes past what is in memory at once, of both kinds, and goes on
// where an export was cut although more was written since.
func TestAuditOfManyEntries(t *testing.T) {
	f := start(t)
	published := 0
	write := func(entries, updates int) {
		change := store.CaseChange{State: []byte("{}")}
		for range entries {
			change.Audit = append(change.Audit, store.AuditEntry{At: now, Action: "x"})
		}
		err := f.store.StepCases(f.Context(), []store.CaseKey{{Page: "p", Group: "g"}}, func(int, []byte) (store.CaseChange, error) { return change, nil })
		if err != nil {
			f.Fatal(err)
		}
		arrivals := make([]*dispatcher.Arrival, updates)
		for i := range arrivals {
			published++
			e := &incident.Event{Page: "default", IncidentID: fmt.Sprint("P-", published), Status: incident.Identified, Impact: incident.ImpactMinor, StartedAt: now, UpdatedAt: now}
			arrivals[i] = &dispatcher.Arrival{Event: e, Sender: "amqp", UpdateID: fmt.Sprint(published), ReceivedAt: now, Hash: e.ContentHash()}
		}
		if _, err := f.store.Accept(f.Context(), arrivals, dispatcher.Decide(now, time.Hour)); err != nil {
			f.Fatal(err)
		}
	}
	written := 0
	for _, n := range [][2]int{{auditAtOnce, 0}, {1, auditAtOnce}, {auditAtOnce, 1}, {0, 2 * auditAtOnce}} {
		write(n[0], n[1])
		written += n[0]
		if got := f.audit(""); len(got) != written+published {
			t.Errorf("%d lines of %d and %d entries", len(got), written, published)
		}
	}
	all := f.audit("")
	write(3, 3)
	for _, cut := range []int{1, auditAtOnce, written + 7} {
		var ids []string
		for _, e := range slices.Concat(all[:cut], f.audit("cursor="+all[cut-1].Cursor)) {
			ids = append(ids, e.IncidentID)
		}
		if len(ids) != written+3+published {
			t.Errorf("cut after %d lines, there are %d", cut, len(ids))
		}
		ids = slices.DeleteFunc(ids, func(id string) bool { return id == "" })
		for i, id := range ids {
			if id != fmt.Sprint("P-", i+1) {
				t.Fatalf("cut after %d lines, producers' entry %d is %s", cut, i, id)
			}
		}
	}
}
