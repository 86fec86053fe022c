package floor

import (
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin/tocsin/bench/tool"
)

const wrkSays = `Running 5s test @ http://127.0.0.1:8080/feed.atom
  2 threads and 50 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.52ms    5.04ms  92.42ms   97.09%
    Req/Sec    43.60k     5.12k   53.31k    75.00%
  Latency Distribution
     50%  408.00us
     75%    0.90ms
     90%    2.02ms
     99%   89.79ms
  439031 requests in 5.07s, 7.66GB read
Requests/sec:  86530.38
Transfer/sec:      1.51GB
`

const wrkComplains = `  Latency Distribution
     50%    1.20s
     99%    2.00s
  2000 requests in 1.00m, 1000.00KB read
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 7
Requests/sec:    33.33
`

func TestWhatWrkSays(t *testing.T) {
	r, err := parseWrk(wrkSays)
	if want := (wrkReport{p50: 408 * time.Microsecond, p99: 89790 * time.Microsecond, answers: 439031, bytes: 7.66 * (1 << 30)}); err != nil || r != want {
		t.Errorf("%+v, %v", r, err)
	}
	r, err = parseWrk(wrkComplains)
	if want := (wrkReport{p50: 1200 * time.Millisecond, p99: 2 * time.Second, answers: 2000, bytes: 1000 << 10, refused: 7, broken: 6}); err != nil || r != want {
		t.Errorf("%+v, %v", r, err)
	}
	for _, broken := range []string{"", "unable to connect to 127.0.0.1:1 Connection refused\n",
		strings.Replace(wrkSays, "99%", "98%", 1), strings.Replace(wrkSays, "7.66GB", "7.66.1GB", 1), strings.Replace(wrkSays, "439031 requests", "no requests", 1),
		strings.Replace(wrkSays, "408.00us", "408.00xs", 1), strings.Replace(wrkComplains, "responses: 7", "responses: 2001", 1)} {
		if r, err := parseWrk(broken); err == nil {
			t.Errorf("%+v of %s", r, broken)
		}
	}
}

func FuzzWrk(f *testing.F) {
	f.Add(wrkSays)
	f.Add(wrkComplains)
	f.Fuzz(func(t *testing.T, text string) {
		if r, err := parseWrk(text); err == nil && (r.answers < 0 || r.refused < 0 || r.broken < 0 || r.refused > r.answers || r.bytes < 0) {
			t.Errorf("%+v", r)
		}
	})
}

func TestAnswersThatDiffer(t *testing.T) {
	watch := &stopwatch{wall: time.Second}
	like := sample{body: 18 << 10}
	for name, tc := range map[string]struct {
		report wrkReport
		good   bool
		errors int
	}{
		"all alike":        {wrkReport{answers: 100, bytes: 100 * (18<<10 + 300)}, true, 0},
		"half are shorter": {wrkReport{answers: 100, bytes: 50 * (18<<10 + 600)}, false, 0},
		"some are longer":  {wrkReport{answers: 100, bytes: 200 * (18 << 10)}, false, 0},
		"refused":          {wrkReport{answers: 100, bytes: 100 * (18<<10 + 300), refused: 1}, false, 1},
		"broken":           {wrkReport{answers: 100, bytes: 100 * (18<<10 + 300), broken: 2}, false, 2},
		"none":             {wrkReport{}, false, 0},
	} {
		r, err := tc.report.result(watch, like)
		if (err == nil) != tc.good || r.Errors != tc.errors || r.Deliveries != tc.report.answers-tc.report.refused {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func TestFeedsOfNginx(t *testing.T) {
	document := []byte("<feed>" + strings.Repeat("entry ", 3000) + "</feed>")
	nginx, err := tool.StartNginx(document, nil)
	if errors.Is(err, tool.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := nginx.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, args := range [][]string{nil, {"--conditional"}} {
		r, err := runFloor(t, append([]string{"feeds", "--url", nginx.URL, "--connections", "4", "--duration", "1s"}, args...)...)
		if errors.Is(err, tool.ErrNotInstalled) {
			t.Skip(err)
		}
		if err != nil || r.Deliveries == 0 || r.P99MS <= 0 {
			t.Errorf("%v: %+v, %v", args, r, err)
		}
	}
}

func TestFeedsThatFail(t *testing.T) {
	if _, err := tool.Find("wrk", "wrk"); err != nil {
		t.Skip(err)
	}
	var asked atomic.Int64
	for name, handler := range map[string]http.HandlerFunc{
		"has none": http.NotFound,
		"is empty": func(http.ResponseWriter, *http.Request) {},
		"has no ETag": func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte("feed"))
		},
		"does not know its ETag": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Etag", `"1"`)
			w.Write([]byte("feed"))
		},
		"forgets": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Etag", `"1"`)
			switch n := asked.Add(1); {
			case n > 2:
				http.Error(w, "gone", http.StatusGone)
			case r.Header.Get("If-None-Match") != "":
				w.WriteHeader(http.StatusNotModified)
			default:
				w.Write([]byte("feed"))
			}
		},
	} {
		server := &http.Server{Handler: handler}
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- server.Serve(l) }()
		r, err := runFloor(t, "feeds", "--url", "http://"+l.Addr().String()+"/", "--connections", "2", "--duration", "1s", "--conditional")
		if err == nil || (r != nil) != (name == "forgets") || r != nil && (r.Errors == 0 || r.Deliveries != 0) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		_ = server.Close()
		<-ended
	}
}
