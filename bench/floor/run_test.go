package floor

import (
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/peer"
)

func TestNothingIsSentBeforeGo(t *testing.T) {
	port, report := webhooks(t, peer.Mix{})
	for _, told := range []string{"", "stop\n", "go"} {
		var out strings.Builder
		err := command(t, strings.NewReader(told), &out, "http", "--port", strconv.Itoa(port), "--targets", "3")
		if err == nil || out.String() != "ready\n" {
			t.Errorf("told %q it printed %q and ended with %v", told, out.String(), err)
		}
	}
	sound(t, report(), 0)
}

// A peer that never answers is given up, and the result says who has none.
func TestTheLimitEndsAFloor(t *testing.T) {
	mix, err := peer.ParseMix("silent=100")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"http", "fasthttp"} {
		port, report := webhooks(t, mix)
		r, err := runFloor(t, kind, "--port", strconv.Itoa(port), "--targets", "4", "--limit", "100ms")
		if r == nil || r.Errors != 4 || r.Deliveries != 0 || err == nil {
			t.Errorf("%s: %+v, %v", kind, r, err)
		}
		if kind == "http" && !strings.Contains(err.Error(), "--limit") {
			t.Errorf("%v does not say what to do", err)
		}
		if got := report(); got.Unanswered != 4 {
			t.Errorf("%s: %+v", kind, got.Verdict)
		}
	}
}

func TestResultsCountWhatWasAnswered(t *testing.T) {
	tally := newTally(200)
	now := time.Now()
	for i := range 100 {
		tally.done(i, now.Add(-time.Duration(i+1)*time.Hour/10)) // far more than the test takes
	}
	tally.watch.start()
	tally.watch.stop()
	slices.Reverse(tally.micros)
	first := errors.New("first")
	tally.fail(first)
	tally.fail(errors.New("second"))
	r, err := tally.end(t.Context())
	if r.Deliveries != 100 || r.Errors != 100 || !errors.Is(err, first) {
		t.Errorf("%+v, %v", r, err)
	}
	near := func(got float64, want time.Duration) bool {
		return got >= float64(want.Milliseconds()) && got < float64((want+time.Minute).Milliseconds())
	}
	// 2^32 µs are 71 minutes: longer ones count as that.
	if got := float64(1<<32-1) / 1000; r.P99MS != got || r.P50MS != got {
		t.Errorf("p50 %v and p99 %v; want %v", r.P50MS, r.P99MS, got)
	}
	short := newTally(100)
	for i := range 100 {
		short.done(i, now.Add(-time.Duration(i+1)*time.Second/2))
	}
	short.watch.start()
	short.watch.stop()
	if r, err := short.end(t.Context()); err != nil || !near(r.P50MS, 25*time.Second) || !near(r.P99MS, 49500*time.Millisecond) {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestAFailureWithoutADeliveryCounts(t *testing.T) {
	tally := newTally(1)
	tally.done(0, time.Now())
	tally.fail(io.ErrUnexpectedEOF)
	tally.watch.start()
	tally.watch.stop()
	if _, err := tally.end(context.Background()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

func TestTooManyConnectionsAreRefusedFirst(t *testing.T) {
	if err := checkFiles(1 << 40); err == nil || !strings.Contains(err.Error(), "ulimit -n") {
		t.Error(err)
	}
	if err := checkFiles(1); err != nil {
		t.Error(err)
	}
}
