package peer

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestMixDealsExactShares(t *testing.T) {
	mix := DefaultMix()
	for _, n := range []int{200, 1000, 10_000} {
		got := make(map[Kind]int)
		for i := 1; i <= n; i++ {
			got[mix.Behaviour(i).Kind]++
		}
		rest := 100.0
		for _, s := range mix.Shares {
			rest -= s.Percent
			if want := s.Percent / 100 * float64(n); math.Abs(float64(got[s.Kind])-want) > 4 {
				t.Errorf("of %d targets %d are %s, want about %.0f", n, got[s.Kind], s.Kind, want)
			}
		}
		if want := rest / 100 * float64(n); math.Abs(float64(got[OK])-want) > 10 {
			t.Errorf("of %d targets %d are ok, want about %.0f", n, got[OK], want)
		}
	}
}

func TestMixDetails(t *testing.T) {
	mix, err := ParseMix("slow=50:100ms-200ms, 429=49.5:1s:x3,ok=0.5")
	if err != nil {
		t.Fatal(err)
	}
	mix.Hold = time.Minute
	var least, most = time.Hour, time.Duration(0)
	for n := 1; n <= 1000; n++ {
		switch b := mix.Behaviour(n); b.Kind {
		case Slow:
			least, most = min(least, b.After), max(most, b.After)
		case Throttled:
			if b.RetryAfter != time.Second || b.Times != 3 || b.After != 0 {
				t.Fatalf("throttled target %d: %+v", n, b)
			}
			if b.Status(3) != 429 || b.Status(4) != 200 {
				t.Fatal("a throttled target must refuse three requests and no fourth")
			}
		case OK:
			if b.After != time.Minute {
				t.Fatalf("ok target %d: %+v", n, b)
			}
		default:
			t.Fatalf("target %d is %s", n, b.Kind)
		}
	}
	if least < 100*time.Millisecond || least > 110*time.Millisecond || most > 200*time.Millisecond || most < 190*time.Millisecond {
		t.Errorf("slow targets take %v to %v", least, most)
	}
}

func TestParseMixRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"slow":             "kind=percent",
		"slow=":            "percentage",
		"slow=NaN":         "percentage",
		"slow=-1":          "percentage",
		"slow=101":         "percentage",
		"weird=1":          "names no kind",
		"slow=1,slow=1":    "twice",
		"slow=60,500=41":   "more than 100",
		"slow=1:2s-1s":     "range of delays",
		"slow=1:x2":        "429 and 500 only",
		"500=1:1s":         "slow and 429 only",
		"500=1:x0":         "number of refusals",
		"429=1:9999h":      "range of delays",
		"slow=1,":          "kind=percent",
		"silent=1:x1":      "429 and 500 only",
		"slow=1:0s-0s":     "range of delays",
		"slow=1:1s-2s-3s":  "range of delays",
		"429=1:1s-2s:x1.5": "number of refusals",
	} {
		if _, err := ParseMix(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseMix(%q) = %v, want a sentence with %q", text, err, want)
		}
	}
}

func FuzzParseMix(f *testing.F) {
	f.Add("slow=3:300ms-2s,429=2:1s-2s:x1,500=2,silent=1.5,dead=0.5,gone=0.5,reset=0.5")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		mix, err := ParseMix(text)
		if err != nil {
			return
		}
		again, err := ParseMix(mix.String())
		if err != nil {
			t.Fatalf("ParseMix(%q), which String made of %q: %v", mix, text, err)
		}
		for n := 1; n <= 50; n++ {
			b := mix.Behaviour(n)
			if b != again.Behaviour(n) {
				t.Fatalf("%q and %q differ at target %d", text, mix, n)
			}
			if b.After < 0 || b.After > maxDelay || b.RetryAfter < 0 || b.RetryAfter > maxDelay || b.Times < 0 {
				t.Fatalf("target %d of %q: %+v", n, text, b)
			}
		}
	})
}

func TestHostAndNumberAreInverse(t *testing.T) {
	for _, n := range []int{1, 255, 256, 10_000, MaxTargets} {
		a := Host(n)
		if !a.IsLoopback() || numberOf(a) != n || TargetNumber(TargetURL(n, 1)) != n {
			t.Errorf("target %d has address %v, number %d, url %s", n, a, numberOf(a), TargetURL(n, 1))
		}
	}
	if n := numberOf(Host(0)); n != 0 {
		t.Errorf("127.1.0.0 is target %d", n)
	}
	if n := numberOf(Host(MaxTargets + 1)); n != 0 {
		t.Errorf("the address after the last is target %d", n)
	}
	for _, url := range []string{"", "/t/", "/t/0", "/t/-1", "/t/x", "/t/1/2", "/u/1", "/t/99999999999"} {
		if n := TargetNumber(url); n != 0 {
			t.Errorf("%q is target %d", url, n)
		}
	}
}
