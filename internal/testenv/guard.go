package testenv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
)

// guard clears up after a broker: it kills what still runs of it and removes
// its folder. It is a process in a session of its own that waits for the end of
// a pipe whose other end only the owner holds, so it acts when the owner closes
// the pipe and just as well when the owner is killed.
//
// A parent-death signal would do only half of this: it is bound to the thread
// that forked, works on Linux alone, and removes no folder.
type guard struct {
	dir  string
	pipe *os.File
	cmd  *exec.Cmd
}

// The pid files belong to processes whose parent, the owner, either still runs
// and takes the file away when it has reaped the process, or has just died: a
// pid found here is not yet in use by anybody else. Removing is tried again
// because a killed broker may be inside a write.
const guardScript = `read -r _
for f in "$1"/*.pid; do [ -s "$f" ] && kill -KILL "$(cat "$f")" 2>/dev/null; done
for _ in 1 2 3 4 5 6 7 8 9 10; do rm -rf -- "$1" 2>/dev/null && exit 0; sleep 0.2; done
exit 1`

func startGuard(dir string) (*guard, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("can't make the guard's pipe: %w", err)
	}
	defer read.Close()
	cmd := exec.Command("/bin/sh", "-c", guardScript, "testenv-guard", dir)
	cmd.Stdin = read
	cmd.Dir = "/"
	// Its own session: the Ctrl-C which ends the owner must not end the guard.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("can't start the guard: %w", err), write.Close())
	}
	return &guard{dir: dir, pipe: write, cmd: cmd}, nil
}

// close lets the guard do its work and waits until the folder is gone.
func (g *guard) close() error {
	err := g.pipe.Close()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	err = errors.Join(err, g.cmd.Wait())
	if _, statErr := os.Stat(g.dir); !errors.Is(statErr, fs.ErrNotExist) {
		err = errors.Join(err, fmt.Errorf("the folder %s could not be removed", g.dir))
	}
	return err
}
