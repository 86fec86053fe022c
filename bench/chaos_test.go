package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/internal/crash"
)

// That a broken promise is found is tested where it is judged (internal/crash): here,
// what becomes of it.
func TestChaosExitCodes(t *testing.T) {
	for name, test := range map[string]struct {
		faults    []string
		interrupt bool
		code      int
		says      string
	}{
		"everything held":       {nil, false, 0, "Held: 2 of 2"},
		"a broken promise":      {[]string{"D: one came again"}, false, exitFailed, "D: one came again"},
		"interrupted":           {nil, true, exitInterrupted, "Interrupted: 2 of 2"},
		"interrupted, and more": {[]string{"O: one came late"}, true, exitInterrupted, "O: one came late"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			var out, errs bytes.Buffer
			p := &program{strings.NewReader(""), &out, &errs, os.Environ(), func(_ context.Context, o crash.Options) *crash.Outcome {
				if test.interrupt {
					interrupt()
				}
				return &crash.Outcome{Losses: make(crash.Losses, o.Kills), Faults: test.faults}
			}}
			code := Main(ctx, []string{"chaos", "--rounds", "2", "--queue", "embedded", "--seed", "9", "--tocsin", os.Args[0], "--out", t.TempDir()}, p)
			if code != test.code || !strings.Contains(out.String(), test.says) || !strings.Contains(errs.String(), "seed 9") {
				t.Errorf("exit code %d\n%s\n%s", code, &out, &errs)
			}
		})
	}
}
