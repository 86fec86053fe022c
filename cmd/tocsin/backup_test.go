package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// sink notes which paths were posted to.
type sink struct {
	mu    sync.Mutex
	paths map[string]int
}

func (s *sink) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paths[r.URL.Path]++
}

// take returns what came since the last call.
func (s *sink) take() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	paths := s.paths
	s.paths = make(map[string]int)
	return paths
}

func (s *sink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.paths)
}

// TestBackupDuringAFanOut takes a backup by another process in the middle of a
// fan-out. An engine that begins on what was restored tells everyone who had not
// been told by then; nothing that was accepted before is lost.
func TestBackupDuringAFanOut(t *testing.T) {
	const targets = 1000
	receiver := &sink{paths: make(map[string]int)}
	server := httptest.NewServer(receiver)
	defer server.Close()
	const reaches = "egress: {allow: [\"127.0.0.0/8\"], http: true}\n"
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "backup.db")
	base, stop := serving(t, dir, reaches+"webhook: {rate: 20/s, burst: 10}\n") // most of a minute: the other process may be slow to begin
	var lines strings.Builder
	for i := range targets {
		fmt.Fprintf(&lines, `{"external_id":"t%d","channel":"webhook","address":"%s/t%d"}`+"\n", i, server.URL, i)
	}
	post(t, base+"/v1/targets/import", "application/x-ndjson", lines.String(), 200)
	post(t, base+"/v1/incidents", "application/json", `{"incident_id":"INC-1","status":"investigating","affected_components":[],
		"impact":"critical","started_at":"2026-11-21T05:00:00Z"}`, 202)
	eventually(t, func() bool { return receiver.count() > targets/50 })

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "tocsin.yaml")
	child := exec.CommandContext(t.Context(), self, "backup", "--config", config, file)
	child.Env = append(os.Environ(), runVariable+"=1")
	if out, err := child.CombinedOutput(); err != nil || !strings.Contains(string(out), "is a backup of") {
		t.Fatalf("%v: %s", err, out)
	}
	before := receiver.take()
	if len(before) >= targets {
		t.Fatal("the fan-out was over before the backup: this test proves nothing")
	}
	if code, _, stderr := tocsin(t, t.Context(), "", nil, "restore", "--config", config, "--force", file); code != exitUnavailable || !strings.Contains(stderr, "in use") {
		t.Errorf("under the engine: exit code %d, %s", code, stderr)
	}
	stop()
	if code, _, stderr := tocsin(t, t.Context(), "", nil, "restore", "--config", config, file); code != exitUsage || !strings.Contains(stderr, "--force") {
		t.Errorf("over the store: exit code %d, %s", code, stderr)
	}
	if code, _, stderr := tocsin(t, t.Context(), "", nil, "restore", "--config", config, "--force", file); code != exitDone {
		t.Fatalf("exit code %d, %s", code, stderr)
	}
	receiver.take() // told since the backup: the restored store does not know
	base, _ = serving(t, dir, reaches+"webhook: {rate: 10000/s, burst: 1000}\n")
	eventually(t, func() bool {
		_, open := get(base + "/v1/incidents/INC-1/deliveries?outcome=open&limit=1")
		_, all := get(base + "/v1/incidents/INC-1/deliveries?outcome=delivered&limit=1000")
		return strings.HasPrefix(open, `{"items":[]`) && strings.Count(all, `"outcome":"delivered"`) == targets
	})
	after := receiver.take()
	for i := range targets {
		path := fmt.Sprintf("/t%d", i)
		if before[path]+after[path] == 0 {
			t.Errorf("%s was told neither before the backup nor after the restore", path)
		}
	}
}

func TestBackupCommands(t *testing.T) {
	dir := t.TempDir()
	if code, _, stderr := tocsin(t, t.Context(), "", nil, "backup", "--data", dir, filepath.Join(dir, "b")); code != exitFailed || !strings.Contains(stderr, "there is no database") {
		t.Errorf("without a store: exit code %d, %s", code, stderr)
	}
	if code, _, stderr := tocsin(t, t.Context(), "", nil, "restore", "--data", dir, filepath.Join(dir, "b")); code != exitFailed || !strings.Contains(stderr, "open the backup") {
		t.Errorf("without a backup: exit code %d, %s", code, stderr)
	}
}
