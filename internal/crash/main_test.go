// Package crash kills real processes and judges what is left by what the peers
// received.
//
// An engine runs as anybody would run it, as a process of its own on real
// sockets and a real disk. While updates of incidents go out to 2,000 targets,
// the engine, or its broker, is killed at random moments, again and again.
// Afterwards it must hold:
//
//   - A: every accepted (update, target) arrived or is closed in the ledger with
//     a reason, and nobody was left untold who would have listened;
//   - D: what was sent again is what a kill made the engine forget: requests that
//     were in flight, or accepted but not committed;
//   - O: nobody heard an older update after a newer one;
//   - L: the ledger says what the receipts say;
//   - C: the producer was told of every update's end, in the same words each time.
//
// The engine's binary is built without the race detector: the moments of a crash
// are to be those of the process that is shipped, and SQLite under the detector
// is many times slower. The tests' own side runs under it.
//
//	TOCSIN_CRASH_SEED   draws the same moments again, as parts of a fan-out's
//	                    length; processes being what they are, not to the instant
//	TOCSIN_CRASH_KILLS  kills so many times (20; the broker 10)
//	TOCSIN_CRASH_ENGINE uses this binary instead of building one
//
// `go test -artifacts` keeps the engine's log and the receipts.
package crash

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const engineVariable = "TOCSIN_CRASH_ENGINE"

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Getenv(engineVariable) == "" {
		folder, err := os.MkdirTemp("", "tocsin-crash-")
		if err == nil {
			defer os.RemoveAll(folder)
			_, err = goTool("build", "-o", filepath.Join(folder, "tocsin"), command)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		os.Setenv(engineVariable, filepath.Join(folder, "tocsin"))
	}
	return m.Run()
}

const command = "github.com/tocsin/tocsin/cmd/tocsin"

// restOnEngine reads the folders of the engine's packages, which tells `go test`
// that the test rests on them: otherwise it would find a passed one in its cache
// after the engine has changed. What TestMain reads it doesn't notice.
func restOnEngine(t *testing.T) {
	t.Helper()
	folders, err := goTool("list", "-deps", "-f", "{{if not .Standard}}{{.Dir}}{{end}}", command)
	if err != nil {
		t.Fatal(err)
	}
	for folder := range strings.SplitSeq(strings.TrimSpace(folders), "\n") {
		if _, err := os.ReadDir(folder); err != nil {
			t.Fatalf("sources of the engine: %v", err)
		}
	}
}

func goTool(args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", args[0], err, stderr.Bytes())
	}
	return string(out), nil
}

// draw returns where the random moments come from, and logs how to have them
// again.
func draw(t *testing.T) *rand.Rand {
	t.Helper()
	const variable = "TOCSIN_CRASH_SEED"
	seed := rand.Uint64()
	if text := os.Getenv(variable); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s must be a number that an earlier run named: %v", variable, err)
		}
	}
	t.Logf("again with %s=%d", variable, seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// kills returns how often to kill.
func kills(t *testing.T, usual int) int {
	t.Helper()
	const variable = "TOCSIN_CRASH_KILLS"
	text := os.Getenv(variable)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s must be a number from 1", variable)
	}
	return n
}
