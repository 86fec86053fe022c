package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/lifecycle"
	"github.com/tocsin/tocsin/internal/store"
	"github.com/tocsin/tocsin/queue"
)

// groupOf writes a notification of alerts given as "status component start severity",
// the last of which may be left out.
func groupOf(alerts ...string) string {
	var list []string
	for _, text := range alerts {
		fields := append(strings.Fields(text), "critical")
		started, err := time.ParseDuration(fields[2] + "m")
		if err != nil {
			panic(err)
		}
		ends := time.Time{}
		if fields[0] == "resolved" {
			ends = now.Add(started + time.Minute)
		}
		list = append(list, fmt.Sprintf(`{"status":%q,"labels":{"component":%q,"severity":%q},"startsAt":%q,"endsAt":%q}`,
			fields[0], fields[1], fields[3], now.Add(started).Format(time.RFC3339), ends.Format(time.RFC3339)))
	}
	return `{"version":"4","groupKey":"{}:{}","commonAnnotations":{"summary":"Down"},"alerts":[` + strings.Join(list, ",") + `]}`
}

// TestAlertsStory tells what becomes of a group through the gateway, the lifecycle,
// the intake and the acceptor: what repeats changes nothing, what is news becomes an
// update.
func TestAlertsStory(t *testing.T) {
	f := start(t)
	for i, step := range []struct {
		name, body string
		sequence   int // 0: nothing new
		status     incident.Status
		components int
	}{
		{"what nobody has to hear of", groupOf("firing a 0 warning"), 0, "", 0},
		{"it gets worse", groupOf("firing a 0"), 1, incident.Investigating, 1},
		{"a repeat", groupOf("firing a 0"), 0, "", 0},
		{"another joins", groupOf("firing a 0", "firing b 1"), 2, incident.Investigating, 2},
		{"a repeat in another order", groupOf("firing b 1", "firing a 0"), 0, "", 0},
		{"the other ends", groupOf("firing a 0", "resolved b 1"), 3, incident.Investigating, 1},
		{"what ended is not repeated", groupOf("firing a 0"), 0, "", 0},
		{"the other again", groupOf("firing a 0", "firing b 5"), 4, incident.Investigating, 2},
		{"all ends", groupOf("resolved a 0", "resolved b 5"), 5, incident.Resolved, 2},
		{"a repeated end", groupOf("resolved a 0", "resolved b 5"), 0, "", 0},
		{"it fires anew", groupOf("firing a 9"), 6, incident.Investigating, 1},
		{"and ends anew", groupOf("resolved a 9"), 7, incident.Resolved, 1},
	} {
		f.later.Store(int64(i) * int64(6*time.Second))
		answer := f.post("/v1/alerts", step.body).want(202)
		list := answer["incidents"].([]any)
		if i == 0 {
			if len(list) != 0 || answer["held_back"] != 1.0 {
				t.Fatalf("%s: %v", step.name, answer)
			}
			continue
		}
		told := list[0].(map[string]any)
		if step.sequence == 0 {
			if step.name != "what ended is not repeated" && told["duplicate"] != true {
				t.Errorf("%s: %v", step.name, answer)
			}
			continue
		}
		done := f.accept(1)[0]
		if done.Result != dispatcher.AcceptedNew || done.Sequence != step.sequence || told["update_id"] != done.UpdateID ||
			keys(told) != "incident_id page status_url update_id" {
			t.Fatalf("%s: %+v, %v", step.name, done, answer)
		}
		v := f.get(told["status_url"].(string)).want(200)
		if v["incident_id"] != "am-cc9772a1ec90" || v["status"] != string(step.status) || len(v["components"].([]any)) != step.components {
			t.Errorf("%s: %v", step.name, v)
		}
	}
	if depths, err := f.queue.Depths(t.Context()); err != nil || depths[0].Ready+depths[0].Held != 0 {
		t.Errorf("there are more events than updates: %v, %v", depths, err)
	}
}

// TestAHundredReplaysAreOneNotice sends the same notification a hundred times, as it
// is and in ways that mean the same.
func TestAHundredReplaysAreOneNotice(t *testing.T) {
	f := start(t)
	for i := range 100 {
		f.later.Store(int64(i) * int64(6*time.Second))
		body := groupOf("firing a 0")
		if i%3 == 1 {
			body = strings.Repeat(" ", i) + body
		}
		list := f.post("/v1/update", body).want(202)["incidents"].([]any)
		if duplicate := list[0].(map[string]any)["duplicate"] == true; duplicate != (i > 0) {
			t.Fatalf("replay %d is answered with %v", i, list)
		}
	}
	for _, e := range f.taken(1) {
		if e.Source != "alerts" {
			t.Errorf("source %s", e.Source)
		}
	}
}

// TestARepeatIsKnownOnlyWhileItIsTheLast sends a body that was the last one, after
// another has taken its place.
func TestARepeatIsKnownOnlyWhileItIsTheLast(t *testing.T) {
	f := start(t)
	for i, body := range []string{groupOf("firing a 0"), groupOf("resolved a 0"), groupOf("firing a 0"), groupOf("resolved a 0")} {
		f.later.Store(int64(i) * int64(6*time.Second))
		f.post("/v1/alerts", body).want(202)
		if done := f.accept(1)[0]; done.Sequence != i+1 || done.Result != dispatcher.AcceptedNew {
			t.Fatalf("notification %d became %+v", i, done)
		}
	}
}

