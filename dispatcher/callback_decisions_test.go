package dispatcher

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/incident"
)

func TestCallbackBodyIsTheSample(t *testing.T) {
	at := func(s int) time.Time { return time.Date(2026, 11, 21, 5, 0, s, 0, time.UTC) }
	c := &Callback{
		Incident: 7, Sequence: 2, URL: "https://producer.example/done", Attempt: 3, Page: "default", IncidentID: "INC-8892",
		UpdateID: "INC-8892-2", Status: incident.Identified, Audience: 9840,
		Outcomes: map[string]map[Outcome]int{
			"webhook": {Delivered: 7830, Superseded: 7, Expired: 3}, "smtp": {Delivered: 1998, Dead: 2},
		},
		AcceptedAt: at(0), PlannedAt: at(1), CompletedAt: at(42),
	}
	sample, err := os.ReadFile("../docs/samples/callback.json")
	if err != nil {
		t.Fatal(err)
	}
	same := func(body []byte) string {
		var v any
		if err := json.Unmarshal(body, &v); err != nil {
			t.Fatalf("%v in %s", err, body)
		}
		out, _ := json.Marshal(v)
		return string(out)
	}
	body, err := c.body()
	if err != nil {
		t.Fatal(err)
	}
	if same(body) != same(sample) {
		t.Errorf("docs/samples/callback.json is not what is sent; that is\n%s", body)
	}
	c.PlannedAt = time.Time{}
	if body, _ = c.body(); bytes.Contains(body, []byte("planned_at")) {
		t.Errorf("a plan that was not finished has an end: %s", body)
	}
}

func TestCallbackSettlement(t *testing.T) {
	start := time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)
	after := func(d time.Duration) time.Time { return start.Add(d) }
	const hour, day = time.Hour, 24 * time.Hour
	c := Callback{Incident: 7, Sequence: 2, Attempt: 3, CompletedAt: after(hour), ExpiresAt: after(day)}
	late, eternal := c, c
	late.CompletedAt = after(5 * day) // the engine was down
	eternal.ExpiresAt = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		c          Callback
		class      channels.Class
		retryAfter time.Duration
		now        time.Time
		state      CallbackState
		due        time.Time
	}{
		"delivered":          {c, channels.Delivered, 0, after(99 * day), CallbackDelivered, time.Time{}},
		"refused":            {c, channels.Permanent, 0, after(2 * hour), CallbackFailed, time.Time{}},
		"gone":               {c, channels.Gone, 0, after(2 * hour), CallbackFailed, time.Time{}},
		"temporary":          {c, channels.Temporary, 0, after(2 * hour), CallbackWaiting, after(2*hour + time.Minute)},
		"no class":           {c, 0, 0, after(2 * hour), CallbackWaiting, after(2*hour + time.Minute)},
		"throttled":          {c, channels.Throttled, hour, after(2 * hour), CallbackWaiting, after(3 * hour)},
		"throttled briefly":  {c, channels.Throttled, time.Second, after(2 * hour), CallbackWaiting, after(2*hour + time.Minute)},
		"in time":            {c, channels.Temporary, 0, after(2*day - time.Minute), CallbackWaiting, after(2 * day)},
		"too late":           {c, channels.Temporary, 0, after(2*day - time.Minute + 1), CallbackFailed, time.Time{}},
		"pause is too long":  {c, channels.Throttled, hour, after(2*day - time.Minute), CallbackFailed, time.Time{}},
		"late completion":    {late, channels.Temporary, 0, after(6*day - time.Minute), CallbackWaiting, after(6 * day)},
		"late and too late":  {late, channels.Temporary, 0, after(6 * day), CallbackFailed, time.Time{}},
		"a week at most":     {eternal, channels.Temporary, 0, after(7*day + hour - time.Minute), CallbackWaiting, after(7*day + hour)},
		"more than the week": {eternal, channels.Temporary, 0, after(7*day + hour), CallbackFailed, time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			got := tc.c.settlement(channels.Result{Class: tc.class, Detail: "said", RetryAfter: tc.retryAfter}, tc.now, time.Minute)
			want := CallbackSettlement{Incident: 7, Sequence: 2, State: tc.state, Attempt: 4, Detail: "said", DueAt: tc.due}
			if tc.state != CallbackWaiting {
				want.DoneAt = tc.now
			}
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}
