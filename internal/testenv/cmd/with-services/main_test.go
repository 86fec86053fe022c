package main

import (
	"bytes"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/tocsin/tocsin/internal/testenv"
)

func TestRun(t *testing.T) {
	tests := map[string]struct {
		args []string
		code int
		out  string
	}{
		"the command's code":    {[]string{"--", "sh", "-c", "echo out; exit 7"}, 7, "out\n"},
		"success":               {[]string{"true"}, 0, ""},
		"ended by a signal":     {[]string{"--", "sh", "-c", "kill -TERM $$"}, 128 + 15, ""},
		"no such command":       {[]string{"--", "/no/such/command"}, exitFailed, ""},
		"no command":            {nil, exitUsage, ""},
		"unknown flag":          {[]string{"--rabbit", "--", "true"}, exitUsage, ""},
		"no service, no change": {[]string{"--", "echo", "{amqp}"}, 0, "{amqp}\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			if code := run(tt.args, nil, &out, &errs); code != tt.code || out.String() != tt.out {
				t.Errorf("exit code %d, output %q; want %d, %q; said %q", code, out.String(), tt.code, tt.out, errs.String())
			}
		})
	}
}

func TestRunPassesSignalsOn(t *testing.T) {
	signals := make(chan os.Signal)
	reader, writer := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run([]string{"--", "sh", "-c", `trap 'exit 9' TERM; echo ready; sleep 60 & wait`}, signals, writer, io.Discard)
		writer.Close()
	}()
	if _, err := io.ReadFull(reader, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	signals <- syscall.SIGTERM
	if got := <-code; got != 9 {
		t.Errorf("exit code %d, want the trap's 9", got)
	}
}

func TestRunWithRabbitMQ(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a broker, 5 s")
	}
	var out, errs bytes.Buffer
	script := `echo "$0"; echo "$` + testenv.EnvAMQPURL + `"; test -S "$` + testenv.EnvAMQPAdmin + `" && dirname "$` + testenv.EnvAMQPAdmin + `"; exit 3`
	if code := run([]string{"--rabbitmq", "--", "sh", "-c", script, "{amqp}"}, nil, &out, &errs); code != 3 {
		t.Fatalf("exit code %d, want 3: %s", code, errs.String())
	}
	lines := strings.Fields(out.String())
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "amqp://") || lines[0] != lines[1] {
		t.Fatalf("the command saw %q; want the URL as argument and in the environment, and the admin socket", lines)
	}
	if _, err := os.Stat(lines[2]); !os.IsNotExist(err) {
		t.Errorf("the broker's folder %s outlived the command: %v", lines[2], err)
	}
}
