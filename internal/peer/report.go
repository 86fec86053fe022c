package peer

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Report is what a [Webhook] has to say of itself.
type Report struct {
	*Verdict
	// Pending counts requests without a receipt yet: held, or silent.
	Pending int `json:"pending"`
	// Refused counts connections reset by Refusing targets.
	Refused int `json:"refused"`
	// Invalid counts, by reason, what no receiver could have understood.
	Invalid map[string]int `json:"invalid"`
	// Latencies from request to answer, of those answered.
	Latencies Latencies `json:"latencies"`
}

// Latencies sums up a distribution, in milliseconds.
type Latencies struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`
}

// Distribution collects durations from 1 µs to 10 min with three significant
// digits; what is beyond counts as the bound. It is for one goroutine.
type Distribution struct{ h *hdrhistogram.Histogram }

const longest = 10 * time.Minute

// NewDistribution returns an empty distribution.
func NewDistribution() *Distribution {
	return &Distribution{hdrhistogram.New(1, longest.Microseconds(), 3)}
}

// Add takes a duration.
func (d *Distribution) Add(took time.Duration) {
	us := min(max(took.Microseconds(), 1), longest.Microseconds())
	if err := d.h.RecordValue(us); err != nil {
		panic("peer: a bounded duration is out of bounds: " + err.Error())
	}
}

// Merge takes everything that other holds.
func (d *Distribution) Merge(other *Distribution) { d.h.Merge(other.h) }

// Latencies sums up what was added so far.
func (d *Distribution) Latencies() Latencies {
	ms := func(us int64) float64 { return float64(us) / 1000 }
	return Latencies{Count: d.h.TotalCount(), P50: ms(d.h.ValueAtPercentile(50)),
		P99: ms(d.h.ValueAtPercentile(99)), Max: ms(d.h.Max())}
}

// Report judges the receipts so far. It reads all of them.
func (w *Webhook) Report() *Report {
	var judge Judge
	latencies := NewDistribution()
	for _, r := range w.Receipts() {
		judge.Receive(r)
		if r.Status != 0 {
			latencies.Add(r.AnsweredAt.Sub(r.ReceivedAt))
		}
	}
	return &Report{Verdict: judge.Verdict(), Pending: w.Open(), Refused: int(w.refused.Load()),
		Invalid: w.failures.copy(), Latencies: latencies.Latencies()}
}

// The headers that go with a part of the receipts.
const (
	// NextHeader is the offset to ask for next.
	NextHeader = "Tocsin-Next"
	// OpenHeader is [Webhook.Open] from before the receipts were read: with 0,
	// none of an earlier request is missing.
	OpenHeader = "Tocsin-Open"
)

// Control answers GET /report with a [Report] as JSON, and GET /receipts?from=N
// with the lines of [Receipt.AppendText] from that offset to the end.
func (w *Webhook) Control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /report", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		json.NewEncoder(rw).Encode(w.Report()) // an error is the client's, who left
	})
	mux.HandleFunc("GET /receipts", func(rw http.ResponseWriter, r *http.Request) {
		open := w.Open()
		var from int64
		if text := r.URL.Query().Get("from"); text != "" {
			var err error
			if from, err = strconv.ParseInt(text, 10, 64); err != nil || from < 0 || from > w.log.end() {
				http.Error(rw, "from must be an offset that an earlier answer named", http.StatusBadRequest)
				return
			}
		}
		lines := w.section(from)
		rw.Header().Set("Content-Type", "text/tab-separated-values; charset=utf-8")
		rw.Header().Set(NextHeader, strconv.FormatInt(from+lines.Size(), 10))
		rw.Header().Set(OpenHeader, strconv.Itoa(open))
		io.Copy(rw, lines)
	})
	return mux
}

// section returns the lines from an offset to what is now the end.
func (w *Webhook) section(from int64) *io.SectionReader {
	return io.NewSectionReader(w.log, from, w.log.end()-from)
}

// failures counts faults by their text; the texts are constants, so it is
// bounded. The zero value is ready.
type failures struct {
	mu    sync.Mutex
	count map[string]int
}

func (f *failures) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count == nil {
		f.count = make(map[string]int)
	}
	f.count[err.Error()]++
}

func (f *failures) copy() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	counts := make(map[string]int, len(f.count)) // never null in JSON
	maps.Copy(counts, f.count)
	return counts
}
