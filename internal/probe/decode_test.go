package probe

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/incident"
)

func TestDecode(t *testing.T) {
	api := Result{Service: "api", Location: "fra", OK: true, Latency: 12500 * time.Microsecond, At: start.Add(-time.Second), Weight: 500}
	const whole = `{"service":"api","location":" fra ","ok":true,"latency_ms":12.5,"at":"2026-11-21T05:59:59+01:00","weight":0.5}`
	bare := func(i int) Result {
		return Result{Service: "web", Location: "ams", At: start.Add(time.Duration(i)), Weight: 1000}
	}
	const short = `{"ok":false,"service":"web","location":"ams","at":null,"weight":null}`
	for body, want := range map[string][]Result{
		whole:                           {api},
		"[" + whole + "," + short + "]": {api, bare(1)},
		`{"results":[` + short + "," + short + "]}": {bare(0), bare(1)},
		`[]`:             nil,
		`{"results":[]}`: nil,
		`{"service":"a","location":"b","ok":true,"at":"1969-01-01T00:00:00Z"}`: {{Service: "a", Location: "b", OK: true, At: time.Unix(0, 0).UTC(), Weight: 1000}},
	} {
		got, err := Decode([]byte(body), start)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n%+v, %v\nwant %+v", body, got, err, want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	const good = `{"service":"api","location":"fra","ok":true}`
	with := func(field string) string { return good[:len(good)-1] + "," + field + "}" }
	without := func(field string) string { return strings.Replace(good, field, `"ok":null`, 1) }
	for name, c := range map[string]struct{ body, field string }{
		"nothing":            {"", "results"},
		"a number":           {"1", "results"},
		"null":               {"null", "results"},
		"an empty object":    {"{}", "results"},
		"two documents":      {good + good, "results"},
		"cut short":          {good[:20], "results"},
		"a BOM":              {"\ufeff" + good, "results"},
		"invalid UTF-8":      {strings.Replace(good, "api", "a\xff", 1), "results"},
		"deep":               {strings.Repeat("[", 100_000), "results"},
		"deep and valid":     {strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "results[0]"},
		"too large":          {good + strings.Repeat(" ", MaxBytes), "results"},
		"too many":           {"[" + strings.Repeat(good+",", MaxResults) + good + "]", "results"},
		"results twice":      {`{"results":[],"results":[]}`, "results"},
		"results and more":   {`{"results":[],"x":1}`, "results"},
		"results no list":    {`{"results":{}}`, "results"},
		"results and result": {with(`"results":[]`), "results[0]"},
		"an entry no object": {"[" + good + ",1]", "results[1]"},
		"unknown":            {with(`"latency":1`), "results[0]"},
		"another case":       {with(`"At":"2026-11-21T05:00:00Z"`), "results[0]"},
		"repeated":           {"[" + good + "," + with(`"o\u006b":true`) + "]", "results[1].ok"},
		"no service":         {without(`"service":"api"`), "results[0].ok"},
		"no location":        {strings.Replace(good, `"location":"fra",`, "", 1), "results[0].location"},
		"no ok":              {strings.Replace(good, `,"ok":true`, "", 1), "results[0].ok"},
		"null ok":            {strings.Replace(good, "true", "null", 1), "results[0].ok"},
		"ok a word":          {strings.Replace(good, "true", `"true"`, 1), "results[0].ok"},
		"service a number":   {strings.Replace(good, `"api"`, "1", 1), "results[0].service"},
		"service a list":     {strings.Replace(good, `"api"`, "[[]]", 1), "results[0].service"},
		"service empty":      {strings.Replace(good, "api", " ", 1), "results[0].service"},
		"service two lines":  {strings.Replace(good, "api", `a\nb`, 1), "results[0].service"},
		"service too long":   {strings.Replace(good, "api", strings.Repeat("a", 129), 1), "results[0].service"},
		"half a surrogate":   {strings.Replace(good, "fra", `\ud800`, 1), "results[0].location"},
		"latency negative":   {with(`"latency_ms":-1`), "results[0].latency_ms"},
		"latency of a week":  {with(`"latency_ms":604800000`), "results[0].latency_ms"},
		"latency endless":    {with(`"latency_ms":1e999`), "results[0].latency_ms"},
		"latency a word":     {with(`"latency_ms":"12"`), "results[0].latency_ms"},
		"weight of nothing":  {with(`"weight":0`), "results[0].weight"},
		"weight negative":    {with(`"weight":-1`), "results[0].weight"},
		"weight huge":        {with(`"weight":1e400`), "results[0].weight"},
		"at a number":        {with(`"at":1`), "results[0].at"},
		"at empty":           {with(`"at":""`), "results[0].at"},
		"at without a zone":  {with(`"at":"2026-11-21T05:00:00"`), "results[0].at"},
		"at ahead":           {with(`"at":"2026-11-21T05:01:01Z"`), "results[0].at"},
	} {
		_, err := Decode([]byte(c.body), start)
		bad, ok := errors.AsType[*incident.Invalid](err)
		if !ok || bad.Field != c.field || bad.Reason == "" {
			t.Errorf("%s: %v, want one of %s", name, err, c.field)
		}
	}
}

// FuzzDecode compares with what package json makes of what is taken.
func FuzzDecode(f *testing.F) {
	const one = `{"service":"api","location":"fra","ok":true,"latency_ms":1.5,"at":"2026-11-21T05:00:00Z","weight":2}`
	for _, seed := range []string{one, "[" + one + "]", `{"results":[` + one + "]}", `[]`, `{}`, `{"results":[],"x":1}`, `[{"service":"\ud83d\ude00"}]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		results, err := Decode(body, start)
		if err != nil {
			if bad, ok := errors.AsType[*incident.Invalid](err); !ok || bad.Field == "" || bad.Reason == "" || len(bad.Field) > 64 || len(bad.Reason) > 256 {
				t.Fatalf("the error is %v", err)
			}
			return
		}
		type plain struct {
			Service  string  `json:"service"`
			Location string  `json:"location"`
			OK       bool    `json:"ok"`
			Latency  float64 `json:"latency_ms"`
		}
		var list []plain
		if json.Unmarshal(body, &list) != nil {
			var around struct {
				Results []plain `json:"results"`
			}
			if err := json.Unmarshal(body, &around); err != nil {
				t.Fatal(err)
			}
			if list = around.Results; !strings.Contains(string(body), "]") {
				list = slices.Grow(list, 1)[:1]
				if err := json.Unmarshal(body, &list[0]); err != nil {
					t.Fatal(err)
				}
			}
		}
		if len(results) > MaxResults {
			t.Fatalf("%d results", len(results))
		}
		for i, r := range results {
			if r.Service == "" || r.Location == "" || len(r.Service) > MaxName || len(r.Location) > MaxName || r.At.IsZero() ||
				r.At.Sub(start) > MaxAhead || r.Weight < 1 || r.Weight > MaxWeight || r.Latency < 0 {
				t.Fatalf("%+v", r)
			}
			if i < len(list) && len(list) == len(results) && (r.OK != list[i].OK || r.Service != strings.TrimSpace(list[i].Service)) {
				t.Fatalf("%+v, and package json says %+v", r, list[i])
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	var list []string
	for i := range 1000 {
		list = append(list, fmt.Sprintf(`{"service":"service-%d","location":"fra","ok":true,"latency_ms":12.5,"at":"2026-11-21T05:00:00Z","weight":1}`, i%100))
	}
	body := []byte("[" + strings.Join(list, ",") + "]")
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := Decode(body, start); err != nil {
			b.Fatal(err)
		}
	}
}
