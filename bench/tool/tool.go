// Package tool finds, starts and ends the programs of others that the bench measures
// against: Postfix's smtp-sink and smtp-source, nginx and wrk.
//
// Promise: what is started here listens on 127.0.0.1 alone, keeps its files in a
// folder of its own, and ends with who started it. Services of the machine are neither
// used nor touched.
package tool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// ErrNotInstalled is what [Find] returns, in words that say what to install.
var ErrNotInstalled = errors.New("not installed")

// Find returns the path of a program, which Debian has in this package.
func Find(program, debian string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	// Not in everybody's PATH, but where Debian has servers.
	if path, err := exec.LookPath("/usr/sbin/" + program); err == nil {
		return path, nil
	}
	return "", fmt.Errorf("%s is %w: apt-get install --no-install-recommends %s", program, ErrNotInstalled, debian)
}

// Server is a program that runs until it is closed.
type Server struct {
	// Address is where it listens, as host:port.
	Address string

	cmd   *exec.Cmd
	ended chan struct{} // closed once it is reaped
	said  tail
	dir   string              // removed at the end, if not empty
	given *os.File            // the program's standard output, if not nil
	as    *syscall.Credential // who it runs as, if not as we do
}

// PID is that of the program.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// PIDs are those of the program and of what it started, as far as the system tells.
func (s *Server) PIDs() []int {
	all := []int{s.PID()}
	// proc(5); without this file, or on other systems, there is the program alone.
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", s.PID(), s.PID()))
	for field := range bytes.FieldsSeq(children) {
		if pid, err := strconv.Atoi(string(field)); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

const (
	startTries = 5
	startTime  = 10 * time.Second
	stopTime   = 5 * time.Second
)

// start runs a server until one gets a port that it can listen on: between looking
// for a free one and taking it somebody else may have been faster.
func start(make func(address string) (*Server, error)) (*Server, error) {
	var err error
	for range startTries {
		var address string
		if address, err = freeAddress(); err != nil {
			return nil, err
		}
		var s *Server
		if s, err = make(address); err != nil {
			return nil, err
		}
		s.Address = address
		if err = s.launch(); err == nil {
			return s, nil
		}
	}
	return nil, err
}

// launch starts the program and waits until it listens.
func (s *Server) launch() error {
	s.ended = make(chan struct{})
	s.cmd.Stderr = &s.said
	s.cmd.SysProcAttr = attributes(s.as)
	s.cmd.WaitDelay = time.Second
	err := s.cmd.Start()
	if s.given != nil {
		_ = s.given.Close() // the program has its own
	}
	if err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", s.cmd.Path, err), s.removeDir())
	}
	go func() { // Close waits for it
		_ = s.cmd.Wait() // it is ended from outside; what it said tells more
		close(s.ended)
	}()
	if s.listens() {
		return nil
	}
	_ = s.Close() // the other error counts
	return fmt.Errorf("%s does not listen at %s: %s", s.cmd.Path, s.Address, s.said.String())
}

// listens waits until the server accepts a connection, and that it is this one: it
// must still run then.
func (s *Server) listens() bool {
	deadline := time.After(startTime)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if conn, err := net.Dial("tcp", s.Address); err == nil {
			_ = conn.Close()
			select {
			case <-s.ended:
				return false
			default:
				return true
			}
		}
		select {
		case <-s.ended:
			return false
		case <-deadline:
			return false
		case <-tick.C:
		}
	}
}

// Close ends the program, by force if it does not end within 5 s, and removes its
// folder.
func (s *Server) Close() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended
	select {
	case <-s.ended:
	case <-time.After(stopTime):
		_ = s.cmd.Process.Kill()
		<-s.ended
	}
	return s.removeDir()
}

func (s *Server) removeDir() error {
	if s.dir == "" {
		return nil
	}
	return os.RemoveAll(s.dir)
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// tail keeps the last that was written, up to 4 KiB.
type tail struct {
	mu   sync.Mutex
	last []byte
}

var _ io.Writer = (*tail)(nil)

// Write takes what a program says.
func (t *tail) Write(p []byte) (int, error) {
	const most = 4 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, p...)
	if over := len(t.last) - most; over > 0 {
		t.last = append(t.last[:0], t.last[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.last))
}
