package sqlitedb

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// dirLock keeps a second process out of the data directory. The lock is the
// kernel's and ends with the process, however it ends. The file's text names the
// owner and stays behind after a crash, which is how the next start knows that
// the last one did not end well.
type dirLock struct {
	file *os.File
	// crashed: the last owner did not release the lock in order.
	crashed bool
}

// lockName is the lock's file, signature what its owner writes there.
const (
	lockName  = "lock"
	signature = "process %d on %s\n"
)

func lockDir(dir string) (*dirLock, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock of the data directory: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, 512))
	if err == nil {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		f.Close()
		owner := strings.TrimSpace(string(text))
		if owner == "" {
			owner = "a process that is just starting or ending"
		}
		return nil, fmt.Errorf("%w by %s: stop it, or give this one another directory with --data (%s)", ErrInUse, owner, dir)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	l := &dirLock{file: f, crashed: len(text) > 0}
	if err := l.sign(); err != nil {
		f.Close()
		return nil, fmt.Errorf("write the lock of the data directory: %w", err)
	}
	return l, nil
}

// sign must be durable before the first write to the database, or a crash of the
// machine would look like an orderly end.
func (l *dirLock) sign() error {
	host, err := os.Hostname()
	if err != nil {
		host = "this machine"
	}
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	if _, err := l.file.WriteAt(fmt.Appendf(nil, signature, os.Getpid(), host), 0); err != nil {
		return err
	}
	return l.file.Sync()
}

// release ends the ownership; clean says that the database was closed in order.
func (l *dirLock) release(clean bool) error {
	var err error
	if clean {
		err = l.file.Truncate(0)
	}
	return errors.Join(err, l.file.Close())
}
