package gateway

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/queue"
)

func (f *fixture) target(body string) string {
	f.Helper()
	return f.post("/v1/targets", body).want(201)["id"].(string)
}

func settlement(b *queue.Batch, index int, o dispatcher.Outcome, class channels.Class) dispatcher.Settlement {
	return dispatcher.Settlement{Row: dispatcher.Row{Incident: b.Incident, Target: b.Deliveries[index].Target, Sequence: b.Sequence},
		Batch: b.ID, Outcome: o, Class: class, Detail: "http 200", Attempt: 1, SentAt: now.Add(time.Second), DoneAt: now.Add(2 * time.Second)}
}

func TestIncidentAnswers(t *testing.T) {
	f := start(t)
	var ids []string
	for i := range 3 {
		ids = append(ids, f.target(fmt.Sprintf(`{"channel":"webhook","address":"https://h%d.example/"}`, i)))
	}
	f.post("/v1/incidents", strings.Replace(minimal, "{", `{"message":"first","update_id":"u-1",`, 1)).want(202)
	b := f.plan(f.accept(1)[0].Plan, 1)
	err := f.store.Settle(t.Context(), []dispatcher.Settlement{settlement(b, 0, dispatcher.Delivered, channels.Delivered),
		settlement(b, 1, dispatcher.Dead, channels.Gone)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	f.post("/v1/incidents", strings.Replace(minimal, "investigating", "monitoring", 1)).want(202)
	f.accept(1) // and not planned

	v := f.get("/v1/incidents/INC-8892").want(200)
	if keys(v) != "components impact incident_id page started_at status status_url stopped updated_at updates" || v["status"] != "monitoring" ||
		v["impact"] != "critical" || v["started_at"] != "2023-11-20T14:30:00Z" || fmt.Sprint(v["components"]) != "[auth-api payment-gateway]" {
		t.Errorf("the incident is %v", v)
	}
	updates := v["updates"].([]any)
	second, first := updates[0].(map[string]any), updates[1].(map[string]any)
	if keys(first) != "accepted_at audience expires_at impact message planned_at progress sequence status title update_id updated_at" ||
		first["sequence"] != 1.0 || first["update_id"] != "u-1" || first["message"] != "first" || first["audience"] != 3.0 ||
		first["planned_at"] != "2026-11-21T05:00:00Z" || fmt.Sprint(first["progress"]) != "map[webhook:map[dead:1 delivered:1 open:1]]" {
		t.Errorf("the first update is %v", first)
	}
	if second["planned_at"] != nil || second["sequence"] != 2.0 || fmt.Sprint(second["progress"]) != "map[]" {
		t.Errorf("the second update is %v", second)
	}

	rows := f.get("/v1/incidents/INC-8892/deliveries").want(200)
	items := rows["items"].([]any)
	if len(items) != 3 || rows["next"] != nil {
		t.Fatalf("the ledger is %v", rows)
	}
	row := items[0].(map[string]any)
	if keys(row) != "attempt channel class detail done_at due_at outcome sent_at sequence target" || row["target"] != ids[0] || row["channel"] != "webhook" ||
		row["sequence"] != 1.0 || row["outcome"] != "delivered" || row["attempt"] != 1.0 || row["class"] != "delivered" || row["detail"] != "http 200" ||
		row["due_at"] != nil || row["sent_at"] != "2026-11-21T05:00:01Z" || row["done_at"] != "2026-11-21T05:00:02Z" {
		t.Errorf("the first row is %v", row)
	}
	for query, want := range map[string]int{"outcome=open": 1, "outcome=dead": 1, "outcome=expired": 0, "target=" + ids[1]: 1,
		"sequence=2": 0, "sequence=1&outcome=delivered": 1, "page=default": 3} {
		if got := len(f.get("/v1/incidents/INC-8892/deliveries?" + query).want(200)["items"].([]any)); got != want {
			t.Errorf("%s finds %d rows, want %d", query, got, want)
		}
	}
	var seen []string
	next := ""
	for range 4 {
		page := f.get("/v1/incidents/INC-8892/deliveries?limit=1&cursor=" + next).want(200)
		for _, item := range page["items"].([]any) {
			seen = append(seen, item.(map[string]any)["target"].(string))
		}
		if page["next"] == nil {
			break
		}
		next = page["next"].(string)
	}
	if !slices.Equal(seen, ids) {
		t.Errorf("pages of one show the targets %q, want %q", seen, ids)
	}

	a := f.post("/v1/incidents/INC-8892/stop", "").want(202)
	if a["stopped"] != true || len(f.engine.stopped) != 1 {
		t.Errorf("stopping: %v, the engine was told %v", a, f.engine.stopped)
	}
	if v := f.get("/v1/incidents/INC-8892").want(200); v["stopped"] != true {
		t.Errorf("after the stop: %v", v)
	}
	if n := len(f.get("/v1/incidents/INC-8892/deliveries?outcome=suppressed").want(200)["items"].([]any)); n != 1 {
		t.Errorf("%d rows were suppressed", n)
	}
}

func TestIncidentShowsItsCallback(t *testing.T) {
	f := start(t)
	event := strings.Replace(minimal, "{", `{"callback_url":"`+callbackURL+`",`, 1)
	f.post("/v1/incidents", event).want(202)
	f.plan(f.accept(1)[0].Plan, 0)
	if n, err := f.store.Complete(t.Context(), now); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	shown := func() map[string]any {
		t.Helper()
		a := f.get("/v1/incidents/INC-8892")
		if body := string(a.body); strings.Contains(body, "producer.example") || strings.Contains(body, "token=t") {
			t.Errorf("the URL is shown: %s", body)
		}
		return a.want(200)["updates"].([]any)[0].(map[string]any)["callback"].(map[string]any)
	}
	if c := shown(); keys(c) != "attempt detail done_at state" || c["state"] != "waiting" || c["attempt"] != 0.0 || c["detail"] != "" || c["done_at"] != nil {
		t.Errorf("before an attempt: %v", c)
	}
	due, err := f.store.DueCallbacks(t.Context(), now, 1)
	if err != nil || len(due) != 1 || due[0].URL != callbackURL {
		t.Fatal(due, err)
	}
	if err := f.store.SettleCallback(t.Context(), dispatcher.CallbackSettlement{Incident: due[0].Incident, Sequence: 1,
		State: dispatcher.CallbackFailed, Attempt: 3, Detail: "http 410", DoneAt: now.Add(time.Minute)}); err != nil {
		t.Fatal(err)
	}
	if c := shown(); c["state"] != "failed" || c["attempt"] != 3.0 || c["detail"] != "http 410" || c["done_at"] != "2026-11-21T05:01:00Z" {
		t.Errorf("in the end: %v", c)
	}
}

func TestIncidentLists(t *testing.T) {
	f := start(t)
	const total = 7
	for i := range total {
		body := strings.Replace(minimal, "INC-8892", fmt.Sprint("INC-", i), 1)
		if i%2 == 1 {
			body = strings.Replace(body, "{", `{"page":"shop",`, 1)
		}
		if i == 4 {
			body = strings.Replace(body, "investigating", "resolved", 1)
		}
		f.post("/v1/incidents", body).want(202)
	}
	f.accept(total)
	names := func(query string) (list string) {
		t.Helper()
		for next := ""; ; {
			page := f.get("/v1/incidents?limit=2&" + query + "&cursor=" + next).want(200)
			if keys(page) != "items next" {
				t.Fatalf("the list is %v", page)
			}
			for _, item := range page["items"].([]any) {
				list += item.(map[string]any)["incident_id"].(string)[4:]
			}
			if page["next"] == nil {
				return list
			}
			next = page["next"].(string)
		}
	}
	for query, want := range map[string]string{"": "6543210", "page=shop": "531", "status=resolved": "4", "page=shop&status=resolved": "", "page=none": ""} {
		if got := names(query); got != want {
			t.Errorf("%s lists %s, want %s", query, got, want)
		}
	}
	if v := f.get("/v1/incidents").want(200); len(v["items"].([]any)) != total || v["next"] != nil {
		t.Errorf("without a limit: %v", v)
	}
}

func TestWrongQuestions(t *testing.T) {
	f := start(t)
	f.target(`{"channel":"webhook","address":"https://a.example/"}`)
	f.target(`{"channel":"webhook","address":"https://b.example/"}`)
	cursor := f.get("/v1/targets?limit=1").want(200)["next"].(string)
	for path, want := range map[string]struct {
		status int
		field  string
	}{
		"/v1/incidents/none":                        {404, ""},
		"/v1/incidents/none/deliveries":             {404, ""},
		"/v1/incidents?status=broken":               {400, "status"},
		"/v1/incidents?limit=0":                     {400, "limit"},
		"/v1/incidents?limit=1001":                  {400, "limit"},
		"/v1/incidents?cursor=hush":                 {400, "cursor"},
		"/v1/incidents?cursor=" + cursor:            {400, "cursor"},
		"/v1/incidents/x/deliveries?outcome=lost":   {400, "outcome"},
		"/v1/incidents/x/deliveries?target=-1":      {400, "target"},
		"/v1/incidents/x/deliveries?sequence=first": {400, "sequence"},
		"/v1/incidents/x/deliveries?cursor=ZC4x":    {400, "cursor"},
		"/v1/targets?cursor=!":                      {400, "cursor"},
		"/v1/targets/none":                          {404, ""},
		"/v1/targets/0":                             {404, ""},
		"/v1/targets/+1":                            {404, ""},
		"/v1/targets/999":                           {404, ""},
		"/v1/nothing":                               {404, ""},
		"/index.html":                               {404, ""},
		"/v1/incidents/none/stop":                   {405, ""},
		"/v1/targets/import":                        {405, ""},
	} {
		if detail := f.get(path).wantProblem(want.status, want.field); strings.Contains(detail, "hush") {
			t.Errorf("%s is answered with %s", path, detail)
		}
	}
	f.post("/v1/incidents/none/stop", "").wantProblem(404, "")
	for path, want := range map[string]string{"/v1/incidents": "GET, HEAD, POST", "/v1/targets/1": "DELETE, GET, HEAD, PATCH",
		"/v1/alerts": "POST", "/metrics": "GET, HEAD"} {
		a := f.send("PUT", path, "", nil)
		a.wantProblem(405, "")
		if got := a.header.Get("Allow"); got != want {
			t.Errorf("%s allows %q, want %q", path, got, want)
		}
	}
	if a := f.send("HEAD", "/v1/targets", "", nil); a.status != 200 || len(a.body) != 0 {
		t.Errorf("HEAD: %d %s", a.status, a.body)
	}
}

func FuzzCursor(f *testing.F) {
	f.Add("t", int64(5), "dC41")
	f.Add("d", int64(1<<62), "")
	f.Fuzz(func(t *testing.T, kind string, n int64, text string) {
		// Any text gives numbers or a problem; what was encoded comes back.
		request := func(cursor string) ([]int64, bool, error) {
			return cursorOf(newRequest(t, cursor), "t", 1)
		}
		if numbers, ok, err := request(text); err == nil && ok && (len(numbers) != 1 || numbers[0] < 0) {
			t.Fatalf("%q gives %v", text, numbers)
		}
		numbers, ok, err := request(encodeCursor(kind, n))
		switch {
		case kind == "t" && n >= 0:
			if err != nil || !ok || numbers[0] != n {
				t.Fatalf("%d comes back as %v, %v", n, numbers, err)
			}
		case err == nil && ok && kind != "t" && !strings.HasPrefix(kind, "t."):
			t.Fatalf("a cursor of %q is taken", kind)
		}
	})
}
