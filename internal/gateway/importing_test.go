package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/store"
)

func (f *fixture) importing(contentType, body string) answer {
	f.Helper()
	return f.send("POST", "/v1/targets/import", contentType, strings.NewReader(body))
}

// listed returns all targets as "external_id address".
func (f *fixture) listed() []string {
	f.Helper()
	targets, err := f.store.ListTargets(f.Context(), 0, 1_000_000)
	if err != nil {
		f.Fatal(err)
	}
	var list []string
	for _, t := range targets {
		list = append(list, t.ExternalID+" "+t.Address)
	}
	return list
}

func TestImportKeepsGoodLines(t *testing.T) {
	f := start(t)
	f.target(`{"external_id":"a","channel":"webhook","address":"https://old.example/"}`)
	body := strings.Join([]string{
		"\ufeff" + `{"external_id":"a","channel":"webhook","address":"https://a.example/"}`,
		`{"channel":"webhook","address":"https://10.0.0.1/"}`,
		"",
		`not json`,
		`{"external_id":"long","channel":"webhook","address":"https://a.example/` + strings.Repeat("x", maxLine) + `"}`,
		`{"external_id":"b","channel":"webhook","address":"https://b.example/"}` + "\r",
		`{"external_id":"c","channel":"webhook","address":"https://unrouted.example/"}`,
		`{"id":"1","channel":"webhook","address":"https://b.example/"}`,
		`{"external_id":"d","channel":"webhook","address":"https://d.example/","impact":"none"}`,
		`{"external_id":"e","channel":"webhook","address":"https://e.example/"}`,
	}, "\n")
	a := f.importing("application/x-ndjson", body)
	v := a.want(200)
	if keys(v) != "accepted errors rejected" || v["accepted"] != 3.0 || v["rejected"] != 6.0 {
		t.Errorf("the answer is %s", a.body)
	}
	// Line 7 is refused by the store's route, after its batch was tried.
	want := "2 address, 4 target, 5 line, 8 id, 9 impact, 7 address"
	var got []string
	for _, e := range v["errors"].([]any) {
		e := e.(map[string]any)
		if keys(e) != "field line reason" || e["reason"] == "" {
			t.Errorf("an error is %v", e)
		}
		got = append(got, fmt.Sprint(e["line"], " ", e["field"]))
	}
	if strings.Join(got, ", ") != want {
		t.Errorf("errors: %q, want %s", got, want)
	}
	if list := f.listed(); fmt.Sprint(list) != "[a https://a.example/ b https://b.example/ e https://e.example/]" {
		t.Errorf("stored: %q", list)
	}
	if changed := f.engine.take(); fmt.Sprint(changed) != "[1]" {
		t.Errorf("told of %v", changed)
	}
	if strings.Contains(string(a.body), "10.0.0.1") {
		t.Error("the answer repeats an address")
	}
	if v := f.importing("application/x-ndjson", "").want(200); v["accepted"] != 0.0 || v["errors"] == nil {
		t.Errorf("an empty import is answered with %v", v)
	}
}

// countingTargets remembers the largest batch. Without a store behind it, it keeps
// only counts, for volumes that would take SQLite minutes under the race detector.
type countingTargets struct {
	Targets
	largest, total atomic.Int64
	fail           func(batch []*incident.Target) error
}

func (c *countingTargets) Upsert(ctx context.Context, targets []*incident.Target) ([]store.Upserted, error) {
	c.largest.Store(max(c.largest.Load(), int64(len(targets))))
	c.total.Add(int64(len(targets)))
	if c.Targets == nil {
		return make([]store.Upserted, len(targets)), nil
	}
	if c.fail != nil {
		if err := c.fail(targets); err != nil {
			return nil, err
		}
	}
	return c.Targets.Upsert(ctx, targets)
}

// generated streams n lines that are made while they are read.
func generated(n int, line func(i int) string) io.Reader {
	r, w := io.Pipe()
	go func() {
		buffered := bufio.NewWriter(w)
		for i := range n {
			if _, err := buffered.WriteString(line(i)); err != nil {
				break
			}
		}
		w.CloseWithError(buffered.Flush())
	}()
	return r
}

func TestImportOfManyIsBatched(t *testing.T) {
	const total, bad = 100_000, 2000
	c := &countingTargets{}
	f := start(t, func(f *fixture) { f.deps.Targets = c })
	body := generated(total, func(i int) string {
		if i < bad {
			return "{}\n"
		}
		return fmt.Sprintf(`{"external_id":"%d","channel":"webhook","address":"https://h%d.example/"}`+"\n", i, i%100)
	})
	v := f.send("POST", "/v1/targets/import", "application/x-ndjson", body).want(200)
	if v["accepted"] != float64(total-bad) || v["rejected"] != float64(bad) || len(v["errors"].([]any)) != maxImportErrors {
		t.Errorf("accepted %v, rejected %v, %d errors", v["accepted"], v["rejected"], len(v["errors"].([]any)))
	}
	if n := c.largest.Load(); n != batchTargets {
		t.Errorf("the largest batch had %d targets", n)
	}
	if n := c.total.Load(); n != total-bad {
		t.Errorf("the store got %d targets", n)
	}
}

func TestImportOfLongLinesIsBatchedByBytes(t *testing.T) {
	var c *countingTargets
	f := start(t, func(f *fixture) {
		c = &countingTargets{Targets: f.store}
		f.deps.Targets = c
	})
	padding := strings.Repeat(" ", maxLine-100)
	body := generated(40, func(i int) string {
		return fmt.Sprintf(`{"external_id":"%d",%s"channel":"webhook","address":"https://h.example/"}`+"\n", i, padding)
	})
	if v := f.send("POST", "/v1/targets/import", "application/x-ndjson", body).want(200); v["accepted"] != 40.0 {
		t.Errorf("the answer is %v", v)
	}
	if n := c.largest.Load(); n > batchBytes/(maxLine-100)+1 {
		t.Errorf("the largest batch had %d targets of 64 KiB", n)
	}
}

