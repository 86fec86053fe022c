package sink

import (
	"encoding/binary"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// Counts is what a sink can say at any time, cheaply.
type Counts struct {
	// Begun is what the times of a [Record] count from.
	Begun    time.Time `json:"begun"`
	Requests int       `json:"requests"`
	// Bytes counts heads and bodies.
	Bytes int64 `json:"bytes"`
	// Delivered counts by sequence, the first being 0, the targets that answered
	// it with 2xx.
	Delivered []int `json:"delivered"`
	// Duplicates counts requests for what had been answered 2xx;
	// OrderViolations those that came after a higher sequence.
	Duplicates      int `json:"duplicates"`
	OrderViolations int `json:"order_violations"`
	// Connections counts those open now; Handshakes those of TLS so far, and
	// Resumed how many of them resumed a session.
	Connections int `json:"connections"`
	Handshakes  int `json:"handshakes"`
	Resumed     int `json:"resumed"`
	// Invalid counts, by reason, requests that were for nobody.
	Invalid map[string]int `json:"invalid"`
}

// Counts says what came so far.
func (s *Sink) Counts() Counts {
	t := s.tally
	c := Counts{Begun: t.begun, Requests: int(t.requests.Load()), Bytes: t.bytes.Load(), Delivered: make([]int, len(t.delivered)),
		Duplicates: int(t.duplicates.Load()), OrderViolations: int(t.orderViolations.Load()), Connections: s.connections(),
		Handshakes: int(s.handshakes.Load()), Resumed: int(s.resumed.Load()), Invalid: s.refused()}
	for i := range t.delivered {
		c.Delivered[i] = int(t.delivered[i].Load())
	}
	return c
}

// Control answers GET /counts with [Counts] as JSON, GET /answers?sequence=N with
// the times of that sequence, four bytes a target, little-endian, and POST
// /hangup by [Sink.HangUp].
func (s *Sink) Control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /counts", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(s.Counts()) // an error is the client's, who left
	})
	mux.HandleFunc("GET /answers", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.FormValue("sequence"))
		if err != nil || n < 1 || n > len(s.tally.answers) {
			http.Error(w, "sequence must be one of those that the sink counts", http.StatusBadRequest)
			return
		}
		answers := s.tally.answers[n-1]
		out := make([]byte, 0, 4*len(answers))
		for i := range answers {
			out = binary.LittleEndian.AppendUint32(out, answers[i].Load())
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Write(out)
	})
	mux.HandleFunc("POST /hangup", func(http.ResponseWriter, *http.Request) { s.HangUp() })
	return mux
}
