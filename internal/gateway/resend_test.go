package gateway

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
)

// ended publishes an update to four targets: delivered, dead, dead and disabled
// since, retrying.
func (f *fixture) ended() []string {
	f.Helper()
	var ids []string
	for i := range 4 {
		ids = append(ids, f.target(fmt.Sprintf(`{"channel":"webhook","address":"https://h%d.example/"}`, i)))
	}
	f.post("/v1/incidents", minimal).want(202)
	b := f.plan(f.accept(1)[0].Plan, 1)
	waits := settlement(b, 3, dispatcher.Open, channels.Temporary)
	waits.DueAt = now
	err := f.store.Settle(f.Context(), []dispatcher.Settlement{settlement(b, 0, dispatcher.Delivered, channels.Delivered),
		settlement(b, 1, dispatcher.Dead, channels.Permanent), settlement(b, 2, dispatcher.Dead, channels.Permanent), waits}, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.send("PATCH", "/v1/targets/"+ids[2], mediaJSON, strings.NewReader(`{"state":"disabled"}`)).want(200)
	return ids
}

func (f *fixture) targetsOf(query string) (ids []string) {
	f.Helper()
	for _, item := range f.get("/v1/incidents/INC-8892/deliveries?" + query).want(200)["items"].([]any) {
		ids = append(ids, item.(map[string]any)["target"].(string))
	}
	return ids
}

func TestResend(t *testing.T) {
	f := start(t, func(f *fixture) { f.opt.Tokens = []string{"a-token-0123456789", "b-token-0123456789"} })
	f.header.Set("Authorization", "Bearer b-token-0123456789")
	ids := f.ended()
	if got := f.targetsOf("outcome=unheard"); fmt.Sprint(got) != fmt.Sprint(ids[1:]) {
		t.Errorf("%v have not heard, want %v", got, ids[1:])
	}
	if got := f.targetsOf("outcome=retrying"); fmt.Sprint(got) != fmt.Sprint(ids[3:]) {
		t.Errorf("%v are retried, want %v", got, ids[3:])
	}
	if got := f.targetsOf("outcome=none"); len(got) != 0 {
		t.Errorf("%v were not tried", got)
	}
	const path = "/v1/incidents/INC-8892/resend"
	dry := f.post(path, `{"outcome":"unheard","dry_run":true}`).want(200)
	if dry["id"] != nil || dry["resent"] != 1.0 || dry["under_way"] != 1.0 || fmt.Sprint(dry["untold"]) != "map[target disabled:1]" {
		t.Errorf("a dry run: %v", dry)
	}
	if _, shown := f.get("/v1/incidents/INC-8892").want(200)["resends"]; shown {
		t.Error("a dry run is in the history")
	}
	a := f.post(path, `{"outcome":"dead"}`).want(202)
	if a["by"] != "token 2" || a["resent"] != 1.0 || a["outcome"] != "dead" || a["sequence"] != 1.0 || a["at"] != "2026-11-21T05:00:00Z" || a["done_at"] == nil || a["repeated"] != false {
		t.Errorf("resent: %v", a)
	}
	if got := f.targetsOf("outcome=open"); fmt.Sprint(got) != fmt.Sprint([]string{ids[1], ids[3]}) {
		t.Errorf("%v are open", got)
	}
	if again := f.post(path, `{"outcome":"dead"}`).want(202); again["repeated"] != true || again["id"] != a["id"] {
		t.Errorf("a double click: %v", again)
	}
	named := f.post(path, `{"targets":["`+ids[0]+`","99"],"as_new":true,"request_id":"r-1"}`).want(202)
	if named["resent"] != 1.0 || named["absent"] != 1.0 || named["request_id"] != "r-1" || fmt.Sprint(named["targets"]) != "["+ids[0]+" 99]" || named["outcome"] != nil {
		t.Errorf("by name: %v", named)
	}
	history := f.get("/v1/incidents/INC-8892").want(200)["resends"].([]any)
	if len(history) != 2 || history[0].(map[string]any)["id"] != named["id"] || history[1].(map[string]any)["by"] != "token 2" {
		t.Errorf("the history is %v", history)
	}
}

func TestResendRefusals(t *testing.T) {
	f := start(t)
	f.ended()
	const path = "/v1/incidents/INC-8892/resend"
	many := `["1"` + strings.Repeat(`,"1"`, dispatcher.MaxChosen) + `]`
	for body, field := range map[string]string{
		`{}`:                                 "targets",
		`{"targets":["1"],"outcome":"dead"}`: "targets",
		`{"targets":["x"]}`:                  "targets",
		`{"targets":["0"]}`:                  "targets",
		`{"targets":` + many + `}`:           "targets",
		`{"outcome":"expired"}`:              "outcome",
		`{"outcome":"retrying"}`:             "outcome",
		`{"outcome":"dead","sequence":-1}`:   "sequence",
		`{"outcome":"dead","dryrun":true}`:   "",
		`{"outcome":"dead"}{}`:               "",
		`[]`:                                 "",
		`{"outcome":"dead","request_id":"` + strings.Repeat("r", maxRequestID+1) + `"}`: "request_id",
	} {
		f.post(path, body).wantProblem(400, field)
	}
	f.post("/v1/incidents/none/resend", `{"outcome":"dead"}`).wantProblem(404, "")
	f.post(path, `{"outcome":"dead","sequence":2}`).wantProblem(404, "")
	f.post("/v1/incidents", strings.Replace(minimal, "investigating", "monitoring", 1)).want(202)
	second := f.accept(1)[0].Plan
	f.post(path, `{"outcome":"dead"}`).wantProblem(409, "")
	f.plan(second, 2)
	if detail := f.post(path, `{"outcome":"dead","sequence":1}`).wantProblem(409, ""); !strings.Contains(detail, "resend update 2") {
		t.Errorf("an older update: %s", detail)
	}
	if got := f.targetsOf("outcome=open&sequence=1"); len(got) != 1 {
		t.Errorf("%v are open", got)
	}
}
