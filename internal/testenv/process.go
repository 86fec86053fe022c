package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// process is one child whose pid file tells the guard of it from before its
// program runs until it has been reaped.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed once it is reaped and its pid file is gone
}

// The shell writes its own pid and becomes the program, so that there is no
// moment in which the program runs unknown to the guard.
const launchScript = `echo $$ >"$0" && exec "$@"`

// startProcess runs a program with its output in logFile, which is emptied first. The program
// has to stay in the foreground and may exec, but not fork away.
func startProcess(pidFile, logFile string, env []string, program string, args ...string) (*process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_TRUNC|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("can't open the log for %s: %w", program, err)
	}
	defer log.Close()
	cmd := exec.Command("/bin/sh", append([]string{"-c", launchScript, pidFile, program}, args...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is for the owner alone
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("can't start %s: %w", program, err)
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		_ = cmd.Wait()         // how it ended is in its log
		_ = os.Remove(pidFile) // gone already if the guard was first
	}()
	return p, nil
}

// running tells whether the process lives. A nil process does not.
func (p *process) running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// signal sends sig to the process alone; to one that has ended it is an error.
func (p *process) signal(sig syscall.Signal) error {
	if !p.running() {
		return errors.New("the process is not running")
	}
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("can't send %v to pid %d: %w", sig, p.cmd.Process.Pid, err)
	}
	return nil
}

// kill ends the process, paused or not, and waits until it is reaped.
func (p *process) kill() {
	if p.running() {
		_ = p.cmd.Process.Kill() // fails only if it has just ended by itself
		<-p.done
	}
}
