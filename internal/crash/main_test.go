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
	"time"
)

const engineVariable = "TOCSIN_CRASH_ENGINE"

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
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

// begin starts peers of that mix and an engine, and imports the targets. What is
// published expires after a while.
func begin(t *testing.T, queue, mix string, expiry time.Duration) *trial {
	t.Helper()
	return beginWith(t, queue, mix, expiry, Crowd, nil)
}

// beginWith does so with so many targets; change, if any, is asked before the
// engine starts.
func beginWith(t *testing.T, queue, mix string, expiry time.Duration, targets int, change func(*engine)) *trial {
	t.Helper()
	restOnEngine(t)
	o := Options{Engine: os.Getenv(engineVariable), Queue: queue, Mix: mix, Expiry: expiry, Targets: targets, Seed: draw(t)}
	return newTrial(t, o, webhooks, change)
}

// draw returns what the random moments come from, and logs how to have them
// again.
func draw(t *testing.T) uint64 {
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
	return seed
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
