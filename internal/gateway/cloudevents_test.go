package gateway

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/queue"
)

func cloudEvent(id, data string) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/status","type":"t","time":"2026-11-21T04:59:00Z","hush":"x","data":%s}`, id, data)
}

// TestCloudEventModes sends the same event in each mode: it is one update.
func TestCloudEventModes(t *testing.T) {
	f := start(t)
	first := f.send("POST", "/v1/incidents", mediaCloudEvent, strings.NewReader(cloudEvent("7", minimal)))
	told := first.want(202)
	if told["incident_id"] != "INC-8892" || told["duplicate"] != nil || first.header.Get("Location") != told["status_url"] {
		t.Errorf("it is answered with %s", first.body)
	}
	if e := f.taken(1)[0]; e.UpdateID != told["update_id"] || strings.Contains(string(e.Body), "hush") || !strings.Contains(string(e.Body), `"updated_at":"2026-11-21T04:59:00Z"`) {
		t.Errorf("it became %s: %s", e.UpdateID, e.Body)
	}
	batch := f.send("POST", "/v1/incidents", mediaCloudEvents, strings.NewReader("["+cloudEvent("7", minimal)+"]")).want(207)["events"].([]any)[0].(map[string]any)
	f.header.Set("ce-specversion", "1.0")
	f.header.Set("ce-id", "7")
	f.header.Set("ce-source", "/status")
	f.header.Set("ce-type", "t")
	for _, again := range []map[string]any{batch, f.post("/v1/incidents", minimal).want(202)} {
		if again["update_id"] != told["update_id"] || again["duplicate"] != true {
			t.Errorf("again it is answered with %v", again)
		}
	}
	f.header.Set("ce-specversion", "2.0")
	f.post("/v1/incidents", minimal).wantProblem(400, "ce-specversion")
}

// TestBatch takes what is right of a batch, and says what isn't.
func TestBatch(t *testing.T) {
	f := start(t)
	ahead := strings.Replace(minimal, `"incident_id"`, `"updated_at":"2999-01-01T00:00:00Z","incident_id"`, 1)
	body := "[" + strings.Join([]string{cloudEvent("1", strings.Replace(minimal, "8892", "1", 1)), cloudEvent("2", `{"incident_id":"x"}`), cloudEvent("3", ahead),
		cloudEvent("4", strings.Replace(minimal, "8892", "4", 1)), `{"id":"hush"}`}, ",") + "]"
	list := f.send("POST", "/v1/incidents", mediaCloudEvents, strings.NewReader(body)).want(207)["events"].([]any)
	var got []string
	for _, entry := range list {
		entry := entry.(map[string]any)
		got = append(got, fmt.Sprint(entry["status"], " ", entry["incident_id"], " ", entry["field"]))
	}
	want := "202 INC-1 <nil>, 400 <nil> [1].data.status, 400 <nil> [2].data.updated_at, 202 INC-4 <nil>, 400 <nil> [4].data"
	if strings.Join(got, ", ") != want {
		t.Errorf("the outcomes are %s", strings.Join(got, ", "))
	}
	f.accept(2)
	f.send("POST", "/v1/incidents", mediaCloudEvents, strings.NewReader(`{}`)).wantProblem(400, "batch")
	f.wantNone()
	down := start(t, func(f *fixture) { f.deps.Intake = brokenIntake{queue.ErrUnavailable} })
	down.send("POST", "/v1/incidents", mediaCloudEvents, strings.NewReader(body)).wantProblem(503, "")
}
