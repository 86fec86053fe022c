package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// The variables that make the test binary a tocsin of its own: the demo starts
// its children by running itself again.
const (
	runVariable    = "TEST_RUN_AS_TOCSIN"
	engineVariable = "TEST_FAKE_ENGINE" // what the fake engine does wrong; "nothing" for nothing
)

func TestMain(m *testing.M) {
	if os.Getenv(runVariable) == "" {
		goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
			goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
		return
	}
	if defect := os.Getenv(engineVariable); defect != "" && os.Args[1] == "serve" {
		runFakeEngine(os.Args[3], defect)
		return
	}
	main()
}

// tocsin runs a command in this process and returns what it printed.
func tocsin(t *testing.T, ctx context.Context, stdin string, environ []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Main(ctx, args, strings.NewReader(stdin), &out, &errs, environ)
	return code, out.String(), errs.String()
}

func TestUsage(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		code int
		want string
	}{
		"help":                {[]string{"--help"}, exitDone, "tocsin demo"},
		"help of a command":   {[]string{"publish", "-h"}, exitDone, `"incident_id": "INC-8892"`},
		"no command":          {nil, exitUsage, "expected one of"},
		"unknown command":     {[]string{"sreve"}, exitUsage, "did you mean"},
		"unknown flag":        {[]string{"serve", "--lisen", "x"}, exitUsage, "see tocsin serve --help"},
		"missing argument":    {[]string{"publish"}, exitUsage, "see tocsin publish --help"},
		"no such file":        {[]string{"publish", "/does/not/exist"}, exitUsage, "no such file"},
		"no such config":      {[]string{"serve", "--config", "/does/not/exist"}, exitUsage, "no such file"},
		"bad flag value":      {[]string{"serve", "--listen", "nonsense"}, exitUsage, "--listen: listen:"},
		"bad mix":             {[]string{"demo", "--mix", "sick=1"}, exitUsage, "names no kind"},
		"bad channels":        {[]string{"demo", "--channels", "fax=100"}, exitUsage, "webhook, smtp, smpp or rss"},
		"too many targets":    {[]string{"demo", "--targets", "99999999"}, exitUsage, "--targets"},
		"publisher, no queue": {[]string{"demo", "--publisher", "cat"}, exitUsage, "--queue"},
		"bad api":             {[]string{"targets", "list", "--api", "localhost:8080"}, exitUsage, "http://127.0.0.1:8080"},
		"version":             {[]string{"version"}, exitDone, "tocsin "},
		"config check":        {[]string{"config", "check"}, exitDone, "listen: 127.0.0.1:8080"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := tocsin(t, t.Context(), "", nil, test.args...)
			if code != test.code || !strings.Contains(stdout+stderr, test.want) {
				t.Errorf("exit code %d, want %d and %q\n%s%s", code, test.code, test.want, stdout, stderr)
			}
		})
	}
}

// A setting that would be ignored is refused, by every command that reads them.
func TestUnknownVariableIsRefused(t *testing.T) {
	environ := []string{"TOCSIN_DATA=" + t.TempDir(), "TOCSIN_TOKEN=x", "TOCSIN_LISTN=127.0.0.1:1"}
	for _, command := range [][]string{{"serve"}, {"config", "check"}, {"config", "print"}} {
		code, stdout, stderr := tocsin(t, t.Context(), "", environ, command...)
		if code != exitUsage || stderr != "tocsin: TOCSIN_LISTN: is not the variable of any key; did you mean TOCSIN_LISTEN?\n" {
			t.Errorf("%v: exit code %d\n%s%s", command, code, stdout, stderr)
		}
	}
	if code, _, stderr := tocsin(t, t.Context(), "", environ[:2], "config", "check"); code != exitDone {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
}

// Flags win over the environment, which wins over the file.
func TestPrecedence(t *testing.T) {
	file := t.TempDir() + "/tocsin.yaml"
	if err := os.WriteFile(file, []byte("listen: 127.0.0.1:1001\ndata: ./file\ndeployment: file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &program{environ: []string{"TOCSIN_LISTEN=127.0.0.1:1002", "TOCSIN_DATA=./env"}}
	cfg, err := (&configFlags{Config: file, Listen: "127.0.0.1:1003"}).load(p)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Listen != "127.0.0.1:1003" || cfg.Data != "./env" || cfg.Deployment != "file" {
		t.Errorf("listen %s, data %s, deployment %s", cfg.Listen, cfg.Data, cfg.Deployment)
	}
}
