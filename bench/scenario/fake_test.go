package scenario

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/tocsin/tocsin/bench/floor"
)

// fakeEngine is an engine with a fault, as far as a scenario needs one: it keeps
// targets in a file and tells them one after the other.
type fakeEngine struct {
	fault string
	file  string // of its targets

	mu        sync.Mutex
	sequences map[string]int
	delivered map[string]int
	told      sync.WaitGroup
}

// The faults, as faultVariable names them.
const (
	faultVariable = "BENCH_TEST_FAULT"
	losing        = "lose"    // one target is never told
	repeating     = "repeat"  // one is told twice
	reordering    = "reorder" // one hears the second update before the first
	slowed        = "slow"    // every target takes a while
	boasting      = "boast"   // the ledger has one delivery more than there was
	dying         = "die"     // it ends in the middle
	crashing      = "crash"   // it ends badly when it is told to end
)

// victim is the target that faults are about.
const victim = 7

type fakeTarget struct {
	Address string `json:"address"`
	Page    string `json:"page"`
}

func runFakeEngine(configFile string) error {
	text, err := os.ReadFile(configFile)
	if err != nil {
		return err
	}
	var listen, data string
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "listen: "); ok {
			listen = strings.TrimSpace(value)
		}
		if value, ok := strings.CutPrefix(line, "data: "); ok {
			data = strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	e := &fakeEngine{fault: os.Getenv(faultVariable), file: filepath.Join(data, "targets"), sequences: map[string]int{}, delivered: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /v1/targets/import", e.importTargets)
	mux.HandleFunc("POST /v1/incidents", e.accept)
	mux.HandleFunc("GET /v1/incidents/{id}", e.incident)
	mux.HandleFunc("GET /metrics", e.metrics)
	return http.ListenAndServe(listen, mux)
}

func (e *fakeEngine) importTargets(w http.ResponseWriter, r *http.Request) {
	lines, err := io.ReadAll(r.Body)
	if err == nil {
		err = os.WriteFile(e.file, lines, 0o600)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, `{"accepted":%d,"errors":[]}`, bytes.Count(lines, []byte("\n")))
}

func (e *fakeEngine) accept(w http.ResponseWriter, r *http.Request) {
	var event struct {
		Incident string `json:"incident_id"`
		Page     string `json:"page"`
	}
	if err := json.NewDecoder(r.Body).Decode(&event); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	e.mu.Lock()
	e.sequences[event.Incident]++
	sequence := e.sequences[event.Incident]
	e.mu.Unlock()
	w.WriteHeader(http.StatusAccepted)
	e.told.Go(func() { e.tell(event.Incident, cmp.Or(event.Page, floor.Page), sequence) })
}

func (e *fakeEngine) tell(incident, page string, sequence int) {
	file, err := os.Open(e.file)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	scanner := bufio.NewScanner(file)
	for n := 1; scanner.Scan(); n++ {
		var t fakeTarget
		if err := json.Unmarshal(scanner.Bytes(), &t); err != nil {
			panic(err)
		}
		if cmp.Or(t.Page, floor.Page) != page {
			continue
		}
		sequences := []int{sequence}
		if n == victim {
			switch {
			case e.fault == losing:
				continue
			case e.fault == repeating:
				sequences = []int{sequence, sequence}
			case e.fault == reordering && sequence == 1:
				sequences = []int{2, 1}
			case e.fault == reordering && sequence == 2:
				sequences = nil
			case e.fault == dying:
				fmt.Fprintln(os.Stderr, "out of tea")
				os.Exit(1)
			}
		}
		if e.fault == slowed {
			time.Sleep(2 * time.Millisecond)
		}
		for _, s := range sequences {
			body := fmt.Sprintf(`{"sequence":%d}`, s)
			response, err := http.Post(t.Address, "application/json", strings.NewReader(body))
			if err != nil {
				panic(err)
			}
			response.Body.Close()
			if response.StatusCode != http.StatusOK {
				panic(response.Status)
			}
		}
		e.mu.Lock()
		e.delivered[incident]++
		e.mu.Unlock()
	}
}

func (e *fakeEngine) incident(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.delivered[r.PathValue("id")]
	if e.fault == boasting {
		n++
	}
	fmt.Fprintf(w, `{"updates":[{"sequence":1,"progress":{"webhook":{"delivered":%d}}}]}`, n)
}

func (e *fakeEngine) metrics(w http.ResponseWriter, _ *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	sum := 0
	for _, n := range e.delivered {
		sum += n
	}
	fmt.Fprintf(w, "# TYPE tocsin_deliveries_total counter\n%s %d\n", outcomes, sum)
}
