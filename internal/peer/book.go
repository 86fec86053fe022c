package peer

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
)

// book is what every peer keeps of what it saw.
type book struct {
	log      *receiptLog
	take     func(Receipt) // gets the receipts instead of the log, if set
	open     atomic.Int64  // requests read and not recorded yet
	refused  atomic.Int64  // connections that were reset
	failures failures
	// turn is shared by those who answer, from before an answer leaves until its
	// receipt is written.
	turn sync.RWMutex
}

// Open returns how many requests were read and have no receipt yet: held, silent
// or being answered now.
func (b *book) Open() int { return int(b.open.Load()) }

// Receipts returns all receipts so far, in the order in which they ended: one of each
// request whose answer anybody has had.
func (b *book) Receipts() []Receipt {
	var receipts []Receipt
	if err := ReadReceipts(b.section(0), func(r Receipt) { receipts = append(receipts, r) }); err != nil {
		panic("peer: a receipt of our own can't be read: " + err.Error())
	}
	return receipts
}

// section returns the lines of the log from an offset on, with those of all answers
// that have left.
func (b *book) section(from int64) *io.SectionReader {
	b.turn.Lock()
	defer b.turn.Unlock()
	return b.log.section(from)
}

// record writes a receipt, or has it taken. buffer is used for the line and returned.
func (b *book) record(r Receipt, buffer []byte) []byte {
	if b.take != nil {
		b.take(r)
		return buffer
	}
	line, err := r.AppendText(buffer[:0])
	if err != nil {
		panic("peer: a checked request makes no receipt: " + err.Error())
	}
	b.log.append(line)
	return line
}

// Report judges the receipts so far. It reads all of them.
func (b *book) Report() *Report {
	var judge Judge
	latencies := NewDistribution()
	open := b.Open() // before: with 0, none of an earlier request is missing
	for _, r := range b.Receipts() {
		judge.Receive(r)
		if r.Status != 0 {
			latencies.Add(r.AnsweredAt.Sub(r.ReceivedAt))
		}
	}
	return &Report{Verdict: judge.Verdict(), Pending: open, Refused: int(b.refused.Load()),
		Invalid: b.failures.copy(), Latencies: latencies.Latencies()}
}

// The headers that go with a part of the receipts.
const (
	// NextHeader is the offset to ask for next.
	NextHeader = "Tocsin-Next"
	// OpenHeader is the peer's Open from before the receipts were read: with 0,
	// none of an earlier request is missing.
	OpenHeader = "Tocsin-Open"
)

// Control answers GET /report with a [Report] as JSON, and GET /receipts?from=N
// with the lines of [Receipt.AppendText] from that offset to the end.
func (b *book) Control() http.Handler { return b.control(func() any { return b.Report() }) }

// control is Control with another report.
func (b *book) control(report func() any) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /report", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		json.NewEncoder(rw).Encode(report()) // an error is the client's, who left
	})
	mux.HandleFunc("GET /receipts", func(rw http.ResponseWriter, r *http.Request) {
		open := b.Open()
		var from int64
		if text := r.URL.Query().Get("from"); text != "" {
			var err error
			if from, err = strconv.ParseInt(text, 10, 64); err != nil || from < 0 || from > b.log.end() {
				http.Error(rw, "from must be an offset that an earlier answer named", http.StatusBadRequest)
				return
			}
		}
		lines := b.section(from)
		rw.Header().Set("Content-Type", "text/tab-separated-values; charset=utf-8")
		rw.Header().Set(NextHeader, strconv.FormatInt(from+lines.Size(), 10))
		rw.Header().Set(OpenHeader, strconv.Itoa(open))
		io.Copy(rw, lines) // an error is the client's, who left
	})
	return mux
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
