package ratelimit

import (
	"math"
	"strings"
	"testing"
)

func TestParseRate(t *testing.T) {
	for s, want := range map[string]float64{
		"100/s": 100, "600/m": 10, "5400/h": 1.5, "0.5/s": 0.5, " 1/h ": 1.0 / 3600, "1000000/s": 1e6,
	} {
		if got, err := ParseRate(s); err != nil || math.Abs(got-want) > 1e-12 {
			t.Errorf("ParseRate(%q) = %v, %v", s, got, err)
		}
	}
	for _, s := range []string{
		"", "/", "/s", "100", "100/", "100/d", "100/S", "100 /s", "100/ s", "0/s", "-1/s", "+1/s", "1e3/s", "0x10/s", "inf/s", "NaN/s",
		"1_000/s", "1.2.3/s", "./s", "1000001/s", "1/s/s", strings.Repeat("9", 400) + "/h", "0." + strings.Repeat("0", 400) + "1/s",
	} {
		if got, err := ParseRate(s); err == nil {
			t.Errorf("ParseRate(%q) = %v", s, got)
		}
	}
}

func FuzzParseRate(f *testing.F) {
	for _, seed := range []string{"100/s", "600/m", "5000/h", "0.5/s", "", "/", "1e9/s", "nan/s", "٣/s", "1/s\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		perSecond, err := ParseRate(s)
		if err == nil && !(perSecond > 0 && perSecond <= 1e6) {
			t.Errorf("ParseRate(%q) = %v", s, perSecond)
		}
	})
}

func TestLimitValid(t *testing.T) {
	for l, want := range map[Limit]bool{
		{100, 200}: true, {1e6, 1e6}: true, {1.0 / 3600, 1}: true, {1, 1}: true,
		{}: false, {100, 0}: false, {100, -1}: false, {0, 1}: false, {-1, 1}: false, {1e6 + 1, 1}: false, {1, 1e6 + 1}: false,
		{math.Inf(1), 1}: false, {math.Inf(-1), 1}: false, {1.0 / 3600, 1e6}: false, {math.SmallestNonzeroFloat64, 1}: false,
	} {
		if l.Valid() != want {
			t.Errorf("%v.Valid() = %v", l, !want)
		}
	}
	if (Limit{math.NaN(), 1}).Valid() {
		t.Error("NaN is valid")
	}
}
