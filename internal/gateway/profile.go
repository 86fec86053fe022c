package gateway

import (
	"net/http"
	"net/http/pprof"
	"slices"
	"strconv"
	"strings"
)

// profiles are those of package runtime/pprof that help to find where time and
// memory go; "cpu" is taken while the request lasts.
var profiles = []string{"allocs", "cpu", "goroutine", "heap"}

// maxProfile bounds a CPU profile, in seconds. The runtime takes one at a time.
const maxProfile = 60

// getProfile answers with a profile as `go tool pprof` reads it. Profiles hold
// names of functions and figures, never values.
func (g *gateway) getProfile(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	if !slices.Contains(profiles, name) {
		return refuse(http.StatusNotFound, "there are the profiles "+strings.Join(profiles, ", "))
	}
	seconds, collect := r.URL.Query().Get("seconds"), r.URL.Query().Get("gc")
	if n, err := strconv.Atoi(seconds); seconds != "" && (name != "cpu" || err != nil || n < 1 || n > maxProfile) {
		return refuseField("seconds", "goes with the profile cpu, and is a number from 1 to "+strconv.Itoa(maxProfile))
	}
	if collect != "" && (name != "heap" || collect != "1") {
		return refuseField("gc", "goes with the profile heap, and is 1")
	}
	r.URL.RawQuery = "seconds=" + seconds // debug= would change the format
	if name == "cpu" {
		pprof.Profile(w, r)
		return nil
	}
	r.URL.RawQuery = ""
	if collect != "" {
		r.URL.RawQuery = "gc=1" // without it the heap is that of the last collection
	}
	pprof.Handler(name).ServeHTTP(w, r)
	return nil
}
