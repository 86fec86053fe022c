package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestComplete(t *testing.T) {
	for line, want := range map[string]string{
		"":                                 "serve publish targets incidents incident deliveries resend audit parked demo backup restore doctor config completion version",
		"de":                               "deliveries demo",
		"targets ":                         "import list test",
		"targets import --f":               "--format",
		"targets import --format ":         "auto ndjson csv",
		"targets import --format=nd":       "--format=ndjson",
		"targets import --format = nd":     "ndjson",
		"targets import --format = csv ":   "",
		"targets import --api URL --forma": "--format",
		"deliveries --json --outcome d":    "delivered dead",
		"serve -c ":                        "",
		"serve -c targets --da":            "--data",
		"completion ":                      "bash zsh fish",
		"unknown ":                         "serve publish targets incidents incident deliveries resend audit parked demo backup restore doctor config completion version",
	} {
		words := strings.Split(line, " ")
		code, stdout, stderr := tocsin(t, t.Context(), "", nil, slices.Concat([]string{"complete", "--", "tocsin"}, words)...)
		if got := strings.Join(strings.Fields(stdout), " "); code != exitDone || got != want {
			t.Errorf("%q: exit code %d, %q, want %q %s", line, code, got, want, stderr)
		}
	}
	if code, stdout, _ := tocsin(t, t.Context(), "", nil, "complete"); code != exitDone || stdout != "" {
		t.Errorf("without words: exit code %d, %q", code, stdout)
	}
}

// TestCompletionInShells has each shell that is installed source the script and
// complete, with this binary as tocsin.
func TestCompletionInShells(t *testing.T) {
	bin := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\n%s=1 exec '%s' \"$@\"\n", runVariable, self)
	if err := os.WriteFile(filepath.Join(bin, "tocsin"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	for shell, programs := range map[string]map[string]string{
		"bash": {
			`source <(tocsin completion bash)
			COMP_WORDS=(tocsin targets import --fo); COMP_CWORD=3; _tocsin tocsin; printf '%s\n' "${COMPREPLY[@]}"`: "--format",
			`source <(tocsin completion bash)
			COMP_WORDS=(tocsin deliveries --outcome = ""); COMP_CWORD=4; _tocsin tocsin; printf '%s ' "${COMPREPLY[@]}"`: "open delivered superseded suppressed expired dead retrying none unheard",
			`source <(tocsin completion bash); complete -p tocsin`: "complete -o default -F _tocsin tocsin",
		},
		"zsh": {
			`compdef() { print -r -- "$@" }; compadd() { shift; print -r -- "$@" }; _files() { print files }
			source <(tocsin completion zsh); words=(tocsin targets ""); CURRENT=3; _tocsin
			words=(tocsin publish ""); CURRENT=3; _tocsin`: "_tocsin tocsin\nimport list test\nfiles",
		},
		"fish": {
			`tocsin completion fish | source; complete -C 'tocsin targets i'`:                                    "import",
			`cd (mktemp -d); touch event.json; tocsin completion fish | source; complete -C 'tocsin publish ev'`: "event.json",
		},
	} {
		t.Run(shell, func(t *testing.T) {
			path, err := exec.LookPath(shell)
			if err != nil {
				t.Skipf("%s is not installed", shell)
			}
			for program, want := range programs {
				command := exec.CommandContext(t.Context(), path, "-c", program)
				command.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+bin, "XDG_CONFIG_HOME="+bin, "TMPDIR="+bin)
				out, err := command.CombinedOutput()
				if got := strings.TrimSpace(string(out)); err != nil || got != want {
					t.Errorf("%s\nprints %q, want %q: %v", program, got, want, err)
				}
			}
		})
	}
}
