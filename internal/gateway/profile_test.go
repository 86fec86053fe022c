package gateway

import (
	"bytes"
	"net/http"
	"testing"
)

func TestProfiles(t *testing.T) {
	t.Parallel() // a CPU profile takes its second
	f := start(t)
	for _, name := range []string{"heap", "heap?gc=1", "allocs", "goroutine", "cpu?seconds=1"} {
		a := f.get("/debug/pprof/" + name)
		if gzipped := bytes.HasPrefix(a.body, []byte{0x1f, 0x8b}); a.status != 200 || !gzipped {
			t.Errorf("%s: %d %.100q", name, a.status, a.body)
		}
	}
	if a := f.get("/debug/pprof/goroutine?debug=2"); !bytes.HasPrefix(a.body, []byte{0x1f, 0x8b}) {
		t.Errorf("in another format: %.100q", a.body)
	}
	for _, name := range []string{"cmdline", "symbol", "nothing"} {
		f.get("/debug/pprof/"+name).wantProblem(http.StatusNotFound, "")
	}
	for _, query := range []string{"cpu?seconds=0", "cpu?seconds=61", "cpu?seconds=x", "heap?seconds=1"} {
		f.get("/debug/pprof/"+query).wantProblem(http.StatusBadRequest, "seconds")
	}
	for _, query := range []string{"cpu?gc=1", "heap?gc=yes"} {
		f.get("/debug/pprof/"+query).wantProblem(http.StatusBadRequest, "gc")
	}
}
