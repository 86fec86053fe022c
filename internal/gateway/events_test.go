package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/store"
	"github.com/tocsin/tocsin/queue"
)

func TestEventIsDurableAsItCame(t *testing.T) {
	f := start(t)
	a := f.post("/v1/incidents", minimal)
	v := a.want(http.StatusAccepted)
	if keys(v) != "incident_id page status_url update_id" || v["page"] != "default" || v["incident_id"] != "INC-8892" ||
		v["status_url"] != "/v1/incidents/INC-8892?page=default" || a.header.Get("Location") != v["status_url"] {
		t.Errorf("the receipt is %s", a.body)
	}
	e := f.taken(1)[0]
	if string(e.Body) != minimal || e.UpdateID != v["update_id"] || len(e.UpdateID) < 26 || e.Source != "http" || !e.ReceivedAt.Equal(now) {
		t.Errorf("the event is %+v", e)
	}
	second := f.post("/v1/incidents", minimal).want(http.StatusAccepted)
	if second["update_id"] == v["update_id"] {
		t.Error("two events were given one update_id")
	}
	if len(f.meter.refused) != 0 {
		t.Errorf("counted as refused: %q", f.meter.refused)
	}
}

func TestRepeatedUpdateIDIsADuplicate(t *testing.T) {
	f := start(t)
	event := strings.Replace(minimal, "{", `{"update_id":"u-1","page":"shop",`, 1)
	other := strings.Replace(event, "shop", "bank", 1)
	if v := f.post("/v1/incidents", event).want(202); v["duplicate"] != nil || v["update_id"] != "u-1" {
		t.Errorf("the first is %v", v)
	}
	if v := f.post("/v1/incidents", event).want(202); v["duplicate"] != true {
		t.Errorf("before it is accepted: %v", v)
	}
	if v := f.post("/v1/incidents", other).want(202); v["duplicate"] != nil {
		t.Errorf("on another page: %v", v)
	}
	f.accept(3)
	f.serve() // remembers nothing
	if v := f.post("/v1/incidents", event).want(202); v["duplicate"] != true {
		t.Errorf("after it is accepted: %v", v)
	}
	if done := f.accept(1); done[0].Sequence != 1 {
		t.Errorf("the acceptor got %+v", done[0])
	}
}

func TestRecentForgetsTheOldest(t *testing.T) {
	r := newRecent()
	key := func(n int) updateKey { return updateKey{"p", "i", fmt.Sprint(n)} }
	for n := range len(r.ring) + 1 {
		r.add(key(n))
		r.add(key(n))
	}
	if r.has(key(0)) || !r.has(key(1)) || !r.has(key(len(r.ring))) || len(r.seen) != len(r.ring) {
		t.Errorf("%d are remembered", len(r.seen))
	}
}

func TestRefusedEvents(t *testing.T) {
	f := start(t)
	for _, tc := range []struct {
		name, body, field string
	}{
		{"no JSON", "{", "event"},
		{"no impact", strings.Replace(minimal, `"impact":"critical",`, "", 1), "impact"},
		{"unknown status", strings.Replace(minimal, "investigating", "broken", 1), "status"},
		{"from the future", strings.Replace(minimal, "{", fmt.Sprintf(`{"updated_at":%q,`, time.Now().Add(6*time.Minute).Format(time.RFC3339)), 1), "updated_at"},
		{"callback that can't be", strings.Replace(minimal, "{", `{"callback_url":"https://other.example/",`, 1), "callback_url"},
		{"inline target within", strings.Replace(minimal, "{", `{"targets":[{"channel":"webhook","address":"https://a.example/"},`+
			`{"channel":"webhook","address":"https://10.0.0.1/"}],`, 1), "targets[1].address"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := f.post("/v1/incidents", tc.body)
			a.T = t
			a.wantProblem(400, tc.field)
		})
	}
	if want := slices.Repeat([]string{"http invalid"}, 6); !slices.Equal(f.meter.refused, want) {
		t.Errorf("counted: %q", f.meter.refused)
	}
	f.post("/v1/incidents", minimal).want(202)
	f.taken(1) // nothing else got there
}

func TestLargestEvent(t *testing.T) {
	f := start(t)
	pad := func(n int) string { return minimal + strings.Repeat(" ", n-len(minimal)) }
	f.post("/v1/incidents", pad(1<<20)).want(202)
	f.post("/v1/incidents", pad(1<<20+1)).wantProblem(413, "")
	// Without a length, as a stream.
	f.send("POST", "/v1/incidents", "application/json", struct{ *strings.Reader }{strings.NewReader(pad(1<<20 + 1))}).wantProblem(413, "")
}

func TestContentTypes(t *testing.T) {
	f := start(t)
	for _, contentType := range []string{"", "application/x-www-form-urlencoded", "text/plain", "application/cloudevents+xml", ";"} {
		if detail := f.send("POST", "/v1/incidents", contentType, strings.NewReader(minimal)).wantProblem(415, ""); !strings.Contains(detail, "application/json") {
			t.Errorf("%q: %s", contentType, detail)
		}
	}
	f.send("POST", "/v1/incidents", "Application/JSON; charset=utf-8", strings.NewReader(minimal)).want(202)
	f.header.Set("Content-Encoding", "gzip")
	f.post("/v1/incidents", minimal).wantProblem(415, "")
}

// brokenIntake refuses, or blocks until its caller gives up.
type brokenIntake struct{ err error }

func (b brokenIntake) Offer(ctx context.Context, _ *queue.Event) error {
	if b.err != nil {
		return b.err
	}
	<-ctx.Done()
	return fmt.Errorf("publish: %w", ctx.Err())
}

func TestIntakeFailures(t *testing.T) {
	for _, tc := range []struct {
		name   string
		err    error
		status int
	}{
		{"unavailable", fmt.Errorf("broker: %w", queue.ErrUnavailable), 503},
		{"closed", queue.ErrClosed, 503},
		{"blocked", nil, 503},
		{"full", fmt.Errorf("insert: %w", store.ErrFull), 507},
		{"unknown", errors.New("amqp://user:hush@host failed"), 500},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := start(t, func(f *fixture) {
				f.deps.Intake = brokenIntake{tc.err}
				f.opt.OfferTimeout = time.Millisecond
			})
			detail := f.post("/v1/incidents", minimal).wantProblem(tc.status, "")
			if strings.Contains(detail, "hush") {
				t.Errorf("the answer tells %s", detail)
			}
			if want := []string{"http unavailable"}; !slices.Equal(f.meter.refused, want) {
				t.Errorf("counted: %q", f.meter.refused)
			}
			// Nothing was taken, so the same update is no duplicate later.
			f.deps.Intake, f.opt.OfferTimeout = f.queue, 0
			f.serve()
			if v := f.post("/v1/incidents", minimal).want(202); strings.Contains(fmt.Sprint(v), "duplicate") {
				t.Errorf("later: %v", v)
			}
		})
	}
}

func TestStatusURLLeadsBack(t *testing.T) {
	f := start(t)
	for i, id := range []string{"INC-1", "a/b c?d#e%2F", "..", "...", "ü&=;", `"<x>"`} {
		body := strings.Replace(minimal, "INC-8892", strings.ReplaceAll(id, `"`, `\"`), 1)
		v := f.post("/v1/incidents", body).want(202)
		f.accept(1)
		found := f.get(v["status_url"].(string)).want(200)
		if found["incident_id"] != id {
			t.Errorf("%d: %v leads to %v, want %s", i, v["status_url"], found["incident_id"], id)
		}
	}
}
