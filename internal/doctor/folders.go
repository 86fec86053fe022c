package doctor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// folder is what is known of a place for files.
type folder struct {
	// absent is how many levels of its path aren't there; at is the nearest folder
	// that is.
	absent int
	at     string
	// mode is that of the folder itself.
	mode fs.FileMode
	// writable is nil, or why no file can be written at at.
	writable error
	// foreign says that it belongs to another user.
	foreign bool
}

// lookAtFolder writes nothing.
func lookAtFolder(name string) (folder, error) {
	absolute, err := filepath.Abs(name)
	if err != nil {
		return folder{}, err
	}
	f := folder{at: absolute}
	for {
		info, err := os.Stat(f.at)
		switch {
		case err == nil && !info.IsDir():
			return folder{}, fmt.Errorf("%s is no folder", f.at)
		case err == nil:
			f.mode = info.Mode()
			if s, ok := info.Sys().(*syscall.Stat_t); ok {
				f.foreign = int(s.Uid) != os.Geteuid()
			}
			// W_OK and X_OK of access(2); it leaves nothing, and knows of read-only
			// file systems.
			f.writable = syscall.Access(f.at, 2|1)
			return f, nil
		case errors.Is(err, fs.ErrNotExist) && f.at != filepath.Dir(f.at):
			f.absent, f.at = f.absent+1, filepath.Dir(f.at)
		default:
			return folder{}, err
		}
	}
}

// judgeFolder says whether a folder can be used, of which so many levels would be
// made.
func judgeFolder(f Finding, at folder, err error, levels int) Finding {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return f.unread(err)
	case err != nil:
		return f.fail(err.Error())
	case at.absent > levels:
		return f.fail("it is not there, nor is the folder above it")
	case at.writable != nil && errors.Is(at.writable, fs.ErrPermission) && at.foreign:
		return f.skip("it belongs to another user: run this as the engine's user, or as root")
	case at.writable != nil && at.absent > 0:
		return f.fail(fmt.Sprintf("it is not there, and can't be made (%v)", at.writable))
	case at.writable != nil:
		return f.fail(fmt.Sprintf("nothing can be written there (%v)", at.writable))
	case at.absent > 0:
		return f.ok("not there yet, can be made")
	}
	return f.ok("there, can be written")
}

// feedFolder is made by the engine, but nothing above it.
func (x *examination) feedFolder(context.Context) []Finding {
	f := Finding{
		Check: "feed folder", Wanted: "there or can be made, can be written",
		Effect: "the engine doesn't start",
		Fix:    "make it for the engine's user; under the systemd unit also name it in ReadWritePaths=",
	}
	name := x.Config.RSS.Directory
	if name == "" {
		return one(f.skip("feeds are not written as files"))
	}
	at, err := lookAtFolder(filepath.Clean(name))
	return one(judgeFolder(f, at, err, 1))
}

// How long writes are tried: so often, but not longer than that.
const (
	syncTries = 16
	syncLimit = 500 * time.Millisecond
)

// measureSync writes and syncs a small file some times, as a commit of the store
// does, removes it, and returns the median.
func measureSync(ctx context.Context, at string) (median time.Duration, err error) {
	name := filepath.Join(at, ".doctor-"+rand.Text())
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(name)) }()
	block := make([]byte, 4096)
	var took []time.Duration
	for began := time.Now(); len(took) < syncTries && time.Since(began) < syncLimit && ctx.Err() == nil; {
		start := time.Now()
		if _, err := file.Write(block); err != nil {
			return 0, err
		}
		if err := file.Sync(); err != nil {
			return 0, err
		}
		took = append(took, time.Since(start))
	}
	if len(took) == 0 {
		return 0, ctx.Err()
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}
