package peer

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
)

// SMTPReport is what an [SMTP] has to say of itself.
type SMTPReport struct {
	*Report
	// Connections counts those accepted over all time, MostConnections those at
	// once.
	Connections     int `json:"connections"`
	MostConnections int `json:"most_connections"`
}

// Report judges the receipts so far. It reads all of them.
func (s *SMTP) Report() *SMTPReport {
	var judge Judge
	latencies := NewDistribution()
	for _, r := range s.Receipts() {
		judge.Receive(r)
		if r.Status != 0 {
			latencies.Add(r.AnsweredAt.Sub(r.ReceivedAt))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return &SMTPReport{Connections: s.accepted, MostConnections: s.most, Report: &Report{Verdict: judge.Verdict(),
		Pending: s.Open(), Refused: int(s.refused.Load()), Invalid: s.failures.copy(), Latencies: latencies.Latencies()}}
}

// Control answers as that of a [Webhook] does, GET /report with an [SMTPReport].
func (s *SMTP) Control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /report", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		json.NewEncoder(rw).Encode(s.Report()) // an error is the client's, who left
	})
	mux.HandleFunc("GET /receipts", func(rw http.ResponseWriter, r *http.Request) {
		s.log.answer(rw, r, s.Open())
	})
	return mux
}

// answer answers GET /receipts?from=N; open is from before.
func (l *receiptLog) answer(rw http.ResponseWriter, r *http.Request, open int) {
	var from int64
	if text := r.URL.Query().Get("from"); text != "" {
		var err error
		if from, err = strconv.ParseInt(text, 10, 64); err != nil || from < 0 || from > l.end() {
			http.Error(rw, "from must be an offset that an earlier answer named", http.StatusBadRequest)
			return
		}
	}
	lines := io.NewSectionReader(l, from, l.end()-from)
	rw.Header().Set("Content-Type", "text/tab-separated-values; charset=utf-8")
	rw.Header().Set(NextHeader, strconv.FormatInt(from+lines.Size(), 10))
	rw.Header().Set(OpenHeader, strconv.Itoa(open))
	io.Copy(rw, lines) // an error is the client's, who left
}
