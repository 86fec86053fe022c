package report

import (
	"bytes"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/tocsin/tocsin/bench/run"
	"github.com/tocsin/tocsin/bench/soak"
)

func drawSoak(t *testing.T, r *soak.Result) (*html.Node, string) {
	t.Helper()
	var page bytes.Buffer
	if err := WriteSoak(&page, r); err != nil {
		t.Fatal(err)
	}
	root, err := html.Parse(bytes.NewReader(page.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	return root, page.String()
}

// soaked is a run of ten minutes in which goroutines were lost. text is in every place
// that has one.
func soaked(text string) *soak.Result {
	r := &soak.Result{Machine: run.Machine{Name: text}, Commit: text, Queue: text, Promises: &soak.Promises{Examples: []string{text}},
		Faults: []soak.Fault{{Name: text, FromS: 60, ToS: 63}}, Errors: []string{text},
		Series: []soak.Series{{Name: "rss", Unit: "MB", First: 60, Last: 61, Peak: 70, Limit: 32, Verdict: soak.Flat, Trend: &soak.Trend{PerHour: 1, Low: -2, High: 4}},
			{Name: "goroutines", Limit: 120, Verdict: soak.Grows, Trend: &soak.Trend{PerHour: 700, Low: 650, High: 720}}}}
	for i := range 600 {
		r.Samples = append(r.Samples, soak.Sample{AtS: float64(i), RSSMB: 60, HeapMB: 12, Goroutines: 80 + float64(i)/5, Files: 300, WALMB: 4, StoreMB: 40, Open: 9, Batches: 2})
	}
	return r
}

func TestASoakIsDrawn(t *testing.T) {
	root, page := drawSoak(t, soaked("w"))
	alone(t, root)
	if n := len(all(root, "figure")); n != 6 {
		t.Errorf("%d charts, want 6", n)
	}
	for _, want := range []string{"goroutines grows", "&#43;700.0", "650.0", "flat"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page doesn't say %q", want)
		}
	}
	r := soaked("w")
	r.Series, r.Errors = r.Series[:1], nil
	if _, page := drawSoak(t, r); !strings.Contains(page, "Flat, and every promise kept.") {
		t.Error("the page doesn't say that all is well")
	}
	r.Interrupted = true
	if _, page := drawSoak(t, r); !strings.Contains(page, "Interrupted") {
		t.Error("the page doesn't say that it was interrupted")
	}
}

func TestNoTextOfASoakBecomesMarkup(t *testing.T) {
	root, _ := drawSoak(t, soaked(hostile))
	alone(t, root)
	if !strings.Contains(text(root), "<script>alert(1)</script>") {
		t.Error("the text is not shown at all")
	}
}

func TestASoakWithNothingToShow(t *testing.T) {
	r := &soak.Result{Promises: &soak.Promises{}, Samples: []soak.Sample{{AtS: math.NaN(), RSSMB: math.Inf(1)}, {AtS: 1, RSSMB: -1}}}
	root, _ := drawSoak(t, r)
	if n := len(all(root, "figure")); n != 0 {
		t.Errorf("%d charts of nothing", n)
	}
	if err := WriteSoakFile(filepath.Join(t.TempDir(), "no", "such", "folder.html"), r); err == nil {
		t.Error("a page that can't be written is no error")
	}
}
