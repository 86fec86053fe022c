package deploy

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/gateway"
	"github.com/tocsin/tocsin/internal/store"
)

func TestSampleEvent(t *testing.T) {
	e, err := incident.Decode([]byte(read(t, "samples/event.json")))
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Extra) > 0 {
		t.Errorf("the event has fields that Tocsin does not know: %v", e.Extra)
	}
}

// TestSampleTargets wants both files to be taken whole, and to mean the same.
func TestSampleTargets(t *testing.T) {
	var decoded []*incident.Target
	for line := range strings.Lines(read(t, "samples/targets.ndjson")) {
		target, err := incident.DecodeTarget([]byte(line))
		if err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		decoded = append(decoded, target)
	}
	for file, media := range map[string]string{"samples/targets.ndjson": "application/x-ndjson", "samples/targets.csv": "text/csv"} {
		if got := imported(t, file, media); !reflect.DeepEqual(got, decoded) {
			t.Errorf("%s means %+v, want %+v", file, got, decoded)
		}
	}
}

// imported sends a file to the control API and returns what reaches the store.
func imported(t *testing.T, file, media string) []*incident.Target {
	t.Helper()
	targets := &targets{}
	api := gateway.New(gateway.Deps{
		Targets: targets, CheckTarget: func(*incident.Target) error { return nil }, Log: slog.New(slog.DiscardHandler),
	}, gateway.Options{})
	request := httptest.NewRequest("POST", "http://localhost/v1/targets/import", strings.NewReader(read(t, file)))
	request.Header.Set("Content-Type", media)
	rec := httptest.NewRecorder()
	api.ServeHTTP(rec, request)
	var answer struct{ Accepted, Rejected int }
	if err := json.Unmarshal(rec.Body.Bytes(), &answer); err != nil || answer.Accepted == 0 || answer.Rejected != 0 {
		t.Fatalf("the import of %s answers %s", file, rec.Body)
	}
	return targets.list
}

// targets keeps what is imported.
type targets struct {
	gateway.Targets
	list []*incident.Target
}

func (f *targets) Upsert(_ context.Context, batch []*incident.Target) ([]store.Upserted, error) {
	for _, t := range batch {
		clone := *t
		f.list = append(f.list, &clone)
	}
	return make([]store.Upserted, len(batch)), nil
}
