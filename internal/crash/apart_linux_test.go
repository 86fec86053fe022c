package crash

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

const apartVariable = "TOCSIN_CRASH_APART"

// apart runs the test again in a network and with mounts of its own, after a script
// that sets them up, and says whether this is that run. The script has the name of an
// empty folder in $folder.
func apart(t *testing.T, script string) bool {
	if os.Getenv(apartVariable) != "" {
		return true
	}
	restOnEngine(t)
	cmd := exec.Command("unshare", "--user", "--map-root-user", "--net", "--mount", "sh", "-c",
		"set -e; ip link set lo up; "+script+`; exec "$0" "$@"`,
		os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=3m")
	cmd.Env = append(os.Environ(), apartVariable+"=1", "folder="+t.TempDir())
	out, err := cmd.CombinedOutput()
	switch {
	case strings.Contains(string(out), "--- PASS: "+t.Name()):
	case strings.Contains(string(out), "=== RUN"):
		t.Errorf("in a network of its own: %v\n%s", err, out)
	default:
		t.Skipf("no network of its own to be had here: %v %s", err, out)
	}
	return false
}
