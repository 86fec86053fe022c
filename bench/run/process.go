package run

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Command says what to start.
type Command struct {
	// Name is what errors and results call it.
	Name string
	// Path is the program.
	Path string
	Args []string
	// Env is its whole environment.
	Env []string
	// Logs is the folder that takes its stderr, as NAME.log, after what was there
	// before.
	Logs string
	// Network gives it a network of its own with nothing in it but an interface lo
	// that is down. Where the system doesn't allow that, Start returns
	// [ErrNoNetwork].
	Network bool
}

// ErrNoNetwork is wrapped when a process can't have a network of its own.
var ErrNoNetwork = errors.New("a private network namespace is not allowed here")

// Process is a running program. Its methods are for one goroutine, except Stop and
// Ended.
type Process struct {
	// Name is that of its command.
	Name string

	adopted int // pid of a process that is not ours to end; all else is unset then

	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan []byte   // of stdout; closed at its end
	deaf  chan struct{} // closed once nobody asks for lines any more
	once  sync.Once     // closes deaf
	log   string
	from  int64 // where the process's own words begin in the log
	ended chan struct{}
	err   error // how it ended; valid after ended
}

// maxLine bounds a line of stdout, in bytes; a longer one ends the reading.
const maxLine = 4 << 20

// Start starts the program. Its standard input stays open until Stop.
func Start(c Command) (*Process, error) {
	if c.Network && runtime.GOOS != "linux" {
		return nil, fmt.Errorf("start the %s: %w: this is not Linux", c.Name, ErrNoNetwork)
	}
	p := &Process{Name: c.Name, log: filepath.Join(c.Logs, c.Name+".log"), lines: make(chan []byte, 16), ended: make(chan struct{}), deaf: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log of the %s: %w", c.Name, err)
	}
	defer log.Close() // the process has its own descriptor
	if before, err := log.Stat(); err == nil {
		p.from = before.Size()
	}
	p.cmd = exec.Command(c.Path, c.Args...)
	p.cmd.Env, p.cmd.Stderr, p.cmd.SysProcAttr = c.Env, log, attributes(c.Network)
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start the %s: %w", c.Name, err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start the %s: %w", c.Name, err)
	}
	if err := p.cmd.Start(); err != nil {
		if c.Network && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("start the %s: %w (%w)", c.Name, ErrNoNetwork, err)
		}
		return nil, fmt.Errorf("start the %s: %w", c.Name, err)
	}
	go func() {
		p.read(out)
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// read passes stdout on, a line at a time, as long as somebody may ask for it.
func (p *Process) read(out io.Reader) {
	defer close(p.lines)
	scanner := bufio.NewScanner(out)
	scanner.Buffer(nil, maxLine)
	for scanner.Scan() {
		select {
		case p.lines <- bytes.Clone(scanner.Bytes()):
		case <-p.deaf:
		}
	}
	_, _ = io.Copy(io.Discard, out) // a line too long, or the end
}

// Line returns the next line of stdout, waiting for it. If there is none because
// the process has ended, the error says how.
func (p *Process) Line(ctx context.Context) ([]byte, error) {
	select {
	case line, ok := <-p.lines:
		if ok {
			return line, nil
		}
		<-p.ended
		return nil, p.Died()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Tell writes a line to its standard input.
func (p *Process) Tell(line string) error {
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		return fmt.Errorf("tell the %s %q: %w%s", p.Name, line, err, p.lastWords())
	}
	return nil
}

// Stop asks the process to end (SIGTERM) and kills it if it has not within
// patience. The error is how it ended, if not well; a second Stop says the same.
func (p *Process) Stop(patience time.Duration) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended
	return p.await(patience)
}

// Signal sends it a signal; an error says that it has ended.
func (p *Process) Signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("signal the %s: %w", p.Name, err)
	}
	return nil
}

// Kill ends it at once (SIGKILL).
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	_ = p.await(time.Minute)
}

// Wait closes standard input, waits for an end that comes by itself, and kills what
// has not ended when ctx does. Lines that were not asked for are dropped.
func (p *Process) Wait(ctx context.Context) error {
	p.once.Do(func() { close(p.deaf) })
	_ = p.in.Close()
	select {
	case <-p.ended:
		return p.failure()
	case <-ctx.Done():
		p.Kill()
		return ctx.Err()
	}
}

func (p *Process) await(patience time.Duration) error {
	p.once.Do(func() { close(p.deaf) })
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.ended:
		return p.failure()
	case <-timer.C:
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
	return fmt.Errorf("the %s did not end within %v of SIGTERM and was killed", p.Name, patience)
}

// Ended is closed once the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Died explains why a process ended that should be running; nil while it runs.
func (p *Process) Died() error {
	select {
	case <-p.ended:
	default:
		return nil
	}
	if err := p.failure(); err != nil {
		return err
	}
	return fmt.Errorf("the %s ended early%s", p.Name, p.lastWords())
}

// Exit is how a process failed.
type Exit struct {
	// Name is the process, Code its exit code, -1 if a signal ended it.
	Name string
	Code int
	err  error
}

// Error says so, with its last words.
func (e *Exit) Error() string { return e.err.Error() }

func (p *Process) failure() error {
	if p.err == nil {
		return nil
	}
	code := -1
	if exit, ok := errors.AsType[*exec.ExitError](p.err); ok {
		code = exit.ExitCode()
	}
	return &Exit{Name: p.Name, Code: code, err: fmt.Errorf("the %s failed (%w)%s", p.Name, p.err, p.lastWords())}
}

// lastWords are the last lines that the process wrote to stderr.
func (p *Process) lastWords() string {
	const lines, most = 6, 4 << 10
	log, err := os.ReadFile(p.log)
	log = bytes.TrimSpace(log[min(p.from, int64(len(log))):])
	if err != nil || len(log) == 0 {
		return ""
	}
	log = log[max(0, len(log)-most):]
	words := strings.Split(string(log), "\n")
	return "; its last words:\n  " + strings.Join(words[max(0, len(words)-lines):], "\n  ")
}

// Adopt makes a process of one that somebody else started, to be observed and
// nothing more.
func Adopt(name string, pid int) *Process { return &Process{Name: name, adopted: pid} }

func (p *Process) pid() int {
	if p.adopted != 0 {
		return p.adopted
	}
	return p.cmd.Process.Pid
}

// account is what the kernel kept of a process that has ended; nil while it runs.
func (p *Process) account() *account {
	if p.adopted != 0 {
		return nil
	}
	select {
	case <-p.ended:
	default:
		return nil
	}
	usage, ok := p.cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return nil
	}
	return &account{userS: p.cmd.ProcessState.UserTime().Seconds(), sysS: p.cmd.ProcessState.SystemTime().Seconds(),
		switches: usage.Nvcsw, forced: usage.Nivcsw}
}
