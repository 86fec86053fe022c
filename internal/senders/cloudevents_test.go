package senders

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/incident"
)

const native = `{"incident_id":"INC-1","status":"identified","impact":"major","affected_components":[],"started_at":"2026-11-21T05:00:00Z"}`

func TestCloudEvent(t *testing.T) {
	e, err := StructuredCloudEvent(sample(t, "cloudevents/structured.json"))
	if err != nil {
		t.Fatal(err)
	}
	if e.IncidentID != "INC-1" || !e.UpdatedAt.Equal(time.Date(2026, 11, 21, 5, 31, 0, 0, time.UTC)) || string(e.Extra["build"]) != "12345678901234567890" || len(e.Extra) != 1 {
		t.Errorf("the event is %+v", e)
	}
	h := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"A234-1234%2D1234"}, "Ce-Source": {"/status/eu"}, "Ce-Type": {"t"}, "Content-Type": {"application/json"}}
	binary, err := BinaryCloudEvent(h, []byte(native))
	if err != nil || binary.UpdateID != e.UpdateID || !strings.HasPrefix(e.UpdateID, "ce-") || !binary.UpdatedAt.IsZero() {
		t.Errorf("in binary mode it is %+v, %v", binary, err)
	}
	h.Set("ce-source", "/status/us")
	if other, err := BinaryCloudEvent(h, []byte(native)); err != nil || other.UpdateID == e.UpdateID {
		t.Errorf("two sources have the same update: %v", err)
	}
	if !InCloudEvent(h) || InCloudEvent(http.Header{"Content-Type": {"application/json"}}) {
		t.Error("binary mode is mistaken")
	}
}

func TestCloudEvents(t *testing.T) {
	batch, err := CloudEvents(sample(t, "cloudevents/batch.json"))
	if err != nil || len(batch) != 3 {
		t.Fatal(batch, err)
	}
	if batch[0].Event.UpdateID != "own" || batch[2].Event.IncidentID != "INC-3" || batch[0].Err != nil || batch[2].Err != nil {
		t.Errorf("the events are %+v", batch)
	}
	if err := batch[1].Err; err == nil || !strings.HasPrefix(err.Error(), "[1].data.impact: ") {
		t.Error(err)
	}
	if err := batch[2].Under(&incident.Invalid{Field: "updated_at", Reason: "r"}); err.Error() != "[2].data.updated_at: r" {
		t.Error(err)
	}
}

func TestRefusedCloudEvents(t *testing.T) {
	with := func(more string) string {
		return `{"specversion":"1.0","id":"i","source":"s","type":"t"` + more + `,"data":` + native + `}`
	}
	cases := []refusal{
		{"", "event"}, {"[]", "event"}, {"null", "event"}, {"{} {}", "event"}, {`{"id":"i","id":"j"}`, "id"}, {"{\"hush\xff\":1}", "event"},
		{`{}`, "data"},
		{`{"data":null}`, "specversion"},
		{with(`,"time":7`), "time"},
		{with(`,"time":"hush"`), "time"},
		{with(`,"datacontenttype":"text/hush"`), "datacontenttype"},
		{with(`,"data_base64":"aHVzaA=="`), "data_base64"},
		{`{"data_base64":"hush!"}`, "data_base64"},
		{strings.Replace(with(""), `"1.0"`, `"0.3"`, 1), "specversion"},
		{strings.Replace(with(""), `"i"`, `""`, 1), "id"},
		{strings.Replace(with(""), `"id"`, `"Id"`, 1), "id"},
		{strings.Replace(with(""), `"s"`, `""`, 1), "source"},
		{strings.Replace(with(""), `"t"`, `""`, 1), "type"},
		{strings.Replace(with(""), native, `"hush"`, 1), "data"},
		{strings.Replace(with(""), "major", "hush", 1), "data.impact"},
	}
	refusesEach(t, cases, func(body []byte) error {
		_, err := StructuredCloudEvent(body)
		return err
	})
	refusesEach(t, []refusal{{"", "batch"}, {"{}", "batch"}, {"null", "batch"}, {"[" + strings.Repeat("1,", maxBatch) + "1]", "batch"}}, func(body []byte) error {
		_, err := CloudEvents(body)
		return err
	})
	refusesEach(t, []refusal{{`["hush"]`, "[0]"}, {"[" + with("") + `,{"data":1}]`, "[1].specversion"}}, func(body []byte) error {
		batch, err := CloudEvents(body)
		if err != nil {
			return err
		}
		return batch[len(batch)-1].Err
	})
	for name, field := range map[string]string{"Ce-Id": "ce-id", "Ce-Source": "ce-source", "Ce-Type": "ce-type", "Ce-Specversion": "ce-specversion"} {
		for _, value := range []string{"", "%zz"} {
			h := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"i"}, "Ce-Source": {"s"}, "Ce-Type": {"t"}}
			h.Set(name, value)
			refusesEach(t, []refusal{{native, field}}, func(body []byte) error {
				_, err := BinaryCloudEvent(h, body)
				return err
			})
		}
	}
}

func FuzzCloudEvents(f *testing.F) {
	f.Add(sample(f, "cloudevents/structured.json"))
	f.Add(sample(f, "cloudevents/batch.json"))
	f.Add([]byte(native))
	f.Fuzz(func(t *testing.T, body []byte) {
		h := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"i"}, "Ce-Source": {"s"}, "Ce-Type": {"t"}, "Ce-Time": {string(body[:min(len(body), 30)])}}
		for _, read := range []func() (*incident.Event, error){
			func() (*incident.Event, error) { return StructuredCloudEvent(body) },
			func() (*incident.Event, error) { return BinaryCloudEvent(h, body) },
		} {
			if e, err := read(); err != nil {
				refused(t, err)
			} else {
				accepted(t, e)
			}
		}
		batch, err := CloudEvents(body)
		if err != nil {
			refused(t, err)
		}
		for _, one := range batch {
			if one.Err != nil {
				refused(t, one.Err)
				continue
			}
			accepted(t, one.Event)
		}
	})
}

func TestMessageCloudEvents(t *testing.T) {
	data := `{"incident_id":"INC-1","status":"resolved","impact":"minor","affected_components":[],"started_at":"2026-11-21T05:00:00Z"}`
	named := map[string]string{"specversion": "1.0", "id": "7", "source": "/status", "type": "x", "time": "2026-11-21T05:01:00Z"}
	beside, err := MessageCloudEvent("application/json", named, []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	inside, err := MessageCloudEvent("application/cloudevents+json; charset=utf-8", nil,
		[]byte(`{"specversion":"1.0","id":"7","source":"/status","type":"x","time":"2026-11-21T05:01:00Z","data":`+data+`}`))
	if err != nil {
		t.Fatal(err)
	}
	if beside.UpdateID == "" || beside.UpdateID != inside.UpdateID || !beside.UpdatedAt.Equal(inside.UpdatedAt) {
		t.Errorf("beside: %q at %v; inside: %q at %v", beside.UpdateID, beside.UpdatedAt, inside.UpdateID, inside.UpdatedAt)
	}
	for want, c := range map[string]struct {
		media string
		named map[string]string
	}{
		"cloudEvents:source":          {"application/json", map[string]string{"specversion": "1.0", "id": "7"}},
		"cloudEvents:datacontenttype": {"text/plain", named},
		"content_type":                {"application/cloudevents-batch+json", nil},
	} {
		_, err := MessageCloudEvent(c.media, c.named, []byte(data))
		if invalid, ok := errors.AsType[*incident.Invalid](err); !ok || invalid.Field != want {
			t.Errorf("got %v, want one of %s", err, want)
		}
	}
}