// TestNothingInternalLeaves looks for what a public update must not have.
func TestNothingInternalLeaves(t *testing.T) {
	f := start(t)
	f.post("/v1/alerts", `{"version":"4","groupKey":"secret-group","externalURL":"http://secret-am","receiver":"secret-receiver",
		"groupLabels":{"zone":"secret-zone"},"commonLabels":{"zone":"secret-zone","severity":"critical"},"commonAnnotations":{"runbook":"http://secret-wiki"},
		"alerts":[{"status":"firing","labels":{"component":"api","instance":"secret-host:9100"},"annotations":{"summary":"S","internal":"secret-note"},
		"startsAt":"2026-11-21T04:50:00Z","generatorURL":"http://secret-prometheus","fingerprint":"secret-fingerprint"}]}`).want(202)
	if body := string(f.taken(1)[0].Body); strings.Contains(body, "secret") || !strings.Contains(body, `"title":"S"`) {
		t.Errorf("the event is %s", body)
	}
}

// TestATestOfAContactPoint has Grafana's button answered, and nobody told; the next
// alert, which is none, is.
func TestATestOfAContactPoint(t *testing.T) {
	f := start(t)
	const body = `{"version":"1","groupKey":"tocsin-57c6d9296de2ad39-1795237200","orgId":1,"alerts":[{"status":"firing","startsAt":"2026-11-21T04:50:00Z",
		"labels":{"alertname":"TestAlert","component":"a","severity":"critical"},"values":null,"fingerprint":"57c6d9296de2ad39"}]}`
	if a := f.post("/v1/alerts", body).want(202); a["test"] != true || len(a["incidents"].([]any)) != 0 || a["held_back"] != nil {
		t.Errorf("the test is answered with %v", a)
	}
	alert := strings.Replace(body, "tocsin-57c6d9296de2ad39-1795237200", "{}:{}", 1)
	if a := f.post("/v1/alerts", alert).want(202); a["test"] != nil || len(a["incidents"].([]any)) != 1 {
		t.Errorf("an alert is answered with %v", a)
	}
	if e := f.taken(1)[0]; !strings.Contains(string(e.Body), `"incident_id":"am-cc9772a1ec90"`) {
		t.Errorf("the event is %s", e.Body)
	}
}

// down is a lifecycle whose store is in trouble.
type down struct{ err error }

func (down) Recall([32]byte) ([]lifecycle.Answer, bool) { return nil, false }

func (d down) Report(ctx context.Context, _ [32]byte, _ []*lifecycle.Report) ([]lifecycle.Answer, error) {
	if d.err != nil {
		return nil, d.err
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

func (d down) Order(ctx context.Context, _ *lifecycle.Order) (*lifecycle.Obeyed, error) {
	_, err := d.Report(ctx, [32]byte{}, nil)
	return nil, err
}

func (d down) Pending(ctx context.Context, _, _ string) ([]lifecycle.Pending, error) {
	_, err := d.Report(ctx, [32]byte{}, nil)
	return nil, err
}

// TestAlertsAreNeverAnsweredWith429 has everything fail that can.
func TestAlertsAreNeverAnsweredWith429(t *testing.T) {
	for _, tc := range []struct {
		err    error
		status int
	}{
		{nil, 503}, {queue.ErrUnavailable, 503}, {queue.ErrClosed, 503}, {fmt.Errorf("insert: %w", store.ErrFull), 507},
		{errors.New("amqp://user:hush@host failed"), 500},
	} {
		f := start(t, func(f *fixture) {
			f.deps.Lifecycle = down{tc.err}
			f.opt.OfferTimeout = time.Millisecond
		})
		if detail := f.post("/v1/alerts", groupOf("firing a 0")).wantProblem(tc.status, ""); strings.Contains(detail, "hush") {
			t.Errorf("the answer tells %s", detail)
		}
		if !slices.Equal(f.meter.refused, []string{"alerts unavailable"}) {
			t.Errorf("counted: %q", f.meter.refused)
		}
	}
}

func TestRefusedAlerts(t *testing.T) {
	f := start(t)
	f.post("/v1/alerts", `{"version":"4","groupKey":"k","alerts":[{"status":"on"}]}`).wantProblem(400, "alerts[0].status")
	if !slices.Equal(f.meter.refused, []string{"alerts invalid"}) {
		t.Errorf("counted: %q", f.meter.refused)
	}
	f.post("/v1/alerts", strings.Repeat(" ", maxAlertsBytes+1)).wantProblem(413, "")
}

// TestHugeNotifications sends groups as large as they come: what is too large for a
// case concerns the whole page, what is too large for us is refused.
func TestHugeNotifications(t *testing.T) {
	f := start(t, func(f *fixture) { f.opt.OfferTimeout = time.Minute })
	group := func(n int) string {
		var b strings.Builder
		b.WriteString(`{"version":"4","groupKey":"{}:{}","commonLabels":{"severity":"critical"},"alerts":[`)
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"status":"firing","startsAt":"2026-11-21T04:00:00Z","labels":{"service":"s%d"}}`, i)
		}
		return b.String() + "]}"
	}
	f.post("/v1/alerts", group(100_000)).want(202)
	var e struct {
		AffectedComponents []string `json:"affected_components"`
	}
	if err := json.Unmarshal(f.taken(1)[0].Body, &e); err != nil || e.AffectedComponents == nil || len(e.AffectedComponents) != 0 {
		t.Errorf("%d components, %v", len(e.AffectedComponents), err)
	}
	f.post("/v1/alerts", group(130_000)).wantProblem(413, "")
}