func TestImportStopsWhereTheStoreDoes(t *testing.T) {
	f := start(t, func(f *fixture) {
		batches := 0
		f.deps.Targets = &countingTargets{Targets: f.store, fail: func([]*incident.Target) error {
			if batches++; batches > 1 {
				return fmt.Errorf("insert: %w", store.ErrFull)
			}
			return nil
		}}
	})
	body := generated(1500, func(i int) string {
		return fmt.Sprintf(`{"external_id":"%d","channel":"webhook","address":"https://h.example/"}`+"\n", i)
	})
	detail := f.send("POST", "/v1/targets/import", "application/x-ndjson", body).wantProblem(507, "")
	if !strings.Contains(detail, "1000 targets accepted") {
		t.Errorf("the detail is %s", detail)
	}
	if n := len(f.listed()); n != 1000 {
		t.Errorf("%d targets are stored", n)
	}
}

func TestImportCSV(t *testing.T) {
	f := start(t)
	body := "\ufeffexternal_id, channel,address,components,every_update,secrets\r\n" +
		"a,webhook,https://a.example/,api;db; ,true," + secret + "\r\n" +
		`"b",webhook,"https://b.example/?x=""1"",2",,,` + "\n" +
		"\n" +
		"c,webhook\n" +
		`d,webhook,"https://d.example/` + "\n" +
		"e,webhook,https://e.example/,,yes,\n" +
		"f,webhook,https://e.example/\xff,,,\n" +
		"g,,https://g.example/,,,\n"
	a := f.importing("text/csv; charset=utf-8", body)
	v := a.want(200)
	var got []string
	for _, e := range v["errors"].([]any) {
		got = append(got, fmt.Sprint(e.(map[string]any)["line"], " ", e.(map[string]any)["field"]))
	}
	if v["accepted"] != 2.0 || v["rejected"] != 5.0 || strings.Join(got, ", ") != "5 line, 6 line, 7 every_update, 8 line, 9 channel" {
		t.Errorf("the answer is %s", a.body)
	}
	first, err := f.store.Target(t.Context(), 1)
	if err != nil || fmt.Sprint(first.Components) != "[api db]" || !first.EveryUpdate || len(first.Secrets) != 1 || first.ExternalID != "a" {
		t.Errorf("the first is %v %v %v", first.Components, first.EveryUpdate, err)
	}
	if second, err := f.store.Target(t.Context(), 2); err != nil || second.Address != `https://b.example/?x="1",2` {
		t.Errorf("the second is at %s, %v", second.Address, err)
	}

	f.importing("text/csv", "").wantProblem(400, "header")
	f.importing("text/csv", "channel,colour\n").wantProblem(400, "header")
	f.importing("text/csv", "channel,channel\n").wantProblem(400, "header")
	f.importing("text/csv", "id,channel,address\n").wantProblem(400, "header")
	f.importing("text/csv", `"channel`+"\n").wantProblem(400, "line")
	f.importing("application/json", "{}").wantProblem(415, "")
}

func TestImportsAreFew(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	f := start(t, func(f *fixture) {
		f.deps.Targets = &countingTargets{Targets: f.store, fail: func([]*incident.Target) error {
			entered <- struct{}{}
			<-leave
			return nil
		}}
	})
	const line = `{"external_id":"a","channel":"webhook","address":"https://a.example/"}`
	answers := make(chan int, maxImports)
	for range maxImports {
		go func() {
			res, err := http.Post(f.url+"/v1/targets/import", "application/x-ndjson", strings.NewReader(line))
			if err != nil {
				answers <- 0
				return
			}
			res.Body.Close()
			answers <- res.StatusCode
		}()
		<-entered
	}
	f.importing("application/x-ndjson", line).wantProblem(503, "")
	close(leave)
	for range maxImports {
		if status := <-answers; status != 200 {
			t.Errorf("a running import was answered with %d", status)
		}
	}
	go func() { <-entered }()
	f.importing("application/x-ndjson", line).want(200)
}

func FuzzImportLines(f *testing.F) {
	f.Add([]byte("channel,address\nwebhook,https://a.example/\n"))
	f.Add([]byte("external_id,components\n\"a\nb\",c;d\n\xff,\n"))
	f.Add([]byte("\ufeff{\"a\":1}\r\n\n x \n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := newLines(strings.NewReader(string(data)))
		var header *table
		for n := 0; ; n++ {
			line, err := r.next()
			if err == io.EOF {
				break
			}
			if n > len(data) {
				t.Fatal("it does not end")
			}
			if err != nil || len(line) > maxLine+2 {
				if len(data) <= maxLine {
					t.Fatalf("a line of %d bytes: %v", len(line), err)
				}
				continue
			}
			if header == nil {
				if header, err = newTable(line); err != nil && problemOf(err).Status != 400 {
					t.Fatalf("the header is refused with %v", err)
				}
				continue
			}
			object, err := header.object(line)
			if err != nil {
				if problemOf(err).Status != 400 {
					t.Fatalf("a row is refused with %v", err)
				}
				continue
			}
			if _, err := incident.DecodeTarget(object); err != nil && problemOf(err).Status != 400 {
				t.Fatalf("a target is refused with %v", err)
			}
		}
	})
}
