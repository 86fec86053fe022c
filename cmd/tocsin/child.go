package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// child is this binary running another command of its own in a process of its
// own. It does not outlive us, however we end (on Linux).
type child struct {
	name   string
	cmd    *exec.Cmd
	stdout io.Reader
	log    string        // file with its stderr
	done   chan struct{} // closed when it has ended
	err    error         // how; valid after done
}

// startChild starts `tocsin args…` with its stderr in folder.
func startChild(name, folder string, environ []string, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find our own binary: %w", err)
	}
	c := &child{name: name, log: filepath.Join(folder, name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(c.log, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log of the %s: %w", name, err)
	}
	defer log.Close() // the child has its own descriptor
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start the %s: %w", name, err)
	}
	defer write.Close()
	c.stdout = read
	c.cmd = exec.Command(self, args...)
	c.cmd.Env, c.cmd.Stdout, c.cmd.Stderr, c.cmd.SysProcAttr = environ, write, log, childAttributes()
	if err := c.cmd.Start(); err != nil {
		read.Close()
		return nil, fmt.Errorf("start the %s: %w", name, err)
	}
	go func() {
		c.err = c.cmd.Wait()
		read.Close()
		close(c.done)
	}()
	return c, nil
}

// stop asks the child to end and kills it if it doesn't within patience. The
// error is how it ended, if not well.
func (c *child) stop(patience time.Duration) error {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-c.done:
		return c.failure()
	case <-timer.C:
	}
	_ = c.cmd.Process.Kill()
	<-c.done
	return fmt.Errorf("the %s did not end within %v of SIGTERM and was killed", c.name, patience)
}

// alive returns an error once the child has ended.
func (c *child) alive() error {
	select {
	case <-c.done:
		return c.died()
	default:
		return nil
	}
}

// died explains why a child ended that should be running.
func (c *child) died() error {
	if err := c.failure(); err != nil {
		return err
	}
	return fmt.Errorf("the %s ended early%s", c.name, c.lastWords())
}

func (c *child) failure() error {
	if c.err == nil {
		return nil
	}
	err := fmt.Errorf("the %s failed (%w)%s", c.name, c.err, c.lastWords())
	if exit, ok := errors.AsType[*exec.ExitError](c.err); ok && exit.ExitCode() == exitUnavailable {
		return unavailableError(err)
	}
	return err
}

// lastWords are the last lines of the child's log, to explain its death.
func (c *child) lastWords() string {
	const lines, most = 8, 8 << 10
	log, err := os.ReadFile(c.log)
	log = bytes.TrimSpace(log)
	if err != nil || len(log) == 0 {
		return ""
	}
	log = log[max(0, len(log)-most):]
	words := strings.Split(string(log), "\n")
	return "; its last words:\n  " + strings.Join(words[max(0, len(words)-lines):], "\n  ")
}

// peakMB returns the largest memory the running child ever had resident, in
// MiB; 0 where the system doesn't tell. The resource usage of wait4 would count
// what this process had when it forked.
func (c *child) peakMB() float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		var kb float64
		if _, err := fmt.Sscanf(line, "VmHWM: %f kB", &kb); err == nil {
			return kb / 1024
		}
	}
	return 0
}

// awaitReady polls check until it succeeds, the child dies, or patience ends.
func (c *child) awaitReady(ctx context.Context, patience time.Duration, check func(context.Context) error) error {
	deadline := time.Now().Add(patience)
	for {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := check(attempt)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if dead := c.alive(); dead != nil {
			return dead
		}
		if time.Now().After(deadline) {
			return unavailableError(fmt.Errorf("the %s was not ready within %v: %w%s", c.name, patience, err, c.lastWords()))
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}
