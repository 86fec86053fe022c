// Package deploy holds the files in deploy/ to the code and to the tools that
// read them; it has no code.
package deploy

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/tocsin/tocsin/internal/config"
)

const root = "../../deploy"

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// readYAML decodes what into has fields for; the rest may be anything.
func readYAML(t *testing.T, name string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(read(t, name)), into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// tool runs a program that reads our files and fails the test with what it says.
func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not installed: run `make deps`", name)
	}
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// environment reads NAME=value lines as systemd and compose do.
func environment(t *testing.T, name string) map[string]string {
	t.Helper()
	env := make(map[string]string)
	for line := range strings.Lines(read(t, name)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || key == "" || value == "" {
			t.Errorf("%s: %q is no NAME=value", name, line)
		}
		env[key] = value
	}
	return env
}

// settings are the lines of a file without comments and empty ones. Each has to
// come with a reason: a comment right above it, or above its neighbour.
func settings(t *testing.T, name string) []string {
	t.Helper()
	var list []string
	reason := false
	for line := range strings.Lines(read(t, name)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
			reason = false
		case strings.HasPrefix(line, "#"):
			reason = true
		default:
			if !reason {
				t.Errorf("%s: %q has no reason above it", name, line)
			}
			list = append(list, line)
		}
	}
	if len(list) == 0 {
		t.Errorf("%s sets nothing", name)
	}
	return list
}

func TestConfigurationsLoad(t *testing.T) {
	for file, secrets := range map[string]string{
		"systemd/tocsin.yaml": "systemd/secrets.env",
		"compose/tocsin.yaml": "compose/env.sample",
	} {
		env := environment(t, secrets)
		var environ []string
		for name, value := range env {
			environ = append(environ, name+"="+value)
		}
		cfg, err := config.Load(filepath.Join(root, file), environ)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if len(cfg.Tokens) != 1 || cfg.Tokens[0] != env["TOCSIN_TOKEN"] {
			t.Errorf("%s does not take its token from %s", file, secrets)
		}
		if !strings.HasPrefix(cfg.Queue, "amqp://tocsin:"+env["AMQP_PASSWORD"]+"@") {
			t.Errorf("%s does not log in to RabbitMQ with what %s has", file, secrets)
		}
		if cfg.Data != "/var/lib/tocsin" {
			t.Errorf("%s keeps its data in %s", file, cfg.Data)
		}
		if len(cfg.SMTP) == 0 || len(cfg.SMPP) == 0 || cfg.PublicListen == "" || !strings.HasPrefix(cfg.PublicURL, "https://") {
			t.Errorf("%s does not show mail, SMS and what the public may reach", file)
		}
		commentedLinesLoad(t, file, environ)
		for name := range env {
			if !strings.Contains(read(t, file), "${"+name+"}") {
				t.Errorf("%s has %s, which %s does not use", secrets, name, file)
			}
		}
	}
}

// commentedLinesLoad uncomments the settings that wait for a file of the
// operator's, and wants them to be right.
func commentedLinesLoad(t *testing.T, file string, environ []string) {
	t.Helper()
	text := strings.Replace(read(t, file), "    # dkim: {", "    dkim: {", 1)
	uncommented := filepath.Join(t.TempDir(), "tocsin.yaml")
	if err := os.WriteFile(uncommented, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(uncommented, append(environ, "CREDENTIALS_DIRECTORY=/run/credentials/tocsin.service"))
	if err != nil || !cfg.SMTP[0].DKIM.Signs() {
		t.Errorf("%s with its dkim: %v", file, err)
	}
}

// TestIndexNamesEveryFile keeps deploy/README.md complete; hidden files need no
// line.
func TestIndexNamesEveryFile(t *testing.T) {
	index := read(t, "README.md")
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasPrefix(entry.Name(), ".") {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if name = filepath.ToSlash(name); name != "README.md" && !strings.Contains(index, "("+name+")") {
			t.Errorf("deploy/README.md does not link to %s", name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
