package ratelimit

import (
	"testing"
	"time"
)

func TestQuota(t *testing.T) {
	for text, want := range map[string]Quota{
		"0": {}, "1/10m": {1, 10 * time.Minute}, "2/1h": {2, time.Hour}, "3/1m30s": {3, 90 * time.Second},
		"4/20s": {4, 20 * time.Second}, "1000/24h": {1000, 24 * time.Hour}, "5/1h10m": {5, 70 * time.Minute},
	} {
		if got, err := ParseQuota(text); err != nil || got != want || got.String() != text {
			t.Errorf("%s: %+v (%s), %v", text, got, got, err)
		}
	}
	for _, text := range []string{"", "1", "/10m", "1/", "0/10m", "-1/10m", "1001/10m", "1/500ms", "1/25h", "1/10", "1/10m/2", "01x/1m", "1 /1m"} {
		if got, err := ParseQuota(text); err == nil || got != (Quota{}) {
			t.Errorf("%q was taken for %v", text, got)
		}
	}
}
