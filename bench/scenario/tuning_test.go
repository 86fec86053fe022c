package scenario

import (
	"net/http"
	"net/http/httptest"
	"os/exec"
	"testing"

	"github.com/tocsin/tocsin/bench/run"
)

func TestTuningLimitsFiles(t *testing.T) {
	for _, test := range []struct {
		tuning Tuning
		want   string
	}{
		{Tuning{Files: 100}, "100 100 last\n"},
		{Tuning{Files: 64}, "64 64 last\n"},
	} {
		path, args := test.tuning.command("/bin/sh", "-c", `echo "$(ulimit -Sn) $(ulimit -Hn) $0"`, "last")
		out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
		if err != nil || string(out) != test.want {
			t.Errorf("%d files: %q, %v", test.tuning.Files, out, err)
		}
	}
	if path, args := (Tuning{}).command("tocsin", "serve"); path != "tocsin" || len(args) != 1 || args[0] != "serve" {
		t.Errorf("without a limit: %s %q", path, args)
	}
}

func TestFailedAttempts(t *testing.T) {
	answer := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(answer)) }))
	defer server.Close()
	client := server.Client()
	defer client.CloseIdleConnections()
	e := &engine{Engine: &run.Engine{Base: server.URL, HTTP: client}}
	for text, want := range map[string]float64{
		"": 0,
		"tocsin_attempts_total{channel=\"webhook\",class=\"delivered\"} 9\n": 0,
		"tocsin_attempts_total{channel=\"webhook\",class=\"temporary\"} 2\ntocsin_attempts_total{channel=\"webhook\",class=\"gone\"} 1e+03\n" +
			"tocsin_attempts_total{channel=\"smtp\",class=\"temporary\"} 5\n": 1002,
	} {
		answer = text
		if got, err := e.failedAttempts(t.Context()); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	answer = "tocsin_attempts_total{channel=\"webhook\",class=\"temporary\"} many\n"
	if _, err := e.failedAttempts(t.Context()); err == nil {
		t.Error("a number that is none passes")
	}
}
