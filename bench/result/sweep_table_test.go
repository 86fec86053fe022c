package result

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestPrintSweeps(t *testing.T) {
	f := &File{Commit: "abc", Notes: []string{"what is not swept"}, Sweeps: []*Sweep{
		{ID: "dial_gate", Title: "dials at once", Unit: "dials", Default: "256", Recommended: "64", Notes: []string{"over loopback"}, Points: []SweepPoint{
			{Value: "64", PerS: 12_345, P99MS: 20, PeakRSSMB: 80, Spread: 0.1, Note: "well"}, {Value: "256", Note: "failed: it fell over"}}},
		{ID: "left", Title: "nothing", Notes: []string{"left out: no namespaces"}},
	}}
	var out bytes.Buffer
	if err := f.PrintSweeps(&out); err != nil {
		t.Fatal(err)
	}
	line := func(begins string) string {
		for line := range strings.Lines(out.String()) {
			if strings.HasPrefix(line, begins) {
				return strings.Join(strings.Fields(line), " ")
			}
		}
		return ""
	}
	for begins, want := range map[string]string{
		"  dials": "dials /s spread p99 ms RSS MB",
		"  64 ":   "64 12,345 10% 20 80 RECOMMENDED well",
		"  256 ":  "256 – 0% – – default failed: it fell over",
		"left:":   "left: nothing", "  left out": "left out: no namespaces", "  over": "over loopback", "what": "what is not swept", "commit": "commit abc, 0001-01-01 00:00 UTC",
	} {
		if got := line(begins); got != want {
			t.Errorf("%q, want %q in\n%s", got, want, &out)
		}
	}
}

func TestSweepsAreAddedToARun(t *testing.T) {
	f := &File{Commit: "abc", Notes: []string{"of the run"}, Sweeps: []*Sweep{{ID: "a", Default: "old"}, {ID: "b"}}}
	f.Add(&File{Commit: "def", StartedAt: time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC), Notes: []string{"of the sweeps"}, Sweeps: []*Sweep{{ID: "c"}, {ID: "a", Default: "new"}}})
	if len(f.Sweeps) != 3 || f.Sweeps[0].Default != "new" || f.Sweeps[2].ID != "c" || f.Commit != "abc" {
		t.Errorf("%+v", f.Sweeps)
	}
	if want := "sweeps of 2026-11-21 16:00 UTC, commit def: of the sweeps"; len(f.Notes) != 2 || f.Notes[1] != want {
		t.Errorf("%q, want %q", f.Notes, want)
	}
}
