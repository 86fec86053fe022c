package gateway

import (
	"testing"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
)

func TestParked(t *testing.T) {
	f := start(t)
	if none := f.get("/v1/parked").want(200)["items"].([]any); len(none) != 0 {
		t.Errorf("parked in the beginning: %v", none)
	}
	target := f.target(`{"channel":"webhook","address":"https://a.example/"}`)
	f.target(`{"channel":"webhook","address":"https://b.example/"}`)
	f.post("/v1/incidents", minimal).want(202)
	b := f.plan(f.accept(1)[0].Plan, 1)
	poison := settlement(b, 0, dispatcher.Dead, 0)
	poison.Parked, poison.Detail = true, "parked: why"
	if err := f.store.Settle(f.Context(), []dispatcher.Settlement{poison, settlement(b, 1, dispatcher.Dead, channels.Permanent)}, nil); err != nil {
		f.Fatal(err)
	}
	items := f.get("/v1/parked?limit=10").want(200)["items"].([]any)
	if len(items) != 1 {
		t.Fatalf("parked: %v", items)
	}
	for name, want := range map[string]any{"page": "default", "incident_id": "INC-8892", "target": target, "channel": "webhook", "sequence": 1.0, "detail": "parked: why"} {
		if got := items[0].(map[string]any)[name]; got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	f.post("/v1/incidents/INC-8892/resend", `{"targets":["`+target+`"]}`).want(202)
	if left := f.get("/v1/parked").want(200)["items"].([]any); len(left) != 0 {
		t.Errorf("sent again, and parked: %v", left)
	}
	f.get("/v1/parked?limit=0").wantProblem(400, "limit")
}
